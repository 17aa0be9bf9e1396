"""Progress on standard error: live on a terminal, one plain line per step elsewhere. For scripts, JSON on standard
output."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any

from server.cli.frame import say

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID


class Progress:
    """Steps one after the other. A step with a total is a bar, without one a spinner; `step` with the same key again
    updates it. Leaving the `with` block keeps the lines; `clear` takes them away."""

    def __init__(self) -> None:
        self._live: RichProgress | None = _live_display() if sys.stderr.isatty() else None
        self._steps: dict[str, Any] = {}
        self._is_cleared = False

    def __enter__(self) -> Progress:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live and not self._is_cleared:
            self._finish_spinners()
            self._live.stop()

    def step(self, text: str, *, key: str = "", completed: int = 0, total: int = 0) -> None:
        key = key or text
        if self._live is None:
            if key not in self._steps:
                self._steps[key] = text
                say(text)
            return
        if key in self._steps:
            self._live.update(self._steps[key], description=text, completed=completed, total=total or None)
        else:
            self._finish_spinners()
            self._steps[key] = self._live.add_task(text, total=total or None, completed=completed)

    def note(self, text: str) -> None:
        """A line that is no step and stays as it is."""
        if self._live is None:
            say(text)
        else:
            self._live.console.print(text, markup=False, soft_wrap=True)

    def clear(self) -> None:
        if self._live and not self._is_cleared:
            for task in list(self._live.task_ids):
                self._live.remove_task(task)
            self._live.live.transient = True
            self._live.stop()
        self._is_cleared = True

    def _finish_spinners(self) -> None:
        """Of a step that is over only its text stays."""
        if self._live is None:
            return
        for task in self._live.tasks:
            if task.total is None:
                self._stop(task.id)

    def _stop(self, task: TaskID) -> None:
        if self._live is not None:
            self._live.stop_task(task)


class JsonLines(Progress):
    """Each step as a line of JSON with the members of the API's progress, for scripts."""

    def __init__(self) -> None:
        super().__init__()
        self._live = None

    def step(self, text: str, *, key: str = "", completed: int = 0, total: int = 0) -> None:
        import json

        numbers = {"completed": completed, "total": total} if total else {}
        sys.stdout.write(json.dumps({"status": text, **numbers}, ensure_ascii=False) + "\n")
        sys.stdout.flush()


def _live_display() -> RichProgress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        ProgressColumn,
        SpinnerColumn,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as RichProgress
    from rich.progress import Task as RichTask
    from rich.text import Text

    def only_for_bars(column: type[ProgressColumn], *, while_running: bool = False) -> ProgressColumn:
        class ForBars(column):  # type: ignore[misc, valid-type]
            def render(self, task: RichTask) -> Any:
                is_quiet = while_running and (task.finished or not task.speed)
                return Text() if task.total is None or is_quiet else super().render(task)

        return ForBars()

    class Spinner(SpinnerColumn):
        def render(self, task: RichTask) -> Any:
            return Text() if task.total is not None or task.stop_time is not None else super().render(task)

    return RichProgress(
        TextColumn("{task.description}", markup=False),
        Spinner(),
        only_for_bars(TaskProgressColumn),
        only_for_bars(BarColumn),
        only_for_bars(DownloadColumn),
        only_for_bars(TransferSpeedColumn, while_running=True),
        only_for_bars(TimeRemainingColumn, while_running=True),
        console=Console(stderr=True, highlight=False),
    )
