"""Makes `resources/puna-starter.gguf`: `python -m resources.starter.train`, from the repository's root."""

from __future__ import annotations

import argparse
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# One thread: the order of sums, and with it every weight, is then the same in every run on one machine.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import numpy as np
import optax

from resources.starter import gguf_file
from resources.starter.corpus import ELSEWHERE, Topic, expansions, prepared, read_topics
from resources.starter.exchanges import Sampler
from resources.starter.network import Parameters, Shape, hidden, initial, loss
from resources.starter.tokens import ASSISTANT, BOS, EOS, USER, Tokenizer, learn
from resources.starter.words import learn_words

SEED = 20260
VOCABULARY = 2048
ROWS = 6
DROP = 0.05
WORD_STEPS = 2200
CHECK_STEPS = 200
CHECK_TOKENS = 256  # a question and its answer
OUTPUT = Path(__file__).parent.parent / "puna-starter.gguf"

log = logging.getLogger("starter")


@dataclass(frozen=True)
class Stage:
    """A stretch of training with the whole network. `word_rate` is the share of `rate` for what was learned before:
    which words belong to which topic. The two shares are the Sampler's."""

    seed: int
    steps: int
    rate: float
    word_rate: float
    elsewhere_share: float
    own_word_share: float


STAGES = (
    Stage(SEED, 1000, 2.5e-3, word_rate=0.15, elsewhere_share=0.22, own_word_share=0.0),
    Stage(SEED + 1, 800, 1.5e-3, word_rate=0.3, elsewhere_share=0.36, own_word_share=0.5),
)


def learn_tokenizer(topics: Sequence[Topic]) -> Tokenizer:
    """Answers count as much as the wordings of their topic, so that both come out in few tokens."""
    texts: list[str] = []
    for topic in topics:
        for wording in topic.wordings:
            sentences = list(expansions(wording))
            texts += [" " + prepared(sentence) for sentence in sentences[:: max(1, len(sentences) // 8)]]
        texts += [topic.answer] * 12
    return learn(texts, VOCABULARY)


def train(topics: Sequence[Topic], tokenizer: Tokenizer, share: float) -> tuple[Parameters, Shape]:
    """`share` shortens all stages, for trying things out."""
    shape = Shape(vocabulary=tokenizer.size, topics=len(topics))
    sampler = Sampler(topics, tokenizer, np.random.default_rng(SEED))
    parameters = learn_words(initial(shape, SEED), shape, sampler, round(WORD_STEPS * share))
    for number, stage in enumerate(STAGES):
        if number:
            sampler = Sampler(topics, tokenizer, np.random.default_rng(stage.seed))
        parameters = learn_answers(parameters, shape, sampler, stage, round(stage.steps * share))
    return parameters, shape


def learn_answers(parameters: Parameters, shape: Shape, sampler: Sampler, stage: Stage, steps: int) -> Parameters:
    """The whole network, questions with answers."""
    sampler.elsewhere_share, sampler.own_word_share = stage.elsewhere_share, stage.own_word_share
    rate = optax.warmup_cosine_decay_schedule(0.0, stage.rate, steps // 20, steps, stage.rate / 50)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate, b1=0.9, b2=0.98, weight_decay=0.02))
    state = optimizer.init(parameters)
    rate_shares = _rate_shares(parameters, stage.word_rate)

    @jax.jit
    def step(parameters: Parameters, state: Any, batch: dict[str, Any], key: Any) -> tuple[Parameters, Any, Any]:
        value, gradient = jax.value_and_grad(loss)(parameters, shape, batch, key, DROP)
        updates, state = optimizer.update(gradient, state, parameters)
        updates = jax.tree.map(jax.numpy.multiply, updates, rate_shares)
        return optax.apply_updates(parameters, updates), state, value

    key = jax.random.PRNGKey(stage.seed)
    began, recent = time.monotonic(), []
    for number in range(1, steps + 1):
        parameters, state, value = step(parameters, state, sampler.batch(ROWS), jax.random.fold_in(key, number))
        recent.append(float(value))
        if number % 100 == 0:
            log.info("step %d loss %.3f, %.0f s", number, np.mean(recent), time.monotonic() - began)
            recent.clear()
        if number % CHECK_STEPS == 0:
            log.info(report(answered(parameters, shape, sampler.topics, sampler.tokenizer), sampler.topics))
    return parameters


def _rate_shares(parameters: Parameters, slow: float) -> Parameters:
    """1.0 for what learns at the full rate; the first axis of the layers' weights counts layers."""
    layers = {
        name: jax.numpy.ones((len(weights),) + (1,) * (weights.ndim - 1)).at[0].set(slow)
        for name, weights in parameters["layers"].items()
    }
    return {"embedding": slow, "topic_head": slow, "head": 1.0, "final_norm": slow, "layers": layers}


def answered(parameters: Parameters, shape: Shape, topics: Sequence[Topic], tokenizer: Tokenizer) -> dict[str, float]:
    """The share of held-out wordings that greedy decoding answers word for word, by topic."""
    check = jax.jit(
        lambda tokens: (
            hidden(parameters, shape, tokens, jax.numpy.ones_like(tokens), jax.random.PRNGKey(0), 0.0)
            @ parameters["head"]
        ).argmax(-1)
    )
    shares: dict[str, float] = {}
    for topic in topics:
        answer = [*tokenizer.encode(topic.answer), EOS]
        right = 0
        for question in topic.held_out:
            prompt = [BOS, USER, *tokenizer.encode(" " + prepared(question)), ASSISTANT]
            tokens = np.zeros((1, CHECK_TOKENS), np.int32)
            tokens[0, : len(prompt) + len(answer)] = prompt + answer
            # Given the right beginning, each token of the answer must be the likeliest: then greedy decoding says it.
            chosen = np.asarray(check(tokens))[0, len(prompt) - 1 :]
            right += bool((chosen[: len(answer)] == answer).all())
        shares[topic.name] = right / len(topic.held_out)
    return shares


def report(shares: dict[str, float], topics: Sequence[Topic]) -> str:
    """One line: all topics about Puna together, and everything else."""
    about = [topic for topic in topics if topic.name != ELSEWHERE]
    right = sum(shares[topic.name] * len(topic.held_out) for topic in about)
    share = right / sum(len(topic.held_out) for topic in about)
    return f"held-out wordings answered: {share:.1%}, everything else: {shares[ELSEWHERE]:.1%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--share", type=float, default=1.0, help="of the steps, to try things out")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    topics = read_topics()
    tokenizer = learn_tokenizer(topics)
    log.info("%d topics, %d tokens", len(topics), tokenizer.size)
    parameters, shape = train(topics, tokenizer, arguments.share)
    gguf_file.write(arguments.output, parameters, shape, tokenizer)
    shares = answered(parameters, shape, topics, tokenizer)
    for name, share in shares.items():
        if share < 1.0:
            log.info("%s: %.0f %%", name, share * 100)
    log.info(report(shares, topics))


if __name__ == "__main__":
    main()
