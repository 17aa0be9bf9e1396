"""The system's own store of secrets: Keychain of macOS, Credential Locker of Windows, Secret Service or KWallet of a
Linux desktop. Everything else that `keyring` offers is a file like ours, or nothing."""

from __future__ import annotations

import logging
from functools import cached_property
from typing import Any, Protocol

from server.errors import KeysUnreadable

log = logging.getLogger(__name__)

SERVICE = "Puna API keys"
_REAL = ("macOS", "Windows", "SecretService", "libsecret", "kwallet")


class Keychain(Protocol):
    """Texts by name. Everything raises KeysUnreadable where the system refuses, and may wait for its user."""

    def is_there(self) -> bool: ...
    def keep(self, name: str, text: str) -> None: ...
    def look_up(self, name: str) -> str | None: ...
    def forget(self, name: str) -> None: ...


class SystemKeychain:
    """`keyring` is loaded with the first question: it takes longer than all the rest of a start."""

    def is_there(self) -> bool:
        return self._backend is not None

    def keep(self, name: str, text: str) -> None:
        self._call("set_password", name, text)

    def look_up(self, name: str) -> str | None:
        found = self._call("get_password", name)
        return found if isinstance(found, str) else None

    def forget(self, name: str) -> None:
        self._call("delete_password", name)

    @cached_property
    def _backend(self) -> Any:
        """None where there is no real one, or where whoever configured `keyring` wants none."""
        try:
            import keyring

            chosen: Any = keyring.get_keyring()
        except Exception as error:  # whatever plug-ins of a system raise when they are loaded
            log.warning("the system's keychain cannot be used: %r", error)
            return None
        candidates = getattr(chosen, "backends", None) or (chosen,)
        return next((backend for backend in candidates if _is_real(backend)), None)

    def _call(self, method: str, *args: str) -> Any:
        if self._backend is None:
            raise KeysUnreadable(
                "the keychain of this computer, which keeps some API keys, is not there; start the server in the "
                "session of a desktop, or revoke these keys and add others"
            )
        try:
            return getattr(self._backend, method)(SERVICE, *args)
        except Exception as error:  # each system has errors of its own, and not all are the library's
            raise KeysUnreadable(
                "the keychain of this computer, which keeps some API keys, could not be used; unlock it and try again",
                log=f"keychain: {method}: {error!r}",
            ) from error


def _is_real(backend: object) -> bool:
    module = type(backend).__module__
    return module.startswith("keyring.backends.") and module.split(".")[2] in _REAL
