from __future__ import annotations

import os

from server.engine.threads import default_threads, wanted_threads


def test_a_request_gets_the_threads_it_asks_for() -> None:
    assert wanted_threads(1) == 1


def test_more_threads_than_the_machine_has_are_not_started() -> None:
    assert wanted_threads(10**9) == os.cpu_count()


def test_no_wish_leaves_the_choice_to_the_engine() -> None:
    assert wanted_threads(0) == wanted_threads(-3) == default_threads()
    assert 1 <= default_threads() <= (os.cpu_count() or 1)
