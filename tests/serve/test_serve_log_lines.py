"""One line of the log per message, whatever a request brings into it."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

from server.serve.logs import LOG_FILES_KEPT, quoted

STARTS = """
import logging, pathlib, sys
from server.serve import logs
logs.LOG_FILE_BYTES = 2000
for start in range(8):
    logs.log_to_file(pathlib.Path(sys.argv[1]), logging.INFO)
    logging.info("start %d", start)
for line in range(12):
    logging.info("long %d %s", line, "x" * 500)
logging.shutdown()
"""


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


def test_each_start_has_a_log_of_its_own(tmp_path: pathlib.Path) -> None:
    """runtime 98: five old files, named as Ollama's app names them, and no file that grows for ever"""
    subprocess.run([sys.executable, "-c", STARTS, str(tmp_path)], check=True)
    names = ["server.log", *(f"server-{number}.log" for number in range(1, LOG_FILES_KEPT + 1))]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert all(path.stat().st_size <= 2000 for path in tmp_path.iterdir())
    told = [(tmp_path / name).read_text() for name in reversed(names)]
    assert ["start 5" in told[0], "start 6" in told[1]] == [True, True]
    assert "start 7" in told[2]
    assert "long 11 " in told[-1]
