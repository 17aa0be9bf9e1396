"""Quantizing during create: through llama.cpp in a child process, with progress, and nothing left when it fails."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from server.errors import Cancelled, DiskFull, InvalidRequest, StoreError
from server.messages.chat import Progress
from server.messages.names import ModelName
from server.store import CreateRequest, Store
from server.store.blobs import RESERVE_BYTES, Blobs
from server.store.gguf import read_header
from server.store.manifest import DRAFT, MODEL
from server.store.quantize import quantize
from tests.store.conftest import MODELS
from tests.store.gguf_builder import GgufFile, TensorEntry, small_model

Create = Callable[..., list[str]]
Upload = Callable[[bytes], str]
SCRIPTED = MODELS / "scripted.gguf"
PLENTY = 10**12


def names(store: Store) -> list[str]:
    return [each.name.short for each in store.list()]


def files(store: Store) -> set[str]:
    return set(os.listdir(store.blobs.folder))


def needed(store: Store) -> set[str]:
    return {digest.replace(":", "-") for model in store.list() for digest in model.manifest.digests}


def test_from_a_file(store: Store, upload: Upload) -> None:
    """model-store 95: the lines, and a config that says what came out."""
    lines: list[Progress] = []
    request = {"model": "q", "files": {"s.gguf": upload(SCRIPTED.read_bytes())}, "quantize": "q4_K_M"}
    store.create(CreateRequest.read(request), lines.append)
    (made,) = store.list()
    weights = made.manifest.layers[0]
    words = list(dict.fromkeys(line.status for line in lines))
    assert words == [
        "parsing GGUF", "quantizing F16 model to Q4_K_M", "verifying conversion",
        f"creating new layer {weights.digest}", "writing manifest", "success",
    ]  # fmt: skip
    work = [line for line in lines if line.status.startswith("quantizing")]
    assert {(line.digest, line.total) for line in work} == {("0" * 19, SCRIPTED.stat().st_size)}
    assert [line.completed for line in work] == sorted(line.completed for line in work)
    assert work[-1].completed == work[-1].total
    assert (made.config.file_type, made.quantization, made.config.model_family) == ("Q4_K_M", "Q4_K_M", "llama")
    assert made.gguf is not None
    assert {tensor.type.name for tensor in made.gguf.tensors} >= {"Q4_K", "Q6_K", "F32"}
    assert made.parent_model == ""


@pytest.mark.parametrize("wanted", ["F32", "F16", "BF16", "Q8_0", "Q4_K_S", "q4_k"])
def test_every_type_from_an_installed_model(store: Store, create: Create, scripted: str, wanted: str) -> None:
    """model-store 95: the base stays as it is."""
    lines = create(model="q", base="m", quantize=wanted)
    stored = {"q4_k": "Q4_K_M"}.get(wanted, wanted)
    made = store.get(ModelName.parse("q"))
    assert made.quantization == stored
    assert any(line.startswith("quantizing") for line in lines) is (stored != "F16")
    assert store.get(ModelName.parse("m")).quantization == "F16"
    assert files(store) == needed(store)


def test_an_f32_model_can_be_quantized(store: Store, upload: Upload, create: Create) -> None:
    """model-store 97, and an embedding model, whose rows are no multiple of what four bits need."""
    create(model="e", files={"e.gguf": upload((MODELS / "embedding.gguf").read_bytes())})
    for wanted in ("Q8_0", "Q4_K_M"):
        create(model="q", base="e", quantize=wanted)
        assert store.get(ModelName.parse("q")).quantization == wanted


def test_the_source_goes_when_nothing_needs_it(store: Store, create: Create, scripted: str) -> None:
    create(model="m", base="m", quantize="q8_0")
    assert not store.blobs.has(scripted)
    assert files(store) == needed(store)


def test_split_files_are_joined_and_the_joined_file_goes(store: Store, upload: Upload, create: Create) -> None:
    shards = split(SCRIPTED, store.root.parent)
    uploaded = {path.name: upload(path.read_bytes()) for path in shards}
    create(model="q", files=uploaded, quantize="q8_0")
    assert store.list()[0].quantization == "Q8_0"
    assert files(store) == needed(store) | {digest.replace(":", "-") for digest in uploaded.values()}


def split(source: Path, folder: Path) -> list[Path]:
    """The model as llama.cpp's own splitter would cut it: two parts, all keys in the first."""
    header, data = read_header(source), source.read_bytes()
    pairs = [data[start:end] for start, end in header.ranges.values()]
    parts = []
    for index, tensors in enumerate((header.tensors[:5], header.tensors[5:])):
        entries = [TensorEntry(t.name, t.shape, 1 if t.type.name == "F16" else 0) for t in tensors]
        part = GgufFile([("split.no", index), ("split.count", 2)], entries, raw_pairs=pairs if index == 0 else [])
        encoded = bytearray(part.encoded())
        path = folder / f"s-{index + 1:05}-of-00002.gguf"
        path.write_bytes(encoded)
        placed = read_header(path)
        for old, new in zip(tensors, placed.tensors, strict=True):
            start = header.data_offset + old.offset
            at = placed.data_offset + new.offset
            encoded[at : at + new.size] = data[start : start + old.size]
        path.write_bytes(encoded)
        parts.append(path)
    return parts


def test_a_draft_is_quantized_on_its_own(store: Store, upload: Upload, create: Create, scripted: str) -> None:
    draft = upload((MODELS / "bare.gguf").read_bytes())
    create(model="d", base="m", draft_files={"d.gguf": draft}, draft_quantize="q8_0")
    layers = {layer.media_type: layer.digest for layer in store.get(ModelName.parse("d")).manifest.layers}
    assert layers[MODEL] == scripted
    assert read_header(store.blobs.path(layers[DRAFT])).file_type == "Q8_0"
    packed = upload(small_model(general__file_type=2).encoded())
    with pytest.raises(InvalidRequest, match="draft quantization requires an unquantized draft model, got Q4_0"):
        create(model="d", base="m", draft_files={"d.gguf": packed}, draft_quantize="q8_0")


def foreign() -> bytes:
    return GgufFile([(key, value) for key, value in small_model().metadata], [TensorEntry("v.patch_embd")]).encoded()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (small_model(general__file_type=15).encoded(), "quantization is only supported for F16, BF16 and F32 models"),
        (small_model(general__file_type=None).encoded(), "quantization is only supported for F16, BF16 and F32"),
        (foreign(), "cannot be quantized: this model was built for another engine"),
        (
            GgufFile([("general.architecture", "clip"), ("clip.has_vision_encoder", True)]).encoded(),
            "there is nothing to quantize: neither 'from' nor 'files' holds the weights of a model",
        ),
        ((MODELS / "counting.gguf").read_bytes(), "there is no base model for it"),
    ],
)
def test_what_cannot_be_quantized_says_why(store: Store, upload: Upload, content: bytes, sentence: str) -> None:
    """model-store 96."""
    request = {"model": "q", "files": {"x.gguf": upload(content)}, "quantize": "q8_0"}
    with pytest.raises(InvalidRequest, match=sentence):
        store.create(CreateRequest.read(request), lambda _: None)
    assert names(store) == []


def test_a_model_that_llama_cpp_cannot_read_ends_its_child_alone(store: Store, upload: Upload) -> None:
    """Its header is sound, and its architecture is none that llama.cpp knows."""
    metadata = [("general.architecture", "strange"), ("general.file_type", 1)]
    metadata += [(f"strange.{key}", 4) for key in ("block_count", "embedding_length", "attention.head_count")]
    request = {"model": "q", "files": {"x.gguf": upload(GgufFile(metadata, [TensorEntry("t")]).encoded())}}
    with pytest.raises(StoreError, match=r"could not be quantized: .*unknown model architecture: 'strange'") as caught:
        store.create(CreateRequest.read({**request, "quantize": "q8_0"}), lambda _: None)
    assert str(store.root) not in str(caught.value)
    assert len(files(store)) == 1


# ---- in the middle of it -------------------------------------------------------------------------------------------


class Disk:
    """Tells how much is free: `answers` in turn, the last one from then on. At the first question the child waits for
    its go; it is stopped there, so that what follows finds it in the middle of its work."""

    def __init__(self, *answers: int) -> None:
        self.answers = list(answers)

    def __call__(self, _folder: Path) -> int:
        for child in psutil.Process().children():
            child.send_signal(signal.SIGSTOP)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def leave(_done: int, _total: int) -> None:
    raise Cancelled()


if sys.platform != "win32":

    @pytest.mark.parametrize(("disk", "failure"), [(Disk(PLENTY), Cancelled), (Disk(PLENTY, RESERVE_BYTES), DiskFull)])
    def test_leaving_and_a_disk_that_fills_end_the_child(tmp_path: Path, disk: Disk, failure: type[Exception]) -> None:
        blobs = Blobs(tmp_path / "blobs", free_bytes=disk)
        with pytest.raises(failure):
            quantize(blobs, read_header(SCRIPTED), "Q8_0", leave)
        assert psutil.Process().children() == []
        assert os.listdir(blobs.folder) == []


def test_the_space_is_looked_at_before_the_first_byte(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "blobs", free_bytes=lambda _: RESERVE_BYTES + 1000)
    with pytest.raises(DiskFull):
        quantize(blobs, read_header(SCRIPTED), "Q8_0", leave)
    assert os.listdir(blobs.folder) == []


def test_a_failure_afterwards_leaves_nothing(store: Store, create: Create, scripted: str) -> None:
    """The client leaves when the new file is whole and no manifest names it yet."""
    before = files(store)

    def report(progress: Progress) -> None:
        if progress.status == "writing manifest":
            raise Cancelled()

    request = {"model": "q", "from": "m", "quantize": "q8_0", "system": "new", "license": "new too"}
    with pytest.raises(Cancelled):
        store.create(CreateRequest.read(request), report)
    assert files(store) == before
    assert names(store) == ["m:latest"]


KILLED = """
import os, signal, sys
from pathlib import Path
import psutil
from server.store import Store
from server.store.blobs import Blobs
from server.store.gguf import read_header
from server.store.quantize import quantize

def stop(_folder):
    for child in psutil.Process().children():
        child.send_signal(signal.SIGSTOP)
        sys.stdout.write(str(child.pid))
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    return 10**12

root = Path(sys.argv[1])
quantize(Blobs(root / "blobs", free_bytes=stop), read_header(Path(sys.argv[2])), "Q8_0", lambda *_: None)
"""


if sys.platform == "linux":

    def test_a_killed_server_takes_its_child_along(store: Store) -> None:
        """What it was writing is swept up by the next start."""
        command = [sys.executable, "-c", KILLED, str(store.root), str(SCRIPTED)]
        killed = subprocess.run(command, capture_output=True, text=True, check=False)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        with contextlib.suppress(psutil.NoSuchProcess):  # gone before we looked
            psutil.Process(int(killed.stdout)).wait(10)
        assert len(files(store)) == 1
        store.prepare(now=time.time() + 7200)
        assert files(store) == set()
