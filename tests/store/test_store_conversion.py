"""Creating from a folder of safetensors: what is told, what is stored, and what stays behind when it breaks off."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from server.errors import Cancelled, DiskFull, InvalidRequest, StoreError
from server.messages.chat import Progress
from server.store import CreateRequest, Store
from server.store.blobs import Blobs
from server.store.gguf import read_header
from tests.convert.tiny import llama_arrays, llama_folder, safetensors

Upload = Callable[[bytes], str]
Create = Callable[..., list[str]]


def uploaded(upload: Upload, files: Mapping[str, bytes]) -> dict[str, str]:
    return {name: upload(data) for name, data in files.items()}


def model_of(store: Store, name: str) -> Path:
    path = store.get(store.resolve(name)).model_path
    assert path is not None
    return path


def temporary_files(store: Store) -> list[str]:
    return [path.name for path in store.blobs.folder.iterdir() if len(path.name) < len("sha256-") + 64]


def test_a_folder_becomes_a_model(store: Store, create: Create, upload: Upload) -> None:
    """model-store 99 and 18.6: the lines in their order, and a model that can be run."""
    lines = create(model="tiny", files=uploaded(upload, llama_folder()))
    assert list(dict.fromkeys(lines)) == [
        "converting model",
        "validating GGUF model",
        "verifying conversion",
        f"creating new layer sha256:{model_of(store, 'tiny').name.removeprefix('sha256-')}",
        "writing manifest",
        "success",
    ]
    model = store.get(store.resolve("tiny"))
    assert (model.config.model_format, model.family, model.quantization) == ("gguf", "llama", "F16")
    assert model.spec().shape.block_count == 1
    assert temporary_files(store) == []


@pytest.mark.parametrize(("kind", "wanted", "stored"), [("float32", "f32", "F32"), ("uint16", "", "BF16")])
def test_the_type_that_was_asked_for(
    store: Store, create: Create, upload: Upload, kind: str, wanted: str, stored: str
) -> None:
    create(model="tiny", files=uploaded(upload, llama_folder(llama_arrays(kind))), quantize=wanted)
    assert store.get(store.resolve("tiny")).quantization == stored


def test_the_same_upload_twice_is_one_blob(store: Store, create: Create, upload: Upload) -> None:
    files = uploaded(upload, llama_folder())
    create(model="a", files=files)
    create(model="b", files=files)
    assert model_of(store, "a") == model_of(store, "b")


def test_what_is_left_out_is_told(create: Create, upload: Upload) -> None:
    folder = llama_folder(architectures=["MistralForCausalLM"], sliding_window=32)
    assert any("looks back over 32 tokens" in line for line in create(model="m", files=uploaded(upload, folder)))


@pytest.mark.parametrize(
    ("files", "word"),
    [
        (llama_folder(architectures=["FalconForCausalLM"]), 'unsupported architecture "FalconForCausalLM"'),
        ({"model.safetensors": b"", "config.json": b"{}"}, "unknown architecture"),
        ({"pytorch_model.bin": b"PK\x03\x04" + b"\0" * 30, "config.json": b"{}"}, "PyTorch archive"),
        ({"consolidated.00.pth": b"PK\x03\x04" + b"\0" * 30}, "PyTorch archive"),
    ],
)
def test_refusals_store_nothing(
    store: Store, create: Create, upload: Upload, files: Mapping[str, bytes], word: str
) -> None:
    """model-store 99: pickles are never opened."""
    with pytest.raises(InvalidRequest, match=word) as caught:
        create(model="tiny", files=uploaded(upload, files))
    assert caught.value.status == 400
    assert store.list() == []
    assert temporary_files(store) == []


def test_a_file_that_was_not_uploaded(create: Create) -> None:
    with pytest.raises(InvalidRequest, match="has not been uploaded"):
        create(model="tiny", files={"model.safetensors": f"sha256:{'0' * 64}"})


def test_a_client_that_leaves(store: Store, upload: Upload) -> None:
    """The process is gone, and so is what it wrote, when the create ends."""
    seen: list[Progress] = []

    def report(progress: Progress) -> None:
        seen.append(progress)
        if progress.total:
            raise Cancelled()

    request = CreateRequest.read({"model": "tiny", "files": uploaded(upload, llama_folder())})
    with pytest.raises(Cancelled):
        store.create(request, report)
    assert seen[-1].status == "converting model"
    assert store.list() == []
    assert temporary_files(store) == []


def test_a_full_disk(tmp_path: Path) -> None:
    """Noticed from the size that the file will have, before it is written."""
    free = [1 << 40]
    store = Store(tmp_path / "models", blobs=Blobs(tmp_path / "models" / "blobs", free_bytes=lambda _: free[0]))
    store.prepare()
    files = {name: store.blobs.write(data)[0] for name, data in llama_folder().items()}
    free[0] = 64 << 20
    with pytest.raises(DiskFull):
        store.create(CreateRequest.read({"model": "tiny", "files": files}), lambda _: None)
    assert store.list() == []
    assert temporary_files(store) == []


def test_a_converter_that_dies(store: Store, create: Create, upload: Upload, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the system takes its memory away."""
    program = "import os, sys; sys.stderr.write('Killed\\n'); sys.stderr.flush(); os._exit(9)"
    monkeypatch.setattr("server.programs.Program.command", lambda *_: [sys.executable, "-c", program])
    with pytest.raises(StoreError, match="ended unexpectedly") as caught:
        create(model="tiny", files=uploaded(upload, llama_folder()))
    assert "Killed" in caught.value.log
    assert temporary_files(store) == []


def test_damage_is_no_news_from_inside(store: Store, create: Create, upload: Upload) -> None:
    """What nobody has thought of is a sentence too, and its cause is in the log alone."""
    described = json.loads(llama_folder()["tokenizer.json"])
    described["normalizer"]["normalizers"] = 5
    folder = {**llama_folder(), "tokenizer.json": json.dumps(described).encode()}
    with pytest.raises(InvalidRequest, match="the log says why") as caught:
        create(model="tiny", files=uploaded(upload, folder))
    assert str(store.root) not in str(caught.value)


def test_the_server_stays_small() -> None:
    """Numbers and the writer of GGUF files belong to the converter's process."""
    program = "import sys, server.store; sys.exit(bool({'numpy', 'gguf'} & set(sys.modules)))"
    assert os.spawnl(os.P_WAIT, sys.executable, sys.executable, "-c", program) == 0


def test_infinite_values_pass(store: Store, create: Create, upload: Upload) -> None:
    arrays = llama_arrays()
    arrays["model.norm.weight"] = np.full(64, np.inf, np.float32)
    create(model="tiny", files=uploaded(upload, llama_folder(arrays)))
    assert len(store.list()) == 1


# ---- adapters ------------------------------------------------------------------------------------------------------


def adapter_folder(tensors: Mapping[str, tuple[int, int]], **settings: object) -> dict[str, bytes]:
    arrays = {name: np.ones(shape, np.float32) for name, shape in tensors.items()}
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, **settings}
    return {"adapter_model.safetensors": safetensors(arrays), "adapter_config.json": json.dumps(config).encode()}


AT = "base_model.model.model.layers.0.self_attn"
PAIR = {f"{AT}.q_proj.lora_A.weight": (2, 64), f"{AT}.q_proj.lora_B.weight": (64, 2)}


def test_an_adapter_folder(store: Store, create: Create, upload: Upload) -> None:
    create(model="base", files=uploaded(upload, llama_folder()))
    lines = create(model="tuned", base="base", adapters=uploaded(upload, adapter_folder(PAIR)))
    assert lines[0] == "converting adapter"
    (path,) = store.get(store.resolve("tuned")).adapter_paths
    header = read_header(path)
    assert (header.kind, header.architecture, header.metadata["adapter.lora.alpha"]) == ("adapter", "llama", 4.0)
    assert {tensor.name for tensor in header.tensors} == {"blk.0.attn_q.weight.lora_a", "blk.0.attn_q.weight.lora_b"}


@pytest.mark.parametrize(
    ("files", "word"),
    [
        (adapter_folder(PAIR, use_dora=True), "use_dora"),
        (adapter_folder(PAIR, peft_type="IA3"), "peft_type"),
        (adapter_folder(PAIR, lora_alpha="4"), "lora_alpha"),
        (adapter_folder({"model.layers.0.self_attn.q_proj.lora_a": (64, 2)}), "no part of a LoRA adapter"),
        (adapter_folder({f"{AT}.nothing.lora_A.weight": (2, 64)}), "changes layers.0.self_attn.nothing.weight"),
        (adapter_folder({f"{AT}.q_proj.lora_B.weight": (63, 2)}), "does not fit the base"),
        (adapter_folder({**PAIR, f"{AT}.q_proj.lora_A.weight": (2, 32)}), "made for another base"),
        (adapter_folder({name.replace("layers.0", "layers.9"): shape for name, shape in PAIR.items()}), "another base"),
        ({"adapter_model.safetensors": adapter_folder(PAIR)["adapter_model.safetensors"]}, "adapter_config.json is"),
    ],
)
def test_adapters_that_cannot_be(
    store: Store, create: Create, upload: Upload, files: Mapping[str, bytes], word: str
) -> None:
    create(model="base", files=uploaded(upload, llama_folder()))
    with pytest.raises(InvalidRequest, match=word):
        create(model="tuned", base="base", adapters=uploaded(upload, files))
    assert [model.name.short for model in store.list()] == ["base:latest"]
    assert temporary_files(store) == []


def test_an_adapter_folder_needs_a_base(create: Create, upload: Upload) -> None:
    with pytest.raises(InvalidRequest, match="no base model was found"):
        create(model="a", base="far", remote_host="box", adapters=uploaded(upload, adapter_folder(PAIR)))
