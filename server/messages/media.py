"""Images and sounds travel in one list; their first bytes tell them apart."""

from __future__ import annotations

from typing import Literal


def kind_of_sound(data: bytes) -> Literal["wav", "mp3", "flac", ""]:
    """The kind of a sound that models can be given; "" for anything else, which is taken for an image."""
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return "wav"
    if data[:3] == b"ID3" or (len(data) > 1 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0):
        return "mp3"
    return "flac" if data[:4] == b"fLaC" else ""
