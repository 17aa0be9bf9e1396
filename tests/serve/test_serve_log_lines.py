"""One line of the log per message, whatever a request brings into it."""

from __future__ import annotations

import pytest

from server.serve.logs import quoted


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("ready", "ready"),
        ("", '""'),
        ("a b", '"a b"'),
        ('say "a"', r'"say \"a\""'),
        ("C:\\models", r'"C:\\models"'),
        ("one\ntwo\r", r'"one\ntwo\r"'),
        ("\x1b[2J", r'"\x1b[2J"'),
        ("end\x00", r'"end\x00"'),
        ("日本語 🦙", '"日本語 🦙"'),
        ("half \ud83e", r'"half \ud83e"'),
    ],
)
def test_a_message_stays_on_its_line(text: str, line: str) -> None:
    assert quoted(text) == line
