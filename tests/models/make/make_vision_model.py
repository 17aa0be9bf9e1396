"""Train and write a small, real model that sees: a text model of 200,000 weights and a projector for it.

    python make_vision_model.py vision.gguf vision-mmproj.gguf      # two minutes on one core, always the same files

It knows the colors red, green, blue, yellow, black and white, and answers, at temperature 0, with nothing but

    how many images? how many pictures?     none, one, two, three or four: those of the whole conversation
    ... first ...  ... second ...           the color of the first or the second image of the conversation
    ... last ...                            the color of the newest image
    anything else                           the colors of all images in their order, as in "red, blue"; "nothing" if
                                            there is none

Pictures may be of any size and shape up to about 4:1, plain or noisy. The projector is a LLaVA of llama.cpp's type
"mlp" with one layer of attention; it makes four tokens of a picture, one a quarter. The text model is a llama with
ChatML marks; its vocabulary has the words below, every printable ASCII character, and bytes for all else.
"""

from __future__ import annotations

import random
import re
import sys

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
COUNTS = ["none", "one", "two", "three", "four"]
WORDS = [
    *NAMES, *COUNTS, "nothing", ", ", "how many", "How many", " images", " image", " pictures", " picture", " first",
    " second", " last", "What", "what", " color", " colors", " is", " are", " the", " this", " these", " in", " of",
    " do", " you", " see", "Describe", "Name", " and", " a", " please", "You", " helpful", " answer", " it", " there",
    "?\n", "user\n", "assistant\n", "system\n", "Hello", "Here", "Look",
]  # fmt: skip
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

WIDTH, LAYERS, HEADS, HEAD, FEED_FORWARD, EPSILON, ROPE_BASE = 64, 3, 2, 64, 160, 1e-5, 10000.0
SIDE, PATCH, EYE, EYE_FEED_FORWARD, MIDDLE = 32, 16, 32, 64, 64
TOKENS_OF_IMAGE = (SIDE // PATCH) ** 2
GREY = (122, 116, 104)  # what llama.cpp fills up a picture with that is not square
MEAN, DEVIATION = 0.5, 0.5
STEPS, BATCH, RATE, SEED = 1400, 48, 3e-3, 7


# ---- vocabulary ------------------------------------------------------------------------------------------------------


def build_vocabulary() -> tuple[list[str], list[int]]:
    """Return token texts and their llama.cpp types; ids are positions."""
    kind = gguf.TokenType
    characters = ["\u2581", *(chr(code) for code in range(33, 127))]
    tokens = ["<unk>", *CONTROL, *(f"<0x{byte:02X}>" for byte in range(256)), *characters, *WORDS]
    types = [kind.UNKNOWN] + [kind.CONTROL] * len(CONTROL) + [kind.BYTE] * 256
    types += [kind.NORMAL] * len(characters) + [kind.USER_DEFINED] * len(WORDS)
    assert len(set(tokens)) == len(tokens), "a word is there twice"
    while len(tokens) % 32:
        tokens.append(f"<|unused{len(tokens)}|>")
        types.append(kind.UNUSED)
    return tokens, types


TOKENS, TYPES = build_vocabulary()
IDS = {text: number for number, text in enumerate(TOKENS)}
_WHOLE = re.compile("|".join(re.escape(text) for text in sorted([*CONTROL, *WORDS], key=len, reverse=True)))


def tokenize(text: str) -> list[int]:
    """As llama.cpp does with special tokens parsed; the longest words first."""
    found, at = [], 0
    for match in [*_WHOLE.finditer(text), None]:
        for character in text[at : match.start() if match else len(text)]:
            shown = "\u2581" if character == " " else character
            found += [IDS[shown]] if shown in IDS else [IDS[f"<0x{byte:02X}>"] for byte in character.encode()]
        if match:
            found.append(IDS[match.group()])
            at = match.end()
    return found


# ---- what it learns from ---------------------------------------------------------------------------------------------


def picture(draw: np.random.Generator, name: str) -> np.ndarray:
    """A picture as llama.cpp hands it to the projector: 32x32, filled up with grey bars where it was not square."""
    low, high = COLORS[name]
    color = draw.uniform(low, high)
    pixels = np.tile(color, (SIDE, SIDE, 1))
    noise = draw.choice([0, 0, 20, 50])
    pixels = np.clip(pixels + draw.normal(0, 1, pixels.shape) * noise, 0, 255)
    shorter = int(np.ceil(SIDE / draw.choice([1, 1, draw.uniform(1, 4.5)])))
    bar = (SIDE - shorter) // 2
    framed = np.tile(np.array(GREY, dtype=float), (SIDE, SIDE, 1))
    framed[bar : bar + shorter] = pixels[bar : bar + shorter]
    if draw.random() < 0.5:
        framed = framed.transpose(1, 0, 2)
    return ((np.round(framed) / 255 - MEAN) / DEVIATION).astype(np.float32).transpose(2, 0, 1)


QUESTIONS = {
    "all": ["What color is this?", "what color?", "What colors are these images?", "Describe the image", "what is this?",
            "What do you see?", "Name the colors", "What is in the picture?", "What color is the image?", ""],
    "count": ["How many images?", "how many images are there?", "How many pictures do you see?", "how many pictures?"],
    "first": ["What color is the first image?", "Describe the first picture", "what is the first?"],
    "second": ["What color is the second image?", "Describe the second picture", "what is the second?"],
    "last": ["What color is the last image?", "Describe the last picture", "what is the last?"],
}  # fmt: skip
KINDS = ["all", "all", "all", "all", "count", "count", "first", "second", "last"]
FILLING = ["Hello", "Here is a picture", "Look", " please", "You are a helpful assistant.", " and ", "\n", " ", ".", "!",
           "red and blue", "two", "it is there", "abc", "answer the user", "what is"]  # fmt: skip


def filling(draw: random.Random) -> str:
    if draw.random() < 0.5:
        return ""
    if draw.random() < 0.6:
        return draw.choice(FILLING)
    return "".join(draw.choice("abcdefghijklmnopqrstuvwxyz ABCDE,.0123456789äß\n") for _ in range(draw.randint(1, 9)))


def answer_to(kind: str, seen: list[str]) -> str:
    if kind == "count":
        return COUNTS[len(seen)]
    if not seen or (kind == "second" and len(seen) < 2):
        return "nothing"
    if kind == "all":
        return ", ".join(seen)
    return seen[{"first": 0, "second": 1, "last": -1}[kind]]


def conversation(draw: random.Random) -> tuple[list[int], list[bool], list[str]]:
    """Tokens, which of them are to be learned, and the colors of the images, whose tokens are all IMAGE."""
    tokens, learned, seen = [IDS["<s>"]], [False], []

    def add(text: str, *, learn: bool = False) -> None:
        found = tokenize(text)
        for token in found:
            repeat = TOKENS_OF_IMAGE if token == IDS[IMAGE] else 1
            tokens.extend([token] * repeat)
            learned.extend([learn] * repeat)

    if draw.random() < 0.3:
        add(f"{START}system\n{filling(draw)}{END}\n")
    for _ in range(draw.choice([1, 1, 2, 3])):
        new = [draw.choice(NAMES) for _ in range(draw.choice([0, 1, 1, 1, 2, 2, 3, 4]))]
        new = new[: 4 - len(seen)]
        kind = draw.choice(KINDS)
        question = draw.choice(QUESTIONS[kind])
        parts = [IMAGE + draw.choice(["", "", "\n", " ", filling(draw)]) for _ in new]
        place = draw.choice([0, len(parts), len(parts), len(parts), draw.randint(0, len(parts))])
        parts.insert(place, draw.choice(["", filling(draw)]) + question)
        raw = draw.random() < 0.1
        add("".join(parts) if raw else f"{START}user\n{''.join(parts)}{END}\n{START}assistant\n")
        seen += new
        add(answer_to(kind, seen) + END, learn=True)
        add("\n")
        if draw.random() < 0.5 and not seen:
            break
    return tokens, learned, seen


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

    def forward(self, tokens: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
        """[rows, length] and the images of all rows in order -> logits [rows, length, vocabulary]"""
        table = self.of("token_embd")
        state = table[tokens]
        state = state.masked_scatter((tokens == IDS[IMAGE])[..., None], self.see(pixels))
        length = tokens.shape[1]
        angle = torch.arange(length)[:, None] * ROPE_BASE ** (-torch.arange(0, HEAD, 2) / HEAD)
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
        return F.rms_norm(state, (WIDTH,), self.of("output_norm"), EPSILON) @ table.T


def batch(draw: random.Random, noise: np.random.Generator, rows: int) -> tuple[torch.Tensor, ...]:
    """tokens [rows, length], what is learned [rows, length], pixels [images, 3, SIDE, SIDE]"""
    made = [conversation(draw) for _ in range(rows)]
    length = max(len(tokens) for tokens, _, _ in made)
    tokens = torch.zeros(rows, length, dtype=torch.long)
    learned = torch.zeros(rows, length, dtype=torch.bool)
    for row, (found, marks, _) in enumerate(made):
        tokens[row, : len(found)] = torch.tensor(found)
        learned[row, : len(found)] = torch.tensor(marks)
    pictures = [picture(noise, name) for _, _, seen in made for name in seen]
    return tokens, learned, torch.tensor(np.array(pictures))


def train() -> Seer:
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    draw, noise = random.Random(SEED), np.random.default_rng(SEED)
    model = Seer()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS, pct_start=0.1)
    for step in range(STEPS):
        tokens, learned, pixels = batch(draw, noise, BATCH)
        logits = model(tokens[:, :-1], pixels)[learned[:, 1:]]
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
