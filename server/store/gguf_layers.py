"""What each layer of a model keeps and computes, from its GGUF header.

Which layers attend to a window, keep a recurrent state or keep nothing is partly a key of the header and partly what
llama.cpp knows of an architecture; the tables here are the second part. Source: llama.cpp's own model definitions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from server.messages.models import LayerShape
from server.store.gguf_numbers import MAX_SIZE, bounded, numbers, per_layer

if TYPE_CHECKING:
    from server.store.gguf import GgufHeader

# Architecture: every n-th layer attends to everything, the others to a window; negative where the first of n does.
# Names of Ollama's own engine are here for files of which only the header is known yet.
WINDOW_PATTERNS: Mapping[str, int] = {
    "afmoe": 4, "cohere2": 4, "cohere2moe": -4, "exaone-moe": 4, "exaone4": 4, "gemma-embedding": 6, "gemma2": 2,
    "gemma3": 6, "gemma3n": 5, "gemma4": 0, "gpt-oss": 2, "gptoss": 2, "granite_swa": 0, "laguna": -4,
    "llama4": 4, "maple": 0, "mellum": 4, "mimo2": 0, "modern-bert": -3, "muse-glimmer": 4, "olmo2": 4, "olmo3": 4,
    "plamo3": 8, "smallthinker": -4, "spark2-5": 0, "step35": 0,
}  # fmt: skip
FIXED_WINDOWS: Mapping[str, int] = {"exaone4": 4096, "gemma2": 4096, "llama4": 8192, "smallthinker": 4096}
_KEY_OVER_FIXED = frozenset({"gemma2", "exaone4"})  # a window in the header wins over the fixed one
_WINDOWED_WITHOUT_KEY = frozenset({"gemma2", "llama4"})
_EXAONE4_WINDOWED_LAYERS = 64

WITHOUT_CACHE = frozenset({
    "bert", "modern-bert", "nomic-bert", "nomic-bert-moe", "neo-bert", "jina-bert-v2", "jina-bert-v3", "eurobert",
    "gemma-embedding", "wavtokenizer-dec", "dream", "llada", "llada-moe", "rnd1",
})  # fmt: skip
MOST_LAYERS = 1024  # llama.cpp knows no model with more than half of it
RECURRENT = frozenset({"mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"})
HYBRID_WITHOUT_HEADS = frozenset({  # a layer without KV heads is a recurrent one
    "jamba", "granitehybrid", "lfm2", "lfm2moe", "plamo2", "kimi-linear", "bailingmoe3", "nemotron_h",
    "nemotron_h_moe",
})  # fmt: skip
HYBRID_BY_INTERVAL = frozenset({"qwen3next", "qwen35", "qwen35moe", "minimax-01"})
HYBRID_BOTH = frozenset({"falcon-h1"})  # every layer has a cache and a state
_SHARED_FROM: Mapping[str, int] = {"gemma3n": 20}  # layers from here on use the cache of earlier ones
_LAYER_INPUTS: Mapping[str, int] = {"gemma3n": 256}
_SHIFTING = RECURRENT - {"mamba", "mamba2"}
_ONE_TOKEN_SHIFT = frozenset({"rwkv6qwen2", "arwkv7"})
_SHORT_CONVOLUTION = frozenset({"lfm2", "lfm2moe"})


def layers_of(header: GgufHeader, blocks: Mapping[int, int]) -> tuple[LayerShape, ...]:
    """One per block, or none where nobody could load so many; `blocks` are the bytes of their tensors."""
    count = bounded(header.number("block_count"))
    if count > MOST_LAYERS:
        return ()
    facts = _Facts(header, count)
    return tuple(facts.layer(index, blocks.get(index, 0)) for index in range(count))


def layer_input_of(header: GgufHeader) -> int:
    """Elements per token that each layer gets beside the embedding, which only Gemma's small models have."""
    known = bounded(header.number("embedding_length_per_layer_input"))
    return known or _LAYER_INPUTS.get(header.architecture, 0)


def window_of(header: GgufHeader) -> int:
    """The length of the sliding window in tokens, 0 where there is none."""
    architecture, key = header.architecture, bounded(header.number("attention.sliding_window"))
    known = header.get("attention.sliding_window") is not None
    if architecture == "lfm2":
        return key
    if architecture not in WINDOW_PATTERNS or (known and not key and architecture not in _KEY_OVER_FIXED):
        return 0
    if architecture == "exaone4" and header.number("block_count") != _EXAONE4_WINDOWED_LAYERS:
        return 0
    if not known and architecture not in (_WINDOWED_WITHOUT_KEY | {"exaone4"}):
        return 0
    fixed = FIXED_WINDOWS.get(architecture, 0)
    return key if key and (not fixed or architecture in _KEY_OVER_FIXED) else fixed or key


class _Facts:
    """The header's numbers that every layer needs."""

    def __init__(self, header: GgufHeader, count: int) -> None:
        self._header = header
        self._count = count
        self._loaded = count - bounded(header.number("nextn_predict_layers"))
        self._embedding = bounded(header.number("embedding_length"))
        self._heads = self._numbers("attention.head_count")
        self._kv_heads = self._kv_heads_of()
        self._feed_forward = self._numbers("feed_forward_length")
        self._expert_length = self._numbers("expert_feed_forward_length")
        self._experts_used = self._numbers("expert_used_count")
        self._dense_first = bounded(header.number("leading_dense_block_count"))
        self._has_latent_cache = header.number("attention.key_length_mla") > 0
        self._windowed = _windowed(header, self._loaded, count)
        self._recurrent = self._recurrent_of()
        self._kept = self._kept_of()
        self._state = _state_elements(header, max(self._heads, default=0))
        self._inner = bounded(header.number("ssm.inner_size")) or self._embedding
        self._tensors = {tensor.name: tensor.shape for tensor in header.tensors}

    def layer(self, index: int, weights_bytes: int) -> LayerShape:
        heads, windowed = self._heads[index], self._windowed[index]
        key, value = self._lengths(heads, windowed)
        keeps = self._keeps_cache(index)
        kv_heads = self._kv_heads[index]
        return LayerShape(
            weights_bytes=weights_bytes,
            keys=kv_heads * key if keeps else 0,
            values=0 if self._has_latent_cache or not keeps else kv_heads * value,
            is_windowed=windowed,
            state=self._state if self._recurrent[index] else 0,
            inner=self._inner if self._recurrent[index] else 0,
            heads=heads,
            query=heads * key,
            attention=heads * value,
            **self._feed_forward_of(index),
        )

    def _lengths(self, heads: int, windowed: bool) -> tuple[int, int]:
        """Elements of one head's key and value."""
        per_head = self._embedding // heads if heads else 0
        found = []
        for name in ("key", "value"):
            length = bounded(self._header.number(f"attention.{name}_length")) or per_head
            in_window = bounded(self._header.number(f"attention.{name}_length_swa")) if windowed else 0
            found.append(in_window or length)
        return found[0], found[1]

    def _keeps_cache(self, index: int) -> bool:
        is_recurrent = self._recurrent[index] and self._header.architecture not in HYBRID_BOTH
        return index < self._loaded and index < self._kept and not is_recurrent

    def _feed_forward_of(self, index: int) -> dict[str, Any]:
        used = self._experts_used[index] if self._header.number("expert_count") > 0 else 0
        if not used or index < self._dense_first:
            length = self._feed_forward[index]
            rows = self._tensors.get(f"blk.{index}.ffn_up.weight", (0, 0))[-1]
            is_gated = f"blk.{index}.ffn_gate.weight" in self._tensors or rows == 2 * length
            return {"feed_forward": length, "is_gated": is_gated}
        length = self._expert_length[index] or self._feed_forward[index]
        shared = bounded(self._header.number("expert_shared_count"))
        own = bounded(self._header.number("expert_shared_feed_forward_length"))
        return {"feed_forward": own or shared * length, "experts_used": used, "expert_feed_forward": length}

    def _numbers(self, key: str) -> tuple[int, ...]:
        return tuple(map(bounded, per_layer(self._header.get(key), 0, self._count)))

    def _kv_heads_of(self) -> tuple[int, ...]:
        known = numbers(self._header.get("attention.head_count_kv"))
        return self._numbers("attention.head_count_kv") if known else self._heads

    def _kept_of(self) -> int:
        architecture = self._header.architecture
        if architecture in WITHOUT_CACHE:
            return 0
        if architecture == "gemma4":
            return self._count - bounded(self._header.number("attention.shared_kv_layers"))
        return _SHARED_FROM.get(architecture, self._count)

    def _recurrent_of(self) -> tuple[bool, ...]:
        architecture, header = self._header.architecture, self._header
        layers = range(self._count)
        if architecture in RECURRENT | HYBRID_BOTH:
            return (True,) * self._count
        if architecture in HYBRID_WITHOUT_HEADS:
            # Nemotron's layers are one thing each: a feed-forward layer keeps neither cache nor state.
            is_single = architecture.startswith("nemotron")
            return tuple(not self._kv_heads[i] and not (is_single and self._feed_forward[i]) for i in layers)
        if architecture in HYBRID_BY_INTERVAL:
            listed = header.get("attention.recurrent_layers")
            if isinstance(listed, list) and len(listed) == self._count:
                return tuple(bool(each) for each in listed)
            interval = bounded(header.number("full_attention_interval")) or 4
            return tuple(i < self._loaded and (i + 1) % interval != 0 for i in layers)
        return (False,) * self._count


def _windowed(header: GgufHeader, loaded: int, count: int) -> tuple[bool, ...]:
    """Which layers attend to a window. A pattern in the header wins: one flag per layer, or another number."""
    if not window_of(header):
        return (False,) * count
    if header.architecture == "lfm2":
        return (True,) * count
    pattern: Any = header.get("attention.sliding_window_pattern")
    if isinstance(pattern, list) and pattern:
        flags = [bool(each) for each in pattern] + [False] * count
        return tuple(flags[:count])
    known = WINDOW_PATTERNS[header.architecture]
    step = pattern if isinstance(pattern, int) and 0 < pattern < MAX_SIZE else abs(known)
    if not step:
        return (False,) * count
    full = 0 if known < 0 else step - 1
    return tuple(i < loaded and i % step != full for i in range(count))


def _state_elements(header: GgufHeader, heads: int) -> int:
    """What a recurrent layer keeps of one sequence: the last inputs of its convolution, and its state."""
    architecture = header.architecture

    def number(key: str) -> int:
        return bounded(header.number(key))

    embedding, kernel = number("embedding_length"), number("ssm.conv_kernel")
    if architecture in _SHIFTING:
        shifts = number("token_shift_count") or (1 if architecture in _ONE_TOKEN_SHIFT else 2)
        return embedding * (shifts + number("wkv.head_size"))
    if architecture in _SHORT_CONVOLUTION:
        return embedding * max(0, number("shortconv.l_cache") - 1)
    if size := number("kda.head_dim"):
        return 3 * (kernel - 1 if kernel else 3) * heads * size + size * size * heads
    inner, state, groups = number("ssm.inner_size"), number("ssm.state_size"), number("ssm.group_count")
    return max(0, kernel - 1) * (inner + 2 * groups * state) + state * inner
