"""The same models as Ollama's own engine had them: what its converters wrote, found out from them and not from ours."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.foreign import stock
from tests.foreign.gguf_files import File, half

MORE_WORDS = 32  # of pictures, that the vocabulary of some has and their embeddings lack


def renamed(tensors: dict[str, np.ndarray], *words: tuple[str, str]) -> dict[str, np.ndarray]:
    found = {}
    for name, data in tensors.items():
        for new, old in words:
            name = name.replace(new, old)
        found[name] = data
    return found


def called(file: File, architecture: str) -> dict[str, Any]:
    prefix = f"{file.architecture}."
    return {
        f"{architecture}.{key.removeprefix(prefix)}" if key.startswith(prefix) else key: value
        for key, value in file.keys.items()
    }


def without(keys: dict[str, Any], *names: str) -> dict[str, Any]:
    assert all(name in keys for name in names)
    return {key: value for key, value in keys.items() if key not in names}


def vision_keys(family: str, eye: File, *names: str) -> dict[str, Any]:
    return {f"{family}.vision.{name}": eye.keys[f"clip.vision.{name}"] for name in names}


SIZES = ("block_count", "embedding_length", "attention.head_count", "patch_size", "attention.layer_norm_epsilon")


def gptoss() -> File:
    new = stock.gpt_oss()
    keys = without(called(new, "gptoss"), "gptoss.expert_feed_forward_length", "gptoss.rope.scaling.type")
    words = ((".attn_output.", ".attn_out."), (".attn_sinks.weight", ".attn_sinks"))
    tensors = renamed(new.tensors, *words, (".post_attention_norm.", ".ffn_norm."))
    return File("gptoss", keys | {"tokenizer.ggml.pre": "default"}, tensors)


def more_words(keys: dict[str, Any]) -> dict[str, Any]:
    added = range(MORE_WORDS)
    tokens = keys["tokenizer.ggml.tokens"] + [f"<image{number}>" for number in added]
    scores = keys["tokenizer.ggml.scores"] + [-1000.0] * MORE_WORDS
    kinds = keys["tokenizer.ggml.token_type"] + [3] * MORE_WORDS
    lists = {"tokens": tokens, "scores": scores, "token_type": kinds}
    return without(keys, "tokenizer.ggml.add_space_prefix") | {f"tokenizer.ggml.{k}": v for k, v in lists.items()}


def gemma3() -> File:
    """With eyes, as those of four billion weights and more."""
    new, eye = stock.gemma3(), stock.gemma3_projector()
    gone = ("attention.layer_norm_rms_epsilon", "rope.freq_base", "rope.freq_base_swa", "rope.scaling.type")
    keys = more_words(without(new.keys, *(f"gemma3.{key}" for key in gone), "gemma3.rope.scaling.factor"))
    keys |= vision_keys("gemma3", eye, *SIZES, "feed_forward_length", "image_size")
    keys |= {"gemma3.mm.tokens_per_image": 4, "gemma3.vision.num_channels": 3}
    words = (
        ("v.patch_embd", "v.patch_embedding"),
        ("v.position_embd", "v.position_embedding"),
        ("v.post_ln", "v.post_layernorm"),
        (".ln1", ".layer_norm1"),
        (".ln2", ".layer_norm2"),
        (".attn_out.", ".attn_output."),
        (".ffn_up", ".mlp.fc1"),
        (".ffn_down", ".mlp.fc2"),
        ("mm.input_projection", "mm.mm_input_projection"),
        ("mm.soft_emb_norm", "mm.mm_soft_emb_norm"),
    )
    seeing = renamed(eye.tensors, *words)
    for name in ("v.patch_embedding.weight", "v.position_embedding.weight"):
        seeing[name] = half(seeing[name])
    return File("gemma3", keys, new.tensors | seeing)


def gemma3_alone() -> File:
    """Without eyes and with the keys of the smallest one."""
    new = stock.gemma3()
    keys = without(new.keys, "gemma3.rope.freq_base", "gemma3.rope.freq_base_swa", "tokenizer.ggml.add_space_prefix")
    return File("gemma3", keys | {"gemma3.rope.global.freq_base": 1e6, "gemma3.rope.local.freq_base": 1e4}, new.tensors)


def gemma_embedding() -> File:
    new = stock.gemma_embedding()
    keys = {key: value for key, value in called(new, "gemma3").items() if "dense_" not in key}
    keys = without(keys, "tokenizer.ggml.add_space_prefix", "gemma3.rope.freq_base_swa")
    words = (("dense_2.", "dense.0."), ("dense_3.", "dense.1."), ("output_norm.", "norm."))
    return File("gemma3", keys | {"gemma3.attention.causal": False}, renamed(new.tensors, *words))


def gemma3n() -> File:
    new = stock.gemma3n()
    embeddings = new.tensors["token_embd.weight"]
    more = np.concatenate([embeddings, np.ones((MORE_WORDS, embeddings.shape[1]), np.float32)])
    keys = more_words(new.keys)
    kinds = [1 if kind == 6 else kind for kind in keys["tokenizer.ggml.token_type"]]
    unused = {"a.conv.weight": np.ones((4, 4), np.float32), "v.conv.weight": np.ones((4, 4), np.float32)}
    tensors = unused | new.tensors | {"token_embd.weight": more}
    return File("gemma3n", keys | {"tokenizer.ggml.token_type": kinds}, tensors)


def qwen25vl() -> File:
    new, eye = stock.qwen2vl(), stock.qwen25vl_projector()
    keys = without(called(new, "qwen25vl"), "qwen25vl.rope.dimension_sections")
    keys |= vision_keys("qwen25vl", eye, *SIZES, "spatial_merge_size", "window_size")
    keys |= {"qwen25vl.rope.mrope_section": [4, 6, 6], "qwen25vl.vision.fullatt_block_indexes": [1, 3]}
    words = (
        ("v.post_ln.", "v.merger.ln_q."),
        ("mm.0.", "v.merger.mlp.0."),
        ("mm.2.", "v.merger.mlp.2."),
        ("v.patch_embd.weight.1", "v.patch_embd_1.weight"),
        ("v.patch_embd.weight", "v.patch_embd_0.weight"),
    )
    seeing = renamed(eye.tensors, *words)
    for name in ("v.patch_embd_0.weight", "v.patch_embd_1.weight"):
        seeing[name] = half(seeing[name])
    return File("qwen25vl", keys, seeing | new.tensors)


def qwen3vl() -> File:
    new, eye = stock.qwen3vl(), stock.qwen3vl_projector()
    keys = without(new.keys, "qwen3vl.rope.dimension_sections", "qwen3vl.n_deepstack_layers")
    keys |= vision_keys("qwen3vl", eye, *SIZES, "spatial_merge_size")
    keys |= {"qwen3vl.vision.deepstack_visual_indexes": [1], "qwen3vl.vision.num_channels": 3}
    words = (
        ("v.post_ln.", "v.merger.norm."),
        ("mm.0.", "v.merger.linear_fc1."),
        ("mm.2.", "v.merger.linear_fc2."),
        ("v.deepstack.1.fc1.", "v.deepstack_merger.0.linear_fc1."),
        ("v.deepstack.1.fc2.", "v.deepstack_merger.0.linear_fc2."),
        ("v.deepstack.1.norm.", "v.deepstack_merger.0.norm."),
        ("v.position_embd.", "v.pos_embed."),
        ("v.patch_embd.bias", "v.patch_embed.bias"),
        (".ln1.", ".norm1."),
        (".ln2.", ".norm2."),
        (".ffn_up.", ".mlp.linear_fc1."),
        (".ffn_down.", ".mlp.linear_fc2."),
    )
    seeing: dict[str, np.ndarray] = {}
    for name, data in renamed(eye.tensors, *words).items():
        if ".attn_qkv." in name:
            for part, third in zip("qkv", np.split(data, 3), strict=True):
                seeing[name.replace("attn_qkv", f"attn_{part}")] = third
        elif not name.startswith("v.patch_embd.weight"):
            seeing[name] = data
    frames = [eye.tensors["v.patch_embd.weight"], eye.tensors["v.patch_embd.weight.1"]]
    out, channels, height, width = frames[0].shape
    together = np.stack(frames, axis=2).reshape(out * channels, 2, height, width)
    seeing["v.patch_embed.weight"] = half(together)
    seeing["v.pos_embed.weight"] = half(seeing["v.pos_embed.weight"])
    return File("qwen3vl", keys, new.tensors | seeing)


def mistral3() -> File:
    new, eye = stock.mistral3(), stock.mistral3_projector()
    moved = {
        "rope.scaling.yarn_beta_fast": "rope.scaling.beta_fast",
        "rope.scaling.yarn_beta_slow": "rope.scaling.beta_slow",
        "rope.scaling.yarn_log_multiplier": "rope.scaling.mscale_all_dim",
        "attention.temperature_scale": "rope.scaling_beta",
    }
    keys = without(new.keys, *(f"mistral3.{key}" for key in moved))
    keys |= {f"mistral3.{old}": new.keys[f"mistral3.{key}"] for key, old in moved.items()}
    keys |= vision_keys("mistral3", eye, *SIZES[:-1], "feed_forward_length", "image_size")
    keys |= {"mistral3.spatial_merge_size": 2, "mistral3.vision.num_channels": 3, "tokenizer.ggml.pre": "default"}
    words = (
        ("v.patch_embd", "v.patch_conv"),
        ("v.pre_ln", "v.encoder_norm"),
        (".attn_out.", ".attn_output."),
        (".ln1.", ".attn_norm."),
        (".ln2.", ".ffn_norm."),
        ("mm.1.", "mm.linear_1."),
        ("mm.2.", "mm.linear_2."),
        ("mm.input_norm", "mm.norm"),
        ("mm.patch_merger", "mm.patch_merger.merging_layer"),
    )
    seeing = renamed(eye.tensors, *words)
    del seeing["v.token_embd.img_break"]
    seeing["v.patch_conv.weight"] = half(seeing["v.patch_conv.weight"])
    for name in seeing:
        if name.endswith((".attn_q.weight", ".attn_k.weight")):
            seeing[name] = halves_apart(seeing[name])
    return File("mistral3", keys, new.tensors | seeing)


def halves_apart(data: np.ndarray) -> np.ndarray:
    """Rows that turn together lie side by side in llama.cpp, and half a head apart where the model was trained."""
    rows, columns = data.shape
    heads = stock.EYE_HEADS
    return data.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def lfm2() -> File:
    new = stock.lfm2()
    wrong = {"lfm2.feed_forward_length": 2 * stock.FEED_FORWARD, "tokenizer.ggml.pre": "default"}
    return File("lfm2", new.keys | wrong, renamed(new.tensors, ("token_embd_norm.", "output_norm.")))


def olmo3() -> File:
    new = stock.olmo2()
    return File("olmo3", called(new, "olmo3"), new.tensors)


def qwen35() -> File:
    new, eye = stock.qwen35(), stock.qwen35_projector()
    keys = dict(new.keys)
    keys |= {"qwen35.rope.dimension_sections": [4, 6, 6], "qwen35.attention.head_count_kv": [0, 0, 0, 1]}
    keys |= vision_keys("qwen35", eye, *SIZES[:-1], "spatial_merge_size")
    keys |= {"qwen35.vision.num_channels": 3, "qwen35.rope.mrope_interleaved": True}
    guesses = {"mtp.fc.weight": np.ones((4, 4), np.float32), "mtp.layers.0.attn_norm.weight": np.ones(4, np.float32)}
    text = steps(new.tensors)
    seeing = {name: data for name, data in qwen3vl().tensors.items() if name.startswith("v.") and "deep" not in name}
    return File("qwen35", keys, text | guesses | seeing)


def qwen35moe() -> File:
    new = stock.qwen35("qwen35moe")
    keys = without(new.keys, "qwen35moe.rope.dimension_sections")
    return File("qwen35moe", keys | {"qwen35moe.rope.mrope_section": [4, 6, 6]}, steps(new.tensors))


def qwen3next() -> File:
    new = stock.qwen35("qwen3next")
    return File("qwen3next", new.keys | {"qwen3next.attention.head_count_kv": [0, 0, 0, 1]}, steps(new.tensors))


def steps(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removesuffix(".bias") if ".ssm_dt." in name else name: data for name, data in tensors.items()}


def llama3() -> File:
    new = stock.llama3()
    return File("llama", without(new.keys, "tokenizer.ggml.pre", "tokenizer.ggml.eot_token_id"), new.tensors)


def bert() -> File:
    new = stock.bert()
    letters = list(base64.b64encode(stock.CHARACTERS).decode())
    return File("bert", new.keys | {"tokenizer.ggml.precompiled_charsmap": letters}, new.tensors)


def gemma4() -> File:
    new, eye = stock.gemma4(), stock.gemma4_projector()
    keys = new.keys | {"tokenizer.ggml.model": "llama", "gemma4.audio.block_count": 2}
    keys |= vision_keys("gemma4", eye, *SIZES, "feed_forward_length", "projector.scale_factor")
    text = renamed(new.tensors, (".ffn_down_exps.scale", ".ffn_gate_inp.per_expert_scale"))
    parts = ("attn_q", "attn_k", "attn_v", "attn_out", "ffn_gate", "ffn_up", "ffn_down")
    names = [f"v.blk.{block}.{part}" for block in range(stock.EYE_LAYERS) for part in parts] + ["mm.input_projection"]
    ends = ("input_min", "input_max", "output_min", "output_max")
    none = np.zeros(1, np.float32)
    together = np.concatenate([eye.tensors.get(f"{name}.{end}", none) for name in names for end in ends])
    seeing = {name: data for name, data in eye.tensors.items() if not name.endswith(ends)}
    seeing |= {"v.clamp_data": together, "v.patch_embd.weight": half(seeing["v.patch_embd.weight"])}
    hearing = {"a.conv.weight": np.ones((4, 4), np.float32), "mm.a.fc.weight": np.ones((4, 4), np.float32)}
    return File("gemma4", keys, hearing | text | seeing)


def glm4moelite() -> File:
    new = stock.deepseek2()
    gone = ("expert_group_count", "expert_group_used_count")
    keys = without(called(new, "glm4moelite"), *(f"glm4moelite.{key}" for key in gone))
    keys = without(keys, "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id")
    ends = [keys["tokenizer.ggml.eos_token_id"], new.keys["tokenizer.ggml.eot_token_id"]]
    keys |= {"tokenizer.ggml.eos_token_ids": [*ends, new.keys["tokenizer.ggml.eom_token_id"]]}
    head, latent = new.keys["deepseek2.attention.key_length_mla"], new.keys["deepseek2.attention.value_length"]
    turned = {"head_count_kv": stock.HEADS, "key_length": head, "value_length": head}
    turned |= {"key_length_mla": new.keys["deepseek2.attention.key_length"], "value_length_mla": latent}
    keys |= {f"glm4moelite.attention.{key}": value for key, value in turned.items()}
    return File("glm4moelite", keys | {"tokenizer.ggml.pre": "default"}, new.tensors)


# Name of the old one -> (the old one, the one that llama.cpp wants, its projector)
Made = Callable[[], File]
FAMILIES: dict[str, tuple[Made, Made, Made | None]] = {
    "gptoss": (gptoss, stock.gpt_oss, None),
    "gemma3": (gemma3, stock.gemma3, stock.gemma3_projector),
    "gemma3-alone": (gemma3_alone, stock.gemma3, None),
    "gemma3-embedding": (gemma_embedding, stock.gemma_embedding, None),
    "gemma3n": (gemma3n, stock.gemma3n, None),
    "qwen25vl": (qwen25vl, stock.qwen2vl, stock.qwen25vl_projector),
    "qwen3vl": (qwen3vl, stock.qwen3vl, stock.qwen3vl_projector),
    "mistral3": (mistral3, stock.mistral3, stock.mistral3_projector),
    "lfm2": (lfm2, stock.lfm2, None),
    "olmo3": (olmo3, stock.olmo2, None),
    "qwen35": (qwen35, stock.qwen35, stock.qwen35_projector),
    "qwen35moe": (qwen35moe, lambda: stock.qwen35("qwen35moe"), None),
    "qwen3next": (qwen3next, lambda: stock.qwen35("qwen3next"), None),
    "bert": (bert, stock.bert, None),
    "llama3": (llama3, stock.llama3, None),
    "gemma4": (gemma4, stock.gemma4, stock.gemma4_projector),
    "glm4moelite": (glm4moelite, stock.deepseek2, None),
}
