"""A real registry, a real server and the real command: push, delete, pull, run."""

from __future__ import annotations

import json
import pathlib
import random
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from server.client import Client, file_digest
from server.errors import PunaError
from tests.cli.program import Program
from tests.golden.server import RunningServer
from tests.registry.docker import DockerRegistry, docker_registry
from tests.serve.installed import server_with_models


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    with docker_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="module")
def server(models: pathlib.Path) -> Iterator[RunningServer]:
    with server_with_models(models) as running:
        yield running


@pytest.fixture
def client(server: RunningServer) -> Iterator[Client]:
    with Client(server.base) as client:
        yield client


@pytest.fixture
def program(server: RunningServer, tmp_path: pathlib.Path) -> Program:
    return Program(tmp_path / "home", server.base)


def digest_of(client: Client, name: str) -> str:
    return next(str(model["digest"]) for model in client.tags() if model["name"] == name)


def test_push_delete_pull_run(docker: DockerRegistry, client: Client, program: Program) -> None:
    """cli 6.6, 6.7, 37, 38, 48, model-store 19, 74: with a manifest that is the same byte for byte"""
    name = f"{docker.host}/me/m:v1"
    client.copy("m", name)
    digest = digest_of(client, name)
    pushed = program.run("push", name, "--insecure")
    assert pushed.returncode == 0, pushed.stderr
    assert pushed.stdout == f"\nYou can find your model at:\n\n\t{name}\n"
    assert pushed.stderr.splitlines()[0] == "retrieving manifest"
    assert pushed.stderr.splitlines()[-2:] == ["pushing manifest", "success"]
    client.delete(name)
    pulled = program.run("pull", name, "--insecure")
    assert pulled.returncode == 0, pulled.stderr
    lines = pulled.stderr.splitlines()
    assert lines[0] == "pulling manifest"
    assert "to download" not in pulled.stderr, "its weights are here still, as those of m"
    assert lines[-3:] == ["verifying sha256 digest", "writing manifest", "success"]
    assert digest_of(client, name) == digest
    client.delete(name)
    ran = program.run("run", name, "--insecure", "hi")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == program.run("run", "m", "hi").stdout.strip()
    again = program.run("pull", name, "--insecure", "--json")
    objects = [json.loads(line) for line in again.stdout.splitlines()]
    assert [item["status"] for item in objects][-1] == "success"
    assert all(item["completed"] == item["total"] for item in objects if "digest" in item)


def test_a_pull_says_first_whether_the_model_will_fit(
    docker: DockerRegistry, client: Client, program: Program, models: pathlib.Path
) -> None:
    name, weights = f"{docker.host}/me/e", models / "embedding.gguf"
    digest = file_digest(weights)
    client.upload_blob(weights, digest)
    assert list(client.create({"model": name, "files": {"e.gguf": digest}}))[-1] == {"status": "success"}
    assert list(client.push(name, insecure=True))[-1] == {"status": "success"}
    client.delete(name)
    pulled = program.run("pull", name, "--insecure")
    assert pulled.returncode == 0, pulled.stderr
    first, fits, second, *_ = pulled.stderr.splitlines()
    assert (first, second) == ("pulling manifest", f"pulling {digest.removeprefix('sha256:')[:12]}")
    assert f"KB to download. {name}:latest with " in fits
    assert "of system memory" in fits


def test_whether_a_model_fits_is_known_before_it_is_pulled(docker: DockerRegistry, client: Client) -> None:
    name = f"{docker.host}/me/fitting"
    client.copy("m", name)
    here = client.fit(name)
    assert list(client.push(name, insecure=True))[-1] == {"status": "success"}
    client.delete(name)
    there = client.fit_before_pull(name, insecure=True)
    assert there["download_bytes"] > 2_000_000
    told = ("verdict", "context_tokens", "slots", "kv_cache_type", "total_layers")
    assert {name: there[name] for name in told} == {name: here[name] for name in told}
    assert there["basis"] == "about"
    assert name not in [model["name"] for model in client.tags()]
    with pytest.raises(PunaError, match="file does not exist"):
        client.fit_before_pull(f"{docker.host}/me/nothing", insecure=True)


def test_a_registry_that_is_away_is_asked_once(server: RunningServer, program: Program) -> None:
    """native-api 283, 284: whether the model fits is no question of its own, so the log tells the failure once"""
    before = len(server.log)
    result = program.run("pull", "127.0.0.1:9/me/away", "--insecure")
    assert result.returncode == 1
    assert result.stderr.startswith("pulling manifest\nError: pull model manifest: ")
    told = server.log[before:]
    assert told.count("pull model manifest: ") == 1
    assert "level=ERROR" not in told


def test_what_the_registry_does_not_have(docker: DockerRegistry, program: Program) -> None:
    """cli 40, native-api 285"""
    result = program.run("pull", f"{docker.host}/me/nothing", "--insecure")
    assert result.returncode == 1
    assert result.stderr == "pulling manifest\nError: pull model manifest: file does not exist\n"


def test_https_is_not_given_up_by_itself(docker: DockerRegistry, program: Program) -> None:
    """model-store 51"""
    result = program.run("pull", f"{docker.host}/me/m:v1")
    assert result.returncode == 1
    assert "no TLS is spoken there; a registry without it needs --insecure" in result.stderr


def test_a_file_of_several_parts_and_a_mount(docker: DockerRegistry, client: Client, models: pathlib.Path) -> None:
    """model-store 75, 76: the second model takes the weights of the first over inside the registry"""
    first, second = f"{docker.host}/me/first", f"{docker.host}/you/second"
    client.copy("m", first)
    assert list(client.push(first, insecure=True))[-1] == {"status": "success"}
    assert list(client.create({"model": second, "from": first, "system": "other"}))[-1] == {"status": "success"}
    pushed = list(client.push(second, insecure=True))
    assert pushed[-1] == {"status": "success"}
    client.delete(first)
    client.delete(second)
    assert list(client.pull(second, insecure=True))[-1] == {"status": "success"}
    assert client.show(second)["system"] == "other"


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl+C reaches a child of its own there")
def test_ctrl_c_keeps_what_is_there(
    docker: DockerRegistry, client: Client, program: Program, server: RunningServer
) -> None:
    """cli 39, 6.6: status 130; then the same command goes on"""
    name = push_weights(docker, client, server, 6_000_000)
    client.limit_downloads(bytes_per_second=2_000_000)
    command = program.command("pull", name, "--insecure", "--json")
    process = subprocess.Popen(
        command, env=program.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        update = json.loads(line)
        if update.get("total") == 6_000_000 and update.get("completed", 0) > 500_000:
            process.send_signal(signal.SIGINT)
            break
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.strip() == "Stopped. What has been downloaded is kept; the same command goes on from there."
    client.limit_downloads(bytes_per_second=0)
    kept = client.downloads()["downloads"]
    lines = [update for update in client.pull(name, insecure=True) if update.get("digest") == kept[0]["digest"]]
    assert lines[0]["completed"] > 500_000
    assert lines[-1]["completed"] == 6_000_000
    assert client.downloads()["downloads"] == []


def push_weights(docker: DockerRegistry, client: Client, server: RunningServer, size: int, tag: str = "big") -> str:
    """A model with a layer of so many random bytes in the registry alone; its name. The layer is a licence in form, so
    that nobody reads it as weights."""
    path = server.home / "weights"
    path.write_bytes(random.Random(size).randbytes(size))
    digest = file_digest(path)
    client.upload_blob(path, digest)
    name = f"{docker.host}/me/weights:{tag}"
    client.copy("m", name)
    manifest = server.home / "models" / "manifests" / docker.host / "me" / "weights" / tag
    content = json.loads(manifest.read_text())
    content["layers"].append({"mediaType": "application/vnd.example.bytes", "digest": digest, "size": size})
    manifest.write_text(json.dumps(content))
    assert list(client.push(name, insecure=True))[-1] == {"status": "success"}
    client.delete(name)
    path.unlink()
    return name


def test_routes_of_downloads(client: Client) -> None:
    assert client.downloads() == {"downloads": [], "limits": {"parts": 8, "bytes_per_second": 0}}
    assert client.limit_downloads(parts=3) == {"parts": 3, "bytes_per_second": 0}
    assert client.limit_downloads(parts=8, bytes_per_second=0) == {"parts": 8, "bytes_per_second": 0}
    for wrong in ({"parts": 0}, {"bytes_per_second": -1}):
        with pytest.raises(PunaError) as caught:
            client.limit_downloads(**wrong)
        assert caught.value.status == 400
    assert client.clear_downloads() == 0
    with pytest.raises(PunaError) as caught:
        client.clear_downloads("sha256:" + "0" * 64)
    assert caught.value.status == 404
    with pytest.raises(PunaError) as caught:
        client.clear_downloads("sha256:..")
    assert caught.value.status == 400
    with pytest.raises(PunaError) as caught:
        client.cancel_download("sha256:" + "0" * 64)
    assert caught.value.status == 404
