"""Pictures, sound and files that stand in a request as base64."""

from __future__ import annotations

import base64
import binascii
import re

_IMAGE_URL = re.compile(r"data:(?:image/(?:jpeg|jpg|png|webp|gif|bmp))?;base64,", re.IGNORECASE)
_TEXT_URL = re.compile(r"data:(?:text/[a-z0-9.+-]+|application/json)(?:;charset=[a-z0-9-]+)?;base64,", re.IGNORECASE)
_BLANKS = re.compile(r"\s+")
_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM")

REMOTE_IMAGE = "image URLs are not currently supported, please use base64 encoded data instead"


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
