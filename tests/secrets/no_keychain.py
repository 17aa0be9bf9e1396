"""Keys in tests stay out of the keychain of whoever runs them."""

from __future__ import annotations

# For a server in a process of its own.
NO_KEYCHAIN = {"PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring"}


class NoKeychain:
    """A machine without one."""

    def is_there(self) -> bool:
        return False

    def keep(self, name: str, text: str) -> None:
        raise AssertionError("nothing is kept where nothing is")

    look_up = forget = keep
