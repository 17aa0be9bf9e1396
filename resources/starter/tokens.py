"""The tokenizer: byte-pair pieces learned from the corpus, split exactly as llama.cpp splits its "llama" kind.

llama.cpp starts with characters and joins, again and again, the neighbours whose joint text is the best-scored piece;
characters without a piece become bytes. Blanks are written as U+2581.
"""

from __future__ import annotations

import heapq
import itertools
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from numpy.random import Generator

BLANK = "\u2581"
SPECIALS = ("<unk>", "<s>", "</s>", "<|user|>", "<|assistant|>")
UNKNOWN, BOS, EOS, USER, ASSISTANT = range(len(SPECIALS))
FIRST_BYTE = len(SPECIALS)
FIRST_PIECE = FIRST_BYTE + 256

_WORD = re.compile(r" ?\w+| ?[^\w\s]+|\s")


@dataclass
class Tokenizer:
    """`pieces` in the order they were learned, best first; a piece's score is minus its place."""

    pieces: list[str]
    ids: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self.ids = {piece: FIRST_PIECE + place for place, piece in enumerate(self.pieces)}

    @property
    def size(self) -> int:
        return FIRST_PIECE + len(self.pieces)

    @property
    def texts(self) -> list[str]:
        return [*SPECIALS, *(f"<0x{byte:02X}>" for byte in range(256)), *self.pieces]

    @property
    def scores(self) -> list[float]:
        return [0.0] * FIRST_PIECE + [-float(place) for place in range(len(self.pieces))]

    def encode(self, text: str, random: Generator | None = None, skip: float = 0.0) -> list[int]:
        """Tokens of plain text. With `random`, a share `skip` of the joins is left out: a word then shows its parts."""
        symbols: list[str] = list(text.replace(" ", BLANK))
        after = [*range(1, len(symbols)), -1]
        before = [-1, *range(len(symbols) - 1)]
        queue: list[tuple[int, int, int, int]] = []

        def offer(left: int, right: int) -> None:
            if left < 0 or right < 0:
                return
            place = self.ids.get(symbols[left] + symbols[right])
            if place is not None and not (random is not None and skip and random.random() < skip):
                heapq.heappush(queue, (place, left, right, len(symbols[left]) + len(symbols[right])))

        for index in range(len(symbols) - 1):
            offer(index, index + 1)
        while queue:
            _, left, right, length = heapq.heappop(queue)
            if not symbols[left] or not symbols[right] or len(symbols[left]) + len(symbols[right]) != length:
                continue
            symbols[left] += symbols[right]
            symbols[right] = ""
            after[left] = after[right]
            if after[right] >= 0:
                before[after[right]] = left
            offer(before[left], left)
            offer(left, after[left])
        return [token for symbol in symbols if symbol for token in self._tokens_of(symbol)]

    def _tokens_of(self, symbol: str) -> list[int]:
        token = self.ids.get(symbol)
        return [token] if token is not None else [FIRST_BYTE + byte for byte in symbol.encode("utf-8")]

    def decode(self, tokens: Iterable[int]) -> str:
        data = b""
        for token in tokens:
            if token >= FIRST_PIECE:
                data += self.pieces[token - FIRST_PIECE].replace(BLANK, " ").encode("utf-8")
            elif token >= FIRST_BYTE:
                data += bytes([token - FIRST_BYTE])
        return data.decode("utf-8", errors="replace")


def learn(texts: Iterable[str], size: int) -> Tokenizer:
    """Byte-pair encoding inside words: join the commonest neighbours until there are `size` tokens.

    Characters that occur once or twice are left to bytes. Ties are broken by text: the result is always the same.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(word.replace(" ", BLANK) for word in _WORD.findall(text))
    letters: Counter[str] = Counter()
    for word, count in counts.items():
        for letter in word:
            letters[letter] += count
    alphabet = sorted(letter for letter, count in letters.items() if count > 2)
    words = [(list(word), count) for word, count in sorted(counts.items())]
    merged: dict[str, None] = {}
    while FIRST_PIECE + len(alphabet) + len(merged) < size:
        best = _commonest_pair(words)
        if best is None:
            break
        merged[best[0] + best[1]] = None
        for parts, _ in words:
            _join(parts, best)
    return Tokenizer([*merged, *alphabet])


def _commonest_pair(words: list[tuple[list[str], int]]) -> tuple[str, str] | None:
    pairs: Counter[tuple[str, str]] = Counter()
    for parts, count in words:
        for pair in itertools.pairwise(parts):
            pairs[pair] += count
    return min(pairs, key=lambda pair: (-pairs[pair], pair)) if pairs else None


def _join(parts: list[str], pair: tuple[str, str]) -> None:
    index = 0
    while index < len(parts) - 1:
        if parts[index] == pair[0] and parts[index + 1] == pair[1]:
            parts[index : index + 2] = [pair[0] + pair[1]]
        index += 1
