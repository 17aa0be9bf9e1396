"""A running model, as the server sees it."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Literal

import anyio
import msgspec
from anyio.abc import ByteReceiveStream, Process, TaskGroup

from server.errors import OutOfMemory, PunaError, RunnerDied, RunnerError, RunnerStartFailed, from_kind
from server.messages.frames import (
    Cancel,
    Command,
    Delta,
    Detokenize,
    Embed,
    Event,
    Failed,
    Finished,
    FrameReader,
    Grammar,
    LaunchPlan,
    Loaded,
    LoadProgress,
    Media,
    PromptProgress,
    Pulse,
    Shutdown,
    Submit,
    Text,
    ThoughtLimit,
    Tokenize,
    Tokens,
    Vectors,
    encode,
)
from server.messages.options import SamplingOptions
from server.runner.mailbox import Mailbox, PostOffice
from server.runner.outcome import describe_end, is_killed, last_words
from server.runner.process import ErrorOutput, absolute, engine_command, open_engine

READ_BYTES = 1 << 16
SMALL_SEND_SECONDS = 1.0
STOPPED_WORDS = "The model was unloaded in the middle of an answer: the server is stopping. Ask again when it runs."
STUCK_SECONDS = 600.0  # a step of the largest model on the slowest machine takes less
STUCK_WORDS = (
    "The model's process hung in the middle of an answer and was ended; the next request starts it again. If that "
    "happens again, look at the log, and try it without a GPU (num_gpu 0) or without flash attention."
)
EXIT_SECONDS = 2.0  # between the end of a process's outputs and its own end
LOAD = 0  # the id under which a load fails
IDLE = Pulse(
    active=0, waiting=0, used_tokens=0, prompt_tokens_per_second=0.0, tokens_per_second=0.0, generated_tokens=0
)
DEFAULT_SAMPLING = SamplingOptions()
Progress = Callable[[float], None]
logger = logging.getLogger("puna.runner")


class Runner:
    """One process with one model. Made by `start`; every method may be used by many tasks at once.

    `pulse` is how the runner was last; `on_pulse`, if set, is called with each new one.
    `outcome` is "" while the process lives, then the sentence that says how it ended.
    """

    def __init__(self, process: Process, plan: LaunchPlan, on_progress: Progress | None) -> None:
        self.plan = plan
        self.loaded: Loaded
        self.pulse = IDLE
        self.on_pulse: Callable[[Pulse], None] | None = None
        self.outcome = ""
        self._process = process
        self._on_progress = on_progress
        self._ids = count(LOAD + 1)
        self._post = PostOffice()
        self._sending = anyio.Lock()
        self._ended = anyio.Event()
        self._signs = 0  # of life: grows with each thing the process says
        self._is_ready = False
        self._is_stopping = False
        self._is_stuck = False
        self._errors = ErrorOutput(lambda line: logger.debug("[%s] %s", process.pid, line))

    def __repr__(self) -> str:
        name = Path(self.plan.model_path).name
        state = "ended" if self._ended.is_set() else "stopping" if self._is_stopping else "running"
        if not self._is_ready and state == "running":
            state = "loading"
        return f"<runner {self.pid} of {name}: {state}, {self.pulse.active} active, {self.pulse.waiting} waiting>"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return not self._ended.is_set()

    def rss_bytes(self) -> int:
        """Resident memory of the process, 0 when it is gone."""
        import psutil

        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except psutil.Error:
            return 0

    # ---- life ------------------------------------------------------------------------------------------------------

    @classmethod
    async def start(
        cls,
        plan: LaunchPlan,
        *,
        task_group: TaskGroup,
        environ: Mapping[str, str],
        on_progress: Progress | None = None,
        load_timeout_seconds: float = 300.0,
        stuck_seconds: float = STUCK_SECONDS,
        cache_dir: Path | None = None,
        command: Sequence[str] | None = None,
    ) -> Runner:
        """A runner that has loaded `plan`. Its tasks live in `task_group`; cancelling that ends the process.

        Raises RunnerStartFailed (OutOfMemory among them) with the cause. `load_timeout_seconds` limits silence, not
        the whole load: any progress and any line of output starts it anew; 0 or less is no limit. A process that says
        nothing for `stuck_seconds` while somebody waits for it is ended.
        """
        plan = absolute(plan)
        process = await open_engine(command or engine_command(cache_dir), environ)
        runner = cls(process, plan, on_progress)
        task_group.start_soon(runner._live, stuck_seconds)
        try:
            await runner._load(load_timeout_seconds)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await runner.kill()
            raise
        return runner

    async def _load(self, silence_seconds: float) -> None:
        mailbox = self._post.open(LOAD)
        await self._send(self.plan)
        while True:
            signs = self._signs
            with anyio.move_on_after(silence_seconds if silence_seconds > 0 else math.inf):
                event = await mailbox.get()
                if isinstance(event, Loaded):
                    self.loaded = event
                    self._is_ready = True
                    self._post.close(LOAD)
                    return
                continue
            if self._signs == signs:
                words = last_words(self._errors.lines)
                raise RunnerStartFailed(
                    f"The model did not load: its process was silent for {silence_seconds:g} seconds."
                    + (f" Its last words: {words}" if words else " OLLAMA_LOAD_TIMEOUT sets how long to wait.")
                )

    async def wait(self) -> str:
        """Wait for the end of the process; returns `outcome`."""
        await self._ended.wait()
        return self.outcome

    async def stop(self, grace_seconds: float = 5.0) -> None:
        """Ask the process to end, insist after the grace, and return when it is gone."""
        self._is_stopping = True
        with anyio.move_on_after(grace_seconds):
            await self._send(Shutdown())
            await self._ended.wait()
            return
        await self.kill()

    async def kill(self) -> None:
        """End the process at once, also when it is stopped or stuck."""
        self._is_stopping = True
        if not self._ended.is_set():
            self._terminate()
            await self._ended.wait()

    def _terminate(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # it may be gone already
            if sys.platform == "win32":
                self._process.kill()
            elif self._process.returncode is None:
                # Popen.kill polls first, and would take the exit status away from the event loop's watcher.
                os.kill(self.pid, signal.SIGKILL)

    async def _live(self, stuck_seconds: float) -> None:
        """The runner's task: listen to both outputs until the process has ended, then tell everyone who waits."""
        try:
            async with anyio.create_task_group() as watch:
                watch.start_soon(self._watch, stuck_seconds)
                async with anyio.create_task_group() as listeners:
                    listeners.start_soon(self._read_events)
                    listeners.start_soon(self._read_errors)
                watch.cancel_scope.cancel()
            with anyio.move_on_after(EXIT_SECONDS):
                await self._process.wait()
        finally:
            self._terminate()
            with anyio.CancelScope(shield=True):
                code = await self._process.wait()
                await self._process.aclose()
            self._conclude(code)

    async def _watch(self, stuck_seconds: float) -> None:
        """Native code may hang. A request that has ended leaves a sign, so one that was open before a silence and one
        that is open behind it are the same. Loading has a limit of its own."""
        while not self._is_stuck:
            signs, was_asked = self._signs, self._is_ready and len(self._post) > 0
            await anyio.sleep(stuck_seconds)
            if was_asked and len(self._post) > 0 and self._signs == signs:
                self._is_stuck = True
                self._terminate()

    def _conclude(self, code: int) -> None:
        self._errors.flush()
        if self._is_stopping:
            self.outcome = "The model was unloaded."
        elif self._is_stuck:
            self.outcome = STUCK_WORDS
            logger.error("runner %s of %s: %s", self.pid, self.plan.model_path, self.outcome)
        else:
            self.outcome = describe_end(code, self._errors.lines)
            logger.error("runner %s of %s: %s", self.pid, self.plan.model_path, self.outcome)
        # An unload waits for the answers; only a server that stops cuts them short.
        words = STOPPED_WORDS if self._is_stopping else self.outcome
        failure: type[RunnerError] = RunnerDied if self._is_ready else RunnerStartFailed
        if not self._is_ready and not self._is_stopping and is_killed(code):
            failure = OutOfMemory
        self._post.fail_all(failure(words, log=f"{words} (exit status {code})"))
        self._ended.set()

    # ---- conversation ----------------------------------------------------------------------------------------------

    async def generate(
        self,
        prompt: str | Sequence[int],
        *,
        cuts: Sequence[int] = (),
        media: Sequence[Media] = (),
        sampling: SamplingOptions = DEFAULT_SAMPLING,
        max_tokens: int | None = None,
        on_overflow: Literal["truncate", "refuse"] = "truncate",
        shift: bool = True,
        logprobs: int | None = None,
        after_sampling: bool = False,
        visible: Sequence[str] = (),
        grammar: Grammar | None = None,
        thought: ThoughtLimit | None = None,
        use_cache: bool = True,
        with_tokens: bool = False,
        with_progress: bool = False,
    ) -> AsyncGenerator[PromptProgress | Delta | Finished, None]:
        """The answer in pieces, Finished at the end. No token of a prompt reaches across `cuts`, rising places in its
        text; `media` stand in it in the order of their places. Leaving early, by `aclose` or cancellation, frees the
        slot.

        Raises ContextExceeded, RunnerDied and whatever else the runner names.
        """
        submit = Submit(
            id=next(self._ids),
            prompt=prompt if isinstance(prompt, str) else tuple(prompt),
            cuts=tuple(cuts),
            media=tuple(media),
            sampling=sampling,
            max_tokens=max_tokens,
            on_overflow=on_overflow,
            shift=shift,
            logprobs=logprobs,
            after_sampling=after_sampling,
            visible=tuple(visible),
            grammar=grammar,
            thought=thought,
            use_cache=use_cache,
            with_tokens=with_tokens,
            with_progress=with_progress,
        )
        mailbox = self._open(submit.id)
        try:
            await self._send(submit)
            while True:
                event = await mailbox.get()
                if isinstance(event, PromptProgress | Delta):
                    yield event
                elif isinstance(event, Finished):
                    self._post.close(submit.id)
                    yield event
                    return
        finally:
            if self._post.close(submit.id) and self.is_alive:
                await self._cancel(submit.id)

    async def embed(
        self,
        inputs: Sequence[str | tuple[int, ...]],
        *,
        limit_tokens: int = 0,
        spare_tokens: int = 0,
        truncate: bool = False,
        query: str | None = None,
    ) -> Vectors:
        """The vectors of texts or token ids, as the fields of Embed say. Leaving early by cancellation frees the model.

        Raises ContextExceeded, InvalidRequest, Unsupported, RunnerDied and whatever else the runner names.
        """
        command = Embed(
            id=next(self._ids),
            inputs=tuple(inputs),
            limit_tokens=limit_tokens,
            spare_tokens=spare_tokens,
            truncate=truncate,
            query=query,
        )
        mailbox = self._open(command.id)
        try:
            await self._send(command)
            event = await mailbox.get()
            self._post.close(command.id)
        finally:
            if self._post.close(command.id) and self.is_alive:
                await self._cancel(command.id)
        assert isinstance(event, Vectors)
        return event

    async def _cancel(self, request: int) -> None:
        """A few bytes that must go out although the caller is cancelled; a process that does not read cannot hold it
        up, because the bytes wait in the pipe's buffer."""
        with anyio.move_on_after(SMALL_SEND_SECONDS, shield=True), contextlib.suppress(RunnerDied):
            await self._send(Cancel(request))

    async def tokenize(
        self, text: str, add_special: bool = False, *, parse_special: bool = True, cuts: Sequence[int] = ()
    ) -> tuple[int, ...]:
        """Token ids of a text; with `add_special` a BOS in front where the vocabulary wants one.

        No token reaches across `cuts`, rising places in the text.
        """
        request = next(self._ids)
        command = Tokenize(
            id=request, text=text, cuts=tuple(cuts), add_special=add_special, parse_special=parse_special
        )
        event = await self._ask(request, command)
        assert isinstance(event, Tokens)
        return event.tokens

    async def count(self, text: str, *, cuts: Sequence[int] = (), media: Sequence[Media] = ()) -> int:
        """How many tokens a prompt has, with its BOS and what its media take."""
        request = next(self._ids)
        command = Tokenize(id=request, text=text, cuts=tuple(cuts), media=tuple(media), add_special=True)
        event = await self._ask(request, command)
        assert isinstance(event, Tokens)
        return len(event.tokens) + event.media_tokens

    async def split(self, text: str, add_special: bool = False) -> tuple[tuple[int, ...], tuple[bytes, ...]]:
        """Token ids of a text and the bytes of each, which together are the text again."""
        request = next(self._ids)
        event = await self._ask(request, Tokenize(id=request, text=text, add_special=add_special, with_pieces=True))
        assert isinstance(event, Tokens)
        return event.tokens, event.pieces

    async def detokenize(self, tokens: Sequence[int]) -> str:
        """The text of tokens, special ones included."""
        request = next(self._ids)
        event = await self._ask(request, Detokenize(id=request, tokens=tuple(tokens)))
        assert isinstance(event, Text)
        return event.text

    async def _ask(self, request: int, command: Command) -> Event:
        mailbox = self._open(request)
        try:
            await self._send(command)
            return await mailbox.get()
        finally:
            self._post.close(request)

    def _open(self, request: int) -> Mailbox:
        if self._ended.is_set():
            raise RunnerDied(self.outcome)
        return self._post.open(request)

    async def _send(self, command: Command) -> None:
        assert self._process.stdin is not None
        try:
            async with self._sending:
                await self._process.stdin.send(encode([command]))
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            # The pipe broke before the exit status is known: the status tells why, so wait for it.
            await self._ended.wait()
            if self._is_ready and not isinstance(command, Shutdown):
                raise RunnerDied(self.outcome) from None

    # ---- listening -------------------------------------------------------------------------------------------------

    async def _read_events(self) -> None:
        frames: FrameReader[Event] = FrameReader(Event)
        try:
            async for data in _chunks(self._process.stdout):
                self._signs += 1
                for event in frames.feed(data):
                    self._deliver(event)
        except (ValueError, msgspec.MsgspecError) as error:
            self._errors.feed(f"error: the runner sent no valid frame: {error}\n".encode())
            self._terminate()

    async def _read_errors(self) -> None:
        async for data in _chunks(self._process.stderr):
            self._signs += 1
            self._errors.feed(data)

    def _deliver(self, event: Event) -> None:
        if isinstance(event, PromptProgress | Delta | Finished | Vectors | Tokens | Text):
            self._post.put(event.id, event)
        elif isinstance(event, Pulse):
            self.pulse = event
            if self.on_pulse is not None:
                self.on_pulse(event)
        elif isinstance(event, LoadProgress):
            if self._on_progress is not None:
                self._on_progress(event.fraction)
        elif isinstance(event, Failed):
            self._fail(event)
        else:
            self._post.put(LOAD, event)

    def _fail(self, event: Failed) -> None:
        error: PunaError = from_kind(event.kind, event.message, log=event.log)
        if event.id == LOAD:
            self._is_stopping = True  # it ends by itself now, and has said why
            error = error if isinstance(error, RunnerStartFailed) else RunnerStartFailed(str(error), log=error.log)
        self._post.fail(event.id, error)


async def _chunks(stream: ByteReceiveStream | None) -> AsyncGenerator[bytes, None]:
    """Bytes until the other end closes."""
    assert stream is not None
    while True:
        try:
            yield await stream.receive(READ_BYTES)
        except (anyio.EndOfStream, OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            return
