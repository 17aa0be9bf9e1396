"""A file on its way in: `sha256-<hex>-partial` with one small state file per part beside it.

Bytes go to their place in a file that has its full size from the beginning. What the state files say is there has
reached the disk before they say it. All functions block.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from server.errors import DownloadRuns
from server.registry import parts as part_states
from server.registry.parts import Part
from server.store.files import create_temporary, make_folder, store_errors, sync_folder

try:
    import fcntl
except ImportError:  # Windows, where a file that is open for writing cannot be renamed or removed by others anyway
    fcntl = None  # type: ignore[assignment]

_FLAGS = (
    os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
)
_STATE = re.compile(r"(sha256-[0-9a-f]{64})-partial(?:-(\d{1,6}))?")
_MAX_STATE_BYTES = 4096


class Partial:
    """Open it with `open`; `close` keeps what is there, `finish` makes a blob of it, `discard` removes it."""

    def __init__(self, blob: Path, total: int, handle: int, found: list[Part]) -> None:
        self.blob = blob
        self.total = total
        self.parts = found
        self._handle = handle
        self._saved: dict[int, int] = {}
        self._position = threading.Lock()

    def __repr__(self) -> str:
        return f"<{self.completed} of {self.total} bytes of {self.blob.name}>"

    @classmethod
    def open(cls, blob: Path, total: int) -> Partial:
        """Go on with what is there, or begin. Raises DownloadRuns where another process downloads it, StoreError."""
        with store_errors("begin the download"):
            make_folder(blob.parent)
            path = partial_path(blob)
            handle = _locked(path)
            try:
                states = _states(blob)
                found = part_states.resumed(states, total)
                if os.fstat(handle).st_size != total:
                    # The states first: they must never speak of bytes that are not there.
                    found = part_states.layout(total)
                    _remove_states(blob)
                    os.ftruncate(handle, total)
                for number in states.keys() - {part.number for part in found}:
                    state_path(blob, number).unlink(missing_ok=True)
            except BaseException:
                os.close(handle)
                raise
        partial = cls(blob, total, handle, found)
        partial.save()  # of all parts at once: Ollama takes the states that it finds for the whole file
        return partial

    @property
    def completed(self) -> int:
        return sum(part.completed for part in self.parts)

    @property
    def is_open(self) -> bool:
        return self._handle >= 0

    def as_one_part(self) -> None:
        """From now on in one piece, for a registry that sends nothing else; what follows a gap is given up."""
        kept = part_states.contiguous(self.parts)
        with store_errors("write the download's state"):
            for part in self.parts[1:]:
                state_path(self.blob, part.number).unlink(missing_ok=True)
        self.parts = [Part(number=0, offset=0, size=self.total, completed=kept)]
        self._saved = {}

    def write(self, part: Part, pieces: Sequence[bytes]) -> None:
        """The next bytes of a part. Raises DiskFull, StoreError."""
        with store_errors("write the download"):
            for piece in pieces:
                view = memoryview(piece)
                while view:
                    written = self._write_at(view, part.at)
                    part.completed += written
                    view = view[written:]

    def read(self, offset: int, buffer: memoryview) -> int:
        """Fill a buffer from `offset` on; how many bytes came."""
        with store_errors("read the download"):
            if hasattr(os, "preadv"):
                return os.preadv(self._handle, [buffer], offset)
            with self._position:
                os.lseek(self._handle, offset, os.SEEK_SET)
                data = os.read(self._handle, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def save(self) -> None:
        """Write down what is there, after it has reached the disk. Raises DiskFull, StoreError."""
        reached = {part.number: part.completed for part in self.parts}
        changed = [part for part in self.parts if self._saved.get(part.number) != reached[part.number]]
        if not changed:
            return
        with store_errors("write the download's state"):
            getattr(os, "fdatasync", os.fsync)(self._handle)
            for part in changed:
                state = Part(number=part.number, offset=part.offset, size=part.size, completed=reached[part.number])
                _replace(state_path(self.blob, part.number), part_states.encode(state))
        self._saved |= reached

    def finish(self) -> None:
        """The verified file becomes the blob. Raises StoreError."""
        with store_errors("store the download"):
            os.fsync(self._handle)
            if os.name == "nt":
                self.close()
            os.replace(partial_path(self.blob), self.blob)
            sync_folder(self.blob.parent)
            _remove_states(self.blob)
        self.close()

    def discard(self) -> None:
        with store_errors("remove the download"):
            if os.name == "nt":
                self.close()
            partial_path(self.blob).unlink(missing_ok=True)
            _remove_states(self.blob)
        self.close()

    def close(self) -> None:
        """Ends the lock too."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _write_at(self, view: memoryview, offset: int) -> int:
        if hasattr(os, "pwrite"):
            return os.pwrite(self._handle, view, offset)
        with self._position:
            os.lseek(self._handle, offset, os.SEEK_SET)
            return os.write(self._handle, view)


def partial_path(blob: Path) -> Path:
    return blob.with_name(f"{blob.name}-partial")


def state_path(blob: Path, number: int) -> Path:
    return blob.with_name(f"{blob.name}-partial-{number}")


def kept_bytes(blob: Path, total: int) -> int:
    """How much of a file would not have to be downloaded again."""
    with contextlib.suppress(OSError):
        if partial_path(blob).stat().st_size == total:
            return sum(part.completed for part in part_states.resumed(_states(blob), total))
    return 0


def kept_blobs(folder: Path) -> Iterator[tuple[Path, int]]:
    """The blobs that are there in part, or of which only states are left, and the size that they will have."""
    found: dict[str, int] = {}
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            match = _STATE.fullmatch(entry.name)
            if match is None or not entry.is_file(follow_symlinks=False):
                continue
            found.setdefault(match[1], 0)
            if match[2] is None:
                found[match[1]] = entry.stat(follow_symlinks=False).st_size
    yield from ((folder / name, total) for name, total in sorted(found.items()))


def clear(blob: Path) -> int:
    """Remove what is there of a blob; the bytes freed. Raises DownloadRuns where another process downloads it."""
    path = partial_path(blob)
    freed = 0
    with store_errors("remove the download"):
        if path.exists():
            handle = _locked(path)
            try:
                status = os.fstat(handle)
                freed = getattr(status, "st_blocks", -(-status.st_size // 512)) * 512
                if os.name != "nt":
                    path.unlink(missing_ok=True)
            finally:
                os.close(handle)
            path.unlink(missing_ok=True)
        _remove_states(blob)
    return freed


def _locked(path: Path) -> int:
    """The file, open and ours alone among processes that ask for the same lock. Raises DownloadRuns, OSError."""
    while True:
        handle = os.open(path, _FLAGS, 0o644)
        if fcntl is None:
            return handle
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Who had it before may have renamed or removed it between opening and locking.
            if os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        except BlockingIOError:
            os.close(handle)
            raise DownloadRuns(
                "download already in progress: another program downloads this file into the same model folder"
            ) from None
        except FileNotFoundError:
            pass
        except OSError:
            return handle  # a disk that knows no such lock
        os.close(handle)


def _remove_states(blob: Path) -> None:
    for number in _states(blob):
        state_path(blob, number).unlink(missing_ok=True)


def _states(blob: Path) -> dict[int, Part | None]:
    """State files by their number; None where one cannot be understood."""
    states: dict[int, Part | None] = {}
    prefix = f"{blob.name}-partial-"
    for name in os.listdir(blob.parent):
        number = name.removeprefix(prefix)
        if name.startswith(prefix) and number.isascii() and number.isdecimal() and len(number) < 7:
            states[int(number)] = _state(blob.with_name(name), int(number))
    return states


def _state(path: Path, number: int) -> Part | None:
    try:
        with path.open("rb") as file:
            part = part_states.decode(file.read(_MAX_STATE_BYTES))
    except OSError:
        return None
    return part if part is not None and part.number == number else None


def _replace(path: Path, data: bytes) -> None:
    """Not synced: a state that is lost or empty after a power cut only means that its part is fetched again."""
    handle, temporary = create_temporary(path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
