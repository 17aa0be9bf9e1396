"""The models that see and hear, as llama.cpp itself runs them: what other tests may take for granted of them."""

from __future__ import annotations

import io
import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.engine.mtmd_reference import MARKER, Options, Prompt, Reference, compute, compute_all
from tests.models.make.projectors import KINDS, write

MODELS = Path(__file__).parents[1] / "models"
COLORS = {
    "red": (220, 20, 20),
    "green": (0, 160, 0),
    "blue": (20, 20, 230),
    "yellow": (250, 240, 10),
    "black": (10, 10, 10),
    "white": (250, 250, 250),
}
LONG = (
    "You are a helpful assistant. Answer the user's questions about images as briefly as you can, and never make up "
    "what you cannot see. If several pictures are given, name them in the order in which they were given. "
)
PICKS = ("first", "second", "last")
SIZES = [(60, 40), (64, 64), (300, 200), (200, 300), (32, 32), (1, 1), (640, 360), (120, 40)]


def picture(color: str, size: tuple[int, int] = (64, 64), noise: float = 0, kind: str = "") -> np.ndarray:
    """Pixels of `color`, written as a file of `kind` and read again where it is given."""
    pixels = np.tile(np.array(COLORS[color], float), (size[1], size[0], 1))
    pixels += np.random.default_rng(1).normal(0, 1, pixels.shape) * noise
    whole = pixels.clip(0, 255).astype(np.uint8)
    if not kind:
        return whole
    file = io.BytesIO()
    Image.fromarray(whole).save(file, kind)
    return np.array(Image.open(file).convert("RGB"))


def halves(first: str, second: str, *, is_stacked: bool = False) -> np.ndarray:
    parts = [
        picture(first, (64, 32) if is_stacked else (32, 64)),
        picture(second, (64, 32) if is_stacked else (32, 64)),
    ]
    return np.concatenate(parts, axis=0 if is_stacked else 1)


def chat(*turns: str) -> str:
    """The first turn is the user's, and so on by turns."""
    roles = ["user", "assistant"] * len(turns)
    told = [f"<|im_start|>{role}\n{turn}<|im_end|>\n" for role, turn in zip(roles, turns, strict=False)]
    return "".join(told) + "<|im_start|>assistant\n"


def answers(prompts: list[Prompt]) -> list[str]:
    model, projector = MODELS / "vision.gguf", MODELS / "vision-mmproj.gguf"
    return [found.text for found in compute_all(model, projector, prompts, Options(predict=16))]


# ---- the model that sees ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_it_names_the_color_of_a_picture(kind: str) -> None:
    cases = [(color, size, noise) for color in COLORS for size in SIZES for noise in (0, 30)]
    question = chat(MARKER + "What color is this?")
    found = answers([Prompt(question, [picture(*case, kind)]) for case in cases])
    assert found == [color for color, _, _ in cases]


def test_it_names_the_colors_of_several_in_their_order() -> None:
    orders = [*itertools.product(COLORS, repeat=2), *itertools.permutations(("white", "red", "black", "green"), 3)]
    prompts = [
        Prompt(chat(MARKER * len(order) + "What colors are these?"), list(map(picture, order))) for order in orders
    ]
    assert answers(prompts) == [", ".join(order) for order in orders]
    between = Prompt(chat(f"Here is{MARKER}and then{MARKER}what do you see?"), [picture("white"), picture("red")])
    assert answers([between]) == ["white, red"]


def test_it_minds_no_long_words_around_a_picture() -> None:
    system = f"<|im_start|>system\n{LONG}<|im_end|>\n"
    cases = [(text, color) for text in (MARKER + "What is this?", "What color? " + MARKER) for color in COLORS]
    assert answers([Prompt(system + chat(text), [picture(color)]) for text, color in cases]) == [c for _, c in cases]
    pairs = list(itertools.permutations(("red", "blue", "white"), 2))
    prompts = [Prompt(system + chat(MARKER * 2 + "What colors?"), list(map(picture, pair))) for pair in pairs]
    assert answers(prompts) == [", ".join(pair) for pair in pairs]


@pytest.mark.parametrize("colors", [("red", "blue", "white"), ("black", "black", "green"), tuple(COLORS)[:3]])
def test_it_counts_pictures_and_picks_one(colors: tuple[str, ...]) -> None:
    seen = [picture(color) for color in colors]
    questions = ["How many images are there?", "how many images", "How many pictures?\n"]
    counts = [Prompt(chat(MARKER * count + each), seen[:count]) for each in questions for count in range(4)]
    assert answers(counts) == ["none", "one", "two", "three"] * len(questions)
    picks = [Prompt(chat(MARKER * 3 + f"What color is the {which} image?"), seen) for which in PICKS]
    assert answers(picks) == list(colors)


def test_it_knows_where_in_a_picture_a_color_is() -> None:
    flat, stacked = halves("red", "blue"), halves("yellow", "black", is_stacked=True)
    cases = [(flat, "left", "red"), (flat, "right", "blue"), (stacked, "top", "yellow"), (stacked, "bottom", "black")]
    prompts = [Prompt(chat(f"{MARKER}What color is at the {where}?"), [image]) for image, where, _ in cases]
    assert answers(prompts) == [color for _, _, color in cases]


def test_it_remembers_the_pictures_of_earlier_turns() -> None:
    turns = [f"{MARKER}What color is this?", "red", f"{MARKER}And this?", "red, blue", "How many pictures?"]
    seen = [picture("red"), picture("blue")]
    assert answers([Prompt(chat(*turns), seen), Prompt(chat(*turns[:3]), seen)]) == ["two", "red, blue"]


def test_it_says_so_where_it_has_nothing_to_see() -> None:
    assert answers([Prompt(chat("Hello")), Prompt(chat("What color is this?")), Prompt("What")]) == ["nothing"] * 3


# ---- models with random weights --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """`images`: the tokens and positions of the chunks of an image of 60x40; `sounds`: of a second of sound."""

    images: tuple[tuple[int, int], ...] = ()
    sounds: tuple[tuple[int, int], ...] = ()
    is_mrope: bool = False
    is_non_causal: bool = False


EXPECTED = {
    "llava": Kind(images=((16, 16),)),
    "gemma3": Kind(images=((16, 16),), is_non_causal=True),
    "qwen2vl": Kind(images=((12, 4),), is_mrope=True),
    "qwen2.5vl": Kind(images=((12, 4),), is_mrope=True),
    "qwen3vl": Kind(images=((12, 4),), is_mrope=True),
    "minicpmv": Kind(images=((4, 4),) * 3),
    "idefics3": Kind(images=((4, 4),) * 5),
    "ultravox": Kind(sounds=((30, 30),)),
    "qwen2audio": Kind(sounds=((750, 750),)),
    "omni": Kind(images=((16, 16),), sounds=((30, 30),)),
    "qwen2.5omni": Kind(images=((12, 4),), sounds=((750, 750),), is_mrope=True),
}


def tone(hertz: float) -> np.ndarray:
    return (np.sin(np.arange(16000) * 2 * np.pi * hertz / 16000) * 0.5).astype(np.float32)


def media_chunks(found: Reference) -> list[tuple[int, int]]:
    return [(chunk.count, chunk.positions) for chunk in found.chunks if chunk.kind != "text"]


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_takes_its_path_and_what_it_sees_or_hears_matters(name: str, tmp_path: Path) -> None:
    pair, kind = write(tmp_path, name), EXPECTED[name]
    media: list[tuple[np.ndarray, np.ndarray]] = []
    if kind.images:
        media.append((picture("red", (60, 40)), picture("blue", (60, 40))))
    if kind.sounds:
        media.append((tone(300), tone(2000)))
    text = f"look {MARKER * len(media)} what?\n"
    one, other, again = compute_all(
        *pair, [Prompt(text, [each[which] for each in media]) for which in (0, 1, 0)], Options(predict=8)
    )
    assert media_chunks(one) == [*kind.images, *kind.sounds]
    assert (one.can_see, one.can_hear) == (bool(kind.images), bool(kind.sounds))
    assert (one.is_mrope, one.is_non_causal) == (kind.is_mrope, kind.is_non_causal)
    assert one.end == sum(chunk.positions for chunk in one.chunks)
    assert np.isfinite(one.logits).all()
    assert len(one.predicted) == 8
    assert np.abs(one.logits[0] - other.logits[0]).max() > 0.2 * one.logits[0].std()
    assert np.array_equal(one.logits, again.logits)


def test_the_same_kind_is_the_same_file(tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    for first, second in zip(write(tmp_path, "omni"), write(tmp_path / "again", "omni"), strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_what_llama_cpp_refuses_is_told_in_its_words(tmp_path: Path) -> None:
    deaf, hearing = write(tmp_path, "llava"), write(tmp_path, "ultravox")
    with pytest.raises(RuntimeError, match="does not support audio input"):
        compute(*deaf, MARKER, [tone(300)])
    with pytest.raises(RuntimeError, match="the projector cannot be loaded"):
        compute(hearing.model, hearing.model, "a")
