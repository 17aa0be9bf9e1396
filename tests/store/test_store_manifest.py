"""The two JSON files of a model, byte for byte, and reading what others wrote."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from server.errors import StoreError
from server.store import Store, encoding
from server.store.manifest import (
    CONFIG_TYPE,
    LICENSE,
    MAX_LAYERS,
    MESSAGES,
    MODEL,
    PARAMS,
    PROMPT,
    SYSTEM,
    TEMPLATE,
    Config,
    Layer,
    Manifest,
    decode_config,
    decode_manifest,
)

D = f"sha256:{'a' * 64}"


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


STOPS = ["USER:", "ASSISTANT:"]


@pytest.mark.parametrize(
    ("data", "digest"),
    [
        (
            Config(model_format="gguf", model_family="test", model_families=("test",), model_type="0",
                   file_type="unknown").encode(),
            "99759ad5b91e723db0393d698ffbb448b1b7df5ff6377a108c49254583b1bc8c",
        ),
        (b"{{ .Prompt }}", "b507b9c2f6ca642bffcd06665ea7c91f235fd32daeefdf875a0f938db05fb315"),
        (b"{{ .System }} {{ .Prompt }}", "fe7ac77b725cda2ccad03f88a880ecdfd7a33192d6cae08fce2c0ee1455991ed"),
        (b"Say hi!", "f29e82a8284dbdf5910b1555580ff60b04238b8da9d5e51159ada67a4d0d5851"),
        (b"MIT", "e5dcffe836b6ec8a58e492419b550e65fb8cbdc308503979e5dacb33ac7ea3b7"),
        (
            encoding.encode({"stop": STOPS, "temperature": 1.0, "top_k": 10}),
            "1d0ad71299d48c2fb7ae2b98e683643e771f8a5b72be34942af90d97a91c1e37",
        ),
        (
            encoding.encode({"stop": ["<|endoftext|>"], "temperature": 0.6, "top_k": 10, "top_p": 0.7}),
            "12f58bb75cb3042d69a7e013ab87fb3c3c7088f50ddc62f0c77bd332f0d44d35",
        ),
        (
            encoding.encode({"stop": STOPS, "temperature": 0.6, "top_k": 10, "top_p": 0.7}),
            "e29a7b3c47287a2489c895d21fe413c20f859a85d20e749492f52a838e36e1ba",
        ),
        (
            encoding.encode([
                {"role": "assistant", "content": "What is my purpose?"}, {"role": "user", "content": "You run tests."},
                {"role": "assistant", "content": "Oh, my god."},
            ]),
            "298baeaf6928a60cf666d88d64a1ba606feb43a2865687c39e40652e407bffc4",
        ),
    ],
)  # fmt: skip
def test_golden_digests(data: bytes, digest: str) -> None:
    """model-store 12: the vectors of its section 27."""
    assert sha(data) == digest


def test_manifest_without_layers_as_the_reference_writes_it() -> None:
    """model-store 10 and 17; the digest was recorded from a model that lives elsewhere."""
    config = Config(
        model_family="far", model_families=("far",), model_type="9B", remote_host="http://127.0.0.1:9",
        remote_model="big", context_length=100,
    ).encode()  # fmt: skip
    manifest = Manifest(config=Layer(media_type=CONFIG_TYPE, digest=f"sha256:{sha(config)}", size=len(config)))
    assert manifest.size == 212
    assert sha(manifest.encode()) == "758cc60c062b3a19032cce17d095c2478b5f33972b3b86af1463b5837b7af148"
    assert decode_manifest(manifest.encode()) == manifest


def test_manifest_key_order() -> None:
    """model-store 10."""
    layers = (
        Layer(media_type=MODEL, digest=D, size=7, source="a:latest", name="w"),
        Layer(media_type=LICENSE, digest=D),
    )
    text = Manifest(config=Layer(media_type=CONFIG_TYPE, digest=D, size=1), layers=layers).encode().decode()
    assert text == (
        '{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json",'
        f'"config":{{"mediaType":"application/vnd.docker.container.image.v1+json","digest":"{D}","size":1}},'
        f'"layers":[{{"mediaType":"application/vnd.ollama.image.model","digest":"{D}","size":7,"from":"a:latest","name":"w"}},'
        f'{{"mediaType":"application/vnd.ollama.image.license","digest":"{D}","size":0}}]}}\n'
    )
    assert decode_manifest(text.encode()).layers == layers


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1"), (0.7, "0.7"), (1e-7, "1e-7"), (1e-6, "0.000001"), (1.25e-5, "0.0000125"), (1e20, "1" + "0" * 20),
        (1e21, "1e+21"), (1.5e22, "1.5e+22"), (-0.0, "-0"), (5e-324, "5e-324"), (123456.75, "123456.75"),
        (True, "true"), (None, "null"), ([], "[]"), ({}, "{}"), ((1,), "[1]"),
        ("<&>\u2028é\n\"", '"\\u003c\\u0026\\u003e\\u2028é\\n\\""'),
    ],
)  # fmt: skip
def test_json_text(value: Any, text: str) -> None:
    assert encoding.encode(value).decode() == f"{text}\n"


def test_json_has_no_infinity() -> None:
    with pytest.raises(ValueError, match="cannot be stored"):
        encoding.encode([float("inf")])


@pytest.mark.parametrize(
    "data",
    [
        b"", b"nothing", b"[]", b'{"layers":5}', b'{"layers":[{"digest":"sha256:../../x"}]}', b'{"layers":[{}]}',
        b'{"config":{"digest":"sha256:12"}}', b'{"layers":[null]}', b"[" * 100_000, b" " * (5 << 20),
        b'{"layers":[{"digest":"' + D.encode() + b'","size":-1}]}', b'{"config":{"digest":"' + D.encode() + b'\\n"}}',
        json.dumps({"layers": [{"digest": D}] * (MAX_LAYERS + 1)}).encode(),
    ],
)  # fmt: skip
def test_manifests_that_cannot_be_used(data: bytes) -> None:
    """model-store 70."""
    with pytest.raises(StoreError, match="manifest"):
        decode_manifest(data)


def test_manifests_of_others_are_read() -> None:
    """model-store 13, 14 and 18: unknown keys, other spaces, what follows, a missing list, a blob named twice."""
    layer = {"mediaType": MODEL, "digest": D, "size": 5, "annotations": {"a": 1}, "from": None}
    text = json.dumps({"schemaVersion": 2, "config": {"digest": D, "size": 1}, "layers": [layer, layer]}, indent=3)
    manifest = decode_manifest(f" \n{text}\n garbage".encode())
    assert (manifest.size, len(manifest.digests)) == (11, 1)
    assert decode_manifest(b'{"layers":null}').layers == ()
    upper = D.upper().replace("SHA256:", "sha256-")
    assert decode_manifest(json.dumps({"layers": [{"digest": upper}]}).encode()).digests == {D}
    config = decode_config(
        b'{"rootfs":{"type":"layers","diff_ids":["x"]},"model_families":null,"model_type":"3B","draft":null}'
    )
    assert (config.model_type, config.model_families) == ("3B", None)


@pytest.fixture
def add(store: Store) -> Callable[..., None]:
    """Write a model as a registry would: layers as they are given."""

    def run(name: str, *layers: tuple[str, bytes], config: bytes = b"{}") -> None:
        entries = [
            {"mediaType": kind, "digest": store.blobs.write(data)[0], "size": len(data)} for kind, data in layers
        ]
        head = {"mediaType": CONFIG_TYPE, "digest": store.blobs.write(config)[0], "size": len(config)}
        path = store.manifests.folder / "registry.ollama.ai/library" / name / "latest"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"schemaVersion": 2, "config": head, "layers": entries}, indent=1))

    return run


def test_layers_become_a_model(store: Store, add: Callable[..., None]) -> None:
    """model-store 15 and 16."""
    add(
        "old",
        (PROMPT, b"first"),
        (PARAMS, b'{"stop":["a"],"seed":1}'),
        (TEMPLATE, b"second"),
        (PARAMS, b'{"seed":2}\n'),
        (SYSTEM, b"one"),
        (SYSTEM, "zwei ü".encode()),
        (LICENSE, b"MIT"),
        (LICENSE, b"BSD"),
        (MESSAGES, b'[{"role":"user","content":"hi","images":["aGk="]}]'),
        ("application/vnd.example.unknown", b"?"),
        config=b'{"model_format":"gguf","model_family":"llama","model_families":["llama","clip"],"os":"linux","extra":1}',
    )
    model = store.get(store.resolve("old"))
    assert (model.template, model.system, model.licenses) == ("second", "zwei ü", ("MIT", "BSD"))
    assert model.params == {"stop": ["a"], "seed": 2}
    assert (model.messages[0].content, model.messages[0].images) == ("hi", (b"hi",))
    assert model.details()["families"] == ["llama", "clip"]
    assert model.model_path is None
    with pytest.raises(StoreError, match="no weights"):
        model.spec()
    add("prompted", (PROMPT, b"{{ .Prompt }}"))
    assert store.get(store.resolve("prompted")).template == "{{ .Prompt }}"


@pytest.mark.parametrize(
    "layer",
    [(PARAMS, b"[]"), (PARAMS, b"{"), (MESSAGES, b"{}"), (MESSAGES, b"[5]"), (MESSAGES, b'[{"role":5}]')],
)
def test_damaged_texts(store: Store, add: Callable[..., None], layer: tuple[str, bytes]) -> None:
    add("odd", layer)
    with pytest.raises(StoreError, match="damaged"):
        store.get(store.resolve("odd"))
    assert store.list() == []
