"""The loop's answers to decodes that fail, and its order of work. The context here is a table; the vocabulary is real
bytes; nothing native computes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest

from server.engine.context import ABORTED, DECODED, INVALID, NO_ROOM, Logits, StepGuard
from server.engine.layout import Builder, Layout, Piece
from server.engine.loop import StepLoop
from server.engine.pipes import EventPipe, Order, Prepared
from server.errors import RunnerDied, RunnerError
from server.messages.frames import Cancel, Delta, Event, Failed, Finished, FrameReader, LaunchPlan, Shutdown, Submit
from server.messages.options import SamplingOptions

END, VOCABULARY = 0, 128
GREEDY = SamplingOptions(temperature=0)


class Letters:
    """Tokens are ASCII codes; 0 ends an answer."""

    def __init__(self) -> None:
        self.end_tokens = frozenset({END})
        self.suppressed = np.empty(0, np.int32)
        self.size = VOCABULARY
        self.add_bos = False

    def piece(self, token: int) -> bytes:
        return bytes([token])

    def visible_pieces(self, texts: object) -> dict[int, bytes]:
        return {}


class Model:
    def __init__(self) -> None:
        self.vocabulary = Letters()
        self.window_tokens = 0
        self.is_recurrent = False


class Table:
    """A context in which each letter is followed by the next one, until `z` is followed by the end.

    `codes` are what the next decodes return; a decode that fails changes nothing.
    """

    can_shift = True
    handle = 0

    def __init__(self, slots: int, batch_tokens: int = 512) -> None:
        self.slots, self.batch_tokens, self.capacity_tokens = slots, batch_tokens, 4096
        self.codes: list[int] = []
        self.batches: list[int] = []
        self.removed: list[tuple[int, int, int]] = []
        self.positions: list[list[int]] = []
        self.is_causal = True
        self.causal: list[bool] = []
        self._outputs: list[int] = []

    def decode(self, batch: Any) -> int:
        struct = batch.ready()
        self.batches.append(struct.n_tokens)
        code = self.codes.pop(0) if self.codes else DECODED
        if code == DECODED:
            rows = range(struct.n_tokens)
            letters = struct.token if struct.token else [round(struct.embd[row]) for row in rows]
            self._outputs = [letters[row] for row in rows if struct.logits[row]]
            self.positions.append([struct.pos[row] for row in rows])
            self.causal.append(self.is_causal)
        return code

    def set_causal(self, is_causal: bool) -> None:
        self.is_causal = is_causal

    def logits(self, rows: int) -> Logits:
        found = np.zeros((rows, VOCABULARY), np.float32)
        for place, token in enumerate(self._outputs):
            found[place, END if token == ord("z") else token + 1] = 1.0
        return found

    def synchronize(self) -> None: ...

    def allow(self) -> None: ...

    def abort(self) -> None: ...

    def set_threads(self, decode: int, batch: int) -> None: ...

    def remove(self, sequence: int, start: int, end: int) -> bool:
        self.removed.append((sequence, start, end))
        return True

    def copy(self, source: int, target: int, start: int, end: int) -> None: ...

    def move(self, sequence: int, start: int, end: int, by: int) -> None: ...

    def first_position(self, sequence: int) -> int:
        return 0


class Orders:
    def __init__(self) -> None:
        self.orders: SimpleQueue[Order] = SimpleQueue()


class Letter:
    """An image of a letter: each of its rows is the letter's code."""

    def __init__(self, letter: str, size: int, positions: int, *, is_causal: bool = True) -> None:
        self.letter, self.tokens, self.positions, self.is_causal = letter, size, positions, is_causal
        self.offsets = np.zeros((1, size), np.int32)
        self.moves = np.ones((1, size), np.int32)

    def encode(self) -> Any:
        return np.full((self.tokens, 1), ord(self.letter), np.float32) if self.letter != "?" else None

    def close(self) -> None: ...


class Desk:
    """Encodes at once, in the loop's own thread, or never."""

    def __init__(self) -> None:
        self.is_open = True
        self.wanted: dict[int, list[Piece]] = {}

    def want(self, stream: int, pieces: list[Piece]) -> None:
        self.wanted[stream] = pieces
        for piece in pieces if self.is_open else ():
            assert piece.chunk is not None
            piece.rows = piece.chunk.encode()
            piece.error = None if piece.rows is not None else RunnerError("An image could not be encoded.")

    def forget(self, stream: int) -> None:
        self.wanted.pop(stream, None)


class Bench:
    """A loop over a table, fed with orders and read through a pipe."""

    def __init__(self, slots: int, batch_tokens: int = 512) -> None:
        self.context = Table(slots, batch_tokens)
        self.reader = Orders()
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        plan = LaunchPlan(model_path="", context_tokens=256, slots=slots)
        self.desk = Desk()
        self.loop = StepLoop(
            Model(), self.context, plan, 1, self.reader, EventPipe(self._write), StepGuard(self.context), self.desk  # type: ignore[arg-type]
        )  # fmt: skip

    def submit(self, number: int, prompt: str, **options: Any) -> None:
        tokens = np.frombuffer(prompt.encode(), np.uint8).astype(np.int32)
        submit = Submit(id=number, prompt="", sampling=GREEDY, **options)
        self.reader.orders.put(Prepared(submit, Layout(tokens)))

    def look(self, number: int, *parts: str | Letter, **options: Any) -> None:
        """A prompt of texts and images."""
        builder = Builder()
        for part in parts:
            if isinstance(part, Letter):
                code = -2 - ord(part.letter)
                piece = Piece(code, part.tokens, part.positions, part.offsets, part.moves, part.is_causal, part)
                builder.add_piece(piece)
            else:
                builder.add_text(np.frombuffer(part.encode(), np.uint8).astype(np.int32))
        submit = Submit(id=number, prompt="", sampling=GREEDY, **options)
        self.reader.orders.put(Prepared(submit, builder.layout()))

    def run(self) -> list[Event]:
        """Run until all orders are done; returns what was sent."""
        self.reader.orders.put(Shutdown())
        self.loop._take_orders()
        self.loop._admit()
        while self.loop._active or self.loop._waiting:
            self.loop._step()
            self.loop._admit()
        return self.sent()

    def sent(self) -> list[Event]:
        frames: FrameReader[Event] = FrameReader(Event)
        try:
            return list(frames.feed(os.read(self._read, 1 << 20)))
        except BlockingIOError:
            return []

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench(slots=2)
    yield made
    made.close()


def text_of(events: list[Event], number: int) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta) and event.id == number)


def ends(events: list[Event]) -> dict[int, str]:
    return {event.id: event.reason for event in events if isinstance(event, Finished)}


def test_streams_beyond_the_slots_wait_their_turn(bench: Bench) -> None:
    for number, letter in enumerate("wxy", 1):
        bench.submit(number, letter)
    events = bench.run()
    assert [text_of(events, number) for number in (1, 2, 3)] == ["xyz", "yz", "z"]
    assert ends(events) == {1: "stop", 2: "stop", 3: "stop"}


def test_the_end_token_costs_no_decode(bench: Bench) -> None:
    bench.submit(1, "w")
    bench.run()
    assert bench.context.batches == [1, 1, 1, 1], "w, x, y, z; the end is only sampled"


def test_one_decode_serves_all_streams(bench: Bench) -> None:
    bench.submit(1, "w")
    bench.submit(2, "w")
    bench.run()
    assert bench.context.batches == [2, 2, 2, 2]


def test_without_room_an_idle_sequence_gives_its_cells(bench: Bench) -> None:
    bench.submit(1, "y")
    bench.run()
    bench.context.codes = [NO_ROOM]
    bench.context.removed.clear()
    bench.submit(2, "w")
    assert text_of(bench.run(), 2) == "xyz"
    assert (0, -1, -1) in bench.context.removed


def test_without_room_less_is_read_at_once(bench: Bench) -> None:
    bench.context.codes = [NO_ROOM]
    bench.submit(1, "a" * 199 + "y")
    assert text_of(bench.run(), 1) == "z"
    assert bench.context.batches[:2] == [200, 64]


def test_without_any_room_the_youngest_stream_gives_up(bench: Bench) -> None:
    bench.submit(1, "w")
    bench.submit(2, "w")
    bench.context.codes = [NO_ROOM]
    events = bench.run()
    assert text_of(events, 1) == "xyz"
    (failed,) = [event for event in events if isinstance(event, Failed)]
    assert (failed.id, failed.kind) == (2, "RunnerError")
    assert "memory is full" in failed.message


def test_an_aborted_step_is_done_again_for_those_who_stay(bench: Bench) -> None:
    bench.context.codes = [DECODED, ABORTED]
    bench.submit(1, "w")
    assert text_of(bench.run(), 1) == "xyz"
    assert bench.context.removed[-1] == (0, 1, -1), "what was evaluated is dropped"


def test_an_invalid_batch_fails_its_streams_and_no_later_one(bench: Bench) -> None:
    bench.context.codes = [INVALID]
    bench.submit(1, "w")
    events = bench.run()
    assert [event.id for event in events if isinstance(event, Failed)] == [1]
    bench.submit(2, "w")
    assert text_of(bench.run(), 2) == "xyz"


def test_an_error_of_the_device_fails_everyone_and_ends_the_loop(bench: Bench) -> None:
    bench.context.codes = [-3]
    for number in (1, 2, 3):
        bench.submit(number, "w")
    with pytest.raises(RunnerDied, match="the next request starts it again"):
        bench.run()
    failed = [event for event in bench.sent() if isinstance(event, Failed)]
    assert [(event.id, event.kind) for event in failed] == [(1, "RunnerDied"), (2, "RunnerDied"), (3, "RunnerDied")]


def test_cancelled_streams_leave_and_free_their_slot(bench: Bench) -> None:
    for number in (1, 2, 3, 4):
        bench.submit(number, "a")
    for number in (1, 4, 99):
        bench.reader.orders.put(Cancel(number))
    events = bench.run()
    assert ends(events) == {2: "stop", 3: "stop"}
    assert "0 busy" in repr(bench.loop)


# ---- images ----------------------------------------------------------------------------------------------------------


def test_an_image_is_read_in_its_place(bench: Bench) -> None:
    bench.look(1, "ab", Letter("p", 5, 2), "cy")
    events = bench.run()
    assert text_of(events, 1) == "z"
    assert bench.context.positions == [[0, 1], [2] * 5, [4, 5], [6]], "it moves the text behind it by two"
    (end,) = [event for event in events if isinstance(event, Finished)]
    assert end.prompt_tokens == 9


def test_a_prompt_may_end_with_an_image(bench: Bench) -> None:
    bench.look(1, "ab", Letter("y", 5, 2))
    assert text_of(bench.run(), 1) == "z"


def test_an_image_larger_than_the_batch_is_read_in_parts() -> None:
    bench = Bench(slots=2, batch_tokens=4)
    bench.look(1, Letter("p", 10, 10), "y")
    assert text_of(bench.run(), 1) == "z"
    assert bench.context.batches[:4] == [4, 4, 2, 1]
    bench.close()


def test_rows_that_see_each_other_are_decoded_so(bench: Bench) -> None:
    bench.look(1, "a", Letter("p", 3, 3, is_causal=False), "y")
    bench.run()
    assert bench.context.causal == [True, False, True, True]
    assert bench.context.is_causal


def test_others_go_on_while_an_image_is_encoded(bench: Bench) -> None:
    bench.desk.is_open = False
    bench.look(1, "a", Letter("p", 3, 3), "y")
    bench.submit(2, "w")
    bench.loop._take_orders()
    bench.loop._admit()
    while 2 in bench.loop._active:
        bench.loop._step()
    assert text_of(bench.sent(), 2) == "xyz"
    assert not bench.loop._has_work()
    bench.desk.is_open = True
    bench.desk.want(1, bench.desk.wanted[1])
    assert bench.loop._has_work()
    assert text_of(bench.run(), 1) == "z"


def test_a_cached_image_is_not_encoded_again(bench: Bench) -> None:
    bench.look(1, "a", Letter("p", 3, 3), "y")
    bench.run()
    bench.desk.is_open = False
    bench.look(2, "a", Letter("p", 3, 3), "x")
    events = bench.run()
    assert text_of(events, 2) == "yz"
    assert [event.cached_tokens for event in events if isinstance(event, Finished)] == [4]


def test_an_image_that_cannot_be_encoded_fails_its_stream_alone(bench: Bench) -> None:
    bench.look(1, "a", Letter("?", 3, 3), "y")
    bench.submit(2, "w")
    events = bench.run()
    assert [event.id for event in events if isinstance(event, Failed)] == [1]
    assert text_of(events, 2) == "xyz"
    assert bench.desk.wanted == {}


def test_without_any_room_an_image_gives_up_and_an_aborted_one_starts_anew() -> None:
    bench = Bench(slots=2, batch_tokens=4)
    bench.context.codes = [DECODED, DECODED, ABORTED]
    bench.look(1, "ab", Letter("p", 8, 3), "y")
    assert text_of(bench.run(), 1) == "z"
    assert bench.context.batches[:6] == [2, 4, 4, 4, 4, 1]
    assert bench.context.removed[-1] == (0, 2, -1)
    bench.context.codes = [DECODED, NO_ROOM, NO_ROOM]
    bench.look(2, "cd", Letter("p", 8, 3), "y")
    events = bench.run()
    assert [event.message for event in events if isinstance(event, Failed)] == ["The context memory is full."]
    bench.close()


def test_a_cancelled_stream_wants_no_image_any_more(bench: Bench) -> None:
    bench.desk.is_open = False
    bench.look(1, "a", Letter("p", 3, 3), "y")
    bench.loop._take_orders()
    bench.loop._admit()
    bench.loop._step()
    assert list(bench.desk.wanted) == [1]
    bench.reader.orders.put(Cancel(1))
    assert bench.run() == []
    assert bench.desk.wanted == {}
