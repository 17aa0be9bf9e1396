"""Exchanges as training sees them: packed into rows of tokens, with marks on what is to be learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator

from resources.starter.corpus import ELSEWHERE, Topic, expansions, prepared
from resources.starter.tokens import ASSISTANT, BOS, EOS, USER, Tokenizer
from resources.starter.wordings import varied

ROW_TOKENS = 256
SKIPPED_JOINS = 0.04
SHORT_ANSWER = 8  # tokens of an answer that is cut, see Sampler.exchange
CUT_SHARE = 0.6

_ONSETS = ("b", "br", "c", "ch", "d", "f", "g", "gr", "h", "j", "k", "l", "m", "n", "p", "pl", "qu", "r", "s", "st",
           "t", "th", "tr", "v", "w", "z", "")  # fmt: skip
_RIMES = ("a", "an", "ar", "e", "el", "en", "er", "i", "ing", "in", "ine", "o", "on", "or", "u", "um", "ight", "ess",
          "ack", "own", "y", "ive", "ock")  # fmt: skip


@dataclass
class Exchange:
    """`answer_at` is the place of the token before the answer's first."""

    tokens: list[int]
    answer_at: int
    topic: int


@dataclass
class Sampler:
    """Draws questions with their answers. `elsewhere_share` of them are not about Puna; `own_word_share` of their long
    stretches of unknown words hold one word that is Puna's, which does not make them a question about Puna."""

    topics: Sequence[Topic]
    tokenizer: Tokenizer
    random: Generator
    sentences: list[list[list[str]]] = field(init=False)
    answers: list[list[int]] = field(init=False)
    words: list[str] = field(init=False)
    own_words: list[str] = field(init=False)
    elsewhere_share: float = 0.22
    own_word_share: float = 0.0
    spare: Exchange | None = None

    def __post_init__(self) -> None:
        self.sentences = [[list(expansions(wording)) for wording in topic.wordings] for topic in self.topics]
        self.answers = [[*self.tokenizer.encode(topic.answer), EOS] for topic in self.topics]
        names = [topic.name for topic in self.topics]
        self.elsewhere = names.index(ELSEWHERE)
        self.words = _words(self.sentences[self.elsewhere])
        others = (groups for topic, groups in enumerate(self.sentences) if topic != self.elsewhere)
        self.own_words = _words([group for groups in others for group in groups])

    def question(self, topic: int) -> str:
        groups = self.sentences[topic]
        weights = np.sqrt([len(group) for group in groups])
        group = groups[self.random.choice(len(groups), p=weights / weights.sum())]
        sentence = varied(group[self.random.integers(len(group))], self.random)
        while "~" in sentence:
            sentence = sentence.replace("~", self._unknown_words(), 1)
        if topic == self.elsewhere and self.random.random() < 0.05:
            sentence = self._long_text()
        return prepared(sentence)

    def _long_text(self) -> str:
        """Lines or one long line of words; sometimes nothing at all."""
        between = "\n" if self.random.random() < 0.4 else " "
        return between.join(self._unknown_words() for _ in range(self.random.integers(0, 24)))

    def _unknown_words(self) -> str:
        count = 1 + self.random.integers(3)
        words = [self._unknown_word() for _ in range(count)]
        if count == 3 and self.own_word_share and self.random.random() < self.own_word_share:
            words[self.random.integers(3)] = self.own_words[self.random.integers(len(self.own_words))]
        return " ".join(words)

    def _unknown_word(self) -> str:
        if self.random.random() < 0.5:
            return self.words[self.random.integers(len(self.words))]
        syllables = 1 + self.random.integers(3)
        return "".join(
            _ONSETS[self.random.integers(len(_ONSETS))] + _RIMES[self.random.integers(len(_RIMES))]
            for _ in range(syllables)
        )

    def exchange(self, *, with_answer: bool = True) -> Exchange:
        """Most answers are cut after a few tokens: which answer it is shows at its beginning, and the time saved lets
        training see twice as many questions."""
        is_elsewhere = self.random.random() < self.elsewhere_share
        topic = self.elsewhere if is_elsewhere else int(self.random.integers(len(self.topics)))
        words = self.tokenizer.encode(" " + self.question(topic), self.random, SKIPPED_JOINS)
        tokens = [BOS, USER, *words, ASSISTANT]
        length = SHORT_ANSWER if self.random.random() < CUT_SHARE else ROW_TOKENS
        answer = self.answers[topic][: length if with_answer else 0]
        return Exchange([*tokens, *answer], len(tokens) - 1, topic)

    def row(self) -> list[Exchange]:
        """Exchanges that fit into one row."""
        exchanges: list[Exchange] = []
        used = 0
        while True:
            exchange = self.spare or self.exchange()
            self.spare = None
            size = len(exchange.tokens)
            if size > ROW_TOKENS:
                continue
            if used + size > ROW_TOKENS:
                self.spare = exchange
                return exchanges
            exchanges.append(exchange)
            used += size

    def batch(self, rows: int) -> dict[str, np.ndarray]:
        """Arrays of fixed sizes: unused places have weight 0."""
        tokens = np.zeros((rows, ROW_TOKENS), np.int32)
        segments = np.zeros((rows, ROW_TOKENS), np.int32)
        answers: list[tuple[int, int]] = []
        topics: list[tuple[int, int]] = []
        for row in range(rows):
            at = 0
            for number, exchange in enumerate(self.row(), 1):
                end = at + len(exchange.tokens)
                tokens[row, at:end] = exchange.tokens
                segments[row, at:end] = number
                begin = row * ROW_TOKENS + at + exchange.answer_at
                topics.append((begin, exchange.topic))
                answer = exchange.tokens[exchange.answer_at + 1 :]
                answers += [(begin + offset, token) for offset, token in enumerate(answer)]
                at = end
        return {
            "tokens": tokens,
            "segments": segments,
            **_padded("answer_places", "answer_tokens", "answer_weights", answers, rows * ROW_TOKENS * 7 // 8),
            **_padded("topic_places", "topics", "topic_weights", topics, rows * 28),
        }


def _words(groups: list[list[str]]) -> list[str]:
    text = " ".join(sentence for group in groups for sentence in group)
    return sorted({word for word in text.split() if word.isalpha() and len(word) > 3})


def _padded(places: str, values: str, weights: str, pairs: list[tuple[int, int]], room: int) -> dict[str, np.ndarray]:
    kept = np.zeros((room, 2), np.int32)
    count = min(len(pairs), room)
    if count:
        kept[:count] = pairs[:count]
    return {places: kept[:, 0], values: kept[:, 1], weights: (np.arange(room) < count).astype(np.float32)}
