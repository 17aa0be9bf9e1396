"""Log lines as `key=value` text, to standard error or to files that rotate."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import pathlib
import re
import sys
import time

from server.settings import SETTINGS, Settings, variables_of_others

TRACE = 5
LOG_FILE_BYTES = 10 * 1024 * 1024
LOG_FILES_KEPT = 5

# Nobody writes one into the log on purpose; but somebody may put one where a name belongs.
_API_KEY = re.compile(r"\b(puna-(?:run-)?)[A-Za-z0-9_-]{40,}")

logging.addLevelName(TRACE, "TRACE")


class KeyValueFormatter(logging.Formatter):
    """`time=… level=… source=file:line msg="…"`, with the exception's traceback below."""

    def format(self, record: logging.LogRecord) -> str:
        offset = time.strftime("%z", time.localtime(record.created))
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(record.created))
        line = (
            f"time={stamp}.{int(record.msecs):03d}{offset[:3]}:{offset[3:]} level={record.levelname} "
            f"source={record.filename}:{record.lineno} msg={quoted(record.getMessage())}"
        )
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return _API_KEY.sub(r"\1...", line)


def quoted(text: str) -> str:
    """The text itself where it is one plain word, else in double quotes on one line.

    Control characters are escaped: a request's path may hold what would move a terminal's cursor or forge a line.
    """
    if text and not any(c.isspace() or not c.isprintable() or c in '"=\\' for c in text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in escaped) + '"'


def described(settings: Settings) -> str:
    """Every setting in effect: `NAME=value` where the default holds, `NAME=value(source)` elsewhere; then the variables
    that others read."""
    values = [settings.value(setting.env) for setting in SETTINGS]
    ours = [
        f"{value.setting.env}={quoted(value.text)}" + ("" if value.source == "default" else f"({value.source})")
        for value in values
    ]
    return " ".join([*ours, *(f"{name}={quoted(text)}" for name, text in variables_of_others().items())])


def log_to_stderr(level: int) -> None:
    """Configure the root logger for a server in the foreground."""
    _configure(logging.StreamHandler(sys.stderr), level)


def log_to_file(folder: pathlib.Path, level: int) -> pathlib.Path:
    """Configure the root logger for the tray: `server.log` in `folder`, a new one for each start and whenever it has
    grown; the one before is `server-1.log`. Returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "server.log"
    handler = logging.handlers.RotatingFileHandler(
        path, maxBytes=LOG_FILE_BYTES, backupCount=LOG_FILES_KEPT, encoding="utf-8", delay=True
    )
    handler.namer = _older
    if path.exists():
        with contextlib.suppress(OSError):  # somebody reads it, which Windows minds: it is written on then
            handler.doRollover()
    _configure(handler, level)
    return path


def _older(name: str) -> str:
    """`server.log.1` in the words of Ollama's app: `server-1.log`."""
    stem, number = name.rsplit(".", 1)
    return f"{stem.removesuffix('.log')}-{number}.log"


def _configure(handler: logging.Handler, level: int) -> None:
    handler.setFormatter(KeyValueFormatter())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(level)
    for name in ("hypercorn", "hypercorn.error", "httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    # It warns of every write to a client that has just left, which is nobody's fault.
    logging.getLogger("asyncio").setLevel(max(level, logging.ERROR))
