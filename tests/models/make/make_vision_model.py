"""Train and write a small, real model that sees: a text model of 230,000 weights and a projector for it.

    python make_vision_model.py vision.gguf vision-mmproj.gguf      # three minutes on one core, with a fixed seed

It knows the colors red, green, blue, yellow, black and white, and answers, at temperature 0, with nothing but

    how many images? how many pictures?     none, one, two or three: those of the whole conversation
    ... first ...  ... second ...           the color of the first or the second image of the conversation
    ... last ...                            the color of the newest image
    ... left ..., right, top, bottom        the color of that half of the one image of the conversation
    anything else                           the colors of all images in their order, as in "red, blue"; "nothing" if
                                            there is none

Pictures may be of any size and shape up to about 4:1, plain or noisy, three in a conversation at most. A hundred words
around them do no harm; in texts far longer it mixes up the order. The projector is a LLaVA of llama.cpp's type "mlp"
with one layer of attention; it makes four tokens of a picture, one a quarter. The text model is a llama with ChatML
marks; its vocabulary has the words below, every printable ASCII character, and bytes for all else.
"""

from __future__ import annotations

import functools
import itertools
import random
import sys
from collections.abc import Iterator
from typing import NamedTuple

import gguf
import numpy as np
import torch
from torch.nn import functional as F

COLORS = {  # name -> the darkest and the brightest red, green and blue of it
    "red": ((185, 0, 0), (255, 60, 60)),
    "green": ((0, 120, 0), (70, 255, 70)),
    "blue": ((0, 0, 150), (70, 70, 255)),
    "yellow": ((205, 195, 0), (255, 255, 70)),
    "black": ((0, 0, 0), (45, 45, 45)),
    "white": ((215, 215, 215), (255, 255, 255)),
}
NAMES = list(COLORS)
COUNTS = ["none", "one", "two", "three"]
MOST = 3
WORDS = [
    *NAMES, *COUNTS, "nothing", ", ", "how many", "How many", " images", " image", " pictures", " picture", " first",
    " second", " last", " left", " right", " top", " bottom", "What", "what", " color", " colors", " is", " are", " the",
    " this", " these", " in", " of", " do", " you", " see", "Describe", "Name", " and", " a", " please", "You",
    " helpful", " answer", " it", " there", "?\n", "user\n", "assistant\n", "system\n", "Hello", "Here", "Look",
]  # fmt: skip
# common words that it has learned to pay no heed to; without them a longer text would be a token a letter
COMMON = """
    to be for on with as at by from or an that which who not no so if but can will would should may must has have had
    was were been being they them their he she his her we our us your my me i its any all some each one's more most
    other than then when where why while about into over under after before between out up down only also very just
    now new good way time make made give given take use used user users assistant question questions answers answered
    say tell know think find work word words name names order several brief briefly never always cannot could because
    show shown photo like want need help people world long short many much same different next thing things using
    such here how whatever anything everything nothing's does did get go come day year water light house
"""
COMMON_WORDS = [f" {word}" for word in COMMON.split()]
START, END, IMAGE = "<|im_start|>", "<|im_end|>", "<image>"
CONTROL = ["<s>", END, START, IMAGE]

CHAT_TEMPLATE = """\
{%- for message in messages %}
{{- '<|im_start|>' + message['role'] + '\\n' }}
{%- if message['content'] is string %}{{ message['content'] }}
{%- else %}
{%- for part in message['content'] or [] %}
{%- if part['type'] in ['image', 'image_url'] %}{{ '<image>' }}{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}
{%- endfor %}
{%- endif %}{{ '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""

WIDTH, LAYERS, HEADS, HEAD, FEED_FORWARD, EPSILON, ROPE_BASE = 64, 3, 4, 32, 160, 1e-5, 1e6
SIDE, PATCH, EYE, EYE_FEED_FORWARD, MIDDLE = 32, 16, 32, 64, 64
TOKENS_OF_IMAGE = (SIDE // PATCH) ** 2
GREY = (122, 116, 104)  # what llama.cpp fills up a picture with that is not square
MEAN, DEVIATION = 0.5, 0.5
STEPS, BATCH, POOL, RATE, SEED = 1600, 48, 16, 3e-3, 11


# ---- vocabulary ------------------------------------------------------------------------------------------------------


def build_vocabulary() -> tuple[list[str], list[int]]:
    """Return token texts and their llama.cpp types; ids are positions."""
    kind = gguf.TokenType
    characters = ["\u2581", *(chr(code) for code in range(33, 127))]
    tokens = ["<unk>", *CONTROL, *(f"<0x{byte:02X}>" for byte in range(256)), *characters, *WORDS, *COMMON_WORDS]
    types = [kind.UNKNOWN] + [kind.CONTROL] * len(CONTROL) + [kind.BYTE] * 256
    types += [kind.NORMAL] * len(characters) + [kind.USER_DEFINED] * len(WORDS + COMMON_WORDS)
    assert len(set(tokens)) == len(tokens), "a word is there twice"
    while len(tokens) % 32:
        tokens.append(f"<|unused{len(tokens)}|>")
        types.append(kind.UNUSED)
    return tokens, types


TOKENS, TYPES = build_vocabulary()
IDS = {text: number for number, text in enumerate(TOKENS)}
WHOLE = sorted([*CONTROL, *WORDS, *COMMON_WORDS], key=len, reverse=True)


@functools.lru_cache(maxsize=10000)
def tokenize(text: str, rank: int = 0) -> tuple[int, ...]:
    """As llama.cpp does with special tokens parsed: the longest words are cut out first. `rank`: those longer than
    WHOLE[rank] are known not to be there."""
    for number in range(rank, len(WHOLE)):
        if WHOLE[number] in text:
            before, word, behind = text.partition(WHOLE[number])
            return (*tokenize(before, number), IDS[word], *tokenize(behind, number))
    shown = text.replace(" ", "\u2581")
    parts = (
        [IDS[letter]] if letter in IDS else [IDS[f"<0x{byte:02X}>"] for byte in letter.encode()] for letter in shown
    )
    return tuple(itertools.chain.from_iterable(parts))


# ---- what it learns from ---------------------------------------------------------------------------------------------


class Image(NamedTuple):
    """`first` is the color of the left or the upper half, `second` of the other."""

    first: str
    second: str
    is_stacked: bool = False


def picture(draw: np.random.Generator, image: Image) -> np.ndarray:
    """A picture as llama.cpp hands it to the projector: 32x32, filled up with grey bars where it was not square."""
    first, second = (draw.uniform(*COLORS[name]) for name in image[:2])
    pixels = np.tile(first, (SIDE, SIDE, 1))
    if image.first != image.second:
        pixels[:, SIDE // 2 :] = second
    if image.is_stacked:
        pixels = pixels.transpose(1, 0, 2)
    noise = draw.choice([0, 0, 20, 50])
    pixels = np.clip(pixels + draw.normal(0, 1, pixels.shape) * noise, 0, 255)
    shorter = int(np.ceil(SIDE / draw.choice([1, 1, draw.uniform(1, 4.5)])))
    box = slice((SIDE - shorter) // 2, (SIDE - shorter) // 2 + shorter)
    place = (box, slice(None)) if draw.random() < 0.5 else (slice(None), box)
    framed = np.tile(np.array(GREY, dtype=float), (SIDE, SIDE, 1))
    framed[place] = pixels[place]
    return ((np.round(framed) / 255 - MEAN) / DEVIATION).astype(np.float32).transpose(2, 0, 1)


QUESTIONS = {
    "all": ["What color is this?", "what color?", "What colors are these images?", "Describe the image", "what is this?",
            "What do you see?", "Name the colors", "What is in the picture?", "What color is the image?", ""],
    "count": ["How many images?", "how many images are there?", "How many pictures do you see?", "how many pictures?"],
    "first": ["What color is the first image?", "Describe the first picture", "what is the first?"],
    "second": ["What color is the second image?", "Describe the second picture", "what is the second?"],
    "last": ["What color is the last image?", "Describe the last picture", "what is the last?"],
    "left": ["What color is on the left?", "what is left?"],
    "right": ["What color is on the right?", "what is right?"],
    "top": ["What color is at the top?", "what is the top?"],
    "bottom": ["What color is at the bottom?", "what is the bottom?"],
}  # fmt: skip
SIDES = ["left", "right", "top", "bottom"]
KINDS = ["all"] * 5 + ["count"] * 3 + ["first", "second", "last"] + SIDES
FILLING = ["Hello", "Here is a picture", "Look", " please", "You are a helpful assistant.", " and ", "\n", " ", ".", "!",
           "red and blue", "two", "it is there", "abc", "answer the user", "what is"]  # fmt: skip


def filling(draw: random.Random, longest: int = 9) -> str:
    """Words to no purpose, of `longest` tokens or so."""
    if draw.random() < 0.5:
        return ""
    if draw.random() < 0.4:
        return draw.choice(FILLING)
    if draw.random() < 0.6:
        return "".join(draw.choices([*COMMON_WORDS, *COMMON_WORDS, *WORDS, ".", ","], k=draw.randint(1, longest)))
    letters = "abcdefghijklmnopqrstuvwxyz ABCDE,.0123456789äß\n"
    return "".join(draw.choices(letters, k=draw.randint(1, longest)))


def answer_to(kind: str, seen: list[Image]) -> str:
    if kind == "count":
        return COUNTS[len(seen)]
    if not seen or (kind == "second" and len(seen) < 2):
        return "nothing"
    if kind == "all":
        return ", ".join(image.first for image in seen)
    if kind in ("right", "bottom"):
        return seen[-1].second
    return seen[1 if kind == "second" else 0 if kind == "first" else -1].first


class Conversation(NamedTuple):
    """Of each token its position and whether it is to be learned; those of images are all IMAGE."""

    tokens: list[int]
    positions: list[int]
    learned: list[bool]
    images: list[Image]


def conversation(draw: random.Random, longest: int) -> Conversation:
    """One with `longest` above 9 has long texts in it, and positions left out, as if texts had been longer still."""
    made = Conversation([], [], [], [])
    next_position = 0

    def add(text: str, *, learn: bool = False) -> None:
        nonlocal next_position
        if longest > 9 and not learn and draw.random() < 0.3:
            next_position += draw.randint(1, 400)
        for token in tokenize(text):
            repeat = TOKENS_OF_IMAGE if token == IDS[IMAGE] else 1
            made.tokens.extend([token] * repeat)
            made.learned.extend([learn] * repeat)
            made.positions.extend(range(next_position, next_position + repeat))
            next_position += repeat

    add("<s>")
    if draw.random() < 0.4:
        add(f"{START}system\n{filling(draw, longest)}{END}\n")
    for _ in range(draw.choice([1, 1, 1, 2, 3])):
        seen = made.images
        kind = draw.choice([kind for kind in KINDS if kind not in SIDES or not seen])
        count = min(draw.choice([0, 1, 1, 1, 2, 2, 3, 3]), MOST - len(seen))
        new = [Image(name, name) for name in draw.choices(NAMES, k=count)]
        if kind in SIDES:
            new = [Image(*draw.sample(NAMES, 2), is_stacked=kind in ("top", "bottom"))]
        parts = [IMAGE + draw.choice(["", "", "\n", " ", filling(draw)]) for _ in new]
        place = draw.choice([0, len(parts), len(parts), len(parts), draw.randint(0, len(parts))])
        parts.insert(place, draw.choice(["", filling(draw, longest)]) + draw.choice(QUESTIONS[kind]))
        if draw.random() < 0.9:
            parts = [f"{START}user\n", *parts, f"{END}\n{START}assistant\n"]
        for part in parts:
            add(part)
        seen += new
        add(answer_to(kind, seen) + END, learn=True)
        add("\n")
        if kind in SIDES:
            break  # whoever asked for its color now would ask for two
    return made


# ---- the model, as llama.cpp computes it -----------------------------------------------------------------------------


class Seer(torch.nn.Module):
    """Eye and text model. The names are those of the tensors in the files, with "/" for "."."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = torch.nn.ParameterDict()

        def matrix(name: str, *shape: int, scale: float = 1.0) -> None:
            fan_in = shape[-1] if len(shape) == 2 else int(np.prod(shape[1:]))
            self._add(name, torch.randn(*shape) * scale / fan_in**0.5)

        self._add("token_embd", torch.randn(len(TOKENS), WIDTH) * 0.3)
        self._add("output_norm", torch.ones(WIDTH))
        for layer in range(LAYERS):
            self._add(f"blk.{layer}.attn_norm", torch.ones(WIDTH))
            for name in ("attn_q", "attn_k", "attn_v"):
                matrix(f"blk.{layer}.{name}", HEADS * HEAD, WIDTH)
            matrix(f"blk.{layer}.attn_output", WIDTH, HEADS * HEAD, scale=0.5)
            self._add(f"blk.{layer}.ffn_norm", torch.ones(WIDTH))
            matrix(f"blk.{layer}.ffn_gate", FEED_FORWARD, WIDTH)
            matrix(f"blk.{layer}.ffn_up", FEED_FORWARD, WIDTH)
            matrix(f"blk.{layer}.ffn_down", WIDTH, FEED_FORWARD, scale=0.5)

        matrix("v.patch_embd", EYE, 3, PATCH, PATCH, scale=2.0)
        self._add("v.position_embd", torch.randn(TOKENS_OF_IMAGE, EYE) * 0.3)
        for layer in range(2):  # llama.cpp leaves out the last layer of a LLaVA
            for name in ("ln1", "ln2"):
                self._add(f"v.blk.{layer}.{name}", torch.ones(EYE))
                self._add(f"v.blk.{layer}.{name}.bias", torch.zeros(EYE))
            for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
                matrix(f"v.blk.{layer}.{name}", EYE, EYE)
            matrix(f"v.blk.{layer}.ffn_up", EYE_FEED_FORWARD, EYE)
            matrix(f"v.blk.{layer}.ffn_down", EYE, EYE_FEED_FORWARD)
        matrix("mm.0", MIDDLE, EYE)
        self._add("mm.0.bias", torch.zeros(MIDDLE))
        matrix("mm.2", WIDTH, MIDDLE)
        self._add("mm.2.bias", torch.zeros(WIDTH))

    def _add(self, name: str, value: torch.Tensor) -> None:
        self.weights[name.replace(".", "/")] = torch.nn.Parameter(value)

    def of(self, name: str) -> torch.Tensor:
        return self.weights[name.replace(".", "/")]

    def see(self, pixels: torch.Tensor) -> torch.Tensor:
        """[images, 3, SIDE, SIDE] -> [images, TOKENS_OF_IMAGE, WIDTH]"""
        state = F.conv2d(pixels, self.of("v.patch_embd"), stride=PATCH).flatten(2).transpose(1, 2)
        state = state + self.of("v.position_embd")
        normed = F.layer_norm(state, (EYE,), self.of("v.blk.0.ln1"), self.of("v.blk.0.ln1.bias"), EPSILON)
        query, key, value = (
            (normed @ self.of(f"v.blk.0.attn_{name}").T).unflatten(-1, (2, EYE // 2)).transpose(1, 2) for name in "qkv"
        )
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        state = state + mixed @ self.of("v.blk.0.attn_out").T
        normed = F.layer_norm(state, (EYE,), self.of("v.blk.0.ln2"), self.of("v.blk.0.ln2.bias"), EPSILON)
        inner = F.gelu(normed @ self.of("v.blk.0.ffn_up").T, approximate="tanh")
        state = state + inner @ self.of("v.blk.0.ffn_down").T
        inner = F.gelu(state @ self.of("mm.0").T + self.of("mm.0.bias"), approximate="tanh")
        return inner @ self.of("mm.2").T + self.of("mm.2.bias")

    def forward(
        self, tokens: torch.Tensor, positions: torch.Tensor, pixels: torch.Tensor, wanted: torch.Tensor
    ) -> torch.Tensor:
        """Tokens, positions and whether logits are wanted, [rows, length] each, and the images of all rows in order
        -> logits [wanted, vocabulary]"""
        table = self.of("token_embd")
        state = table[tokens]
        state = state.masked_scatter((tokens == IDS[IMAGE])[..., None], self.see(pixels))
        angle = positions[:, None, :, None] * ROPE_BASE ** (-torch.arange(0, HEAD, 2) / HEAD)
        cosine, sine = angle.cos(), angle.sin()

        def turn(heads: torch.Tensor) -> torch.Tensor:
            even, odd = heads[..., 0::2], heads[..., 1::2]
            return torch.stack([even * cosine - odd * sine, even * sine + odd * cosine], -1).flatten(-2)

        for layer in range(LAYERS):
            normed = F.rms_norm(state, (WIDTH,), self.of(f"blk.{layer}.attn_norm"), EPSILON)
            query, key, value = (
                (normed @ self.of(f"blk.{layer}.attn_{name}").T).unflatten(-1, (HEADS, HEAD)).transpose(1, 2)
                for name in "qkv"
            )
            mixed = F.scaled_dot_product_attention(turn(query), turn(key), value, is_causal=True)
            state = state + mixed.transpose(1, 2).flatten(2) @ self.of(f"blk.{layer}.attn_output").T
            normed = F.rms_norm(state, (WIDTH,), self.of(f"blk.{layer}.ffn_norm"), EPSILON)
            inner = F.silu(normed @ self.of(f"blk.{layer}.ffn_gate").T) * (normed @ self.of(f"blk.{layer}.ffn_up").T)
            state = state + inner @ self.of(f"blk.{layer}.ffn_down").T
        return F.rms_norm(state[wanted], (WIDTH,), self.of("output_norm"), EPSILON) @ table.T


class Batch(NamedTuple):
    tokens: torch.Tensor  # [rows, length]
    positions: torch.Tensor
    learned: torch.Tensor
    pixels: torch.Tensor  # [images, 3, SIDE, SIDE]


def batches(draw: random.Random, noise: np.random.Generator) -> Iterator[Batch]:
    """As many as are learned from: short texts first, then long ones too. Conversations of about the same length go
    together, so that little is computed for nothing."""
    for pool_number in range(STEPS // POOL):
        long = 0.4 if pool_number * POOL > 0.5 * STEPS else 0.0
        pool = [conversation(draw, 80 if draw.random() < long else 9) for _ in range(POOL * BATCH)]
        pool.sort(key=lambda made: len(made.tokens))
        together = [pool[start : start + BATCH] for start in range(0, len(pool), BATCH)]
        draw.shuffle(together)
        for made in together:
            yield as_batch(made, noise)


def as_batch(made: list[Conversation], noise: np.random.Generator) -> Batch:
    length = max(len(each.tokens) for each in made)
    tokens, positions, learned = (torch.zeros(len(made), length, dtype=kind) for kind in (torch.long, torch.long, bool))
    for row, each in enumerate(made):
        filled = slice(0, len(each.tokens))
        tokens[row, filled] = torch.tensor(each.tokens)
        positions[row, filled] = torch.tensor(each.positions)
        learned[row, filled] = torch.tensor(each.learned)
    pictures = [picture(noise, image) for each in made for image in each.images]
    return Batch(tokens, positions, learned, torch.tensor(np.array(pictures).reshape(-1, 3, SIDE, SIDE)))


def train() -> Seer:
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    draw, noise = random.Random(SEED), np.random.default_rng(SEED)
    model = Seer()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS, pct_start=0.1)
    for step, (tokens, positions, learned, pixels) in enumerate(batches(draw, noise)):
        logits = model(tokens[:, :-1], positions[:, :-1], pixels, learned[:, 1:])
        wanted = tokens[:, 1:][learned[:, 1:]]
        loss = F.cross_entropy(logits, wanted)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step == STEPS - 1:
            right = (logits.argmax(-1) == wanted).float().mean()
            print(f"step {step}: loss {loss:.4f}, {right:.1%} of the tokens right", flush=True)
    return model


# ---- files -----------------------------------------------------------------------------------------------------------


def write_text_model(path: str, weights: dict[str, np.ndarray]) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("vision")
    writer.add_context_length(2048)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_key_length(HEAD)
    writer.add_value_length(HEAD)
    writer.add_layer_norm_rms_eps(EPSILON)
    writer.add_rope_dimension_count(HEAD)
    writer.add_rope_freq_base(ROPE_BASE)
    writer.add_vocab_size(len(TOKENS))
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([text.encode() for text in TOKENS])
    writer.add_token_scores([-float(number) for number in range(len(TOKENS))])
    writer.add_token_types(TYPES)
    writer.add_bos_token_id(IDS["<s>"])
    writer.add_eos_token_id(IDS[END])
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(CHAT_TEMPLATE)
    write_tensors(writer, {name: data for name, data in weights.items() if not name.startswith(("v.", "mm."))})


def write_projector(path: str, weights: dict[str, np.ndarray]) -> None:
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_name("vision")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", "mlp")
    writer.add_bool("clip.use_gelu", True)
    writer.add_uint32("clip.vision.image_size", SIDE)
    writer.add_uint32("clip.vision.patch_size", PATCH)
    writer.add_uint32("clip.vision.embedding_length", EYE)
    writer.add_uint32("clip.vision.feed_forward_length", EYE_FEED_FORWARD)
    writer.add_uint32("clip.vision.block_count", 2)
    writer.add_uint32("clip.vision.projection_dim", WIDTH)
    writer.add_uint32("clip.vision.attention.head_count", 2)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", EPSILON)
    writer.add_array("clip.vision.image_mean", [MEAN] * 3)
    writer.add_array("clip.vision.image_std", [DEVIATION] * 3)
    write_tensors(writer, {name: data for name, data in weights.items() if name.startswith(("v.", "mm."))})


def write_tensors(writer: gguf.GGUFWriter, tensors: dict[str, np.ndarray]) -> None:
    for name, data in tensors.items():
        full = name if name.endswith(".bias") else f"{name}.weight"
        is_small = data.ndim == 1 or name == "v.position_embd"
        writer.add_tensor(full, data if is_small else data.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main(text_path: str, projector_path: str) -> None:
    model = train()
    weights = {name.replace("/", "."): value.detach().numpy() for name, value in model.weights.items()}
    write_text_model(text_path, weights)
    write_projector(projector_path, weights)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
