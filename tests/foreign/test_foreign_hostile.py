"""Whatever is missing from a file or wrong in it, there is a sentence and nothing else."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from server.errors import Unsupported
from server.messages.patchwork import Patchwork
from server.store.foreign import Loadable, is_foreign, loadable
from server.store.gguf import GgufHeader, read_header
from tests.foreign import old, stock
from tests.foreign.gguf_files import File

ODD = ("text", True, 0, 2**32 - 1, 1.5, [1, 2], ["a"], [0, 2**31 - 1, 2**31 - 1], [])


def attempt(file: File, path: pathlib.Path) -> Loadable | str:
    """What there is to load, or why there is nothing."""
    path.unlink(missing_ok=True)
    header = read_header(file.write(path))
    try:
        found = loadable(header, None)
    except Unsupported as error:
        return str(error)
    for work, translated in ((found.patches, found.header), (found.projector_patches, found.projector)):
        if work is not None and translated is not None:
            check(work, header, translated)
    return found


def check(work: Patchwork, header: GgufHeader, translated: GgufHeader) -> None:
    """Nothing outside the file is ever read, and the new header is true of the new file."""
    for patch in work.patches:
        assert patch.data or 0 <= patch.offset <= patch.offset + patch.size <= header.file_size
        assert all(0 <= index < patch.size // patch.unit for index in patch.order)
    assert translated.file_size == work.size


def without(file: File) -> Iterator[File]:
    for name in file.keys:
        yield replace(file, keys={key: value for key, value in file.keys.items() if key != name})
    for name in file.tensors:
        yield replace(file, tensors={key: data for key, data in file.tensors.items() if key != name})


def twisted(file: File) -> Iterator[File]:
    """Each tensor turned, and all of those keys with odd values that a translation may look at."""
    for name, data in file.tensors.items():
        if data.dtype != np.uint8:
            yield replace(file, tensors={**file.tensors, name: data.reshape(-1)})
            yield replace(file, tensors={**file.tensors, name: data.T[:1].copy()})
    for name in file.keys:
        if not name.startswith(("tokenizer.ggml.tokens", "tokenizer.ggml.merges")):
            for value in ODD:
                if value != []:  # which the writer leaves out
                    yield replace(file, keys={**file.keys, name: value})


FAMILIES = sorted(set(old.FAMILIES) - {"llama3"})  # whose vocabulary is too large to be written so often


@pytest.mark.parametrize("family", FAMILIES)
def test_missing_parts(family: str, tmp_path: pathlib.Path) -> None:
    whole = old.FAMILIES[family][0]()
    found = [attempt(file, tmp_path / "x.gguf") for file in without(whole)]
    assert any(isinstance(each, Loadable) for each in found)
    assert any(isinstance(each, str) for each in found)


@pytest.mark.parametrize("family", FAMILIES)
def test_wrong_parts(family: str, tmp_path: pathlib.Path) -> None:
    for file in twisted(old.FAMILIES[family][0]()):
        attempt(file, tmp_path / "x.gguf")


@pytest.mark.parametrize("family", sorted(old.FAMILIES))
def test_what_llama_cpp_wants_already_is_left_alone(family: str, tmp_path: pathlib.Path) -> None:
    _, make_new, make_projector = old.FAMILIES[family]
    header = read_header(make_new().write(tmp_path / "new.gguf"))
    eye = read_header(make_projector().write(tmp_path / "eye.gguf")) if make_projector else None
    assert loadable(header, eye) == Loadable(header, None, eye, None)


def test_a_file_that_goes_away(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x.gguf"
    for name in ("llama3", "gptoss"):
        header = read_header(old.FAMILIES[name][0]().write(path))
        path.unlink()
        assert is_foreign(header) is (name == "gptoss")
    with pytest.raises(Unsupported, match=r"^its file cannot be read: No such file or directory$"):
        loadable(header, None)


def test_two_tensors_of_one_name(tmp_path: pathlib.Path) -> None:
    whole = old.gptoss()
    more = {"blk.0.post_attention_norm.weight": np.ones(stock.WIDTH, np.float32)}
    assert "would be named" in str(attempt(replace(whole, tensors=whole.tensors | more), tmp_path / "x.gguf"))
