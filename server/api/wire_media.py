"""Pictures, sound and files that stand in a request as base64."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field

from server.messages.chat import IMAGE_HERE

_IMAGE_URL = re.compile(r"data:(?:image/(?:jpeg|jpg|png|webp|gif|bmp))?;base64,", re.IGNORECASE)
_TEXT_URL = re.compile(r"data:(?:text/[a-z0-9.+-]+|application/json)(?:;charset=[a-z0-9-]+)?;base64,", re.IGNORECASE)
_BLANKS = re.compile(r"\s+")
_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM")

REMOTE_IMAGE = "image URLs are not currently supported, please use base64 encoded data instead"


@dataclass
class Parts:
    """The texts and images of one message in their order. `between` joins two texts."""

    between: str = ""
    _parts: list[str | bytes] = field(default_factory=list)

    def add(self, part: str | bytes) -> None:
        self._parts.append(part)

    @property
    def images(self) -> tuple[bytes, ...]:
        return tuple(part for part in self._parts if isinstance(part, bytes))

    @property
    def content(self) -> str:
        """The texts, and between them IMAGE_HERE for the images, unless all of those come first."""
        texts = [part for part in self._parts if isinstance(part, str)]
        first = next((at for at, part in enumerate(self._parts) if isinstance(part, str) and part), len(self._parts))
        if not any(isinstance(part, bytes) for part in self._parts[first:]):
            return self.between.join(texts)
        written, waiting, has_text = "", "", False
        for part in self._parts:
            if isinstance(part, bytes):
                waiting += IMAGE_HERE
            else:
                written += (self.between if has_text else "") + waiting + part.replace(IMAGE_HERE, "")
                waiting, has_text = "", True
        return written + waiting


def decode_base64(text: str) -> bytes:
    """Standard base64; line breaks and missing padding are forgiven. Raises ValueError."""
    compact = _BLANKS.sub("", text).rstrip("=")
    try:
        return base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None


def image_of_url(url: str) -> bytes:
    """The bytes of a data URL, or of bare base64 that begins like a picture. Raises ValueError with the sentence."""
    if url.startswith(("http://", "https://")):
        raise ValueError(REMOTE_IMAGE)
    match = _IMAGE_URL.match(url)
    try:
        data = decode_base64(url[match.end() :] if match else url)
    except ValueError:
        raise ValueError("invalid image input") from None
    if not data or (not match and not data.startswith(_SIGNATURES)):
        raise ValueError("invalid image input")
    return data


def text_of_url(url: str) -> str | None:
    """The text of a data URL of a text or JSON file; None for anything else."""
    match = _TEXT_URL.match(url)
    if not match:
        return None
    try:
        return decode_base64(url[match.end() :]).decode("utf-8", "replace")
    except ValueError:
        return None
