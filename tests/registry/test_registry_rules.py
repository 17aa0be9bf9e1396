"""What is decided without a network: addresses, challenges, the key, parts (numbers are the model store's checks)."""

from __future__ import annotations

import base64
import itertools
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from cryptography.hazmat.primitives.serialization import load_ssh_public_key
from hypothesis import given
from hypothesis import strategies as st

from server.errors import RegistryError
from server.net.addresses import AddressPolicy
from server.registry import parts
from server.registry.challenge import Challenge, parse_challenge, text_to_sign, token_url
from server.registry.key import RegistryKey
from server.registry.partial import Partial, partial_path, state_path
from server.registry.parts import Part
from server.registry.patience import MOST_RETRY_AFTER_SECONDS, Patience
from server.registry.session import refusal

PUBLIC = ("8.8.8.8", "2606:4700::1111", "198.18.3.4")
PRIVATE = (
    "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255",
    "::", "fe80::1", "fe80::1%eth0", "fd00::1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a00:1",
    "2002:a00:1::", "ff02::1", "nonsense",
)  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed(address: str) -> None:
    assert AddressPolicy().allows("example.com", 443, address, is_local=False)


@pytest.mark.parametrize("address", PRIVATE)
@pytest.mark.parametrize("is_local", [False, True])
def test_private_addresses_are_refused_unless_listed(address: str, is_local: bool) -> None:
    assert not AddressPolicy().allows("example.com", 443, address, is_local=is_local)
    if address != "nonsense":
        assert AddressPolicy(("example.com",)).allows("example.com", 443, address, is_local=is_local)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_this_machine_is_for_registries_named_as_such(address: str) -> None:
    assert AddressPolicy().allows("localhost", 5000, address, is_local=True)
    assert not AddressPolicy().allows("example.com", 443, address, is_local=False)
    assert not AddressPolicy(trusts_loopback=False).allows("localhost", 5000, address, is_local=True)


@pytest.mark.parametrize(
    ("entry", "host", "port", "address", "is_listed"),
    [
        ("models.lan", "MODELS.lan.", 443, "10.1.1.1", True),
        ("models.lan:5000", "models.lan", 5000, "10.1.1.1", True),
        ("models.lan:5000", "models.lan", 5001, "10.1.1.1", False),
        ("models.lan", "other.lan", 443, "10.1.1.1", False),
        ("10.0.0.0/8", "other.lan", 443, "10.1.1.1", True),
        ("10.0.0.0/8", "other.lan", 443, "192.168.1.1", False),
        ("10.1.1.1", "other.lan", 443, "10.1.1.1", True),
        ("fd00::/8", "other.lan", 443, "fd00::7", True),
    ],
)
def test_what_the_user_lists(entry: str, host: str, port: int, address: str, is_listed: bool) -> None:
    assert AddressPolicy((entry,)).allows(host, port, address, is_local=False) is is_listed


# ---- tokens --------------------------------------------------------------------------------------------------------

URL = "https://registry.example.com/v2/lib/m/manifests/latest"


def test_a_challenge_is_read_by_its_keys() -> None:
    header = 'Bearer realm="https://r/token",service="s",scope="repository:a:pull repository:b:pull"'
    assert parse_challenge(header) == Challenge("https://r/token", "s", ("repository:a:pull", "repository:b:pull"))
    assert parse_challenge('Basic realm="x", Bearer realm="https://r/t"') == Challenge("https://r/t")
    for other in ("", "Basic realm=x", 'Basic realm="x"', "Bearer", 'Bearer service="s"'):
        assert parse_challenge(other) is None


def test_the_signature_is_that_of_the_sorted_query(tmp_path: Path) -> None:
    """model-store 46, 47"""
    challenge = Challenge("https://registry.example.com/token?z=1&a=2", "s&t", ("repository:a b", "second"))
    url = token_url(challenge, URL, "nonce_-", 1700000000)
    query = parse_qsl(urlsplit(url).query)
    assert [name for name, _ in query] == sorted(name for name, _ in query)
    assert query == [
        ("a", "2"), ("nonce", "nonce_-"), ("scope", "repository:a b"), ("scope", "second"), ("service", "s&t"),
        ("ts", "1700000000"), ("z", "1"),
    ]  # fmt: skip
    key = RegistryKey(tmp_path)
    signature = base64.b64decode(key.sign(text_to_sign(url)))
    public = load_ssh_public_key(f"ssh-ed25519 {key.public()}".encode())
    constant = "ZTNiMGM0NDI5OGZjMWMxNDlhZmJmNGM4OTk2ZmI5MjQyN2FlNDFlNDY0OWI5MzRjYTQ5NTk5MWI3ODUyYjg1NQ=="
    public.verify(signature, f"GET,{url},{constant}".encode())  # type: ignore[union-attr, call-arg]


@pytest.mark.parametrize(
    ("realm", "asked", "reason"),
    [
        ("https://evil.example.com/token", URL, "does not match"),
        ("https://registry.example.com:444/token", URL, "does not match"),
        ("https://registry.example.com@evil.example.com/token", URL, "does not match"),
        ("https://registry.example.com.evil.com/token", URL, "does not match"),
        ("//registry.example.com/token", URL, "not over https"),
        ("http://registry.example.com/token", URL, "not over https"),
        ("https://huggingface.co/token", URL, "does not match"),
        ("/token", URL, "does not match"),
    ],
)
def test_realms_that_hear_nothing(realm: str, asked: str, reason: str) -> None:
    """model-store 48"""
    with pytest.raises(RegistryError, match=reason):
        token_url(Challenge(realm), asked, "n", 1)


def test_realms_that_may_be_asked() -> None:
    assert token_url(Challenge("https://REGISTRY.example.com/t"), URL, "n", 1).startswith("https://REGISTRY")
    assert token_url(Challenge("https://huggingface.co/t"), "https://hf.co/v2/a/b/manifests/c", "n", 1)
    assert token_url(Challenge("http://127.0.0.1:5000/t"), "http://127.0.0.1:5000/v2/", "n", 1)


def test_the_key_is_made_once(tmp_path: Path) -> None:
    """model-store 52"""
    folder = tmp_path / "home"
    key = RegistryKey(folder)
    key.ensure()
    private, public = folder / "id_ed25519", folder / "id_ed25519.pub"
    assert public.read_text() == f"ssh-ed25519 {key.public()}\n"
    if sys.platform != "win32":
        assert [stat.S_IMODE(path.stat().st_mode) for path in (private, public)] == [0o600, 0o644]
    before = private.read_bytes()
    RegistryKey(folder).ensure()
    assert private.read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == ["id_ed25519", "id_ed25519.pub"]
    assert RegistryKey(folder).public() == key.public()
    if program := shutil.which("ssh-keygen"):
        shown = subprocess.run([program, "-y", "-f", private], capture_output=True, text=True, check=True).stdout
        assert shown.split()[:2] == ["ssh-ed25519", key.public()]


def test_a_key_that_cannot_be_used_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "id_ed25519").write_text("mine")
    with pytest.raises(RegistryError, match="id_ed25519"):
        RegistryKey(tmp_path).public()
    assert (tmp_path / "id_ed25519").read_text() == "mine"


# ---- parts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("total", "count", "size"),
    [(3_200_000_000, 16, 200_000_000), (50_000_000, 1, 50_000_000), (20_000_000_000, 20, 1_000_000_000)],
)
def test_sizes_of_parts(monkeypatch: pytest.MonkeyPatch, total: int, count: int, size: int) -> None:
    """model-store 55"""
    monkeypatch.setattr(parts, "LEAST_PART_BYTES", 100_000_000)
    made = parts.layout(total)
    assert len(made) == count
    assert {part.size for part in made} == {size}


def test_the_file_of_a_state(tmp_path: Path) -> None:
    """model-store 56"""
    assert parts.encode(Part(number=3, offset=300, size=100, completed=7)) == (
        b'{"N":3,"Offset":300,"Size":100,"Completed":7}\n'
    )
    for broken in (b"", b"{", b"[]", b'{"N":0}', b'{"N":0,"Offset":0,"Size":9,"Completed":10}', b"\xff"):
        assert parts.decode(broken) is None


@given(total=st.integers(0, 10**13))
def test_parts_cover_a_file(total: int) -> None:
    made = parts.layout(total)
    assert [part.number for part in made] == list(range(len(made)))
    assert sum(part.size for part in made) == total
    assert all(a.end == b.offset for a, b in itertools.pairwise(made))


@given(sizes=st.lists(st.integers(1, 10**9), min_size=1, max_size=30), data=st.data())
def test_what_another_program_began_counts_as_it_is(sizes: list[int], data: st.DataObject) -> None:
    """model-store 58: whatever sizes it chose"""
    made: dict[int, Part | None] = {}
    at = 0
    for number, size in enumerate(sizes):
        made[number] = Part(number=number, offset=at, size=size, completed=data.draw(st.integers(0, size)))
        at += size
    assert parts.resumed(made, at) == list(made.values())
    kept = sum(part.completed for part in parts.resumed({**made, 0: None}, at))
    assert kept <= sum(part.completed for part in made.values() if part)


TOTAL = 450_000


def written(blob: Path, data: bytes = b"a" * TOTAL, upto: int = 60_000) -> None:
    partial = Partial.open(blob, TOTAL)
    for part in partial.parts:
        partial.write(part, [data[part.offset : part.offset + min(upto, part.size)]])
    partial.save()
    partial.close()


@pytest.mark.parametrize("damage", [b"", b"{", b'{"N":9,"Offset":0,"Size":1,"Completed":1}', b'{"N":1,"Offset":5}'])
def test_a_damaged_state_costs_its_part(tmp_path: Path, damage: bytes) -> None:
    """model-store 59"""
    blob = tmp_path / f"sha256-{'a' * 64}"
    written(blob)
    state_path(blob, 1).write_bytes(damage)
    partial = Partial.open(blob, TOTAL)
    assert [part.completed for part in partial.parts] == [60_000, 0, 60_000, 60_000, 50_000]
    partial.close()


def test_states_without_their_file_are_nothing(tmp_path: Path) -> None:
    """model-store 60: also when it broke off again at once"""
    blob = tmp_path / f"sha256-{'a' * 64}"
    written(blob)
    partial_path(blob).unlink()
    for _ in range(2):
        partial = Partial.open(blob, TOTAL)
        assert partial.completed == 0
        partial.close()


def test_a_file_of_another_size_is_begun_again(tmp_path: Path) -> None:
    blob = tmp_path / f"sha256-{'a' * 64}"
    written(blob)
    partial = Partial.open(blob, TOTAL + 1)
    assert partial.completed == 0
    partial.close()


def test_states_say_what_the_disk_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes while the file is synced is not yet written down."""
    blob = tmp_path / f"sha256-{'a' * 64}"
    partial = Partial.open(blob, TOTAL)
    partial.write(partial.parts[0], [b"x" * 1000])
    monkeypatch.setattr("os.fdatasync", lambda _: partial.write(partial.parts[0], [b"y" * 500]), raising=False)
    partial.save()
    state = parts.decode(state_path(blob, 0).read_bytes())
    assert state is not None
    assert (state.completed, partial.completed) == (1000, 1500)
    partial.discard()
    assert list(tmp_path.iterdir()) == []


def test_pauses_grow_and_a_registry_may_ask_for_more() -> None:
    patience = Patience()
    assert [patience.pause_seconds(n, RegistryError("x")) for n in range(1, 7)] == [1, 2, 4, 8, 16, 32]
    asked = refusal(429, "slow down")
    asked.retry_after_seconds = 20.0
    assert patience.pause_seconds(1, asked) == 20.0
    asked.retry_after_seconds = 99999.0
    assert patience.pause_seconds(1, asked) == MOST_RETRY_AFTER_SECONDS
