"""One answer in the making: what it still has to evaluate, what it may show, and when it is over."""

from __future__ import annotations

from typing import Literal

import numpy as np

from server.engine.constraint import Constraint
from server.engine.layout import Layout, Placed
from server.engine.prefix import Sequence
from server.engine.sampling import Sampler
from server.engine.text import AnswerText, Shown, TokenChance
from server.engine.vocabulary import Tokens, Vocabulary
from server.messages.chat import TokenLogprob
from server.messages.frames import Delta, Event, Finished, PromptProgress, Submit

Reason = Literal["stop", "length"]
LIMIT_CONTEXTS = 10  # an answer without a limit ends after this many times the context


def token_limit(submit: Submit, context: int) -> int:
    """The most tokens an answer may have; "no limit" and more than LIMIT_CONTEXTS contexts become the bound."""
    wanted = submit.max_tokens
    if wanted is None and submit.sampling.num_predict > 0:
        wanted = submit.sampling.num_predict
    bound = LIMIT_CONTEXTS * context
    return bound if wanted is None or wanted < 0 else min(wanted, bound)


class Stream:
    """Reads its prompt while `rest` tokens are pending, generates when exactly the last sampled one is.

    Where an image or a sound stands, `medium` is the piece that comes next, and no text is read before it.
    """

    def __init__(
        self, submit: Submit, layout: Layout, vocabulary: Vocabulary, limit: int, arrival: int, *, cut_tokens: int = 0,
        constraint: Constraint | None = None,
    ) -> None:  # fmt: skip
        self.id = submit.id
        self.constraint = constraint
        self.submit = submit
        self.arrival = arrival
        self.layout = layout
        self.prompt_tokens = len(layout.tokens)
        self.cut_tokens = cut_tokens
        self.cached_tokens = 0
        self.generated = 0
        self.is_generating = False
        self.is_finished = False
        self.next_token = 0  # sampled, not evaluated yet
        self.sequence: Sequence
        self.sampler: Sampler
        self._vocabulary = vocabulary
        self._limit = limit
        self._pending = layout.tokens
        self._fed = 0
        self._media = list(layout.media)
        self._visible = vocabulary.visible_pieces(submit.visible)
        self._text = AnswerText(submit.sampling.stop, with_chances=submit.logprobs is not None)
        self._has_told = False
        self._untold_tokens: list[int] = []
        self._started_ns = self._answered_ns = 0

    def __repr__(self) -> str:
        state = f"{self.generated} generated" if self.is_generating else f"{self.rest} to read"
        return f"<stream {self.id}: {self.prompt_tokens} prompt tokens, {state}>"

    @property
    def rest(self) -> int:
        """Tokens to evaluate before the next one can be sampled."""
        return len(self._pending) - self._fed

    @property
    def text_rest(self) -> int:
        """Those of them that are text and stand before the next medium."""
        end = self._media[0].span.start if self._media else len(self._pending)
        return max(end - self._fed, 0)

    @property
    def has_media(self) -> bool:
        return bool(self.layout.media)

    @property
    def media(self) -> tuple[Placed, ...]:
        """What has not been read of them."""
        return tuple(self._media)

    @property
    def medium(self) -> Placed | None:
        """What has to be read next, if that is no text."""
        return self._media[0] if self._media and self._media[0].span.start <= self._fed else None

    def begin(self, sequence: Sequence, cached: int, sampler: Sampler, now_ns: int) -> None:
        """Take a slot whose sequence already holds the first `cached` tokens of the prompt."""
        self.sequence, self.sampler = sequence, sampler
        self.cached_tokens = self._fed = cached
        self._media = [placed for placed in self._media if placed.span.start >= cached]
        self._started_ns = now_ns

    def chunk(self, tokens: int) -> Tokens:
        """The next tokens to evaluate."""
        return self._pending[self._fed : self._fed + tokens]

    def advance(self, tokens: int) -> bool:
        """So many of them are in the KV now; True when the last one's logits say what comes next."""
        self.sequence.extend(self.chunk(tokens))
        self._fed += tokens
        return self.rest == 0

    @property
    def media_read(self) -> int:
        """How many rows of `medium` have been read."""
        return self._fed - self._media[0].span.start

    def advance_medium(self, rows: int) -> bool:
        """The same for the next rows of `medium`."""
        span = self._media[0].span
        self.sequence.extend(self.chunk(rows), [span] if self._fed == span.start else [])
        self._fed += rows
        if self._fed == span.end:
            del self._media[0]
        return self.rest == 0

    def read_medium_again(self) -> None:
        """The KV lost all rows of `medium`, or never had any."""
        self._fed = self._media[0].span.start
        self.sequence.cut(self._fed)

    def read_again(self, tokens: Tokens) -> None:
        """The KV lost these; they and the token sampled last have to be evaluated before the answer goes on."""
        tail = [self.next_token] if self.is_generating else list(self._pending[self._fed :])
        self._pending = np.concatenate((tokens, np.array(tail, np.int32)))
        self._fed = 0
        self.is_generating = False

    def accept(self, token: int, chance: TokenChance | None, has_room: bool, now_ns: int) -> list[Event]:
        """The sampled token becomes text. Without `has_room` in the context, nothing can follow it."""
        if not self._answered_ns:
            self._answered_ns = now_ns
        self.generated += 1
        self.next_token = token
        self.is_generating = True
        if self.submit.with_tokens:
            self._untold_tokens.append(token)
        if token in self._vocabulary.end_tokens:
            return self._finish(self._end(token), "stop", now_ns)
        shown = self._text.feed(self.piece(token), chance)
        if shown.stopped:
            return self._finish([shown], "stop", now_ns)
        if self.constraint is not None and self.constraint.is_complete:
            if self.generated < self._limit:
                self.generated += 1  # nothing but an end token can follow, so it is taken without decoding
            return self._finish([shown, self._text.flush()], "stop", now_ns)
        if self.generated >= self._limit or not has_room or self._is_late(shown.text, now_ns):
            return self._finish([shown, self._text.flush()], "length", now_ns)
        return self._delta(shown.text, shown.entries)

    def _is_late(self, text: str, now_ns: int) -> bool:
        """Whether the answer has had its time and is at the end of a line."""
        limit_ms = self.submit.sampling.max_predict_ms
        return limit_ms > 0 and "\n" in text and now_ns - self._answered_ns > limit_ms * 1_000_000

    def progress(self, now_ns: int) -> PromptProgress:
        """How much of the prompt has been read."""
        return PromptProgress(
            id=self.id,
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached_tokens,
            read_tokens=self._fed,
            elapsed_ns=now_ns - self._started_ns,
        )

    def piece(self, token: int) -> bytes:
        """What a token adds to this answer."""
        found = self._visible.get(token) if self._visible else None
        return self._vocabulary.piece(token) if found is None else found

    def _end(self, token: int) -> list[Shown]:
        """An end token prints nothing, unless its text was asked for."""
        shown = [self._text.flush()]
        if token in self._visible:
            shown.append(Shown(self._visible[token].decode(errors="replace")))
        return shown

    def _finish(self, shown: list[Shown], reason: Reason, now_ns: int) -> list[Event]:
        self.is_finished = True
        text = "".join(part.text for part in shown)
        entries = tuple(entry for part in shown for entry in part.entries)
        return [*self._delta(text, entries), self.finished(reason, now_ns)]

    def _delta(self, text: str, entries: tuple[TokenLogprob, ...]) -> list[Event]:
        if not text and not entries and not self._untold_tokens:
            return []
        tokens, self._untold_tokens = tuple(self._untold_tokens), []
        if self._has_told:
            return [Delta(id=self.id, text=text, logprobs=entries, tokens=tokens, generated=self.generated)]
        self._has_told = True
        first = Delta(
            id=self.id,
            text=text,
            logprobs=entries,
            cut_tokens=self.cut_tokens,
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached_tokens,
            tokens=tokens,
            generated=self.generated,
        )
        return [first]

    def finished(self, reason: Reason, now_ns: int) -> Finished:
        answered = self._answered_ns or now_ns
        return Finished(
            id=self.id,
            reason=reason,
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached_tokens,
            prompt_ns=max(answered - (self._started_ns or answered), 0),
            eval_tokens=self.generated,
            eval_ns=max(now_ns - answered, 1 if self.generated else 0),
            cut_tokens=self.cut_tokens,
            stop_text=self._text.stop_text,
        )
