"""From the bytes of tokens to text that may be shown: whole characters, and nothing of a stop string."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from server.messages.chat import TokenLogprob, TopLogprob


@dataclass(slots=True)
class TokenChance:
    """What the model thought of one token: its log-probability, and the best `(piece, log-probability)` pairs."""

    piece: bytes
    logprob: float
    best: list[tuple[bytes, float]] = field(default_factory=list)


@dataclass(slots=True)
class Shown:
    """Text that became certain. `stopped`: a stop string was found; nothing follows."""

    text: str = ""
    entries: tuple[TokenLogprob, ...] = ()
    stopped: bool = False


def incomplete_tail(data: bytes | bytearray) -> int:
    """How many bytes at the end are the beginning of a character that is not complete."""
    for back in range(1, min(4, len(data) + 1)):
        byte = data[-back]
        if byte & 0xC0 == 0x80:
            continue
        needed = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
        return back if needed > back and byte < 0xF8 else 0
    return 0


class AnswerText:
    """Collects the pieces of one answer. Held back is only what may still become a stop string or a character; with
    log-probabilities also the rest of a token that is partly held, so that each entry is the text of whole tokens."""

    def __init__(self, stops: Iterable[str], *, with_chances: bool) -> None:
        self._stops = tuple(stop.encode("utf-8", errors="replace") for stop in stops if stop)
        self._longest = max(map(len, self._stops), default=0)
        self._held = bytearray()
        self.stop_text = ""  # the stop string that was found
        self._chances: deque[TokenChance] | None = deque() if with_chances else None

    def feed(self, piece: bytes, chance: TokenChance | None = None) -> Shown:
        """Add a token's bytes; `chance` is needed when log-probabilities were asked for."""
        if self._chances is not None and chance is not None:
            self._chances.append(chance)
        elif not self._held and not self._stops and (not piece or piece[-1] < 0x80):
            return Shown(piece.decode(errors="replace"))
        self._held += piece
        cut = self._find_stop()
        if cut >= 0:
            self.stop_text = next(s for s in self._stops if self._held.startswith(s, cut)).decode(errors="replace")
            del self._held[cut:]
            return self._release(cut, stopped=True)
        size = len(self._held) - self._beginning_of_stop()
        size -= incomplete_tail(self._held[max(size - 4, 0) : size])
        return self._release(self._whole_tokens(size))

    def flush(self) -> Shown:
        """What is held when the answer ends otherwise; an incomplete character becomes U+FFFD."""
        return self._release(len(self._held), stopped=True)

    def _find_stop(self) -> int:
        """Where the first stop string begins, -1 for none."""
        places = [place for stop in self._stops if (place := self._held.find(stop)) >= 0]
        return min(places, default=-1)

    def _beginning_of_stop(self) -> int:
        """The length of the longest end of the held bytes that begins a stop string."""
        for length in range(min(self._longest - 1, len(self._held)), 0, -1):
            tail = bytes(self._held[-length:])
            if any(stop.startswith(tail) for stop in self._stops):
                return length
        return 0

    def _whole_tokens(self, size: int) -> int:
        """The largest sum of token lengths within `size` that ends at a character; `size` itself without chances."""
        if self._chances is None:
            return size
        total = best = 0
        for chance in self._chances:
            total += len(chance.piece)
            if total > size:
                break
            if not incomplete_tail(self._held[max(total - 4, 0) : total]):
                best = total
        return best

    def _release(self, size: int, *, stopped: bool = False) -> Shown:
        data = bytes(self._held[:size])
        del self._held[:size]
        entries = self._entries(data, is_last=stopped) if self._chances is not None else ()
        return Shown(data.decode(errors="replace"), entries, stopped)

    def _entries(self, data: bytes, *, is_last: bool) -> tuple[TokenLogprob, ...]:
        """One entry per piece of text that is `data` cut where tokens end; tokens that share a character share one."""
        assert self._chances is not None
        found: list[TokenLogprob] = []
        start = 0
        while self._chances and (start < len(data) or not self._chances[0].piece):
            tokens = [self._chances.popleft()]
            end = start + len(tokens[0].piece)
            while end < len(data) and incomplete_tail(data[start:end]) and self._chances:
                tokens.append(self._chances.popleft())
                end += len(tokens[-1].piece)
            found.append(_entry(tokens, data[start : min(end, len(data))]))
            start = end
        if is_last:
            self._chances.clear()
        return tuple(found)


def _entry(tokens: list[TokenChance], data: bytes) -> TokenLogprob:
    """`data` with the probability that all its tokens came; alternatives are those of its first token."""
    text = data.decode(errors="replace")
    logprob = sum(token.logprob for token in tokens)
    first = tokens[0]
    best = []
    for piece, chance in first.best:
        if piece == first.piece and len(tokens) > 1:
            best.append((text, logprob))
        else:
            best.append((piece.decode(errors="replace"), chance))
    best.sort(key=lambda pair: -pair[1])
    alternatives = tuple(TopLogprob(word, chance, tuple(word.encode())) for word, chance in best)
    return TokenLogprob(text, logprob, tuple(text.encode()), alternatives)
