"""Keys in tests stay out of the keychain of whoever runs them."""

from __future__ import annotations

from server.errors import KeysUnreadable

# For a server in a process of its own.
NO_KEYCHAIN = {"PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring"}


class NoKeychain:
    """A machine without one."""

    def is_there(self) -> bool:
        return False

    def keep(self, name: str, text: str) -> None:
        raise AssertionError("nothing is kept where nothing is")

    look_up = forget = keep


class KeychainInMemory:
    """`is_locked` refuses everything, as a user does who dismisses the question."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.is_locked = False
        self.questions = 0

    def is_there(self) -> bool:
        return True

    def keep(self, name: str, text: str) -> None:
        self._ask()
        self.texts[name] = text

    def look_up(self, name: str) -> str | None:
        self._ask()
        return self.texts.get(name)

    def forget(self, name: str) -> None:
        self._ask()
        del self.texts[name]

    def _ask(self) -> None:
        self.questions += 1
        if self.is_locked:
            raise KeysUnreadable("it is locked; unlock it")
