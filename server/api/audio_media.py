"""What kind of recording some bytes are, and how long it lasts."""

from __future__ import annotations

from collections.abc import Iterator

from server.messages.media import kind_of_sound

# Kilobits per second by the index in a frame's header, and samples per second: MPEG 1 layer III, then MPEG 2 and 2.5.
_RATES = {
    3: ((0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320), (44100, 48000, 32000), 1152),
    2: ((0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160), (22050, 24000, 16000), 576),
    0: ((0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160), (11025, 12000, 8000), 576),
}
_ID3_HEADER = 10


def kind_of_audio(data: bytes) -> str:
    """wav, mp3 or flac, which the engine reads; ogg, m4a or webm, which it does not; "" for anything else."""
    if kind := kind_of_sound(data):
        return kind
    if data[4:8] == b"ftyp":
        return "m4a"
    return {b"OggS": "ogg", b"\x1a\x45\xdf\xa3": "webm"}.get(data[:4], "")


def duration_seconds(data: bytes) -> float:
    """As the headers tell; 0 where they do not."""
    match kind_of_audio(data):
        case "wav":
            return _wav(data)
        case "flac":
            return _flac(data)
        case "mp3":
            return sum(_mp3_frames(data))
    return 0.0


def _wav(data: bytes) -> float:
    """Bytes of sound by bytes per second; the chunks of both may stand anywhere."""
    at, rate = 12, 0
    while at + 8 <= len(data):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if name == b"fmt " and size >= 16:
            rate = int.from_bytes(data[at + 16 : at + 20], "little")
        elif name == b"data":
            return min(size, len(data) - at - 8) / rate if rate else 0.0
        at += 8 + size + size % 2
    return 0.0


def _flac(data: bytes) -> float:
    """Samples by samples per second, both in the block that every file begins with."""
    block = data[8:26]
    if len(block) < 18:
        return 0.0
    rate = int.from_bytes(block[10:13], "big") >> 4
    samples = int.from_bytes(block[13:18], "big") & ((1 << 36) - 1)
    return samples / rate if rate else 0.0


def _mp3_frames(data: bytes) -> Iterator[float]:
    """Seconds of each frame."""
    at = 0
    if data[:3] == b"ID3" and len(data) > _ID3_HEADER:  # a tag in front, its size in seven bits per byte
        at = _ID3_HEADER + sum((byte & 0x7F) << shift for byte, shift in zip(data[6:10], (21, 14, 7, 0), strict=True))
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] & 0xE0 == 0xE0:
        version, index = data[at + 1] >> 3 & 3, data[at + 2] >> 4
        sample_index, padding = data[at + 2] >> 2 & 3, data[at + 2] >> 1 & 1
        if version not in _RATES or not 0 < index < 15 or sample_index == 3:
            return
        rates, sample_rates, samples = _RATES[version]
        rate = sample_rates[sample_index]
        yield samples / rate
        at += samples * rates[index] * 125 // rate + padding
