"""The network in JAX: a llama as llama.cpp computes it, with a second head that only training uses.

Rows hold several exchanges; `segments` numbers them, and a token attends only to earlier ones of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Parameters = dict[str, Any]
EPSILON = 1e-5
TOPIC_WEIGHT = 4.0  # an answer has some thirty tokens to be wrong about, a topic counts once


@dataclass(frozen=True)
class Shape:
    vocabulary: int
    topics: int
    width: int = 160
    layers: int = 4
    heads: int = 5
    inner: int = 448
    rope_base: float = 10_000.0

    @property
    def head_width(self) -> int:
        return self.width // self.heads


def initial(shape: Shape, seed: int) -> Parameters:
    """Random weights; matrices are (input, output), those of the layers stacked."""
    random = np.random.default_rng(seed)

    def normal(*size: int, scale: float) -> jax.Array:
        return jnp.asarray(random.normal(0.0, scale, size), dtype=jnp.float32)

    layers, width, inner = shape.layers, shape.width, shape.inner
    into, out = width**-0.5, 0.3 * width**-0.5
    return {
        "embedding": normal(shape.vocabulary, width, scale=1.0),
        "head": normal(width, shape.vocabulary, scale=into),
        "topic_head": normal(width, shape.topics, scale=into),
        "final_norm": jnp.ones(width),
        "layers": {
            "attention_norm": jnp.ones((layers, width)),
            "query": normal(layers, width, width, scale=into),
            "key": normal(layers, width, width, scale=into),
            "value": normal(layers, width, width, scale=into),
            "output": normal(layers, width, width, scale=out),
            "inner_norm": jnp.ones((layers, width)),
            "gate": normal(layers, width, inner, scale=into),
            "up": normal(layers, width, inner, scale=into),
            "down": normal(layers, inner, width, scale=0.3 * inner**-0.5),
        },
    }


def hidden(parameters: Parameters, shape: Shape, tokens: jax.Array, segments: jax.Array, key: Any, drop: float) -> Any:
    """The last layer's output (rows, length, width), normalised. `drop` is the share of tokens that training blanks."""
    rows, length = tokens.shape
    sine, cosine = _rotations(shape, length)
    order = jnp.arange(length)
    visible = (order[:, None] >= order[None, :]) & (segments[:, :, None] == segments[:, None, :])
    mask = jnp.where(visible[:, None], 0.0, -1e9)
    state = parameters["embedding"][tokens]
    if drop:
        state = state * jax.random.bernoulli(key, 1.0 - drop, (rows, length, 1))

    def layer(state: Any, weights: Any) -> tuple[Any, None]:
        seen = normed(state) * weights["attention_norm"]

        def split(name: str) -> Any:
            return (seen @ weights[name]).reshape(rows, length, shape.heads, shape.head_width)

        query, key_ = _rotated(split("query"), sine, cosine), _rotated(split("key"), sine, cosine)
        scores = jnp.einsum("bqhd,bkhd->bhqk", query, key_) * shape.head_width**-0.5 + mask
        mixed = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores, axis=-1), split("value")).reshape(rows, length, -1)
        state = state + mixed @ weights["output"]
        seen = normed(state) * weights["inner_norm"]
        return state + swished(seen, weights["gate"], weights["up"]) @ weights["down"], None

    state, _ = jax.lax.scan(layer, state, parameters["layers"])
    return normed(state) * parameters["final_norm"]


def loss(parameters: Parameters, shape: Shape, batch: dict[str, Any], key: Any, drop: float) -> Any:
    """Per exchange: the cross entropy of the answer's tokens, and of the topic where the answer begins."""
    state = hidden(parameters, shape, batch["tokens"], batch["segments"], key, drop)
    answers = jnp.take_along_axis(state.reshape(-1, shape.width), batch["answer_places"][:, None], axis=0)
    logits = answers @ parameters["head"]
    wanted = jnp.take_along_axis(jax.nn.log_softmax(logits), batch["answer_tokens"][:, None], axis=1)[:, 0]
    starts = jnp.take_along_axis(state.reshape(-1, shape.width), batch["topic_places"][:, None], axis=0)
    topics = jax.nn.log_softmax(starts @ parameters["topic_head"])
    named = jnp.take_along_axis(topics, batch["topics"][:, None], axis=1)[:, 0]
    count = jnp.maximum(batch["topic_weights"].sum(), 1.0)
    told, named = (wanted * batch["answer_weights"]).sum(), (named * batch["topic_weights"]).sum()
    return -(told + TOPIC_WEIGHT * named) / count


def normed(state: Any) -> Any:
    """Scaled to a root mean square of 1."""
    return state * jax.lax.rsqrt(jnp.mean(state * state, axis=-1, keepdims=True) + EPSILON)


def swished(state: Any, gate: Any, up: Any) -> Any:
    return jax.nn.silu(state @ gate) * (state @ up)


def _rotations(shape: Shape, length: int) -> tuple[Any, Any]:
    rates = shape.rope_base ** (-np.arange(0, shape.head_width, 2) / shape.head_width)
    angles = np.outer(np.arange(length), rates)
    return jnp.asarray(np.sin(angles), jnp.float32), jnp.asarray(np.cos(angles), jnp.float32)


def _rotated(values: Any, sine: Any, cosine: Any) -> Any:
    """Neighbouring values turn together, as llama.cpp has it for the llama architecture."""
    even, odd = values[..., 0::2], values[..., 1::2]
    sine, cosine = sine[None, :, None], cosine[None, :, None]
    return jnp.stack([even * cosine - odd * sine, even * sine + odd * cosine], axis=-1).reshape(values.shape)
