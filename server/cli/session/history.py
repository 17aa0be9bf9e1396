"""The prompts of earlier sessions, one per line, in the file that Ollama uses too."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

MAX_ENTRIES = 100


class PromptHistory:
    """`is_kept` False stops writing; what is in the file can still be recalled."""

    def __init__(self, path: Path, *, is_kept: bool = True) -> None:
        self._path = path
        self.is_kept = is_kept
        self.entries = _read(path)

    def add(self, entry: str) -> None:
        if not entry.strip():
            return
        self.entries = [*self.entries, entry][-MAX_ENTRIES:]
        if self.is_kept:
            # A home folder that cannot be written must not end a conversation.
            with suppress(OSError):
                self._write()

    def _write(self) -> None:
        """As a whole, for its owner only; a reader never sees half of it."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_name(self._path.name + ".tmp")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write("".join(f"{entry}\n" for entry in self.entries))
        os.replace(temporary, self._path)


def _read(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return [line for line in text.split("\n") if line.strip()][-MAX_ENTRIES:]
