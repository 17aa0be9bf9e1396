"""What the menu says, decided without Qt."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.figure import Figure, IconState, figure_of
from app.measures import memory_text, rate_text, shortened, size_text, time_text
from app.rows import LOADABLE_LIMIT, detail, load_rows, menu_rows, recent_first, row_label
from app.situation import (
    TOOLTIP_LIMIT,
    Installed,
    ServerState,
    Situation,
    headline,
    icon_state,
    quit_question,
    state_text,
    tooltip,
)
from tests.app.fakes import GIB, running

NOW = 1_000_000.0
UP = Situation(server="ready", address="127.0.0.1:11434", port=11434, url="http://127.0.0.1:11434")
LOADING = replace(UP, models=(running("a", state="loading"),))
LLAMA = running("llama3.2:3b", size_bytes=int(1.9 * GIB), gpu_bytes=int(1.9 * GIB), expires_at=NOW + 200)


@pytest.mark.parametrize(
    ("size_bytes", "said"),
    [(0, "0 MiB"), (45 * 1024**2, "45 MiB"), (int(1.94 * GIB), "1.9 GiB"), (int(123.6 * GIB), "124 GiB")],
)
def test_sizes(size_bytes: int, said: str) -> None:
    assert size_text(size_bytes) == said


@pytest.mark.parametrize(
    ("gpu", "said"),
    [(0.0, "4.0 GiB CPU"), (1.0, "4.0 GiB GPU"), (0.97, "3.9 GiB GPU"), (0.5, "2.0 GiB GPU + 2.0 GiB CPU")],
)
def test_memory_names_the_devices(gpu: float, said: str) -> None:
    assert memory_text(4 * GIB, int(4 * GIB * gpu)) == said


@pytest.mark.parametrize(
    ("seconds", "said"), [(-3, "0 s"), (40, "40 s"), (61, "2 min"), (240, "4 min"), (7300, "2 h"), (90_000, "25 h")]
)
def test_times(seconds: float, said: str) -> None:
    assert time_text(seconds) == said


def test_slow_rates_have_a_decimal() -> None:
    assert (rate_text(3.14159), rate_text(41.3), rate_text(1234.5)) == ("3.1", "41", "1,234")


def test_a_long_sentence_is_one_short_line() -> None:
    assert shortened("a\n b  c", 10) == "a b c"
    assert shortened("abcdefghij", 5) == "abcd…"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "1.9 GiB GPU · idle · 4 min left"),
        ({"active": 1, "tokens_per_second": 41.3}, "1.9 GiB GPU · 41 tok/s · 4 min left"),
        ({"active": 1, "prompt_tokens_per_second": 900.0}, "1.9 GiB GPU · reading 900 tok/s · 4 min left"),
        ({"active": 2, "waiting": 3}, "1.9 GiB GPU · working · 3 waiting · 4 min left"),
        ({"keep_alive_seconds": -1.0, "expires_at": None}, "1.9 GiB GPU · idle · kept loaded"),
        ({"keep_alive_seconds": 9.2e9}, "1.9 GiB GPU · idle · kept loaded"),
        ({"state": "loading", "load_fraction": 0.4, "size_bytes": 0}, "loading 40 %"),
        ({"state": "draining", "active": 1}, "1.9 GiB GPU · unloading"),
    ],
)
def test_a_running_model_says_what_it_costs_and_does(fields: dict[str, object], said: str) -> None:
    values = {"size_bytes": int(1.9 * GIB), "gpu_bytes": int(1.9 * GIB), "expires_at": NOW + 200} | fields
    assert detail(running("llama3.2:3b", **values), NOW) == said


@pytest.mark.parametrize(
    ("situation", "icon", "said"),
    [
        (Situation(), IconState.STOPPED, "Puna — stopped"),
        (Situation(server="starting"), IconState.STARTING, "Puna — starting…"),
        (Situation(server="stopping"), IconState.STARTING, "Puna — stopping…"),
        (Situation(server="failed"), IconState.ERROR, "Puna — could not start"),
        (UP, IconState.READY, "Puna — ready on 127.0.0.1:11434"),
        (replace(UP, models=(running("a", active=1),)), IconState.WORKING, "Puna — working on 127.0.0.1:11434"),
        (LOADING, IconState.STARTING, "Puna — loading a on 127.0.0.1:11434"),
        (replace(UP, is_lost=True), IconState.ERROR, "Puna — no answer from 127.0.0.1:11434; trying again"),
        (replace(UP, borrowed="ollama"), IconState.READY, "Puna — using Ollama on 127.0.0.1:11434"),
        (replace(UP, is_exposed=True), IconState.READY, "Puna — ready on 127.0.0.1:11434 (open to the network)"),
        (
            replace(UP, server="failed", question=True),
            IconState.ATTENTION,
            "Puna — 127.0.0.1:11434 is in use by another program",
        ),
    ],
)
def test_each_situation_has_an_icon_and_a_headline(situation: Situation, icon: IconState, said: str) -> None:
    assert icon_state(situation) is icon
    assert headline(situation) == said


def test_only_a_server_that_is_up_shows_the_ring() -> None:
    assert figure_of(IconState.READY, exposed=True) == Figure(ring=True)
    assert figure_of(IconState.WORKING, exposed=True) == Figure(sun="turning", ring=True)
    assert figure_of(IconState.STOPPED, exposed=True) == figure_of(IconState.STOPPED)


def test_the_tooltip_is_one_sentence() -> None:
    assert tooltip(replace(UP, models=(LLAMA,))) == "Ready on 127.0.0.1:11434 — 1 model, 1.9 GiB"
    two = replace(UP, models=(LLAMA, running("b", size_bytes=int(4.3 * GIB))))
    assert tooltip(two) == "Ready on 127.0.0.1:11434 — 2 models, 6.2 GiB"
    assert tooltip(UP) == state_text(UP)


def test_the_tooltip_says_why_a_start_failed_and_is_never_cut_off_by_the_system() -> None:
    failed = Situation(server="failed", error="The disk is gone. " * 20)
    assert tooltip(failed).startswith("Could not start: The disk is gone.")
    assert len(tooltip(failed)) == TOOLTIP_LIMIT


@pytest.mark.parametrize(
    ("server", "can_start", "can_stop"),
    [("stopped", True, False), ("failed", True, False), ("starting", False, True), ("ready", False, True),
     ("stopping", False, False)],
)  # fmt: skip
def test_what_can_be_done_with_the_server(server: ServerState, can_start: bool, can_stop: bool) -> None:
    rows = menu_rows(Situation(server=server), NOW)
    assert (rows.can_start, rows.can_stop) == (can_start, can_stop)


def test_a_borrowed_server_cannot_be_stopped() -> None:
    rows = menu_rows(replace(UP, borrowed="puna", models=(LLAMA,)), NOW)
    assert not rows.can_start
    assert not rows.can_stop
    assert rows.borrowed == "Started by another program, which alone can stop it"
    assert [row.name for row in rows.models] == ["llama3.2:3b"]


def test_an_own_server_is_offered_once_a_borrowed_one_has_gone() -> None:
    rows = menu_rows(replace(UP, borrowed="ollama", is_lost=True), NOW)
    assert rows.can_start
    assert not rows.can_load


def test_the_menu_of_a_ready_server_without_models() -> None:
    rows = menu_rows(UP, NOW)
    assert rows.empty == "No model is loaded"
    assert rows.can_copy
    assert rows.can_load
    assert not rows.problem
    assert not rows.question


def test_a_question_stands_in_place_of_the_error_it_came_from() -> None:
    rows = menu_rows(Situation(server="failed", port=11434, error="taken", question=True), NOW)
    assert rows.question == "⚠ Port 11434 is in use: choose what to do…"
    assert not rows.problem
    assert not rows.can_start


def test_a_failed_action_is_told_in_the_menu_until_it_is_dismissed() -> None:
    rows = menu_rows(replace(UP, notice='model "x" was not found'), NOW)
    assert rows.problem == '⚠ model "x" was not found'


def test_models_to_load_are_those_that_are_not_loaded_the_lately_used_first() -> None:
    installed = tuple(Installed(name, GIB) for name in ("new", "llama3.2:3b", "old"))
    assert [row.name for row in load_rows(installed, (LLAMA,))] == ["new", "old"]
    assert [model.name for model in recent_first(installed, ("old",))] == ["old", "new", "llama3.2:3b"]
    many = tuple(Installed(f"m{index}", GIB) for index in range(99))
    assert len(load_rows(many, ())) == LOADABLE_LIMIT


def test_a_meter_shows_the_context_in_use_or_how_far_loading_is() -> None:
    models = (running("a", used_tokens=1024), running("b", state="loading", load_fraction=0.4))
    rows = menu_rows(replace(UP, models=models), NOW)
    assert [row.fraction for row in rows.models] == [0.25, 0.4]
    assert rows.models[0].meter == "1,024 of 4,096 tokens of context in use"


def test_labels_show_ampersands() -> None:
    assert row_label("a&b", "1.0 GiB") == "a&&b — 1.0 GiB"


def test_quitting_asks_only_when_own_work_would_end_and_names_it() -> None:
    assert quit_question(replace(UP, models=(LLAMA,))) == ""
    one = replace(UP, models=(running("a", active=1),))
    assert quit_question(one) == "a is answering 1 request, which would end unfinished."
    three = replace(UP, models=(running("a", active=1), running("b", waiting=2), running("c", active=1)))
    assert quit_question(three) == "a, b and c are answering 4 requests, which would end unfinished."
    assert quit_question(replace(one, borrowed="ollama")) == ""
