"""The first stage: which words belong to which topic.

The network's first layer alone, looked at where the answer begins, and with one score per token and head in place of
queries and keys: a bag of words that learns in a minute what the whole network would take an hour for. The scores then
become keys in the two values of each head that position turns least, so the whole network begins with the same choice.
"""

from __future__ import annotations

import logging
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from resources.starter.exchanges import Sampler
from resources.starter.network import Parameters, Shape, normed, swished
from resources.starter.tokens import ASSISTANT

QUESTION_TOKENS = 40
BATCH = 128
RATE = 4e-3

log = logging.getLogger("starter")


def learn_words(parameters: Parameters, shape: Shape, sampler: Sampler, steps: int) -> Parameters:
    """The parameters with embedding, topic head and first layer trained."""
    bag = _bag_of(parameters, shape)
    optimizer = optax.adamw(optax.cosine_decay_schedule(RATE, steps), weight_decay=0.01)
    state = optimizer.init(bag)

    @jax.jit
    def step(bag: Parameters, state: Any, tokens: Any, topics: Any, key: Any) -> tuple[Parameters, Any, Any]:
        value, gradient = jax.value_and_grad(_loss)(bag, shape, tokens, topics, key)
        updates, state = optimizer.update(gradient, state, bag)
        return optax.apply_updates(bag, updates), state, value

    key = jax.random.PRNGKey(0)
    began, recent = time.monotonic(), []
    for number in range(1, steps + 1):
        tokens, topics = _questions(sampler)
        bag, state, value = step(bag, state, tokens, topics, jax.random.fold_in(key, number))
        recent.append(float(value))
        if number % 500 == 0:
            log.info("step %d loss %.3f, %.0f s", number, np.mean(recent), time.monotonic() - began)
            recent.clear()
    return _with_bag(parameters, shape, bag)


def _bag_of(parameters: Parameters, shape: Shape) -> Parameters:
    layers = parameters["layers"]
    first = {name: layers[name][0] for name in ("value", "output", "gate", "up", "down")}
    return {
        "embedding": parameters["embedding"],
        "topic_head": parameters["topic_head"],
        "scores": jnp.zeros((shape.width, shape.heads)),
        **first,
    }


def _questions(sampler: Sampler) -> tuple[np.ndarray, np.ndarray]:
    """Tokens from BOS to the answer's begin, filled up with -1, and topics."""
    tokens = np.full((BATCH, QUESTION_TOKENS), -1, np.int32)
    topics = np.zeros(BATCH, np.int32)
    for row in range(BATCH):
        exchange = sampler.exchange(with_answer=False)
        question = exchange.tokens[: QUESTION_TOKENS - 1]
        question[-1] = ASSISTANT
        tokens[row, : len(question)] = question
        topics[row] = exchange.topic
    return tokens, topics


def _loss(bag: Parameters, shape: Shape, tokens: Any, topics: Any, key: Any) -> Any:
    kept = (tokens >= 0) & jax.random.bernoulli(key, 0.92, tokens.shape)
    words = normed(bag["embedding"][tokens])
    scores = words @ bag["scores"] + jnp.where(kept, 0.0, -1e9)[..., None]
    weights = jax.nn.softmax(scores, axis=1)
    values = (words @ bag["value"]).reshape(*tokens.shape, shape.heads, shape.head_width)
    mixed = jnp.einsum("blh,blhd->bhd", weights, values).reshape(len(tokens), -1)
    state = bag["embedding"][ASSISTANT] + mixed @ bag["output"]
    state = state + swished(normed(state), bag["gate"], bag["up"]) @ bag["down"]
    logits = normed(state) @ bag["topic_head"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, topics).mean()


def _with_bag(parameters: Parameters, shape: Shape, bag: Parameters) -> Parameters:
    layers = dict(parameters["layers"])
    for name in ("value", "output", "gate", "up", "down"):
        layers[name] = layers[name].at[0].set(bag[name])
    # The query of the token that asks, along its own direction, is sqrt(head width): attention divides by that.
    asking = np.asarray(normed(bag["embedding"][ASSISTANT]))
    query = asking / (asking @ asking) * shape.head_width**0.5
    slow = np.arange(shape.heads) * shape.head_width + shape.head_width - 2
    layers["query"] = layers["query"].at[0].set(0.0).at[0, :, slow].set(query)
    layers["key"] = layers["key"].at[0].set(0.0).at[0, :, slow].set(bag["scores"].T)
    return {**parameters, "embedding": bag["embedding"], "topic_head": bag["topic_head"], "layers": layers}
