"""The embedding loop's batches, and its answers to decodes that fail. The context here is a table: the vector of a text
is the number of its rows and the sum of its tokens."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest

from server.engine.context import ABORTED, DECODED, INVALID, StepGuard
from server.engine.embedder import EmbeddingLoop
from server.engine.inputs import PreparedInputs
from server.engine.pipes import EventPipe, Order
from server.errors import RunnerDied
from server.messages.frames import Cancel, Event, Failed, FrameReader, Pulse, Shutdown, Vectors


class Table:
    """`codes` are what the next decodes return; `batches` what they held, as rows per sequence."""

    def __init__(self, batch_tokens: int) -> None:
        self.slots, self.batch_tokens = 4, batch_tokens
        self.codes: list[int] = []
        self.batches: list[list[int]] = []
        self._sums: dict[int, list[int]] = {}

    def decode(self, batch: Any) -> int:
        code = self.codes.pop(0) if self.codes else DECODED
        if code != DECODED:
            return code
        struct_ = batch.ready()
        rows: dict[int, int] = {}
        for row in range(struct_.n_tokens):
            assert struct_.logits[row], "every row is pooled"
            sequence = struct_.seq_id[row][0]
            known = self._sums.setdefault(sequence, [0, 0])
            assert struct_.pos[row] == known[0], "positions follow each other"
            known[0] += 1
            known[1] += struct_.token[row]
            rows[sequence] = rows.get(sequence, 0) + 1
        self.batches.append(list(rows.values()))
        return code

    def vector(self, sequence: int) -> bytes:
        return struct.pack("<2f", *self._sums[sequence])

    def clear(self) -> None:
        self._sums.clear()

    def allow(self) -> None: ...

    def abort(self) -> None: ...

    def set_threads(self, decode: int, batch: int) -> None: ...


class Orders:
    def __init__(self) -> None:
        self.orders: SimpleQueue[Order] = SimpleQueue()


class Bench:
    def __init__(self, batch_tokens: int = 16) -> None:
        self.context = Table(batch_tokens)
        self.reader = Orders()
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        self.loop = EmbeddingLoop(
            self.context, 1, self.reader, EventPipe(self._write), StepGuard(self.context)  # type: ignore[arg-type]
        )  # fmt: skip

    def ask(self, number: int, *lengths: int) -> None:
        inputs = tuple(np.full(length, number, np.int32) for length in lengths)
        self.reader.orders.put(PreparedInputs(number, inputs))

    def run(self) -> list[Event]:
        """Run until all orders are done; returns what was sent, without pulses."""
        self.reader.orders.put(Shutdown())
        self.loop._take_orders()
        while self.loop._jobs:
            self.loop._step()
        return self.sent()

    def sent(self) -> list[Event]:
        frames: FrameReader[Event] = FrameReader(Event)
        try:
            events = list(frames.feed(os.read(self._read, 1 << 20)))
        except BlockingIOError:
            return []
        return [event for event in events if not isinstance(event, Pulse)]

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()


def pairs(events: list[Event]) -> dict[int, list[tuple[float, ...]]]:
    return {
        event.id: [struct.unpack("<2f", vector) for vector in event.vectors]
        for event in events
        if isinstance(event, Vectors)
    }


def test_results_come_in_the_order_of_the_inputs(bench: Bench) -> None:
    bench.ask(3, 2, 9, 5, 1)
    events = bench.run()
    assert pairs(events) == {3: [(2, 6), (9, 27), (5, 15), (1, 3)]}
    assert isinstance(events[0], Vectors)
    assert events[0].token_counts == (2, 9, 5, 1)
    assert bench.context.batches == [[9, 5, 2], [1]]


def test_requests_share_a_batch(bench: Bench) -> None:
    bench.ask(1, 4, 4, 4, 4)
    bench.ask(2, 3)
    assert pairs(bench.run()) == {1: [(4, 4)] * 4, 2: [(3, 6)]}
    assert bench.context.batches == [[4, 3, 4, 4], [4]]


def test_nothing_is_asked_for(bench: Bench) -> None:
    bench.ask(1)
    assert pairs(bench.run()) == {1: []}
    assert bench.context.batches == []


def test_a_text_longer_than_a_batch_goes_in_parts(bench: Bench) -> None:
    bench.ask(1, 40, 2)
    assert pairs(bench.run()) == {1: [(40, 40), (2, 2)]}
    assert bench.context.batches == [[16], [16], [8], [2]]


def test_a_cancelled_request_is_forgotten(bench: Bench) -> None:
    bench.ask(1, 4)
    bench.ask(2, 4)
    bench.reader.orders.put(Cancel(1))
    assert pairs(bench.run()) == {2: [(4, 8)]}


def test_after_an_abort_those_who_still_wait_get_theirs(bench: Bench) -> None:
    bench.context.codes = [DECODED, ABORTED]
    bench.ask(1, 40)
    assert pairs(bench.run()) == {1: [(40, 40)]}


def test_a_refused_batch_fails_the_requests_in_it(bench: Bench) -> None:
    bench.context.codes = [INVALID]
    bench.ask(1, 16)
    bench.ask(2, 16)
    events = bench.run()
    assert [(event.id, event.kind) for event in events if isinstance(event, Failed)] == [(1, "RunnerError")]
    assert pairs(events) == {2: [(16, 32)]}


def test_anything_worse_ends_the_process(bench: Bench) -> None:
    bench.context.codes = [-3]
    bench.ask(1, 16)
    bench.ask(2, 16)
    with pytest.raises(RunnerDied):
        bench.run()
    assert [(event.id, event.kind) for event in bench.sent() if isinstance(event, Failed)] == [
        (1, "RunnerDied"),
        (2, "RunnerDied"),
    ]
