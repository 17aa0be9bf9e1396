"""How long steps take, and what follows: how much prompt a step may read beside streams that generate, and how many
threads are worth having on a busy machine. Durations are passed in; there is no clock here.
"""

from __future__ import annotations

from collections import deque

from server.engine.plan import TILE

STEP_SECONDS = 0.1  # a stream that generates should not wait longer for its next token
WEIGHT = 0.2  # of the newest measurement


class Pace:
    """Learns t = generate + read * tokens from the steps that happened."""

    def __init__(self, batch_tokens: int) -> None:
        self._batch_tokens = batch_tokens
        self.generate_seconds = 0.0
        self.read_seconds_per_token = 0.0

    def observe(self, seconds: float, generating: int, reading: int) -> None:
        """One step with that many rows of each kind."""
        if reading == 0:
            self.generate_seconds = _blend(self.generate_seconds, seconds)
        elif reading >= TILE // 2:
            base = self.generate_seconds if generating else 0.0
            self.read_seconds_per_token = _blend(self.read_seconds_per_token, max(seconds - base, 0.0) / reading)

    def prefill_tokens(self, generating: int) -> int:
        """Prompt tokens for the next step: no limit while nobody generates, one tile while nothing is known."""
        if generating == 0:
            return self._batch_tokens
        if self.read_seconds_per_token <= 0.0:
            return TILE
        spare = STEP_SECONDS - self.generate_seconds
        return max(min(int(spare / self.read_seconds_per_token), self._batch_tokens), TILE - generating, 1)


def _blend(old: float, new: float) -> float:
    return new if old == 0.0 else old + WEIGHT * (new - old)


class ThreadChoice:
    """How many threads generate. Barriers spin, so a thread whose core is taken by another program stalls all: steps
    become many times slower, and fewer threads are faster.

    The cases, with `usual` the quickest step that all threads made with as many rows:
    - all threads work: PATIENCE steps in a row of more than SLOW times the usual start a trial of half of them;
    - a trial that gains a fifth is kept, and another one follows while steps are still slow; where no number down to
      one gains, all threads work again and slow is the usual from now on (a long context, a cooler clock);
    - fewer threads work: after a while all are tried again. If they are not as quick, that while doubles.
    """

    SLOW = 2.5
    GAIN = 0.8
    PATIENCE = 4
    RETRY_STEPS = 64
    LONGEST_RETRY = 4096

    def __init__(self, threads: int) -> None:
        self.most = threads
        self.current = threads
        self._usual: dict[int, float] = {}
        self._rows = 0
        self._recent: deque[float] = deque(maxlen=self.PATIENCE)
        self._fallback = threads  # what a trial returns to
        self._before = 0.0  # seconds per step before the trial that runs, 0 for none
        self._steps_left = self._retry = self.RETRY_STEPS

    def observe(self, seconds: float, rows: int) -> int:
        """One step that only generated, with `rows` rows; returns the threads for the next one."""
        if rows != self._rows:
            self._rows = rows
            self._recent.clear()
        self._recent.append(seconds)
        if self.current == self.most:
            self._usual[rows] = min(seconds, self._usual.get(rows, seconds))
        self._steps_left -= 1
        if len(self._recent) == self.PATIENCE:
            typical = sorted(self._recent)[self.PATIENCE // 2]
            if self._before:
                self._judge(typical)
            elif self.current == self.most:
                self._watch(typical)
            elif self._steps_left <= 0:
                self._try(self.most, typical)
        return self.current

    def _watch(self, typical: float) -> None:
        is_slow = min(self._recent) > self.SLOW * self._usual[self._rows]
        if is_slow and self.current > 1:
            self._try(max(self.current // 2, 1), typical)

    def _try(self, threads: int, before: float) -> None:
        self._fallback, self.current, self._before = self.current, threads, before
        self._recent.clear()

    def _judge(self, typical: float) -> None:
        """The end of a trial."""
        before, self._before = self._before, 0.0
        went_down = self.current < self._fallback
        if went_down and typical < self.GAIN * before:
            if self.current > 1 and typical > self.SLOW * self._usual.get(self._rows, typical):
                self._try(max(self.current // 2, 1), typical)
            self._steps_left = self._retry
        elif went_down and self.current > 1:
            self.current, self._before = self.current // 2, before  # perhaps still fewer do
        elif went_down:
            self.current = self._fallback
            if self.current == self.most:
                self._usual[self._rows] = before
            self._steps_left = self._retry
        elif typical <= before:
            self._retry = self.RETRY_STEPS
        else:
            self.current = self._fallback
            self._steps_left = self._retry = min(self._retry * 2, self.LONGEST_RETRY)
        self._recent.clear()
