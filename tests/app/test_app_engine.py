"""The server's life as signals, and the stream of its status."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from PySide6.QtWidgets import QApplication

from app.engine import Engine
from app.status import StatusFeed
from server.messages.models import RunningModel
from server.settings import Settings
from tests.app.conftest import Lives, Until, forget
from tests.app.fakes import FakeServer, running


@pytest.fixture
def engine(application: QApplication, lives: Lives) -> Iterator[Engine]:
    engine = Engine(Settings(port=0), lives)
    yield engine
    engine.end(10.0)
    forget(engine)


def test_start_and_stop(engine: Engine, until: Until) -> None:
    """desktop 1, 11."""
    seen: list[str] = []
    ended: list[bool] = []
    engine.changed.connect(lambda: seen.append(engine.state))
    engine.ended.connect(lambda: ended.append(True))
    engine.start()
    until(lambda: engine.state == "ready")
    assert engine.url.startswith("http://127.0.0.1:")
    engine.stop()
    until(lambda: ended)
    assert engine.state == "stopped"
    assert engine.url == ""
    assert not engine.is_running
    assert list(dict.fromkeys(seen)) == ["starting", "ready", "stopping", "stopped"]


def test_a_restart_is_a_new_server_after_the_old_one(engine: Engine, lives: Lives, until: Until) -> None:
    engine.start()
    until(lambda: engine.state == "ready")
    engine.restart()
    until(lambda: len(lives.made) == 2 and engine.state == "ready")
    assert lives.made[0].state == "stopped"


def test_a_second_start_changes_nothing(engine: Engine, lives: Lives, until: Until) -> None:
    engine.start()
    engine.start()
    until(lambda: engine.state == "ready")
    assert len(lives.made) == 1


def test_a_start_while_it_stops_comes_afterwards(engine: Engine, lives: Lives, until: Until) -> None:
    engine.start()
    until(lambda: engine.state == "ready")
    engine.stop()
    engine.start()
    until(lambda: len(lives.made) == 2 and engine.state == "ready")


def test_a_stop_during_the_start(engine: Engine, until: Until) -> None:
    ended: list[bool] = []
    engine.ended.connect(lambda: ended.append(True))
    engine.start()
    engine.stop()
    until(lambda: ended)
    assert engine.state == "stopped"


def test_a_failed_start_keeps_its_error(engine: Engine, puna: FakeServer, until: Until) -> None:
    engine.settings = Settings(port=puna.port)
    engine.start()
    until(lambda: engine.state == "failed")
    assert engine.error is not None
    assert engine.error.kind == "PortTaken"


def test_a_stop_of_nothing_ends_at_once(engine: Engine) -> None:
    ended: list[bool] = []
    engine.ended.connect(lambda: ended.append(True))
    engine.stop()
    assert ended == [True]


class Heard:
    """What a feed has told."""

    def __init__(self, feed: StatusFeed) -> None:
        self.models: list[tuple[RunningModel, ...]] = []
        self.sentences: list[str] = []
        feed.heard.connect(self.models.append)
        feed.lost.connect(self.sentences.append)


@pytest.fixture
def feed(application: QApplication) -> Iterator[StatusFeed]:
    feed = StatusFeed()
    yield feed
    feed.unfollow()
    forget(feed)


def test_changes_are_heard_as_they_happen(feed: StatusFeed, puna: FakeServer, until: Until) -> None:
    heard = Heard(feed)
    feed.follow(puna.url, "puna")
    until(lambda: heard.models)
    puna.show(running("a"))
    until(lambda: heard.models[-1] and heard.models[-1][0].name == "a")
    assert heard.sentences == []


def test_a_server_that_is_gone_is_told_and_found_again(feed: StatusFeed, puna: FakeServer, until: Until) -> None:
    heard = Heard(feed)
    feed.follow(puna.url, "puna")
    until(lambda: heard.models)
    puna.close()
    until(lambda: heard.sentences)
    told = len(heard.models)
    back = FakeServer(puna.port, models=(running("b"),))
    try:
        until(lambda: len(heard.models) > told)
        assert heard.models[-1][0].name == "b"
    finally:
        feed.unfollow()
        back.close()


def test_nothing_of_an_old_server_is_told(feed: StatusFeed, puna: FakeServer, until: Until) -> None:
    heard = Heard(feed)
    other = FakeServer(models=(running("other"),))
    try:
        feed.follow(puna.url, "puna")
        until(lambda: heard.models)
        feed.follow(other.url, "puna")
        until(lambda: heard.models[-1])
        told = len(heard.models)
        puna.show(running("late"))
        other.show(running("newer"))
        until(lambda: len(heard.models) > told)
        assert [model.name for model in heard.models[-1]] == ["newer"]
    finally:
        feed.unfollow()
        other.close()


def test_an_ollama_is_asked_more_often_while_somebody_looks(feed: StatusFeed, until: Until) -> None:
    ollama = FakeServer(kind="ollama", models=(running("a"),))
    heard = Heard(feed)
    try:
        feed.follow(ollama.url, "ollama")
        until(lambda: heard.models)
        assert heard.models[0][0].name == "a"
        ollama.show()
        feed.watch(True)
        until(lambda: heard.models[-1] == (), seconds=5)
    finally:
        feed.unfollow()
        ollama.close()
