"""API keys: `puna-` and 32 random bytes.

A key is shown once, when it is made. What is kept is a name, a scope, two dates and the SHA-256 of the key, from which
nobody can make the key: unlike a password, 32 random bytes cannot be guessed, so neither salt nor a slow hash would add
anything, and the file needs no encryption. Where the system has a keychain, the hash is kept there and the file holds
the rest; else the file holds both. It is for this user alone (mode 600).

The file is what decides: a hash in the keychain that no line of the file knows opens nothing. So a key is there, whole,
from the moment its file is replaced, and gone likewise, whatever ends the process before or after. Several servers of
one user share the file; each looks whether it has changed before it believes what it remembers.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import logging
import re
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock

import msgspec

from server.errors import InvalidRequest, KeyNameTaken, KeyNotFound, KeysUnreadable
from server.secrets.keychain import Keychain, SystemKeychain
from server.secrets.scopes import SCOPES, Scope
from server.settings.private import locked, read_private, write_private

log = logging.getLogger(__name__)

PREFIX = "puna-"
KEY_BYTES = 32
SECONDS_IN_HOUR = 3600
RETRY_SECONDS = 30.0  # a keychain that refused may ask its user each time
_NAME = re.compile(r"[\w.@+-](?:[\w.@+ -]{0,62}[\w.@+-])?")


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a key. `created` and `last_used` are Unix times; the latter is the beginning of an hour, 0 for
    never. `id` names the entry in the keychain, which has the hash where `sha256` is empty."""

    id: str
    name: str
    scope: Scope
    created: int
    last_used: int = 0
    sha256: str = ""


Signature = tuple[int, int, int]
_decode = msgspec.json.Decoder(list[Key]).decode


class Keys:
    """The keys in the file `path`; without one none are kept. Every method may wait for the disk or the keychain,
    except `find` while `is_current`. All raise KeysUnreadable."""

    def __init__(
        self, path: Path | None = None, keychain: Keychain | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._path = path
        self._keychain = keychain or SystemKeychain()
        self._clock = clock
        self._lock = Lock()
        self._seen: Signature | None = None
        self._keys: tuple[Key, ...] = ()
        self._hashes: dict[str, str] = {}
        self._noted: dict[str, int] = {}
        self._refusal = KeysUnreadable()
        self._refused_at = float("-inf")

    def __repr__(self) -> str:
        return f"<{len(self._keys)} API keys>"

    # ---- for those who keep keys -------------------------------------------------------------------------------------

    def list(self) -> tuple[Key, ...]:
        """Without a look into the keychain."""
        with _told("read"):
            return self._read()

    def add(self, name: str, scope: str) -> tuple[Key, str]:
        """The new key as it is kept, and its text, which nobody can find out later. Raises InvalidRequest and
        KeyNameTaken."""
        if not _NAME.fullmatch(name):
            raise InvalidRequest(
                f'"{name[:80]}" cannot name an API key: use up to 64 letters, digits, spaces and . _ - @ +'
            )
        found = next((known for known in SCOPES if known == scope), None)
        if found is None:
            raise InvalidRequest(f'there is no scope "{scope[:80]}"; an API key may have {", ".join(SCOPES)}')
        text = PREFIX + secrets.token_urlsafe(KEY_BYTES)
        key = Key(
            id=secrets.token_hex(8), name=name, scope=found, created=int(self._clock()), sha256=hash_of(text.encode())
        )
        with self._changing() as keys:
            if any(known.name == name for known in keys):
                raise KeyNameTaken(f'there is an API key "{name}" already; revoke it first, or choose another name')
            key = self._into_keychain(key)
            self._write((*keys, key))
        return key, text

    def revoke(self, name: str) -> None:
        """Raises KeyNotFound."""
        with self._changing() as keys:
            gone = next((key for key in keys if key.name == name), None)
            if gone is None:
                raise KeyNotFound(f'there is no API key "{name[:80]}"; `puna keys list` shows them')
            self._write(tuple(key for key in keys if key is not gone))
        if not gone.sha256:
            try:
                self._keychain.forget(gone.id)
            except KeysUnreadable as error:  # without its line in the file it opens nothing
                log.warning("the hash of a revoked API key stays in the keychain: %s", error.log)

    def _into_keychain(self, key: Key) -> Key:
        if not self._keychain.is_there():
            return key
        try:
            self._keychain.keep(key.id, key.sha256)
        except KeysUnreadable as error:
            log.warning("the file keeps a new API key, because the keychain does not: %s", error.log)
            return key
        return msgspec.structs.replace(key, sha256="")

    # ---- for those who come in ---------------------------------------------------------------------------------------

    @property
    def is_current(self) -> bool:
        """Whether `find` answers from memory."""
        return self._signature() == self._seen and not self._has_unknown_hashes

    def find(self, sent: bytes) -> Key | None:
        """The key that was sent. Every key is compared, and each in constant time."""
        if not self.is_current:
            with self._lock, _told("read"):
                self._load()
        wanted, found = hash_of(sent), None
        for key in self._keys:
            if hmac.compare_digest(self._hashes.get(key.id, ""), wanted):
                found = key
        if found is None and self._has_unknown_hashes:
            raise self._refusal
        return found

    def is_noted(self, key: Key) -> bool:
        return max(key.last_used, self._noted.get(key.id, 0)) >= self._hour()

    def note_use(self, key: Key) -> None:
        """Once an hour; a disk that takes nothing costs a line in the log."""
        hour = self._noted[key.id] = self._hour()
        try:
            with self._changing() as keys:
                self._write(
                    tuple(msgspec.structs.replace(kept, last_used=hour) if kept.id == key.id else kept for kept in keys)
                )
        except KeysUnreadable as error:
            log.warning("%s", error.log)

    def _hour(self) -> int:
        return int(self._clock()) // SECONDS_IN_HOUR * SECONDS_IN_HOUR

    # ---- the file ----------------------------------------------------------------------------------------------------

    @property
    def _has_unknown_hashes(self) -> bool:
        return any(key.id not in self._hashes for key in self._keys)

    def _load(self) -> None:
        """Also the hashes that are not known yet. The signature is taken first: a change in between is found later."""
        signature = self._signature()
        keys = self._read()
        hashes = {key.id: key.sha256 or self._hashes.get(key.id) for key in keys}
        if None in hashes.values() and self._clock() - self._refused_at >= RETRY_SECONDS:
            try:
                # What somebody has deleted in the keychain is a key that nobody has.
                hashes |= {id: self._keychain.look_up(id) or "" for id, known in hashes.items() if known is None}
            except KeysUnreadable as error:
                self._refusal, self._refused_at = error, self._clock()
                log.error("%s", error.log)
        self._hashes = {id: known for id, known in hashes.items() if known is not None}
        self._keys, self._seen = keys, signature

    def _signature(self) -> Signature | None:
        try:
            found = self._path.stat() if self._path else None
        except OSError:
            return None
        return (found.st_mtime_ns, found.st_ino, found.st_size) if found else None

    def _read(self) -> tuple[Key, ...]:
        """Raises OSError and msgspec's errors, so that nobody takes a file that cannot be read for an empty one."""
        if self._path is None:
            return ()
        try:
            return tuple(_decode(read_private(self._path)))
        except FileNotFoundError:
            return ()

    @contextlib.contextmanager
    def _changing(self) -> Iterator[tuple[Key, ...]]:
        """The keys as they are, while nobody else changes them."""
        if self._path is None:
            raise KeysUnreadable("this server keeps no API keys")
        with _told("changed"), locked(self._path):
            yield self._read()

    def _write(self, keys: tuple[Key, ...]) -> None:
        if self._path is not None:
            write_private(self._path, msgspec.json.format(msgspec.json.encode(keys)))


def hash_of(sent: bytes) -> str:
    return hashlib.sha256(sent).hexdigest()


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, msgspec.MsgspecError) as error:
        raise KeysUnreadable(
            f"the file of API keys could not be {what}; the server's log says why",
            log=f"the file of API keys could not be {what}: {error}",
        ) from error
