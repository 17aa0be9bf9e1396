from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from filelock import FileLock

from tests.cli.program import ROOT, Program
from tests.convert.texts import ENCODERS, FAMILIES, LONG_FROM, TEXTS
from tests.golden.server import RunningServer, running_server

TYPES = ("F32", "F16")
MAKE_SECONDS = 200


@pytest.fixture(scope="session")
def families(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The tiny models as transformers saved them, NAME/model, and what it computes with them, NAME/expected.npz. Made
    once, however many processes test."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "families"
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / "made").exists():
            _run("tests.convert.make_families", str(folder))
            (folder / "made").touch()
    return folder


@pytest.fixture(scope="session")
def imported(families: Path) -> Path:
    """The same folder, with what `puna create` and llama.cpp made of each: NAME/TYPE-FIRST.npz, the status lines in
    NAME/TYPE.txt and, for encoders, what /api/embed says in NAME/TYPE.json."""
    with FileLock(families.with_suffix(".lock")):
        if not (families / "imported").exists():
            with running_server({}) as server:
                _import_all(server, families)
            (families / "imported").touch()
    return families


def _import_all(server: RunningServer, families: Path) -> None:
    program = Program(server.home / "client", server.base)
    orders: list[dict[str, Any]] = []
    for name in FAMILIES:
        for kind in TYPES:
            modelfile = families / name / "Modelfile"
            modelfile.write_text("FROM ./model\n", encoding="utf-8")
            done = program.run("create", f"{name}-{kind}".lower(), "-f", str(modelfile), "-q", kind)
            assert done.returncode == 0, done.stderr
            (families / name / f"{kind}.txt").write_text(done.stderr + done.stdout, encoding="utf-8")
            orders += _orders(families / name, kind, _weights(server, f"{name}-{kind}".lower()))
            if name in ENCODERS:
                body = {"model": f"{name}-{kind}".lower(), "input": list(TEXTS[:2])}
                answer = httpx2.post(f"{server.base}/api/embed", json=body, timeout=60, trust_env=False)
                (families / name / f"{kind}.json").write_bytes(answer.content)
    orders.append(_adapter_order(program, server, families))
    _run("tests.convert.evaluate", text="".join(f"{json.dumps(order)}\n" for order in orders))


def _adapter_order(program: Program, server: RunningServer, families: Path) -> dict[str, Any]:
    folder = families / "lora"
    (folder / "Modelfile").write_text("FROM llama-f32\nADAPTER ./adapter\n", encoding="utf-8")
    done = program.run("create", "lora", "-f", str(folder / "Modelfile"))
    assert done.returncode == 0, done.stderr
    (folder / "F32.txt").write_text(done.stderr + done.stdout, encoding="utf-8")
    return {
        "model": str(_weights(server, "lora")), "adapters": [str(_weights(server, "lora", "adapter"))],
        "ids": [np.load(folder / "expected.npz")["ids0"].tolist()], "texts": TEXTS[:1], "first": 0, "context": 256,
        "embedding": False, "output": str(folder / "F32-0.npz"),
    }  # fmt: skip


def _weights(server: RunningServer, name: str, kind: str = "model") -> Path:
    models = server.home / "models"
    manifest = json.loads((models / "manifests/registry.ollama.ai/library" / name / "latest").read_bytes())
    (layer,) = (each for each in manifest["layers"] if each["mediaType"].endswith(f".{kind}"))
    return models / "blobs" / layer["digest"].replace(":", "-")


def _orders(folder: Path, kind: str, weights: Path) -> list[dict[str, Any]]:
    """Short texts in a short context: with a longer one Phi-3 turns its positions in another way, in llama.cpp with
    the context and in transformers with the text."""
    expected = np.load(folder / "expected.npz")
    ids = [expected[f"ids{number}"].tolist() for number in range(len(TEXTS))]
    orders = []
    for start, end, context in ((0, LONG_FROM, 256), (LONG_FROM, len(TEXTS), 512)):
        orders.append({
            "model": str(weights), "ids": ids[start:end], "texts": TEXTS[start:end], "first": start,
            "context": context, "embedding": folder.name in ENCODERS, "output": str(folder / f"{kind}-{start}.npz"),
        })  # fmt: skip
    return orders


def _run(module: str, *arguments: str, text: str = "") -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], input=text, capture_output=True, text=True, encoding="utf-8",
        timeout=MAKE_SECONDS, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
