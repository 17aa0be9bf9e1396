"""Which differences load a model anew."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from server.scheduler.reuse import Setup, can_reuse

ASKED: dict[str, Any] = {"num_ctx_automatic": False, "num_batch_automatic": False, "use_mmap_automatic": False}


@pytest.mark.parametrize(
    ("loaded", "wanted", "reused"),
    [
        pytest.param({}, {}, True, id="nothing said"),
        pytest.param({}, {"num_ctx": 8192, "num_ctx_automatic": False}, False, id="runtime 45: another num_ctx"),
        pytest.param({}, {"num_ctx": 4096, "num_ctx_automatic": False}, True, id="runtime 45: the value in effect"),
        pytest.param({"num_ctx": 4096}, {"num_ctx": 32768}, True, id="runtime 46: both automatic"),
        pytest.param({"num_ctx": 8192, "num_ctx_automatic": False}, {}, False, id="from explicit back to unset"),
        pytest.param({"num_batch": 512}, {"num_batch": 1024}, True, id="automatic batches"),
        pytest.param({}, {"num_batch": 64, "num_batch_automatic": False}, False, id="another num_batch"),
        pytest.param({}, {"num_gpu": 10}, False, id="runtime 47: num_gpu from unset to 10"),
        pytest.param({"num_gpu": 10}, {}, True, id="runtime 47: num_gpu from 10 to unset"),
        pytest.param({"num_gpu": 10}, {"num_gpu": 0}, False, id="another num_gpu"),
        pytest.param({}, {"adapter_paths": ("x",)}, False, id="runtime 48: another adapter"),
        pytest.param({}, {"projector_path": "x"}, False, id="runtime 5.4: another projector"),
        pytest.param({"shift": True}, {"shift": False}, False, id="runtime 49: shift"),
        pytest.param({}, {"main_gpu": 1}, False, id="another main_gpu"),
        pytest.param({}, {"num_thread": 3}, False, id="another num_thread"),
        pytest.param({}, {"draft_num_predict": 2}, False, id="another draft_num_predict"),
        pytest.param({}, {"use_mmap": False, "use_mmap_automatic": False}, False, id="mapping switched off"),
        pytest.param({"use_mmap": False}, {"use_mmap": True}, True, id="mapping was chosen automatically"),
    ],
)
def test_reuse(loaded: dict[str, Any], wanted: dict[str, Any], reused: bool) -> None:
    assert can_reuse(replace(Setup(), **loaded), replace(Setup(), **wanted)) is reused


@pytest.mark.parametrize("asked", [{}, ASKED])
def test_a_setup_always_serves_itself(asked: dict[str, Any]) -> None:
    setup = replace(Setup(), **asked)
    assert can_reuse(setup, setup)
