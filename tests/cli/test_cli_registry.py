"""`puna pull` and `puna push` against a server that says what a test wants."""

from __future__ import annotations

import json

import pytest

from tests.cli.program import Program
from tests.client.fake_server import FakeServer, failing, streaming

LAYER = {"status": "pulling 0123456789ab", "digest": "sha256:0123456789ab", "total": 4000}
PULLED = (
    {"status": "pulling manifest"}, LAYER, {**LAYER, "completed": 1000}, {**LAYER, "completed": 4000},
    {"status": "verifying sha256 digest"}, {"status": "writing manifest"}, {"status": "success"},
)  # fmt: skip


def test_pull_in_a_pipe_is_plain_lines(fake: FakeServer, program: Program) -> None:
    """cli 37"""
    fake.routes[("POST", "/api/pull")] = streaming(*PULLED)
    result = program.run("pull", "m")
    assert (result.returncode, result.stdout) == (0, "")
    assert result.stderr.splitlines() == [
        "pulling manifest", "pulling 0123456789ab", "verifying sha256 digest", "writing manifest", "success",
    ]  # fmt: skip
    assert fake.bodies("/api/pull") == [{"model": "m", "insecure": False, "fit": True}]


def test_whether_it_fits_is_a_line_of_its_own(fake: FakeServer, program: Program) -> None:
    told = {"status": "pulling manifest", "download_bytes": 4_700_000_000, "fit": "m fits."}
    fake.routes[("POST", "/api/pull")] = streaming(PULLED[0], told, *PULLED[1:])
    lines = program.run("pull", "m").stderr.splitlines()
    assert lines[:3] == ["pulling manifest", "4.7 GB to download. m fits.", "pulling 0123456789ab"]


def test_pull_for_scripts(fake: FakeServer, program: Program) -> None:
    fake.routes[("POST", "/api/pull")] = streaming(*PULLED)
    result = program.run("pull", "--json", "--insecure", "m")
    assert [json.loads(line) for line in result.stdout.splitlines()] == list(PULLED)
    assert result.stderr == ""
    assert fake.bodies("/api/pull") == [{"model": "m", "insecure": True}]


def test_a_pull_that_fails(fake: FakeServer, program: Program) -> None:
    """cli 40"""
    fake.routes[("POST", "/api/pull")] = failing(400, "invalid model name")
    result = program.run("pull", "a b")
    assert (result.returncode, result.stderr) == (1, "Error: invalid model name\n")


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("me/m", "https://ollama.com/me/m"),
        ("me/m:v1", "https://ollama.com/me/m:v1"),
        ("registry.example.com/me/m", "registry.example.com/me/m:latest"),
    ],
)
def test_push_says_where_the_model_is(fake: FakeServer, program: Program, name: str, address: str) -> None:
    """cli 6.7"""
    fake.routes[("POST", "/api/push")] = streaming({"status": "retrieving manifest"}, {"status": "success"})
    result = program.run("push", name)
    assert result.stdout == f"\nYou can find your model at:\n\n\t{address}\n"


def test_push_without_rights(fake: FakeServer, program: Program) -> None:
    """cli 42"""
    fake.routes[("POST", "/api/push")] = streaming({"error": "unauthorized: access denied"})
    result = program.run("push", "them/m")
    assert result.returncode == 1
    assert result.stderr == (
        "Error: you are not authorized to push to this namespace, create the model under a namespace you own\n"
    )
