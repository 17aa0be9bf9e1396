"""Safetensors files, sound and hostile."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.convert.numbers import converted
from server.convert.safetensors import HEADER_LIMIT_BYTES, read_header
from server.errors import InvalidRequest
from tests.convert.tiny import safetensors, with_header


def tensor(dtype: Any = "F32", shape: Any = (2, 2), offsets: Any = (0, 16)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def write(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "blob"
    path.write_bytes(data)
    return path


def test_values_come_back(tmp_path: Path) -> None:
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(4, np.float16)}
    found = read_header(write(tmp_path, safetensors(arrays)), "model.safetensors")
    assert {name: each.read().tolist() for name, each in found.items()} == {
        name: array.tolist() for name, array in arrays.items()
    }
    assert (found["a"].type, found["b"].shape) == ("F32", (4,))


def test_many_rows_come_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.convert.safetensors.CHUNK_BYTES", 24)
    array = np.arange(15, dtype=np.float32).reshape(5, 3)
    found = read_header(write(tmp_path, safetensors({"a": array})), "m")["a"]
    assert [len(chunk) for chunk in found.chunks()] == [2, 2, 1]
    assert found.read().tolist() == array.tolist()


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "too short"),
        (b"\0" * 7, "too short"),
        (struct.pack("<Q", 1000) + b"{}", "header would have 1000 bytes"),
        (struct.pack("<Q", HEADER_LIMIT_BYTES + 1), "header would have"),
        (struct.pack("<Q", 2**64 - 1), "header would have"),
        (struct.pack("<Q", 2) + b"{]", "no JSON"),
        (struct.pack("<Q", 2) + b"\xff\xfe", "no JSON"),
        (struct.pack("<Q", 100_000) + b"[" * 100_000, "no JSON"),
        (with_header([]), "no JSON object"),
        (with_header({"a": 5}), "not understood"),
        (with_header({"a": tensor(offsets=[0])}, b"\0" * 16), "not understood"),
        (with_header({"a": tensor(shape=[2, -2])}, b"\0" * 16), "not understood"),
        (with_header({"a": tensor(shape=[2.0, 2])}, b"\0" * 16), "not understood"),
        (with_header({"a": tensor(shape=[True, 4])}, b"\0" * 16), "not understood"),
        (with_header({"a": tensor(shape=[1] * 5)}, b"\0" * 4), "5 dimensions"),
        (with_header({"a": tensor(dtype="X9")}, b"\0" * 16), "type X9, which is not known"),
        (with_header({"a": tensor(dtype=["F32"])}, b"\0" * 16), "not understood"),
        (with_header({"a": tensor(offsets=[16, 0])}, b"\0" * 16), "outside"),
        (with_header({"a": tensor()}, b"\0" * 15), "outside"),
        (with_header({"a": tensor(offsets=[2**61, 2**61 + 16])}, b"\0" * 16), "outside"),
        (with_header({"a": tensor(shape=[2, 3])}, b"\0" * 16), "does not match its shape"),
        (with_header({"a": tensor(shape=[2**40, 2**40, 2**40])}, b"\0" * 16), "does not match its shape"),
        (with_header({"a": tensor(), "b": tensor(offsets=[8, 24])}, b"\0" * 24), "overlaps"),
        (with_header({"a": tensor(), "b": tensor()}, b"\0" * 16), "overlaps"),
    ],
)
def test_hostile_files(tmp_path: Path, data: bytes, word: str) -> None:
    """model-store section 24: a clear sentence, whatever the header says."""
    with pytest.raises(InvalidRequest, match=word):
        read_header(write(tmp_path, data), "model.safetensors")


def test_a_name_twice(tmp_path: Path) -> None:
    text = (
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    )
    with pytest.raises(InvalidRequest, match="twice"):
        read_header(write(tmp_path, struct.pack("<Q", len(text)) + text + b"\0" * 4), "model.safetensors")


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    whole = safetensors({"a": np.ones((2, 3), np.float32), "b": np.ones(3, np.float16)})
    for length in range(len(whole)):
        with pytest.raises(InvalidRequest):
            read_header(write(tmp_path, whole[:length]), "model.safetensors")


def test_quantized_weights_are_refused(tmp_path: Path) -> None:
    found = read_header(write(tmp_path, safetensors({"a": np.ones((2, 3), np.int8)})), "m")["a"]
    assert not found.is_floating
    with pytest.raises(InvalidRequest, match="quantized already"):
        found.read()


def test_number_formats() -> None:
    """BF16 rounds to the nearest, halves to even; what F16 cannot hold becomes infinite."""
    wide = np.array([1.0, -2.5, 1 + 2**-8, 1 + 3 * 2**-8, 3e38, np.inf, np.nan, 0.0], np.float32)
    narrow = converted(wide, "F32", "BF16")
    back = converted(narrow, "BF16", "F32")
    assert back[:4].tolist() == [1.0, -2.5, 1.0, 1 + 2**-6]
    assert np.isinf(back[5])
    assert np.isnan(back[6])
    assert converted(wide, "F32", "F16")[[0, 4]].tolist() == [1.0, np.inf]
    assert converted(back[:2].astype(np.float64), "F64", "F32").dtype == np.float32
    assert converted(wide, "F32", "F32") is wide
