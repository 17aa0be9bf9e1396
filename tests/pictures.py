"""Pictures of one color, which the small model that sees can name."""

from __future__ import annotations

import base64
import io
import struct

from PIL import Image

COLORS = {"red": (220, 20, 20), "green": (20, 180, 20), "blue": (20, 20, 220), "white": (250, 250, 250)}


def picture(color: str, form: str = "png", size: tuple[int, int] = (48, 40)) -> bytes:
    """A file. `form` is one that Pillow writes."""
    file = io.BytesIO()
    Image.new("RGB", size, COLORS[color]).save(file, form)
    return file.getvalue()


def encoded(color: str, form: str = "png") -> str:
    return base64.b64encode(picture(color, form)).decode()


def data_url(color: str, form: str = "png") -> str:
    return f"data:image/{form};base64,{encoded(color, form)}"


def silence(count: int = 1600) -> bytes:
    """A sound: a tenth of a second of nothing, or so many samples."""
    samples = bytes(2 * count)
    form = struct.pack("<HHIIHH", 1, 1, 16000, 32000, 2, 16)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(samples)) + samples
    return b"RIFF" + struct.pack("<I", len(body)) + body
