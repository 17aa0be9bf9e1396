"""Pictures and sounds that are named in a prompt, for models that see or hear."""

from __future__ import annotations

import base64
import re
from pathlib import Path

from server.cli.frame import say

MAX_BYTES = 100 * 1024 * 1024
# A lookahead finds overlapping candidates: in "/tmp or ./a.png" the second one is the file.
_PATH = re.compile(
    r"(?<![^\s'\"(])(?=((?:[A-Za-z]:[\\/]|\.{0,2}/|\\)(?:\\.|[^\\\n])*?\.(?:jpe?g|png|webp|wav)\b))", re.IGNORECASE
)
_ESCAPED = re.compile(r"\\([ ()\[\]{}$&;'\"\\*?~`#<>|!])")


def take_files(prompt: str) -> tuple[str, list[str]]:
    """The prompt without the paths of files that exist, and the files in base64. What cannot be attached is reported
    and stays in the text."""
    files: list[str] = []
    for found in dict.fromkeys(_PATH.findall(prompt)):
        name = _ESCAPED.sub(r"\1", found)
        path = Path(name)
        if not path.is_file():
            continue
        try:
            content, kind = _read(path)
        except (OSError, ValueError) as error:
            say(f'Couldn\'t process file: "{error}"')
            continue
        say(f"Added {kind} '{name}'")
        files.append(base64.b64encode(content).decode())
        for written in (f"'{found}'", f'"{found}"', found):
            prompt = prompt.replace(written, "")
    return (prompt.strip() if files else prompt), files


def begins_with_path(text: str) -> bool:
    """Whether a line that begins with a slash names a file rather than a command."""
    found = _PATH.match(text)
    return found is not None and Path(_ESCAPED.sub(r"\1", found[1])).is_file()


def _read(path: Path) -> tuple[bytes, str]:
    """Content and kind. Raises ValueError for what is neither picture nor sound, whatever its name says."""
    if path.stat().st_size > MAX_BYTES:
        raise ValueError("file size exceeds maximum limit (100MB)")
    content = path.read_bytes()
    if content[:4] == b"RIFF" and content[8:12] == b"WAVE":
        return content, "audio"
    is_webp = content[:4] == b"RIFF" and content[8:12] == b"WEBP"
    if is_webp or content.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")):
        return content, "image"
    raise ValueError(f"invalid file type: {path.name}")
