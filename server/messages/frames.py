"""What server and runner say to each other.

A frame is a little-endian u32 length and that many bytes of msgpack: a list of messages. The runner writes one frame
per step for all streams, so 64 streams do not mean 64 writes. The server writes to the runner's standard input, the
runner to its standard output; the end of its input is its parent's death and ends the runner at once. Standard error
is free text for the log.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Generic, Literal, TypeVar

import msgspec

from server.errors import InvalidRequest
from server.messages.chat import TokenLogprob
from server.messages.options import SamplingOptions
from server.messages.patchwork import Patchwork

HEADER = struct.Struct("<I")
MAX_FRAME_BYTES = 64 * 1024 * 1024


# ---- server to runner ----------------------------------------------------------------------------------------------


class LaunchPlan(msgspec.Struct, frozen=True, kw_only=True, tag="load"):
    """How to load a model: the first message a runner gets.

    `context_tokens` is what one stream may use; the runner allocates `slots` times as much in one unified KV.
    `device_indices`: None lets llama.cpp use every device it finds. `cpu_library`: the CPU variant to load, "" for
    the one that the runner picks. `kv_type`: a ggml type name such as f16 or q8_0.
    `projector_path`: the file that turns images or sounds into embeddings, "" for a model that reads text alone;
    `projector_offload`: it may use a GPU. `image_min_tokens`: what an image is made of at least, where its size
    decides; 0 leaves it to the projector.
    `model_patches` and `projector_patches`: what llama.cpp is to read in place of a file that it does not understand.
    """

    model_path: str
    model_patches: Patchwork | None = None
    adapter_paths: tuple[str, ...] = ()
    projector_path: str = ""
    projector_patches: Patchwork | None = None
    projector_offload: bool = True
    image_min_tokens: int = 0
    context_tokens: int = 4096
    slots: int = 1
    batch_tokens: int = 512
    gpu_layers: int = -1
    main_gpu: int | None = None
    device_indices: tuple[int, ...] | None = None
    use_mmap: bool = True
    threads: int = 0
    flash_attention: Literal["auto", "on", "off"] = "auto"
    kv_type: str = "f16"
    shift: bool = True
    embedding: bool = False
    cpu_library: str = ""


class Grammar(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer must be.

    `source`: a JSON schema, a regular expression, or a grammar in Lark's syntax with a rule `start` or in llama.cpp's
    GBNF with a rule `root`; nothing for json_object, which is any object. `before` and `behind` stand around it word
    for word, such as the tags of a tool call. `after`: nothing is constrained until one of these texts has come.
    `opening`: the answer may begin with this text, and then `after` is waited for; "" with `after` set is an answer
    that begins behind it. `bridge`: what is written in place of an end that would come before `after`. `unless`: an
    answer that begins with one of these texts, in front or behind a thought, is not constrained at all.
    """

    kind: Literal["json_object", "json_schema", "lark", "gbnf", "regex"]
    source: str = ""
    before: str = ""
    behind: str = ""
    opening: str = ""
    after: tuple[str, ...] = ()
    bridge: str = ""
    unless: tuple[str, ...] = ()


class ThoughtLimit(msgspec.Struct, frozen=True, kw_only=True):
    """How long an answer may think.

    A thought begins with `opening` ("" where the prompt has begun it) and ends with one of `endings`; after `tokens` of
    it, `closing` is written in the model's place.
    """

    tokens: int
    opening: str = ""
    endings: tuple[str, ...]
    closing: str


class Media(msgspec.Struct, frozen=True, kw_only=True):
    """An image or a sound of a prompt, as the client sent it. It stands in front of the character `place`."""

    place: int
    data: bytes


class Submit(msgspec.Struct, frozen=True, kw_only=True, tag="submit"):
    """Start a stream.

    `prompt`: text (tokenized with special tokens, one BOS where the vocabulary wants one) or token ids as they are.
    `cuts`: rising places in a text that no token reaches across. `media`: in the order of their places in a text.
    `max_tokens`: None is no limit but that of the context. `on_overflow`: what happens to a prompt longer than the
    context: "truncate" keeps its head (`num_keep`) and its newest tokens, "refuse" raises ContextExceeded.
    `logprobs`: alternatives per token; None for no log-probabilities at all. `after_sampling`: they are what the token
    was drawn from, and not what the model thought of it.
    `visible`: special tokens whose text is part of the answer; all others print nothing.
    `use_cache`: False evaluates the whole prompt, whatever is known of it. `with_tokens`: every Delta brings the ids.
    `with_progress`: PromptProgress is told after each part of the prompt.
    """

    id: int
    prompt: str | tuple[int, ...]
    cuts: tuple[int, ...] = ()
    media: tuple[Media, ...] = ()
    sampling: SamplingOptions = SamplingOptions()
    max_tokens: int | None = None
    on_overflow: Literal["truncate", "refuse"] = "truncate"
    shift: bool = True
    logprobs: int | None = None
    after_sampling: bool = False
    visible: tuple[str, ...] = ()
    grammar: Grammar | None = None
    thought: ThoughtLimit | None = None
    use_cache: bool = True
    with_tokens: bool = False
    with_progress: bool = False


class Embed(msgspec.Struct, frozen=True, kw_only=True, tag="embed"):
    """Make the vectors of texts, answered by Vectors. One text that cannot be used fails all.

    `inputs`: texts, or token ids as they are. `limit_tokens`: what a text may have, with a BOS and an EOS; 0 leaves it
    to what the runner can hold. `truncate` cuts what is longer, and to `spare_tokens` what the runner still cannot
    hold; without it such a text is refused. `query`: a question that each of the texts may answer; what comes back is a
    score for each, of models that were made for it.
    """

    id: int
    inputs: tuple[str | tuple[int, ...], ...]
    limit_tokens: int = 0
    spare_tokens: int = 0
    truncate: bool = False
    query: str | None = None


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    id: int


class Tokenize(msgspec.Struct, frozen=True, kw_only=True, tag="tokenize"):
    """`cuts` and `media` as in Submit; with either special tokens are parsed."""

    id: int
    text: str
    cuts: tuple[int, ...] = ()
    media: tuple[Media, ...] = ()
    add_special: bool = False
    parse_special: bool = True
    with_pieces: bool = False


class Detokenize(msgspec.Struct, frozen=True, kw_only=True, tag="detokenize"):
    id: int
    tokens: tuple[int, ...]


class Shutdown(msgspec.Struct, frozen=True, tag="shutdown"):
    """End politely: free the model and exit 0."""


Command = LaunchPlan | Submit | Embed | Cancel | Tokenize | Detokenize | Shutdown


# ---- runner to server ----------------------------------------------------------------------------------------------


class LoadProgress(msgspec.Struct, frozen=True, tag="progress"):
    fraction: float


class Buffer(msgspec.Struct, frozen=True, kw_only=True):
    """Memory that llama.cpp said it allocated. `device` is its own name, such as CPU, CUDA0 or MTL0_Mapped."""

    device: str
    kind: Literal["weights", "kv", "compute", "output", "other"]
    bytes: int
    is_gpu: bool = False


class FillTokens(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The tokens that mark a gap and what stands around it: their ids, -1 for those that the vocabulary lacks.
    `separator` stands before the name of a file, `repository` before that of the project."""

    before: int = -1
    behind: int = -1
    middle: int = -1
    repository: int = -1
    separator: int = -1


class Loaded(msgspec.Struct, frozen=True, kw_only=True, tag="loaded"):
    """The model is ready. Token texts are as the vocabulary has them; `control_texts` are those of all tokens that are
    no text, such as <|im_end|>. `can_see` images and `can_hear` sounds: what the projector says of itself."""

    context_tokens: int
    slots: int
    train_context_tokens: int
    vocab_size: int
    add_bos: bool
    bos_text: str = ""
    eos_text: str = ""
    control_texts: tuple[str, ...] = ()
    fill: FillTokens = FillTokens()
    can_shift: bool = True
    can_see: bool = False
    can_hear: bool = False
    gpu_layers: int = 0
    total_layers: int = 0
    buffers: tuple[Buffer, ...] = ()
    cpu_variant: str = ""
    system_info: str = ""


class Delta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="delta"):
    """Whole characters of an answer; never a beginning of a stop string that may still match. On the first one:
    `cut_tokens`, how many tokens of the prompt were left out, `prompt_tokens`, those that remain, and `cached_tokens`
    of them. `tokens`: the ids sampled since the last one, where they were asked for. `generated` counts the tokens of
    the answer up to here."""

    id: int
    text: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()
    cut_tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated: int = 0
    tokens: tuple[int, ...] = ()


class PromptProgress(msgspec.Struct, frozen=True, kw_only=True, tag="reading"):
    """`read_tokens` of a prompt of `prompt_tokens` are in the cache, of which `cached_tokens` were there before."""

    id: int
    prompt_tokens: int
    cached_tokens: int
    read_tokens: int
    elapsed_ns: int


class Finished(msgspec.Struct, frozen=True, kw_only=True, tag="finished"):
    """The stream has ended; its slot is free. `stop_text` is the stop string that ended it, "" for another end."""

    id: int
    reason: Literal["stop", "length"]
    prompt_tokens: int
    cached_tokens: int
    prompt_ns: int
    eval_tokens: int
    eval_ns: int
    cut_tokens: int = 0
    stop_text: str = ""


class Vectors(msgspec.Struct, frozen=True, kw_only=True, tag="vectors"):
    """The vectors of an Embed in the order of its inputs, as the model pooled them, not normalised.

    `vectors`: little-endian float32. `token_counts`: of each input, with what the model adds.
    """

    id: int
    vectors: tuple[bytes, ...]
    token_counts: tuple[int, ...]


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """One stream or call failed; with `id` 0 the load did. `kind` names a class of server.errors."""

    id: int
    kind: str
    message: str
    log: str = ""


class Tokens(msgspec.Struct, frozen=True, kw_only=True, tag="tokens"):
    """`pieces` are the tokens' bytes, special ones with their text, where they were asked for. `media_tokens`: how many
    more the media take; `tokens` has those of the text around them."""

    id: int
    tokens: tuple[int, ...]
    media_tokens: int = 0
    pieces: tuple[bytes, ...] = ()


class Text(msgspec.Struct, frozen=True, kw_only=True, tag="text"):
    id: int
    text: str


class Pulse(msgspec.Struct, frozen=True, kw_only=True, tag="pulse"):
    """How the runner is, at most a few times a second and only when something changed. `steps`: batches that it has
    evaluated so far."""

    active: int
    waiting: int
    used_tokens: int
    prompt_tokens_per_second: float
    tokens_per_second: float
    generated_tokens: int
    steps: int = 0


Event = LoadProgress | Loaded | PromptProgress | Delta | Finished | Vectors | Failed | Tokens | Text | Pulse


_encoder = msgspec.msgpack.Encoder()


def encode(messages: Iterable[Command | Event]) -> bytes:
    """One frame. Raises InvalidRequest on what does not fit into one: the other side would give up the connection, and
    with it the streams of everybody else."""
    body = _encoder.encode(list(messages))
    if len(body) > MAX_FRAME_BYTES:
        raise InvalidRequest(
            f"A model and the server cannot exchange {len(body) >> 20} MiB for one request, "
            f"{MAX_FRAME_BYTES >> 20} MiB is the limit. Send less text or smaller images at once."
        )
    return HEADER.pack(len(body)) + body


Message = TypeVar("Message")


class FrameReader(Generic[Message]):
    """Cuts a byte stream into messages. `kind` is Command or Event."""

    def __init__(self, kind: object) -> None:
        self._decoder = msgspec.msgpack.Decoder(list[kind])  # type: ignore[valid-type]
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that `data` completes. Raises ValueError on a frame beyond MAX_FRAME_BYTES, msgspec's errors on
        bytes that are no frame."""
        self._buffer += data
        while len(self._buffer) >= HEADER.size:
            (size,) = HEADER.unpack_from(self._buffer)
            if size > MAX_FRAME_BYTES:
                raise ValueError(f"a frame of {size} bytes; the limit is {MAX_FRAME_BYTES}")
            end = HEADER.size + size
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[HEADER.size : end])
            del self._buffer[:end]
            yield from self._decoder.decode(body)
