"""The key pair that registries know this machine by: `~/.ollama/id_ed25519`, shared with Ollama."""

from __future__ import annotations

import base64
import os
import secrets
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from server.errors import RegistryError
from server.settings import paths
from server.store.files import make_folder, sync_folder

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PRIVATE_NAME, PUBLIC_NAME = "id_ed25519", "id_ed25519.pub"


class RegistryKey:
    """Read, and made where it is missing, when it is first needed. Blocking."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or paths.home_dir()
        self._loaded: Ed25519PrivateKey | None = None
        self._lock = threading.Lock()

    @property
    def path(self) -> Path:
        return self._folder / PRIVATE_NAME

    def ensure(self) -> str:
        """Make the pair where there is none: the public line of a new one, "" where it was there. Raises
        RegistryError."""
        return "" if self.path.exists() else _public_line(self._key())

    def public(self) -> str:
        """The base64 text of an OpenSSH public key, without type and comment. Raises RegistryError."""
        return _public_line(self._key()).split()[1]

    def sign(self, data: bytes) -> str:
        """Base64 of the 64 bytes of the signature. Raises RegistryError."""
        return base64.b64encode(self._key().sign(data)).decode()

    def _key(self) -> Ed25519PrivateKey:
        with self._lock:
            self._loaded = self._loaded or self._load()
            return self._loaded

    def _load(self) -> Ed25519PrivateKey:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_ssh_private_key

        try:
            data = self.path.read_bytes() if self.path.exists() else self._create()
            key = load_ssh_private_key(data, password=None)
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise _unusable(f"{self.path}: {error}") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise _unusable(f"{self.path} is no ed25519 key")
        return key

    def _create(self) -> bytes:
        """The private key's file, which two programs may make at the same moment: the first one wins."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        key = Ed25519PrivateKey.generate()
        data = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        make_folder(self._folder)
        try:
            _write_new(self.path, data, 0o600)
        except FileExistsError:
            return self.path.read_bytes()
        public = self._folder / PUBLIC_NAME
        public.unlink(missing_ok=True)  # of a private key that is gone
        _write_new(public, f"{_public_line(key)}\n".encode(), 0o644)
        sync_folder(self._folder)
        return data


def _write_new(path: Path, data: bytes, mode: int) -> None:
    """Whole under its name or not at all. Raises FileExistsError."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    try:
        if os.name == "nt":
            temporary.rename(path)
        else:
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _public_line(key: Ed25519PrivateKey) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def _unusable(log: str) -> RegistryError:
    return RegistryError(
        "the key that registries know this machine by (.ollama/id_ed25519 in the home folder) cannot be used; the log "
        "says why. Repair it, or move it away and a new one is made",
        log=log,
    )
