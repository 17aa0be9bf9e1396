"""Reading what the user types: keys, hints, blocks in triple quotes, the external editor."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.application import run_in_terminal
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import History
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout.processors import AfterInput, ConditionalProcessor, TabsProcessor

from server.cli.frame import say
from server.cli.session.history import PromptHistory

PROMPT, CONTINUATION = ">>> ", "... "
HINT, SEND_HINT = "Send a message (/? for help)", "Press Enter to send"
HINT_STYLE = "fg:ansibrightblack"
QUOTES = '"""'
TAB = " " * 8


class LineDropped(Exception):
    """Ctrl+C at the prompt; `had_text` tells whether something was typed."""

    def __init__(self, had_text: bool) -> None:
        self.had_text = had_text


class PromptReader:
    """Reads one message at a time. `editor` is the command that Ctrl+G runs."""

    def __init__(self, history: PromptHistory, editor: str) -> None:
        self._editor = editor
        self._session: PromptSession[str] = PromptSession(
            PROMPT,
            multiline=True,
            prompt_continuation=CONTINUATION,
            placeholder=FormattedText([(HINT_STYLE, HINT)]),
            history=_Recall(history),
            key_bindings=self._keys(),
            input_processors=[
                TabsProcessor(tabstop=len(TAB), char1=" ", char2=" "),  # of pasted text; else they show as ^I
                ConditionalProcessor(
                    AfterInput(SEND_HINT, HINT_STYLE), Condition(lambda: self._is_at_empty_last_line())
                ),
            ],
            enable_suspend=True,
        )

    def read(self) -> str:
        """Raises EOFError for Ctrl+D on an empty line, and LineDropped."""
        return self._session.prompt()

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()

        @keys.add("enter")
        def send(event: KeyPressEvent) -> None:
            if is_open_block(event.current_buffer.text):
                event.current_buffer.insert_text("\n")
            else:
                event.current_buffer.validate_and_handle()

        @keys.add("c-j")
        def break_line(event: KeyPressEvent) -> None:
            event.current_buffer.insert_text("\n")

        @keys.add("tab")
        def indent(event: KeyPressEvent) -> None:
            event.current_buffer.insert_text(TAB)

        @keys.add("c-c")
        def drop(event: KeyPressEvent) -> None:
            event.app.exit(exception=LineDropped(bool(event.current_buffer.text)))

        @keys.add("c-g")
        def edit(event: KeyPressEvent) -> None:
            buffer = event.current_buffer
            run_in_terminal(lambda: self._edit(buffer))

        return keys

    def _is_at_empty_last_line(self) -> bool:
        text = self._session.default_buffer.text
        return text.endswith("\n") and not is_open_block(text)

    def _edit(self, buffer: Buffer) -> None:
        """Let the user's editor change the text; it comes back into the line and is not sent."""
        command = _words(self._editor)
        if not command or not shutil.which(command[0]):
            say(f'error: editor "{self._editor}" not found, set OLLAMA_EDITOR to the path of your preferred editor')
            return
        with tempfile.TemporaryDirectory(prefix="puna-prompt-") as folder:
            path = Path(folder, "puna-prompt.txt")
            path.write_text(buffer.text, encoding="utf-8")
            done = subprocess.run([*command, str(path)], check=False)
            if done.returncode == 0:
                buffer.text = path.read_text(encoding="utf-8", errors="replace").rstrip("\n")
                buffer.cursor_position = len(buffer.text)
            else:
                say(f'error: editor "{self._editor}" ended with status {done.returncode}; the text is unchanged')


def _words(command: str) -> list[str]:
    """Backslashes are part of paths on Windows. Empty for quotes that do not match."""
    try:
        words = shlex.split(command, posix=sys.platform != "win32")
    except ValueError:
        return []
    return [word.strip('"') for word in words]


def is_open_block(text: str) -> bool:
    """Whether a block in triple quotes, alone or as the text of `/set system`, has not been closed yet."""
    body = text.removeprefix("/set system").lstrip(" ") if text.startswith("/set system ") else text
    if not body.startswith(QUOTES):
        return False
    return not (len(body) >= 2 * len(QUOTES) and body.rstrip(" ").endswith(QUOTES))


def without_quotes(text: str) -> str:
    """The content of a block in triple quotes; other text as it is."""
    trimmed = text.strip()
    if trimmed.startswith(QUOTES):
        return trimmed.removeprefix(QUOTES).removesuffix(QUOTES)
    return text


class _Recall(History):
    """Our history in the form that prompt_toolkit asks for."""

    def __init__(self, history: PromptHistory) -> None:
        super().__init__()
        self._history = history

    def load_history_strings(self) -> Iterable[str]:
        return reversed(self._history.entries)

    def store_string(self, string: str) -> None:
        self._history.add(string)
