"""The one loop that owns the context: take commands, plan, decode one batch for all streams, sample, send one frame."""

from __future__ import annotations

import gc
from collections import deque
from queue import Empty
from time import perf_counter, perf_counter_ns

from server.engine.batch import Batch, RowBatch
from server.engine.constraint import Constraint
from server.engine.context import ABORTED, DECODED, INVALID, NO_ROOM, Context, Logits, StepGuard
from server.engine.drawn import Drawn
from server.engine.layout import Placed
from server.engine.media import MediaDesk
from server.engine.model import Model
from server.engine.pace import Pace, ThreadChoice
from server.engine.pipes import CommandReader, EventPipe, Order, Prepared
from server.engine.plan import TILE, Demand, plan_step
from server.engine.prefix import SequencePool
from server.engine.prompt import kept_tokens, shift_span
from server.engine.pulse import SHORTEST_SECONDS, PulseRate
from server.engine.sampling import Chances, Sampler
from server.engine.stream import Stream, token_limit
from server.engine.thought import ThoughtBudget
from server.engine.vocabulary import Tokens
from server.errors import PunaError, RunnerDied, RunnerError
from server.messages.frames import Cancel, Event, Failed, LaunchPlan, Shutdown, Submit


class StepLoop:
    """Runs until Shutdown. Streams beyond the slots wait in the order of their arrival."""

    def __init__(
        self, model: Model, context: Context, plan: LaunchPlan, threads: int,
        reader: CommandReader, events: EventPipe, guard: StepGuard, media: MediaDesk | None = None,
    ) -> None:  # fmt: skip
        self._model, self._context, self._plan = model, context, plan
        self._reader, self._events, self._guard, self._media = reader, events, guard, media
        self._limit = plan.context_tokens
        self._may_shift = plan.shift and context.can_shift
        can_share = not model.window_tokens and not model.is_recurrent
        self._pool = SequencePool(
            context, context.slots, self._limit + 1, window=model.window_tokens, can_share=can_share
        )
        self._batch = Batch(context.batch_tokens, context.slots)
        self._rows: RowBatch | None = None  # made for the first image
        self._waiting: deque[Stream] = deque()
        self._active: dict[int, Stream] = {}
        self._arrivals = 0
        self._pace = Pace(context.batch_tokens)
        self._threads = ThreadChoice(threads)
        self._used_threads = threads
        self._prefill_cap = context.batch_tokens
        self._pulse = PulseRate(perf_counter())
        self._is_open = True

    def __repr__(self) -> str:
        return f"<loop: {len(self._active)} streams, {len(self._waiting)} waiting, {self._pool!r}>"

    def run(self) -> None:
        while self._is_open:
            self._take_orders()
            self._admit()
            if self._active:
                self._step()
            self._report(perf_counter())

    def _report(self, now: float) -> None:
        if self._active and not self._pulse.is_due(now):
            return
        pulse = self._pulse.next(now, len(self._active), len(self._waiting), self._pool.used)
        if pulse is not None:
            self._events.send([pulse])

    # ---- commands --------------------------------------------------------------------------------------------------

    def _take_orders(self) -> None:
        orders = self._reader.orders
        try:
            if not self._active and not self._waiting:
                gc.collect()  # automatic collection is off: a pause belongs here
                self._follow(orders.get())
            elif not self._has_work():
                self._follow(orders.get(timeout=SHORTEST_SECONDS))  # then another pulse may be due
            while self._is_open:
                self._follow(orders.get_nowait())
        except Empty:
            return

    def _has_work(self) -> bool:
        """Whether anything can be done before an image is encoded or an order comes."""
        if self._waiting and self._pool.has_free():
            return True
        return any(stream.medium is None or stream.medium.piece.is_settled for stream in self._active.values())

    def _follow(self, order: Order) -> None:
        if isinstance(order, Prepared):
            limit = token_limit(order.submit, self._limit)
            self._arrivals += 1
            stream = Stream(
                order.submit, order.prompt, self._model.vocabulary, limit, self._arrivals,
                cut_tokens=order.cut_tokens, constraint=order.grammar.begin() if order.grammar else None,
            )  # fmt: skip
            if limit == 0:
                self._events.send([stream.finished("length", 0)])
            else:
                self._waiting.append(stream)
        elif isinstance(order, Cancel):
            if order.id in self._active:
                self._end(self._active[order.id])
            self._waiting = deque(stream for stream in self._waiting if stream.id != order.id)
        elif isinstance(order, Shutdown):
            self._is_open = False

    def _admit(self) -> None:
        while self._waiting and self._pool.has_free():
            stream = self._waiting.popleft()
            prompt = stream.layout.tokens
            try:
                sampler = self._sampler(stream.submit, stream.layout.text(), stream.constraint)
            except PunaError as error:
                self._events.send(_failures([stream], error))
                continue
            sequence, cached = self._pool.take(prompt) if stream.submit.use_cache else (self._pool.take_empty(), 0)
            stream.begin(sequence, cached, sampler, perf_counter_ns())
            self._active[stream.id] = stream
            if self._media is not None and stream.media:
                self._media.want(stream.id, [placed.piece for placed in stream.media])

    def _sampler(self, submit: Submit, prompt: Tokens, constraint: Constraint | None) -> Sampler:
        vocabulary = self._model.vocabulary
        thought = None if submit.thought is None else ThoughtBudget(submit.thought, vocabulary)
        drawn = Drawn(submit.logprobs) if submit.logprobs is not None and submit.after_sampling else None
        return Sampler(self._context, vocabulary, submit.sampling, prompt, constraint, thought, drawn)

    def _end(self, stream: Stream) -> None:
        """The slot is free; its cells stay for a prompt that begins alike."""
        stream.sampler.close()
        self._pool.release(stream.sequence)
        del self._active[stream.id]
        if self._media is not None and stream.has_media:
            self._media.forget(stream.id)

    # ---- one step --------------------------------------------------------------------------------------------------

    def _step(self) -> None:
        self._make_room()
        self._drop_failed()
        streams = self._active
        generating = [stream for stream in streams.values() if stream.is_generating]
        reading = [stream for stream in streams.values() if not stream.is_generating and stream.text_rest]
        shares = self._plan_shares(generating, reading) if reading else []
        if (generating or shares) and not self._evaluate(generating, shares):
            return
        seen = [(stream, stream.medium) for stream in streams.values()]
        ready = [(stream, placed) for stream, placed in seen if placed is not None and placed.piece.rows is not None]
        if ready:
            self._read_medium(*min(ready, key=lambda pair: pair[0].arrival), beside=len(generating))

    def _evaluate(self, generating: list[Stream], shares: list[tuple[Stream, int]]) -> bool:
        """One batch of tokens. False when it failed."""
        outputs = self._fill(generating, shares)
        streams = generating + [stream for stream, _ in shares]
        logits, seconds, code = self._decode(self._batch, streams, len(outputs))
        if code != DECODED:
            self._recover(code, self._batch, streams)
            return False
        for stream in generating:
            stream.sequence.append(stream.next_token)
        for stream, tokens in shares:
            stream.advance(tokens)
        self._tell_progress([stream for stream, _ in shares])
        self._measure(seconds, len(generating), sum(tokens for _, tokens in shares), len(outputs))
        if logits is not None:
            self._sample(outputs, logits)
        return True

    def _decode(self, batch: Batch | RowBatch, streams: list[Stream], outputs: int) -> tuple[Logits | None, float, int]:
        """The logits of a batch, if any are wanted, how long it took in seconds, and what llama_decode returned."""
        self._guard.begin({stream.id for stream in streams})
        start = perf_counter()
        code = self._context.decode(batch)
        if not outputs:
            self._context.synchronize()  # otherwise reading the logits does
        logits = self._context.logits(outputs) if code == DECODED and outputs else None
        seconds = perf_counter() - start
        self._guard.end()
        return logits, seconds, code

    def _tell_progress(self, streams: list[Stream]) -> None:
        progress = [stream.progress(perf_counter_ns()) for stream in streams if stream.submit.with_progress]
        if progress:
            self._events.send(progress)

    # ---- images and sounds -----------------------------------------------------------------------------------------

    def _drop_failed(self) -> None:
        for stream in list(self._active.values()):
            placed = stream.medium
            if placed is not None and placed.piece.error is not None:
                self._events.send(_failures([stream], placed.piece.error))
                self._end(stream)

    def _read_medium(self, stream: Stream, placed: Placed, *, beside: int) -> None:
        """The next rows of a piece, in a batch of their own: llama.cpp mixes no tokens with embeddings. Rows that look
        at each other go together; of others no more than streams that generate can bear."""
        piece, sequence, context = placed.piece, stream.sequence, self._context
        assert piece.rows is not None
        start = stream.media_read
        quota = self._pace.prefill_tokens(beside) if piece.is_causal else context.batch_tokens
        end = min(start + max(min(quota, context.batch_tokens), 1), piece.tokens)
        is_last = stream.rest == end - start
        if self._rows is None:
            self._rows = RowBatch(context.batch_tokens)
        places = piece.places(sequence.position(placed.span.start), start, end)
        self._rows.fill(sequence.number, piece.rows[start:end], places, wants_output=is_last)
        if not piece.is_causal:
            context.set_causal(False)
        logits, seconds, code = self._decode(self._rows, [stream], int(is_last))
        if not piece.is_causal:
            context.set_causal(True)
        if code != DECODED:
            self._recover(code, self._rows, [stream])
            return
        stream.advance_medium(end - start)
        self._tell_progress([stream])
        self._measure(seconds, 0, end - start, int(is_last))
        if logits is not None:
            self._sample([(end - start - 1, stream)], logits)

    def _plan_shares(self, generating: list[Stream], reading: list[Stream]) -> list[tuple[Stream, int]]:
        demands = [Demand(stream.id, 1, stream.arrival, is_generating=True) for stream in generating]
        demands += [Demand(stream.id, stream.text_rest, stream.arrival) for stream in reading]
        quota = min(self._pace.prefill_tokens(len(generating)), self._prefill_cap)
        shares = plan_step(demands, self._context.batch_tokens, quota)
        return [(self._active[share.stream], share.tokens) for share in shares[len(generating) :]]

    def _fill(self, generating: list[Stream], shares: list[tuple[Stream, int]]) -> list[tuple[int, Stream]]:
        """Write the batch; returns (row, stream) of each output in order."""
        batch = self._batch
        batch.clear()
        outputs: list[tuple[int, Stream]] = []
        for row, stream in enumerate(generating):
            batch.add_token(stream.sequence.number, stream.next_token, stream.sequence.next_position)
            outputs.append((row, stream))
        for stream, tokens in shares:
            is_last = tokens == stream.rest
            sequence = stream.sequence
            batch.add_run(sequence.number, stream.chunk(tokens), sequence.next_position, wants_output=is_last)
            if is_last:
                outputs.append((len(batch) - 1, stream))
        return outputs

    def _sample(self, outputs: list[tuple[int, Stream]], logits: Logits) -> None:
        events: list[Event] = []
        vocabulary = self._model.vocabulary
        last_room = self._limit - 1
        for place, (row, stream) in enumerate(outputs):
            values = logits[place]
            wanted = stream.submit.logprobs
            chances = None if wanted is None else stream.sampler.drawn or Chances(values, wanted)
            try:
                token = stream.sampler.pick(values, row)
            except PunaError as error:
                events += _failures([stream], error)
                self._end(stream)
                continue
            chance = None if chances is None else chances.of(token, vocabulary, stream.piece(token))
            has_room = stream.sequence.length < last_room or self._can_shift(stream)
            shown = stream.accept(token, chance, has_room, perf_counter_ns())
            if shown:
                events += shown
                if stream.is_finished:
                    self._end(stream)
        if events:
            self._events.send(events)

    def _measure(self, seconds: float, generating: int, reading: int, sampled: int) -> None:
        self._prefill_cap = self._context.batch_tokens
        self._pulse.count(reading, sampled)
        self._pace.observe(seconds, generating, reading)
        if reading == 0 and self._threads.most > 1:
            threads = self._threads.observe(seconds, generating)
            if threads != self._used_threads:
                self._used_threads = threads
                self._context.set_threads(threads, threads)

    # ---- a full context, and failures ------------------------------------------------------------------------------

    def _can_shift(self, stream: Stream) -> bool:
        """An image cannot lose a part of itself, nor be moved as text is."""
        return self._may_shift and stream.submit.shift and not stream.has_media

    def _make_room(self) -> None:
        """Shift every stream whose next token would fill the context."""
        for stream in self._active.values():
            sequence = stream.sequence
            if not stream.is_generating or sequence.length + 1 < self._limit:
                continue
            keep = kept_tokens(stream.submit.sampling.num_keep, stream.prompt_tokens, self._model.vocabulary.add_bos)
            rest = self._pool.shift(sequence, *shift_span(sequence.length, self._limit, keep))
            if rest is not None:
                stream.read_again(rest)

    def _recover(self, code: int, batch: Batch | RowBatch, streams: list[Stream]) -> None:
        """Bring streams and KV together again after a decode that failed.

        - no room: take it from an idle sequence, else read less at once, else give up the youngest stream;
        - aborted: nobody waits for these streams; what was evaluated is dropped;
        - an invalid batch concerns the streams in it; anything else ends the process, which a new one replaces.
        """
        if code == NO_ROOM:
            if self._pool.evict():
                return
            if batch is self._batch and len(batch) > TILE and self._prefill_cap > TILE:
                self._prefill_cap = max(len(batch) // 2, TILE)
                return
            self._give_up([max(streams, key=lambda stream: stream.arrival)], "The context memory is full.")
        elif code == ABORTED:
            for stream in streams:
                if batch is self._rows:
                    stream.read_medium_again()
                self._context.remove(stream.sequence.number, stream.sequence.next_position, -1)
        elif code == INVALID:
            self._give_up(streams, "llama.cpp refused a batch; this is a defect of Puna.")
        else:
            failure = RunnerDied(
                "The model stopped with an error while computing; the next request starts it again.",
                log=f"llama_decode returned {code}",
            )
            waiting = list(self._waiting)
            self._events.send(_failures([*self._active.values(), *waiting], failure))
            raise failure

    def _give_up(self, streams: list[Stream], sentence: str) -> None:
        self._events.send(_failures(streams, RunnerError(sentence)))
        for stream in streams:
            self._pool.forget(stream.sequence)
            self._end(stream)


def _failures(streams: list[Stream], error: PunaError) -> list[Event]:
    return [Failed(id=stream.id, kind=error.kind, message=str(error), log=error.log) for stream in streams]
