"""What is kept of API keys, and where."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import stat
import subprocess
import sys
import threading

import pytest

from server.errors import InvalidRequest, KeyNameTaken, KeyNotFound, KeysUnreadable
from server.secrets import SCOPES, Key, Keys, includes
from server.secrets.keys import RETRY_SECONDS, hash_of
from tests.secrets.keychains import KeychainInMemory, NoKeychain

ROOT = pathlib.Path(__file__).parents[2]
HOUR = 3600
needs_unix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "state" / "api-keys.json"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(path: pathlib.Path, clock: Clock) -> Keys:
    return Keys(path, NoKeychain(), clock)


def names(keys: Keys) -> list[str]:
    return [key.name for key in keys.list()]


def found(keys: Keys, text: str) -> str | None:
    key = keys.find(text.encode())
    return key.name if key else None


# ---- the keys ------------------------------------------------------------------------------------------------------


def test_a_key_is_32_random_bytes_behind_a_prefix_and_only_its_hash_is_kept(keys: Keys, path: pathlib.Path) -> None:
    key, text = keys.add("laptop", "use")
    assert text.startswith("puna-")
    assert len(text.removeprefix("puna-")) == 43  # 32 bytes in base64
    assert keys.add("other", "use")[1] != text
    kept = path.read_bytes()
    assert text.removeprefix("puna-").encode() not in kept
    assert json.loads(kept)[0]["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    assert (key.name, key.scope, key.created, key.last_used) == ("laptop", "use", 1_000_000, 0)


def test_it_is_found_by_its_text_alone(keys: Keys) -> None:
    texts = {name: keys.add(name, scope)[1] for name, scope in zip(("a", "b", "c"), SCOPES, strict=True)}
    assert {name: found(keys, text) for name, text in texts.items()} == {"a": "a", "b": "b", "c": "c"}
    for wrong in ("", "puna-", texts["a"][:-1], texts["a"] + "x", texts["a"].removeprefix("puna-"), hash_of(b"x")):
        assert found(keys, wrong) is None
    [kept] = [key for key in keys.list() if key.name == "a"]
    assert found(keys, kept.sha256) is None


def test_comparison_is_in_constant_time_and_of_every_key(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    """No early end: the time says neither how much of a hash was right nor which key it was."""
    texts = [keys.add(name, "use")[1] for name in "abc"]
    compared: list[tuple[str, str]] = []

    def compare(one: str, other: str) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr("server.secrets.keys.hmac.compare_digest", compare)
    for text in (texts[0], "nonsense"):
        compared.clear()
        found(keys, text)
        assert len(compared) == 3


def test_a_revoked_key_is_gone_at_once_and_the_others_stay(keys: Keys) -> None:
    one, other = keys.add("one", "use")[1], keys.add("other", "use")[1]
    assert found(keys, one) == "one"
    keys.revoke("one")
    assert (found(keys, one), found(keys, other)) == (None, "other")
    with pytest.raises(KeyNotFound, match='no API key "one"'):
        keys.revoke("one")
    assert found(keys, keys.add("one", "use")[1]) == "one"
    assert found(keys, one) is None


def test_names_and_scopes_are_checked_in_words(keys: Keys) -> None:
    keys.add("my laptop", "use")
    with pytest.raises(KeyNameTaken, match='"my laptop" already'):
        keys.add("my laptop", "admin")
    for name in ("", " ", "a/b", "a\nb", "x" * 65, " a", "a "):
        with pytest.raises(InvalidRequest, match="cannot name an API key"):
            keys.add(name, "use")
    for scope in ("", "root", "Use"):
        with pytest.raises(InvalidRequest, match="may have use, manage, admin"):
            keys.add("b", scope)
    assert names(keys) == ["my laptop"]


def test_a_higher_scope_includes_the_lower_ones() -> None:
    table = {held: [needed for needed in SCOPES if includes(held, needed)] for held in SCOPES}
    assert table == {"use": ["use"], "manage": ["use", "manage"], "admin": ["use", "manage", "admin"]}


def test_the_last_use_is_noted_to_the_hour_and_written_once_an_hour(
    keys: Keys, clock: Clock, path: pathlib.Path
) -> None:
    _, text = keys.add("a", "use")
    key = keys.find(text.encode())
    assert key
    assert not keys.is_noted(key)
    keys.note_use(key)
    assert keys.list()[0].last_used == 1_000_000 // HOUR * HOUR
    written = path.stat().st_mtime_ns
    clock.now += 60
    assert keys.is_noted(key)
    key = keys.find(text.encode())
    assert key
    assert keys.is_noted(key)
    assert path.stat().st_mtime_ns == written
    clock.now += HOUR
    assert not keys.is_noted(key)


def test_a_disk_that_takes_nothing_costs_the_note_and_not_the_request(keys: Keys, path: pathlib.Path) -> None:
    _, text = keys.add("a", "use")
    key = keys.find(text.encode())
    assert key
    path.with_name(path.name + ".lock").unlink()
    path.with_name(path.name + ".lock").mkdir()
    keys.note_use(key)
    assert keys.is_noted(key)  # and it is not tried again with every request
    assert keys.list()[0].last_used == 0


# ---- several servers, several threads ------------------------------------------------------------------------------


def test_two_servers_of_one_user_share_their_keys(keys: Keys, path: pathlib.Path) -> None:
    other = Keys(path, NoKeychain())
    _, text = keys.add("a", "use")
    assert found(other, text) == "a"
    assert other.is_current
    keys.revoke("a")
    assert not other.is_current
    assert found(other, text) is None


def test_keys_that_are_added_at_once_are_all_there(path: pathlib.Path) -> None:
    def add(number: int) -> None:
        for step in range(10):
            Keys(path, NoKeychain()).add(f"{number}-{step}", "use")

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(names(Keys(path, NoKeychain()))) == sorted(f"{n}-{s}" for n in range(4) for s in range(10))


# ---- the file ------------------------------------------------------------------------------------------------------


@needs_unix
def test_the_file_is_for_this_user_alone(keys: Keys, path: pathlib.Path) -> None:
    keys.add("a", "use")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@needs_unix
@pytest.mark.parametrize("mode", [0o644, 0o620, 0o602])
def test_a_file_that_others_can_read_or_write_is_refused_and_left_alone(
    keys: Keys, path: pathlib.Path, mode: int
) -> None:
    _, text = keys.add("a", "use")
    path.chmod(mode)
    for attempt in (keys.list, lambda: Keys(path, NoKeychain()).find(text.encode()), lambda: keys.add("b", "use")):
        with pytest.raises(KeysUnreadable) as raised:
            attempt()
        assert "mode 600" in raised.value.log
        assert str(path) not in str(raised.value)  # paths are for the log
    path.chmod(0o600)
    assert names(keys) == ["a"]


@needs_unix
def test_another_users_file_and_a_link_are_not_followed(
    keys: Keys, path: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys.add("a", "use")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(KeysUnreadable):
        keys.list()
    monkeypatch.undo()
    moved = tmp_path / "elsewhere.json"
    path.rename(moved)
    path.symlink_to(moved)
    with pytest.raises(KeysUnreadable):
        keys.list()
    path.unlink()
    os.mkfifo(path)  # must not wait for a writer
    with pytest.raises(KeysUnreadable):
        keys.list()


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[{}]", b"\xff", b'[{"id":"a","name":"a","scope":"root","created":1}]']
)
def test_a_file_that_cannot_be_read_lets_nobody_in_and_is_not_overwritten(
    keys: Keys, path: pathlib.Path, content: bytes
) -> None:
    _, text = keys.add("a", "use")
    path.write_bytes(content)
    with pytest.raises(KeysUnreadable):
        keys.find(text.encode())
    with pytest.raises(KeysUnreadable):
        keys.add("b", "use")
    assert path.read_bytes() == content


KILLED = """
import pathlib, sys
from server.secrets import Keys
from tests.secrets.keychains import NoKeychain
keys = Keys(pathlib.Path(sys.argv[1]), NoKeychain())
number = 0
while True:
    number += 1
    _, text = keys.add(f"key {number}", "use")
    print(f"key {number}", text, flush=True)
"""


def test_killed_in_the_middle_of_adding_a_key(path: pathlib.Path) -> None:
    """What was told is there, whole; nothing half-written is left for the next one."""
    texts: dict[str, str] = {}
    for last in (1, 7, 20):
        path.unlink(missing_ok=True)
        texts.clear()
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(path)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        with process:
            assert process.stdout
            for line in process.stdout:
                name, _, text = line.strip().rpartition(" ")
                texts[name] = text
                if len(texts) == last:
                    process.kill()
        keys = Keys(path, NoKeychain())
        assert {name: found(keys, text) for name, text in texts.items()} == {name: name for name in texts}
        keys.add("after", "use")
        assert {entry.name for entry in path.parent.iterdir()} == {"api-keys.json", "api-keys.json.lock"}


STOPPED = """
import os, pathlib, signal, sys
from server.secrets import Keys
from tests.secrets.keychains import NoKeychain
step = sys.argv[2]
real = getattr(os, step)
def kill(*args):
    os.kill(os.getpid(), signal.SIGKILL)
keys = Keys(pathlib.Path(sys.argv[1]), NoKeychain())
setattr(os, step, kill)
keys.add("lost", "use")
"""


@needs_unix
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_killed_at_each_step_of_writing(keys: Keys, path: pathlib.Path, step: str) -> None:
    _, text = keys.add("a", "use")
    before = path.read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", STOPPED, str(path), step], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == -9
    assert path.read_bytes() == before
    assert [entry for entry in path.parent.iterdir() if entry.suffix == ".tmp"]
    assert found(keys, text) == "a"
    keys.add("b", "use")
    assert not [entry for entry in path.parent.iterdir() if entry.suffix == ".tmp"]
    assert names(keys) == ["a", "b"]


# ---- the keychain --------------------------------------------------------------------------------------------------


def test_where_there_is_a_keychain_the_hash_is_there_and_not_in_the_file(path: pathlib.Path) -> None:
    keychain = KeychainInMemory()
    keys = Keys(path, keychain)
    key, text = keys.add("a", "use")
    assert keychain.texts == {key.id: hash_of(text.encode())}
    assert hash_of(text.encode()).encode() not in path.read_bytes()
    fresh = Keys(path, keychain)
    assert found(fresh, text) == "a"
    questions = keychain.questions
    assert found(fresh, text) == "a"
    assert keychain.questions == questions  # it is asked once
    keys.revoke("a")
    assert keychain.texts == {}
    assert found(fresh, text) is None


def test_a_keychain_that_does_not_take_a_key_leaves_it_to_the_file(path: pathlib.Path) -> None:
    keychain = KeychainInMemory()
    keychain.is_locked = True
    keys = Keys(path, keychain)
    _, text = keys.add("a", "use")
    assert found(keys, text) == "a"
    assert hash_of(text.encode()).encode() in path.read_bytes()


def test_a_locked_keychain_lets_in_only_keys_of_the_file_and_is_asked_again_later(
    path: pathlib.Path, clock: Clock
) -> None:
    keychain = KeychainInMemory()
    _, in_keychain = Keys(path, keychain).add("a", "use")
    _, in_file = Keys(path, NoKeychain()).add("b", "use")
    keychain.is_locked = True
    keys = Keys(path, keychain, clock)
    assert found(keys, in_file) == "b"
    for text in (in_keychain, "nonsense"):
        with pytest.raises(KeysUnreadable, match="unlock it"):
            keys.find(text.encode())
    assert keychain.questions == 2  # one kept, one refused: the user is not asked with every request
    keychain.is_locked = False
    clock.now += RETRY_SECONDS
    assert found(keys, in_keychain) == "a"
    assert keys.find(b"nonsense") is None


def test_what_was_deleted_in_the_keychain_opens_nothing(path: pathlib.Path) -> None:
    keychain = KeychainInMemory()
    _, text = Keys(path, keychain).add("a", "use")
    keychain.texts.clear()
    keys = Keys(path, keychain)
    for wrong in (text, "", "x"):
        assert keys.find(wrong.encode()) is None


def test_a_keychain_that_keeps_what_was_revoked_is_no_way_in(path: pathlib.Path) -> None:
    keychain = KeychainInMemory()
    keys = Keys(path, keychain)
    _, text = keys.add("a", "use")
    keychain.is_locked = True
    keys.revoke("a")
    keychain.is_locked = False
    assert len(keychain.texts) == 1
    assert found(Keys(path, keychain), text) is None


# ---- nothing is loaded that is not needed --------------------------------------------------------------------------


def test_keyring_is_loaded_by_the_first_key_and_not_before() -> None:
    code = "import sys, server.serve, server.secrets; print([n for n in ('keyring', 'psutil') if n in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "keyring" not in result.stdout


def test_without_a_file_there_are_no_keys() -> None:
    keys = Keys()
    assert keys.list() == ()
    assert keys.find(b"x") is None
    with pytest.raises(KeysUnreadable):
        keys.add("a", "use")


def test_a_key_says_nothing_of_itself_that_opens_anything(keys: Keys) -> None:
    key, text = keys.add("a", "use")
    assert isinstance(key, Key)
    assert text not in repr(key)
    assert repr(keys) == "<0 API keys>"
    found(keys, text)
    assert repr(keys) == "<1 API keys>"
