"""The loop of an embedding model: take commands, pack texts of all requests into one batch, evaluate, send vectors."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Iterable
from queue import Empty
from time import perf_counter

from server.engine.batch import Batch
from server.engine.context import ABORTED, DECODED, INVALID, NO_ROOM, Context, StepGuard
from server.engine.inputs import PreparedInputs
from server.engine.pace import ThreadChoice
from server.engine.packing import Pick, pack
from server.engine.pipes import CommandReader, EventPipe, Order
from server.engine.pulse import PulseRate
from server.engine.vocabulary import Tokens
from server.errors import RunnerDied, RunnerError
from server.messages.frames import Cancel, Failed, Shutdown, Vectors

# Rows of a batch of several texts. Attention looks at every pair of rows, also of two texts that have nothing to do
# with each other: on a processor a text of 8 to 64 tokens costs the same with 64 to 512 rows, up to twice as much with
# fewer, and half as much again with 1024. A GPU wants more rows to be busy; memory for outputs grows with them.
PROCESSOR_ROWS = 256
GPU_ROWS = 1024


class Job:
    """One request. `waiting` are places of its inputs that have no vector yet, the shortest text first."""

    def __init__(self, prepared: PreparedInputs) -> None:
        self.id = prepared.id
        self.inputs = prepared.inputs
        self.waiting = sorted(range(len(self.inputs)), key=lambda place: len(self.inputs[place]))
        self.vectors: list[bytes] = [b""] * len(self.inputs)
        self.missing = len(self.inputs)

    def __repr__(self) -> str:
        return f"<embedding {self.id}: {self.missing} of {len(self.inputs)} texts to go>"

    def lengths(self) -> list[int]:
        return [len(self.inputs[place]) for place in self.waiting]

    def result(self) -> Vectors:
        counts = tuple(len(tokens) for tokens in self.inputs)
        return Vectors(id=self.id, vectors=tuple(self.vectors), token_counts=counts)


class EmbeddingLoop:
    """Runs until Shutdown. Nothing of a text stays behind: memory is empty between batches."""

    def __init__(
        self, context: Context, threads: int, reader: CommandReader, events: EventPipe, guard: StepGuard, *,
        has_gpu: bool = False,
    ) -> None:  # fmt: skip
        self._context, self._reader, self._events, self._guard = context, reader, events, guard
        self._batch = Batch(context.batch_tokens, context.slots)
        self._rows = min(GPU_ROWS if has_gpu else PROCESSOR_ROWS, context.batch_tokens)
        self._jobs: deque[Job] = deque()
        self._threads = ThreadChoice(threads)
        self._used_threads = threads
        self._pulse = PulseRate(perf_counter())
        self._is_open = True

    def __repr__(self) -> str:
        return f"<embedding loop: {list(self._jobs)}>"

    def run(self) -> None:
        while self._is_open:
            self._take_orders()
            if self._jobs:
                self._step()
            self._report(perf_counter())

    def _report(self, now: float) -> None:
        pulse = self._pulse.next(now, len(self._jobs), 0, 0)
        if pulse is not None:
            self._events.send([pulse])

    def _take_orders(self) -> None:
        orders = self._reader.orders
        if not self._jobs:
            gc.collect()  # automatic collection is off: a pause belongs here
            self._follow(orders.get())
        try:
            while self._is_open:
                self._follow(orders.get_nowait())
        except Empty:
            return

    def _follow(self, order: Order) -> None:
        if isinstance(order, PreparedInputs):
            job = Job(order)
            if job.missing:
                self._jobs.append(job)
            else:
                self._events.send([job.result()])
        elif isinstance(order, Cancel):
            self._jobs = deque(job for job in self._jobs if job.id != order.id)
        elif isinstance(order, Shutdown):
            self._is_open = False

    # ---- one step --------------------------------------------------------------------------------------------------

    def _step(self) -> None:
        jobs = list(self._jobs)
        picks = pack([job.lengths() for job in jobs], self._rows, self._context.slots)
        chosen = [(jobs[pick.request], jobs[pick.request].waiting[pick.text]) for pick in picks]
        texts = [job.inputs[place] for job, place in chosen]
        self._guard.begin({job.id for job, _ in chosen})
        start = perf_counter()
        code = self._evaluate(texts)
        found = [self._context.vector(sequence) for sequence in range(len(texts))] if code == DECODED else []
        seconds = perf_counter() - start
        self._guard.end()
        self._context.clear()
        if code == DECODED:
            self._measure(seconds, sum(map(len, texts)))
            self._deliver(chosen, found, jobs, picks)
            self._jobs.rotate(-1)  # another request begins the next batch
        else:
            self._recover(code, {job.id: job for job, _ in chosen})

    def _evaluate(self, texts: list[Tokens]) -> int:
        """What llama_decode returned. A text longer than a batch is alone and goes in parts, which only models that
        take their vector from its last token allow."""
        batch = self._batch
        if len(texts) > 1 or len(texts[0]) <= batch.capacity:
            batch.clear()
            for sequence, tokens in enumerate(texts):
                batch.add_text(sequence, tokens)
            return self._context.decode(batch)
        [tokens] = texts
        for start in range(0, len(tokens), batch.capacity):
            batch.clear()
            batch.add_text(0, tokens[start : start + batch.capacity], start)
            code = self._context.decode(batch)
            if code != DECODED:
                return code
        return DECODED

    def _deliver(self, chosen: list[tuple[Job, int]], found: list[bytes], jobs: list[Job], picks: list[Pick]) -> None:
        for (job, place), vector in zip(chosen, found, strict=True):
            job.vectors[place] = vector
            job.missing -= 1
        done: dict[int, set[int]] = {}
        for pick in picks:
            done.setdefault(pick.request, set()).add(pick.text)
        for number, texts in done.items():
            job = jobs[number]
            job.waiting = [place for at, place in enumerate(job.waiting) if at not in texts]
        ready = [job for job in jobs if not job.missing]
        if ready:
            self._jobs = deque(job for job in self._jobs if job.missing)
            self._events.send([job.result() for job in ready])

    def _measure(self, seconds: float, tokens: int) -> None:
        """Threads that wait for a busy core cost most; batches of about one size are compared per token."""
        self._pulse.count(tokens, 0)
        if self._threads.most > 1:
            threads = self._threads.observe(seconds / tokens, tokens.bit_length())
            if threads != self._used_threads:
                self._used_threads = threads
                self._context.set_threads(threads, threads)

    def _recover(self, code: int, jobs: dict[int, Job]) -> None:
        """After a decode that failed: an abort means that nobody waits for these texts; a batch that was refused fails
        its requests; anything else ends the process, which a new one replaces."""
        if code == ABORTED:
            return
        if code in (INVALID, NO_ROOM):
            self._jobs = deque(job for job in self._jobs if job.id not in jobs)
            self._fail(jobs.values(), RunnerError("llama.cpp refused a batch of texts; this is a defect of Puna."))
            return
        failure = RunnerDied(
            "The model stopped with an error while computing; the next request starts it again.",
            log=f"llama_decode returned {code}",
        )
        self._fail(self._jobs, failure)
        raise failure

    def _fail(self, jobs: Iterable[Job], error: RunnerError) -> None:
        self._events.send([Failed(id=job.id, kind=error.kind, message=str(error), log=error.log) for job in jobs])
