"""Work that reports its progress, as a stream of progress objects."""

from __future__ import annotations

import math
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import anyio
import anyio.from_thread
import anyio.to_thread
from anyio.abc import TaskGroup
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from server.api.responses import BARE_JSON, encode, error_answer, json_answer
from server.api.streaming import Streamed, all_of
from server.errors import Cancelled, PunaError
from server.messages.chat import Progress

Report = Callable[[Progress], None]
Work = Callable[[Report], None]


class _Job:
    """`work` in a thread of its own. A thread cannot be cancelled: after `leave` its next report raises Cancelled."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._sender, self._receiver = anyio.create_memory_object_stream[Progress](math.inf)
        self._has_left = threading.Event()
        self._failure: Exception | None = None

    async def run(self) -> None:
        with self._sender:
            try:
                await anyio.to_thread.run_sync(self._work, self._report)
            except Exception as error:
                self._failure = error

    def leave(self) -> None:
        self._has_left.set()

    def _report(self, progress: Progress) -> None:
        if self._has_left.is_set():
            raise Cancelled()
        anyio.from_thread.run_sync(self._sender.send_nowait, progress)

    async def reports(self) -> AsyncGenerator[Progress, None]:
        """All progress; raises what the work raised."""
        async for progress in self._receiver:
            yield progress
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        self._receiver.close()
        self._sender.close()  # where the work was never begun


def _line(progress: Progress) -> bytes:
    return encode(progress) + b"\n"


class ProgressAnswer:
    """All progress line by line, or without `stream` the last of it at the end. `before` is what has to be done first,
    with progress of its own; where it fails the work does not begin."""

    def __init__(self, work: Work, stream: bool, before: AsyncGenerator[Progress, None] | None = None) -> None:
        self._work = work
        self._stream = stream
        self._before = before

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        job = _Job(self._work)
        failure: Exception | None = None
        async with anyio.create_task_group() as tasks:
            reports = self._reports(job, tasks)
            try:
                answer = await _answer(Request(scope, receive), reports, self._stream)
                await answer(scope, receive, send)
            except Exception as error:  # out of the task group as itself, not inside a group of exceptions
                failure = error
            finally:
                job.leave()
                await reports.aclose()
        job.close()
        if failure is not None:
            raise failure

    async def _reports(self, job: _Job, tasks: TaskGroup) -> AsyncGenerator[Progress, None]:
        if self._before is not None:
            async with aclosing(self._before) as lines:
                async for line in lines:
                    yield line
        tasks.start_soon(job.run)
        async for line in job.reports():
            yield line


class ProgressStream:
    """Likewise for work that is a generator itself. A client that leaves closes it."""

    def __init__(self, reports: AsyncGenerator[Progress, None], stream: bool) -> None:
        self._reports = reports
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = await _answer(Request(scope, receive), self._reports, self._stream)
        await answer(scope, receive, send)


async def _answer(request: Request, reports: AsyncGenerator[Progress, None], stream: bool) -> ASGIApp:
    if stream:
        return Streamed(reports, _line, error_type=BARE_JSON)
    try:
        lines = await all_of(request, reports)
    except Cancelled:
        raise
    except PunaError as error:
        return error_answer(error, BARE_JSON)
    return json_answer(lines[-1], content_type=BARE_JSON)
