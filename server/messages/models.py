"""What is known of a model on disk, and of a model that runs."""

from __future__ import annotations

from typing import Literal

import msgspec

from server.messages.frames import Buffer
from server.messages.patchwork import Patchwork


class LayerShape(msgspec.Struct, frozen=True, kw_only=True):
    """One repeating layer, in elements unless a name says otherwise.

    `keys` and `values` are what one cell of its KV cache holds, 0 where it keeps none; `is_windowed`: the cache holds
    a sliding window and not the whole context. `state` is what a recurrent layer keeps per sequence. The others are
    the widths of what it computes for one token; `is_gated`: the feed-forward part has a gate beside it.
    """

    weights_bytes: int = 0
    keys: int = 0
    values: int = 0
    is_windowed: bool = False
    state: int = 0
    heads: int = 0
    query: int = 0
    attention: int = 0
    inner: int = 0
    feed_forward: int = 0
    is_gated: bool = True
    experts_used: int = 0
    expert_feed_forward: int = 0


class ModelShape(msgspec.Struct, frozen=True, kw_only=True):
    """The sizes that decide memory, read from the GGUF header. Lists of one number per layer are kept as such.

    `layers`: all that is known of each; empty where only the numbers before it are. `window_tokens`: the length of
    sliding windows. `input_bytes`: the table of token embeddings, of the type `input_type`; `is_tied`: it is the output
    layer too. `layer_inputs`: elements per token that all layers together get beside the embedding. `has_cache`:
    without one, texts are read whole and nothing is kept of them. `unused_bytes`: tensors in the file that are not
    loaded.
    """

    architecture: str = ""
    block_count: int = 0
    embedding_length: int = 0
    head_count: int = 0
    head_count_kv: tuple[int, ...] = ()
    key_length: int = 0
    value_length: int = 0
    context_length: int = 0
    vocab_size: int = 0
    weights_bytes: int = 0
    layer_bytes: tuple[int, ...] = ()
    has_pooling: bool = False
    layers: tuple[LayerShape, ...] = ()
    window_tokens: int = 0
    input_bytes: int = 0
    input_type: str = ""
    is_tied: bool = False
    layer_inputs: int = 0
    has_cache: bool = True
    unused_bytes: int = 0


class EncoderShape(msgspec.Struct, frozen=True, kw_only=True):
    """What turns images, or sounds, into embeddings: one part of a projector. Widths are in elements.

    `kind`: llama.cpp's name of the projector, such as gemma3. `positions`: the patches, or steps of sound, of what
    llama.cpp makes room for when it loads; `most_positions` those of the largest image. `position_inputs`: what of the
    image or sound goes into one position. `has_mask`: most layers see a part of the image only. `kept_outputs`: layers
    whose results the text model gets too. `image_tokens`: what the largest image becomes in a prompt, 0 where nobody
    says; `is_whole`: its tokens see each other, so that they must be read in one batch.
    """

    sense: Literal["vision", "audio"] = "vision"
    kind: str = ""
    positions: int = 0
    most_positions: int = 0
    position_inputs: int = 0
    embedding_length: int = 0
    head_count: int = 0
    feed_forward: int = 0
    is_gated: bool = False
    has_mask: bool = False
    projection_length: int = 0
    kept_outputs: int = 0
    image_tokens: int = 0
    is_whole: bool = False


class ProjectorShape(msgspec.Struct, frozen=True, kw_only=True):
    """The sizes of a projector that decide memory."""

    weights_bytes: int = 0
    encoders: tuple[EncoderShape, ...] = ()


class ModelSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What the scheduler needs of a model. `path` is the weights file and the key of its runner: names that share a
    file share a runner. `projector_path`: the projector it is loaded with, "" for none; `projector` are its sizes.
    `model_patches` and `projector_patches`: what llama.cpp is to read in place of a file that it does not understand.
    """

    name: str
    digest: str
    path: str
    model_patches: Patchwork | None = None
    adapter_paths: tuple[str, ...] = ()
    adapter_bytes: int = 0
    projector_path: str = ""
    projector_patches: Patchwork | None = None
    projector: ProjectorShape = ProjectorShape()
    shape: ModelShape = ModelShape()
    can_complete: bool = True
    has_vision: bool = False


RunnerState = Literal["loading", "ready", "draining", "stopping"]


class RunningModel(msgspec.Struct, frozen=True, kw_only=True):
    """A status line of one runner. `expires_at` is a Unix time, None for never; sizes in bytes."""

    name: str
    digest: str
    path: str
    state: RunnerState
    pid: int | None = None
    context_tokens: int = 0
    slots: int = 1
    size_bytes: int = 0
    gpu_bytes: int = 0
    buffers: tuple[Buffer, ...] = ()
    load_fraction: float = 0.0
    active: int = 0
    waiting: int = 0
    used_tokens: int = 0
    tokens_per_second: float = 0.0
    prompt_tokens_per_second: float = 0.0
    steps: int = 0
    keep_alive_seconds: float = 300.0
    expires_at: float | None = None
