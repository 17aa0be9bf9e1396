"""Creating models: lines, layers, configs, and every refusal."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from server.errors import InvalidRequest, ModelNotFound, NotImplementedYet, PunaError, StoreError
from server.messages.chat import Progress
from server.messages.names import ModelName
from server.store import CreateRequest, Model, Store
from server.store.gguf import read_header
from server.store.manifest import ADAPTER, DRAFT, LICENSE, MESSAGES, MODEL, PARAMS, PROJECTOR, SYSTEM, TEMPLATE
from tests.store.conftest import MODELS
from tests.store.gguf_builder import GgufFile, TensorEntry, small_model
from tests.store.projector_builder import projector_file

Create = Callable[..., list[str]]
Upload = Callable[[bytes], str]

FULL: dict[str, Any] = {
    "model": "full",
    "base": "m",
    "system": "Be brief.",
    "template": "{{ if .System }}<|system|>{{ .System }}<|end|>\n{{ end }}<|user|>{{ .Prompt }}<|end|>\n"
    "<|assistant|>{{ .Prompt }}",
    "license": ["MIT", "Apache"],
    "parameters": {"temperature": 0.5, "stop": ["USER:", "</s>"], "num_ctx": 2048, "seed": 7},
    "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}],
}
TEMPLATE_BLOB = "sha256:5250a7bd5692b8b332de0978d5bdbe618e6c3521c73b7ad0d299a2586ebd6a31"
SYSTEM_BLOB = "sha256:213c22ed7234eb11116e1e88f314c73cb3a019b5c87fe224b6ce5665bd9ec50e"
LICENSE_BLOBS = (
    "sha256:e5dcffe836b6ec8a58e492419b550e65fb8cbdc308503979e5dacb33ac7ea3b7",
    "sha256:87ec4027e1c873944291bdd61ee07ed30d74d45cbb418c85ae256e0a18e9e2cc",
)
PARAMS_BLOB = "sha256:36c91265df6703ba29b1137ea547792c35e6a0b1fde850dd467e96b9b6d1fc57"
MESSAGES_BLOB = "sha256:ac29223db42ab62ec4df0a39c5ba6054f3bd78f945c536548dcf2f7431f39af4"
OTHER_SYSTEM_BLOB = "sha256:fd09b35b60f5f16fdc61f5c78c47da899e765d8599bd34d48bda8a6b994dafbf"
END = ["writing manifest", "success"]


def model(store: Store, name: str) -> Model:
    return store.get(store.resolve(name))


def kinds(store: Store, name: str) -> list[str]:
    return [layer.media_type for layer in model(store, name).manifest.layers]


def config_of(store: Store, name: str) -> dict[str, Any]:
    value = json.loads(store.blobs.read(model(store, name).manifest.config.digest))
    assert isinstance(value, dict)
    return value


def test_from_one_file(store: Store, upload: Upload, create: Create, models: Any) -> None:
    """native-api 277; the lines as they were recorded, but that the upload itself is the layer."""
    digest = upload((models / "scripted.gguf").read_bytes())
    lines = create(model="m", files={"any name.gguf": digest})
    work = ["parsing GGUF", "validating GGUF model", "verifying conversion"]
    assert lines == [*work, f"using existing layer {digest}", *END]
    assert create(model="m3", files={"weights": digest}) == lines
    made = model(store, "m")
    assert (made.parent_model, made.template, made.params) == ("", None, {})
    assert config_of(store, "m") == {
        "model_format": "gguf", "model_family": "llama", "model_families": ["llama"], "model_type": "1.16M",
        "file_type": "F16", "architecture": "amd64", "os": "linux",
    }  # fmt: skip


def test_progress_of_the_check(store: Store, upload: Upload) -> None:
    """model-store 44."""
    lines: list[Any] = []
    data = small_model().encoded()
    store.create(CreateRequest(model="m", files={"a.gguf": upload(data)}), lines.append)
    assert (lines[1].digest, lines[1].total, lines[1].completed) == ("0" * 19, len(data), len(data))
    assert not any(line.total for line in lines if line is not lines[1])


def test_from_a_model(store: Store, create: Create, scripted: str) -> None:
    """model-store 85: lines, order and digests as they were recorded."""
    new = [TEMPLATE_BLOB, SYSTEM_BLOB, *LICENSE_BLOBS, PARAMS_BLOB, MESSAGES_BLOB]
    assert create(**FULL) == [
        f"using existing layer {scripted}", *(f"creating new layer {digest}" for digest in new), *END,
    ]  # fmt: skip
    assert kinds(store, "full") == [MODEL, TEMPLATE, SYSTEM, LICENSE, LICENSE, PARAMS, MESSAGES]
    old = [scripted, TEMPLATE_BLOB, *LICENSE_BLOBS, MESSAGES_BLOB]
    assert create(model="full2", base="full", system="Be long.") == [
        *(f"using existing layer {digest}" for digest in old),
        f"creating new layer {OTHER_SYSTEM_BLOB}",
        f"using existing layer {PARAMS_BLOB}",
        *END,
    ]
    made = model(store, "full2")
    assert made.parent_model == "full:latest"
    assert made.system == "Be long."
    assert config_of(store, "full2")["model_type"] == "1.16M"


def test_fields_are_kept_merged_and_added(store: Store, create: Create, scripted: str) -> None:
    """model-store 86."""
    create(**FULL)
    create(model="more", base="full", license="BSD", parameters={"temperature": 1, "stop": ["END"], "top_k": 3})
    made = model(store, "more")
    assert made.licenses == ("MIT", "Apache", "BSD")
    assert made.params == {"num_ctx": 2048, "seed": 7, "stop": ["END"], "temperature": 1, "top_k": 3}
    create(model="same", base="full", system="", template="", messages=[], license="")
    before, after = model(store, "full"), model(store, "same")
    for name in ("system", "template", "messages", "licenses", "params"):
        assert getattr(before, name) == getattr(after, name)


def test_replacing_removes_what_is_not_needed(store: Store, create: Create, scripted: str) -> None:
    """model-store 35."""
    create(model="x", base="m", system="one")
    (one,) = (layer.digest for layer in model(store, "x").manifest.layers if layer.media_type == SYSTEM)
    create(model="x", base="m", system="two")
    assert not store.blobs.has(one)
    create(model="y", base="x")
    create(model="X", base="m", system="three")
    assert model(store, "y").system == "two"
    store.noprune = True
    create(model="x", base="m")
    assert sum(path.read_bytes() == b"three" for path in store.blobs.folder.iterdir()) == 1
    assert [each.name.short for each in store.list()].count("x:latest") == 1


def test_of_itself(store: Store, create: Create, scripted: str) -> None:
    create(model="m", base="M", system="new")
    assert model(store, "m").system == "new"
    assert model(store, "m").gguf is not None


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "neither 'from' or 'files' was specified"),
        ({"files": {}}, "unknown type"),
        ({"files": {"../x.gguf": "D"}}, "file path must be relative"),
        ({"files": {"/x.gguf": "D"}}, "file path must be relative"),
        ({"files": {".": "D"}}, "file path must be relative"),
        ({"files": {"a//b": "D"}}, "file path must be relative"),
        ({"draft_files": {"": "D"}}, "file path must be relative"),
        ({"files": {"x.gguf": ""}}, "invalid digest format"),
        ({"base": "m", "adapters": {"x.gguf": ""}}, "invalid digest format"),
        ({"files": {"x.gguf": "sha256:12"}}, "invalid digest format"),
        ({"files": {"x.gguf": "TEXT"}}, "supplied file was not in GGUF format"),
        ({"files": {"x.txt": "TEXT"}}, "unknown type"),
        ({"base": "m", "template": "{{ .Bad"}, "template error: template: :1: unclosed action"),
        ({"base": "m", "quantize": "q9"}, "unsupported quantization type Q9 - supported types are F32, F16, Q4_K_S, "
                                          "Q4_K_M, Q8_0"),
        ({"base": "m", "quantization": "q5_0"}, "unsupported quantization type Q5_0 - supported types are F32, F16, "
                                                "Q4_K_S, Q4_K_M, Q8_0"),
        ({"base": "a b"}, "invalid model name"),
        ({"base": "m:local:cloud"}, 'use either :local or :cloud, not both: "m:local:cloud"'),
        ({"base": "m", "info": {"model_family": 5}}, 'info field "model_family" must be a string'),
        ({"base": "m", "info": {"context_length": "x"}}, 'info field "context_length" must be a number'),
        ({"base": "m", "info": {"context_length": 1.5}}, 'info field "context_length" must be a non-negative integer'),
        ({"base": "m", "info": {"capabilities": "x"}}, 'info field "capabilities" must be a list of strings'),
        ({"base": "m", "draft_quantize": "q8_0"}, "--draft-quantize requires a DRAFT model"),
        ({"base": "m", "remote_host": "http://"}, "bad remote"),
        ({"base": "m", "remote_host": "ftp://x"}, "bad remote"),
        ({"base": "m", "remote_host": "x:99999"}, "bad remote"),
        ({"base": "m", "remote_host": "x", "draft_files": {"a": "TEXT"}}, "DRAFT cannot be used with remote models"),
        ({"base": "m", "parameters": {"temperature": "hot"}}, 'option "temperature" must be of type float32'),
        ({"base": "m", "messages": [{"role": 5}]}, 'each of "messages" needs a "role" and a "content" that are texts'),
        ({"base": "m", "adapters": {"a.gguf": "TEXT", "b.gguf": "TEXT"}}, "only one adapter is currently supported"),
    ],
)  # fmt: skip
def test_refusals(store: Store, upload: Upload, scripted: str, fields: dict[str, Any], sentence: str) -> None:
    """model-store 88, 89, 93, 94 and 96, native-api 274 to 276, 279 and 280: as recorded, 400 where 500 was."""
    digests = {"TEXT": upload(b"this is not a model\n"), "D": f"sha256:{'0' * 64}"}
    for key in ("files", "draft_files", "adapters"):
        if key in fields:
            fields = {**fields, key: {path: digests.get(each, each) for path, each in fields[key].items()}}
    fields = {("from" if key == "base" else key): value for key, value in fields.items()}
    with pytest.raises(PunaError) as caught:
        store.create(CreateRequest.read({"model": "new", **fields}), lambda _: None, check_template=no_template)
    assert (str(caught.value), caught.value.status) == (sentence, 400)
    assert [each.name.short for each in store.list()] == ["m:latest"]


def no_template(_text: str) -> None:
    raise InvalidRequest("template: :1: unclosed action")


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"base": "big:cloud"}, "cloud"),
    ],
)
def test_what_is_not_built_yet(store: Store, create: Create, scripted: str, fields: dict[str, Any], word: str) -> None:
    """A cloud model cannot be the base of another."""
    with pytest.raises(NotImplementedYet, match=word):
        create(model="new", **fields)
    assert [each.name.short for each in store.list()] == ["m:latest"]


def test_a_base_that_is_not_installed(store: Store, create: Create, scripted: str) -> None:
    """model-store 87: the server pulls it first; here nobody did."""
    with pytest.raises(ModelNotFound, match="the base model gone:latest is not installed; pull it first"):
        create(model="new", base="gone")
    for fields, missing in (
        ({"from": "gone"}, "gone:latest"),
        ({"from": "M"}, None),
        ({"from": "m:local"}, None),
        ({"from": "gone:cloud"}, None),
        ({"from": "gone", "remote_host": "box"}, None),
        ({"files": {}}, None),
    ):
        found = store.missing_base(CreateRequest.read({"model": "new", **fields}), no_template)
        assert (found.short if found else None) == missing
    for wrong in ({"from": "a b"}, {"from": "gone", "template": "x"}, {"from": "gone", "info": {"base_name": 5}}):
        with pytest.raises(InvalidRequest):
            store.missing_base(CreateRequest.read({"model": "new", **wrong}), no_template)


@pytest.mark.parametrize("fields", [{"license": 5}, {"files": []}, {"parameters": []}, {"stream": "no"}, {"system": 1}])
def test_wrong_kinds_of_fields(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match=next(iter(fields))):
        CreateRequest.read({"model": "m", "from": "x", **fields})
    assert CreateRequest.read({"model": "m", "system": None, "info": None}) == CreateRequest(model="m")


def test_bad_and_deprecated_names(store: Store, create: Create, scripted: str) -> None:
    """native-api 273."""
    for name in ("", "a b"):
        with pytest.raises(InvalidRequest, match="invalid model name"):
            create(model=name, base="m")
    create(name="byname", base="m")
    create(model="BYNAME", base="m", system="two")
    assert [each.name.short for each in store.list()] == ["byname:latest", "m:latest"]
    assert model(store, "ByName").system == "two"


def test_two_models_are_not_one(store: Store, upload: Upload, create: Create) -> None:
    """A folder may hold several; which one would answer must not be left to the order of their names."""
    first, second = (upload(small_model(general__name=name).encoded()) for name in ("one", "two"))
    with pytest.raises(InvalidRequest, match=r"2 of the files are models of their own \(a.gguf, b.gguf\)"):
        create(model="m", files={"b.gguf": first, "a.gguf": second})
    create(model="m", files={"b.gguf": first, "a.gguf": first})
    assert [each.name.short for each in store.list()] == ["m:latest"]


def test_missing_upload_and_damaged_file(store: Store, upload: Upload, create: Create) -> None:
    """A file that was not uploaded is the client's mistake, and no path of the server is in the answer."""
    with pytest.raises(InvalidRequest) as caught:
        create(model="m", files={"x.gguf": f"sha256:{'1' * 64}"})
    assert str(store.root) not in str(caught.value)
    with pytest.raises(InvalidRequest, match=r'"x.gguf" cannot be used: .*incomplete'):
        create(model="m", files={"x.gguf": upload(small_model().encoded()[:300])})
    with pytest.raises(InvalidRequest, match="block_count"):
        create(model="m", files={"x.gguf": upload(small_model(llama__block_count=0).encoded())})
    assert store.list() == []


def test_base_without_weights(store: Store, create: Create, scripted: str) -> None:
    store.blobs.delete(scripted)
    with pytest.raises(StoreError, match="missing from the model folder"):
        create(model="new", base="m")
    assert [each.name.short for each in store.list()] == ["m:latest"]


def test_adapters_projectors_and_drafts(store: Store, upload: Upload, create: Create, scripted: str) -> None:
    """model-store 90 and 91."""
    adapter = upload((MODELS / "counting.gguf").read_bytes())
    draft = upload(small_model().encoded())
    lines = create(model="a", base="m", adapters={"lora.gguf": adapter})
    assert lines[:1] == ["parsing GGUF"]
    assert kinds(store, "a") == [MODEL, ADAPTER]
    assert model(store, "a").spec().adapter_paths == (str(store.blobs.path(adapter)),)
    create(model="b", files={"z.gguf": draft, "a-mmproj.gguf": upload(projector_file().encoded())})
    assert sorted(kinds(store, "b")) == [MODEL, PROJECTOR]
    assert model(store, "b").spec().has_vision
    assert config_of(store, "b")["model_families"] == ["llama"]
    create(model="c", base="m", draft_files={"d.gguf": draft})
    assert kinds(store, "c") == [MODEL, DRAFT]
    assert config_of(store, "c")["draft"] == {"model_format": "gguf", "architecture": "llama"}
    assert model(store, "c").draft_path == store.blobs.path(draft)
    with pytest.raises(InvalidRequest, match="no LoRA adapter"):
        create(model="d", base="m", adapters={"x.gguf": draft})


def test_same_quantization_is_nothing_to_do(store: Store, create: Create, upload: Upload, scripted: str) -> None:
    create(model="q", base="m", quantize="f16")
    assert model(store, "q").quantization == "F16"
    packed = upload(small_model(general__file_type=2).encoded())
    with pytest.raises(InvalidRequest, match="quantization is only supported for F16, BF16 and F32 models"):
        create(model="q", files={"x.gguf": packed}, quantize="q8_0")


@pytest.mark.parametrize(
    ("family", "renderer", "stop"),
    [("gemma4", "gemma4", ["<turn|>"]), ("laguna", "laguna", None), ("nemotron_h_moe", "nemotron-3-nano", None)],
)
def test_families_with_renderers(
    store: Store, create: Create, upload: Upload, family: str, renderer: str, stop: list[str] | None
) -> None:
    """model-store 98."""
    names = {"block_count": 2, "embedding_length": 32, "attention.head_count": 4}
    metadata = [("general.architecture", family), *((f"{family}.{key}", value) for key, value in names.items())]
    digest = upload(GgufFile(metadata, small_model().tensors).encoded())
    create(model="g", files={"x.gguf": digest})
    config = config_of(store, "g")
    assert (config["renderer"], config["parser"], model(store, "g").params.get("stop")) == (renderer, renderer, stop)
    create(model="h", base="g", renderer="own", parameters={"stop": "X"})
    assert config_of(store, "h")["renderer"] == "own"
    assert model(store, "h").params["stop"] == ["X"]


class Known:
    """What stands for the known template of a test."""

    name, template, stop = "chatml", "<{{ .Prompt }}>", ("<|im_end|>",)


def test_known_templates_of_files(store: Store, upload: Upload) -> None:
    """templates 34: a template layer and its stop list, under what the request says."""
    digest = upload(small_model(tokenizer__chat_template="published").encoded())

    def made(**fields: Any) -> tuple[list[str], Model]:
        lines: list[Progress] = []
        request = CreateRequest.read({"model": "t", **fields})
        store.create(request, lines.append, detect_template={"published": Known()}.get)
        return [line.status for line in lines], model(store, "t")

    lines, known = made(files={"x.gguf": digest})
    assert "using autodetected template chatml" in lines
    assert (known.template, known.params["stop"]) == ("<{{ .Prompt }}>", ["<|im_end|>"])
    _, own = made(files={"x.gguf": digest}, template="own", parameters={"stop": "X", "seed": 1})
    assert (own.template, own.params["stop"]) == ("own", ["X"])
    lines, _ = made(**{"from": "t"})
    assert not any("autodetected" in line for line in lines)


def test_info_over_what_the_file_says(store: Store, create: Create, scripted: str) -> None:
    info = {
        "model_family": "mine", "base_name": "b", "quantization_level": "Q", "parameter_size": "9B",
        "context_length": 5, "embedding_length": 6.0, "capabilities": ["tools"],
    }  # fmt: skip
    create(model="i", base="m", info=info, requires="0.14.0")
    assert model(store, "i").details(with_lengths=True) == {
        "parent_model": "m:latest", "format": "gguf", "family": "mine", "families": ["mine", "llama"],
        "parameter_size": "9B", "quantization_level": "Q", "context_length": 5, "embedding_length": 6,
    }  # fmt: skip
    config = model(store, "i").config
    assert (config.capabilities, config.base_name, config.requires) == (("tools",), "b", "0.14.0")
    create(model="j", base="i")
    assert model(store, "j").config.capabilities == ("tools",)


def test_a_model_elsewhere(store: Store, create: Create) -> None:
    """The manifest's digest is the recorded one."""
    info = {"model_family": "far", "context_length": 100, "parameter_size": "9B"}
    assert create(model="far", base="big", remote_host="http://127.0.0.1:9", info=info) == END
    far = model(store, "far")
    assert far.digest == "758cc60c062b3a19032cce17d095c2478b5f33972b3b86af1463b5837b7af148"
    assert (far.is_remote, far.size, far.model_path) == (True, 212, None)
    create(model="near", base="far")
    assert model(store, "near").config.remote_model == "big"
    for given, stored in (
        ("ollama.com", "https://ollama.com:443"),
        ("box", "http://box:11434"),
        ("https://[::1]", "https://[::1]:11434"),
    ):
        create(model="r", base="big", remote_host=given)
        assert model(store, "r").config.remote_host == stored


# ---- split files ---------------------------------------------------------------------------------------------------


def shard(index: int | None, count: int, tensors: list[TensorEntry]) -> bytes:
    metadata = small_model().metadata if index == 0 else []
    numbers = [("split.count", count)] + ([] if index is None else [("split.no", index)])
    return GgufFile([*metadata, *numbers], tensors).encoded()


def test_split_files_are_joined(store: Store, upload: Upload, create: Create) -> None:
    """model-store 92: the same model as the whole file."""
    whole = small_model()
    first = upload(shard(0, 2, whole.tensors[:1]))
    second = upload(shard(1, 2, whole.tensors[1:]))
    lines = create(model="s", files={"x-00001-of-00002.gguf": first, "x-00002-of-00002.gguf": second})
    assert lines[:3] == ["parsing GGUF", "parsing GGUF", "joining the parts of the model"]
    made = model(store, "s")
    assert made.model_path is not None
    assert made.model_path.read_bytes() == whole.encoded()
    assert read_header(made.model_path).get("split.count") is None


@pytest.mark.parametrize(
    ("names", "numbers", "sentence"),
    [
        (("x.gguf",), ((0, 2),), 'split GGUF "x.gguf" must use llama.cpp split filename pattern'),
        (("x-00001-of-00003.gguf",), ((0, 2),), "filename count 3 does not match metadata count 2"),
        (("x-00001-of-00002.gguf",), ((None, 2),), "is missing split.no metadata"),
        (("x-00002-of-00002.gguf",), ((0, 2),), "filename index 1 does not match metadata index 0"),
        (("x-00001-of-00002.gguf",), ((0, 2),), 'split GGUF "x" has 1 shards, expected 2'),
        (("x-00002-of-00002.gguf",), ((1, 2),), "split GGUF is missing first shard"),
        (
            ("a/x-00001-of-00002.gguf", "b/x-00001-of-00002.gguf"),
            ((0, 2), (0, 2)),
            "split GGUF has duplicate shard index 0",
        ),
    ],
)
def test_split_files_that_do_not_fit(
    upload: Upload, create: Create, names: tuple[str, ...], numbers: tuple[tuple[int | None, int], ...], sentence: str
) -> None:
    """model-store 92."""
    files = {
        name: upload(shard(index, count, [TensorEntry(f"t{index}")]))
        for name, (index, count) in zip(names, numbers, strict=True)
    }
    with pytest.raises(InvalidRequest, match=sentence):
        create(model="s", files=files)


def test_parts_with_the_same_tensor(upload: Upload, create: Create) -> None:
    first, second = (upload(shard(index, 2, [TensorEntry("t")])) for index in (0, 1))
    with pytest.raises(InvalidRequest, match="same name"):
        create(model="s", files={"x-00001-of-00002.gguf": first, "x-00002-of-00002.gguf": second})


def test_name_in_other_capitals_is_replaced(store: Store, create: Create, scripted: str) -> None:
    create(model="me/M:Q", base="m")
    create(model="ME/m:q", base="m", system="x")
    assert store.get(ModelName.parse("me/M:Q")).system == "x"
