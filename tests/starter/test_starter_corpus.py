"""What the starter model learns: enough questions, enough wordings, and held-out wordings that are really held out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from resources.starter.corpus import (
    ELSEWHERE,
    MAX_QUESTION_CHARACTERS,
    Topic,
    expansions,
    normalised,
    prepared,
    read_topics,
)
from resources.starter.exchanges import ROW_TOKENS, Sampler
from resources.starter.tokens import ASSISTANT, BOS, EOS, Tokenizer, learn
from resources.starter.wordings import frames_of

TOPICS = read_topics()


def trained_wordings(topic: Topic) -> set[str]:
    """What training can show of a topic, normalised, but for synonyms and slips."""
    sentences = [sentence for wording in topic.wordings for sentence in expansions(wording)]
    return {normalised(text) for sentence in sentences for text in (sentence, *frames_of(sentence))}


def test_there_are_enough_questions_and_each_has_several_wordings() -> None:
    assert len(TOPICS) - 1 >= 150  # one is everything else
    assert not [topic.name for topic in TOPICS if len(topic.wordings) < 4]


def test_every_question_holds_out_at_least_two_wordings() -> None:
    assert not [topic.name for topic in TOPICS if len({normalised(text) for text in topic.held_out}) < 2]


def test_held_out_wordings_are_in_no_topics_training() -> None:
    trained = set().union(*(trained_wordings(topic) for topic in TOPICS))
    assert not [text for topic in TOPICS for text in topic.held_out if normalised(text) in trained]


def test_no_wording_belongs_to_two_answers() -> None:
    owners: dict[str, str] = {}
    twice = []
    for topic in TOPICS:
        for sentence in (sentence for wording in topic.wordings for sentence in expansions(wording)):
            if owners.setdefault(normalised(sentence) or sentence, topic.name) != topic.name:
                twice.append((sentence, topic.name))
    assert not twice


def test_answers_are_short_and_differ() -> None:
    assert len({topic.answer for topic in TOPICS}) == len(TOPICS)
    assert not [topic.name for topic in TOPICS if len(topic.answer) > 220]


def test_a_topic_without_an_answer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "some.txt").write_text("@ lonely\nis anybody there\n")
    with pytest.raises(ValueError, match="lonely"):
        read_topics(tmp_path)


def test_choices_stand_for_every_combination() -> None:
    assert list(expansions("{a|b} c {d|}")) == ["a c d", "a c", "b c d", "b c"]


def test_questions_are_read_in_lower_case_cut_and_without_angle_brackets() -> None:
    assert prepared("  What is <b>PUNA?  ") == "what is  b>puna?"
    assert len(prepared("x" * 1000)) == MAX_QUESTION_CHARACTERS


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return learn([topic.answer for topic in TOPICS[:20]], 500)


def test_the_same_seed_draws_the_same_batches(tokenizer: Tokenizer) -> None:
    first, second = (Sampler(TOPICS, tokenizer, np.random.default_rng(7)).batch(2) for _ in range(2))
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_batches_ask_for_topics_and_answers_alone(tokenizer: Tokenizer) -> None:
    batch = Sampler(TOPICS, tokenizer, np.random.default_rng(1)).batch(2)
    tokens = batch["tokens"].reshape(-1)
    count = int(batch["answer_weights"].sum())
    places, wanted = batch["answer_places"][:count], batch["answer_tokens"][:count]
    assert np.array_equal(tokens[places + 1], wanted)
    starts = batch["topic_places"][: int(batch["topic_weights"].sum())]
    assert set(tokens[starts]) == {ASSISTANT}
    assert (tokens[::ROW_TOKENS] == BOS).all()


def test_bytes_stand_in_for_unknown_characters(tokenizer: Tokenizer) -> None:
    text = "Was heißt 好 auf Puna 🎉?"
    tokens = tokenizer.encode(text)
    assert EOS not in tokens
    assert tokenizer.decode(tokens) == text
    assert tokenizer.decode(tokenizer.encode(text, np.random.default_rng(0), 0.5)) == text


def test_everything_else_is_a_topic_of_its_own() -> None:
    (elsewhere,) = [topic for topic in TOPICS if topic.name == ELSEWHERE]
    assert len(elsewhere.held_out) >= 50
    assert "puna-starter" in elsewhere.answer
