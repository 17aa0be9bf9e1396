"""Every family from a folder that transformers saved, through `puna create`, to what llama.cpp computes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.convert.conftest import TYPES
from tests.convert.texts import ENCODERS, ENDS, FAMILIES, LONG_FROM, TEXTS

# The largest difference of two logits, as a share of the largest logit. The GELU of llama.cpp comes from a table with
# 16 bits, so families that use it are further away.
TOLERANCES = {"F32": 2e-5, "F16": 5e-3}
GELU_TOLERANCES = {"F32": 4e-4, "F16": 5e-3}
GELU = ("bert", "gemma2", "gemma3")
Array = npt.NDArray[Any]


def found(folder: Path, kind: str) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    for first in (0, LONG_FROM):
        arrays |= np.load(folder / f"{kind}-{first}.npz")
    return arrays


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("name", FAMILIES)
def test_logits_are_those_of_transformers(imported: Path, name: str, kind: str) -> None:
    """model-store 99, for every family: BF16, F16 and F32 weights, shards, tied and untied embeddings, biases, norms of
    heads, windows, and positions stretched as linear, llama3, yarn and longrope."""
    expected, values = np.load(imported / name / "expected.npz"), found(imported / name, kind)
    tolerance = (GELU_TOLERANCES if name in GELU else TOLERANCES)[kind]
    for number in range(len(TEXTS)):
        wanted, got = expected[f"values{number}"], values[f"values{number}"]
        assert got.shape == wanted.shape
        share = np.abs(got - wanted).max() / np.abs(wanted).max()
        assert share < tolerance, f"text {number}: {share:.1e}"


@pytest.mark.parametrize("name", FAMILIES)
def test_token_ids_are_those_of_hugging_face(imported: Path, name: str) -> None:
    expected, values = np.load(imported / name / "expected.npz"), found(imported / name, "F32")
    for number, text in enumerate(TEXTS):
        assert values[f"ids{number}"].tolist() == expected[f"ids{number}"].tolist(), text


def test_the_models_say_something(imported: Path) -> None:
    """Logits that are all alike would pass any comparison."""
    for name in FAMILIES:
        values = np.load(imported / name / "expected.npz")["values0"]
        assert values.std() > 0.3, name


def test_an_answer_ends_with_any_of_three_tokens(imported: Path) -> None:
    tokens = json.loads((imported / "llama3" / "model" / "tokenizer.json").read_bytes())["added_tokens"]
    ends = {token["id"] for token in tokens if token["content"] in ENDS}
    assert len(ends) == len(ENDS)
    assert ends <= set(found(imported / "llama3", "F32")["ends"].tolist())


@pytest.mark.parametrize("name", ENCODERS)
def test_vectors_over_http(imported: Path, name: str) -> None:
    expected = np.load(imported / name / "expected.npz")
    answer = json.loads((imported / name / "F32.json").read_bytes())
    for number, vector in enumerate(answer["embeddings"]):
        wanted = expected[f"values{number}"]
        assert np.dot(vector, wanted / np.linalg.norm(wanted)) > 0.9999


@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_told(imported: Path, name: str) -> None:
    lines = (imported / name / "F32.txt").read_text(encoding="utf-8")
    assert "converting model" in lines
    assert "success" in lines


def test_an_adapter_is_what_it_adds(imported: Path) -> None:
    """model-store 17 and 18.3: ADAPTER with a folder as PEFT saves one; both halves, and rows that are put in pairs."""
    wanted = np.load(imported / "lora" / "expected.npz")["values0"]
    got = np.load(imported / "lora" / "F32-0.npz")["values0"]
    plain = np.load(imported / "llama" / "expected.npz")["values0"]
    assert np.abs(plain - wanted).max() > 0.1 * np.abs(wanted).max()
    assert np.abs(got - wanted).max() < TOLERANCES["F32"] * np.abs(wanted).max()
    assert "converting adapter" in (imported / "lora" / "F32.txt").read_text(encoding="utf-8")
