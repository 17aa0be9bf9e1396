"""Sizes, speeds and times as the interface writes them."""

from __future__ import annotations

from app.i18n import decimal, text, whole

MIB = 1024 * 1024
GIB = 1024 * MIB
MINUTE, HOUR = 60, 3600


def size_text(size_bytes: int) -> str:
    """`1.9 GiB`; below a tenth of a GiB in MiB, from 100 GiB on without a decimal."""
    if size_bytes < GIB // 10:
        return text("unit.mib", number=whole(size_bytes / MIB))
    gib = size_bytes / GIB
    return text("unit.gib", number=decimal(gib, 1) if gib < 100 else whole(gib))


def memory_text(size_bytes: int, gpu_bytes: int) -> str:
    """Where a model lies: `1.9 GiB GPU`, `0.3 GiB CPU`, or both parts."""
    on_gpu = min(gpu_bytes, size_bytes)
    on_cpu = size_bytes - on_gpu
    parts = []
    if on_gpu:
        parts.append(text("model.gpu", size=size_text(on_gpu)))
    # A few buffers stay in main memory even when every layer is on the GPU: not worth a second number.
    if on_cpu > size_bytes // 20 or not parts:
        parts.append(text("model.cpu", size=size_text(on_cpu)))
    return " + ".join(parts)


def rate_text(per_second: float) -> str:
    """Tokens per second: a decimal only where it matters."""
    return decimal(per_second, 1) if per_second < 10 else whole(per_second)


def time_text(seconds: float) -> str:
    """`40 s`, `4 min`, `3 h`, rounded up: the last minute is not shown as none."""
    seconds = max(0.0, seconds)
    if seconds < MINUTE:
        return text("unit.seconds", number=whole(seconds))
    if seconds < 2 * HOUR:
        return text("unit.minutes", number=whole(-(-seconds // MINUTE)))
    return text("unit.hours", number=whole(seconds / HOUR))


def shortened(sentence: str, limit: int) -> str:
    """One line of at most `limit` characters."""
    line = " ".join(sentence.split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"
