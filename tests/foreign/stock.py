"""Tiny models as llama.cpp wants them. Names and shapes are those that its loaders ask for."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.foreign.gguf_files import WORDS, File, Shape, byte_pairs, packed, pieces, weights

CHARACTERS = (1024).to_bytes(4, "little") + bytes(1024 + 2)  # a table that changes none
WIDTH, HEADS, HEAD, FEED_FORWARD, LAYERS = 64, 2, 32, 96, 2


def _keys(architecture: str, **more: Any) -> dict[str, Any]:
    known: dict[str, Any] = {
        "context_length": 4096,
        "embedding_length": WIDTH,
        "block_count": LAYERS,
        "feed_forward_length": FEED_FORWARD,
        "attention.head_count": HEADS,
        "attention.head_count_kv": 1,
        "attention.layer_norm_rms_epsilon": 1e-6,
        **{key.replace("__", "."): value for key, value in more.items()},
    }
    return {f"{architecture}.{key}": value for key, value in known.items()}


def _base(*, output: bool = False) -> dict[str, Shape]:
    names: dict[str, Shape] = {"token_embd.weight": (WORDS, WIDTH), "output_norm.weight": (WIDTH,)}
    return names | ({"output.weight": (WORDS, WIDTH)} if output else {})


def _attention(at: str, groups: int = 1, head: int = HEAD) -> dict[str, Shape]:
    return {
        f"{at}.attn_norm.weight": (WIDTH,),
        f"{at}.attn_q.weight": (HEADS * head, WIDTH),
        f"{at}.attn_k.weight": (groups * head, WIDTH),
        f"{at}.attn_v.weight": (groups * head, WIDTH),
        f"{at}.attn_output.weight": (WIDTH, HEADS * head),
    }


def _feed_forward(at: str) -> dict[str, Shape]:
    return {
        f"{at}.ffn_norm.weight": (WIDTH,),
        f"{at}.ffn_gate.weight": (FEED_FORWARD, WIDTH),
        f"{at}.ffn_up.weight": (FEED_FORWARD, WIDTH),
        f"{at}.ffn_down.weight": (WIDTH, FEED_FORWARD),
    }


def _biases(at: str) -> dict[str, Shape]:
    sizes = {"q": HEADS * HEAD, "k": HEAD, "v": HEAD}
    return {f"{at}.attn_{part}.bias": (size,) for part, size in sizes.items()}


def _normed_heads(at: str, head: int = HEAD) -> dict[str, Shape]:
    return {f"{at}.attn_{part}_norm.weight": (head,) for part in "qk"}


def gpt_oss() -> File:
    experts, inner = 4, 32
    names = _base(output=True)
    for block in range(LAYERS):
        at = f"blk.{block}"
        names |= _attention(at) | _biases(at)
        names |= {
            f"{at}.attn_output.bias": (WIDTH,),
            f"{at}.attn_sinks.weight": (HEADS,),
            f"{at}.post_attention_norm.weight": (WIDTH,),
            f"{at}.ffn_gate_inp.weight": (experts, WIDTH),
            f"{at}.ffn_gate_inp.bias": (experts,),
        }
        for part in ("gate", "up", "down"):
            rows, columns = (WIDTH, inner) if part == "down" else (inner, WIDTH)
            names[f"{at}.ffn_{part}_exps.weight"] = (experts, rows, columns)
            names[f"{at}.ffn_{part}_exps.bias"] = (experts, rows)
    tensors = weights(names)
    packed_ones = {name: packed(data) for name, data in tensors.items() if name.endswith("_exps.weight")}
    keys = _keys(
        "gpt-oss",
        feed_forward_length=inner,
        expert_feed_forward_length=inner,
        expert_count=experts,
        expert_used_count=2,
        attention__key_length=HEAD,
        attention__value_length=HEAD,
        attention__sliding_window=16,
        rope__freq_base=150000.0,
        rope__scaling__type="yarn",
        rope__scaling__factor=32.0,
        rope__scaling__original_context_length=4096,
    )
    return File("gpt-oss", keys | byte_pairs("gpt-4o"), tensors | packed_ones)


def _gemma(architecture: str, layers: int = LAYERS, **more: Any) -> File:
    names = _base()
    for block in range(layers):
        at = f"blk.{block}"
        names |= _attention(at) | _feed_forward(at) | _normed_heads(at)
        names |= {f"{at}.post_attention_norm.weight": (WIDTH,), f"{at}.post_ffw_norm.weight": (WIDTH,)}
    keys = _keys(
        architecture,
        attention__key_length=HEAD,
        attention__value_length=HEAD,
        attention__sliding_window=16,
        rope__freq_base=1e6,
        rope__freq_base_swa=1e4,
        block_count=layers,
        **more,
    )
    return File(architecture, keys | pieces(), weights(names))


def gemma3() -> File:
    stretched = {"rope__scaling__type": "linear", "rope__scaling__factor": 8.0}
    # Of two layers, the second sees everything.
    return _gemma("gemma3", context_length=131072, attention__sliding_window_pattern=2, **stretched)


def gemma_embedding() -> File:
    inner = 128
    plain = _gemma("gemma-embedding", layers=6, pooling_type=1)  # the sixth sees everything
    dense = {"dense_2.weight": (inner, WIDTH), "dense_3.weight": (WIDTH, inner)}
    sizes = {"dense_2_feat_in": WIDTH, "dense_2_feat_out": inner, "dense_3_feat_in": inner, "dense_3_feat_out": WIDTH}
    keys = plain.keys | {f"gemma-embedding.{key}": value for key, value in sizes.items()}
    return File("gemma-embedding", keys, plain.tensors | weights(dense))


def gemma3n() -> File:
    altup, side, rank = 4, 256, 64
    names: dict[str, Shape] = _base() | {
        "altup_proj.weight": (altup - 1, WIDTH, WIDTH),
        "altup_unembd_proj.weight": (altup - 1, WIDTH, WIDTH),
        "per_layer_token_embd.weight": (WORDS, side * LAYERS),
        "per_layer_model_proj.weight": (side * LAYERS, WIDTH),
        "per_layer_proj_norm.weight": (side,),
    }
    for block in range(LAYERS):
        at = f"blk.{block}"
        names |= _attention(at) | _feed_forward(at) | _normed_heads(at)
        names |= {
            f"{at}.post_attention_norm.weight": (WIDTH,),
            f"{at}.post_ffw_norm.weight": (WIDTH,),
            f"{at}.inp_gate.weight": (side, WIDTH),
            f"{at}.proj.weight": (WIDTH, side),
            f"{at}.post_norm.weight": (WIDTH,),
            f"{at}.altup_correct_coef.weight": (altup, altup),
            f"{at}.altup_correct_scale.weight": (WIDTH,),
            f"{at}.altup_predict_coef.weight": (altup * altup, altup),
            f"{at}.altup_router.weight": (altup, WIDTH),
            f"{at}.altup_router_norm.weight": (WIDTH,),
            f"{at}.laurel_l.weight": (rank, WIDTH),
            f"{at}.laurel_r.weight": (WIDTH, rank),
            f"{at}.laurel_post_norm.weight": (WIDTH,),
        }
    keys = _keys(
        "gemma3n",
        attention__key_length=HEAD,
        attention__value_length=HEAD,
        attention__sliding_window=16,
        rope__freq_base=1e6,
    )
    return File("gemma3n", keys | pieces(), weights(names, 0.1))


def _qwen(architecture: str, names: dict[str, Shape], head: int = HEAD, **more: Any) -> File:
    for block in range(LAYERS):
        names |= _attention(f"blk.{block}", head=head) | _feed_forward(f"blk.{block}")
    return File(architecture, _keys(architecture, **more) | byte_pairs("qwen2"), weights(names))


def qwen2vl() -> File:
    names = _base(output=True)
    for block in range(LAYERS):
        names |= _biases(f"blk.{block}")
    return _qwen("qwen2vl", names, rope__freq_base=1e6, rope__dimension_sections=[4, 6, 6, 0])


def qwen3vl() -> File:
    head = 128
    names = _base(output=True)
    for block in range(LAYERS):
        names |= _normed_heads(f"blk.{block}", head)
    sections = {"rope__freq_base": 5e6, "rope__dimension_sections": [24, 20, 20, 0], "n_deepstack_layers": 1}
    heads = {"attention__key_length": head, "attention__value_length": head}
    return _qwen("qwen3vl", names, head, **sections, **heads)


def mistral3() -> File:
    names = _base(output=True)
    for block in range(LAYERS):
        names |= _attention(f"blk.{block}") | _feed_forward(f"blk.{block}")
    keys = _keys(
        "mistral3",
        attention__key_length=HEAD,
        attention__value_length=HEAD,
        attention__temperature_scale=0.1,
        rope__dimension_count=HEAD,
        rope__freq_base=1e6,
        rope__scaling__type="yarn",
        rope__scaling__factor=16.0,
        rope__scaling__original_context_length=16,
        rope__scaling__yarn_beta_fast=32.0,
        rope__scaling__yarn_beta_slow=1.0,
        rope__scaling__yarn_log_multiplier=1.0,
    )
    return File("mistral3", keys | byte_pairs("tekken"), weights(names))


def lfm2() -> File:
    names: dict[str, Shape] = {"token_embd.weight": (WORDS, WIDTH), "token_embd_norm.weight": (WIDTH,)}
    taps = 3
    for block in range(LAYERS):
        at = f"blk.{block}"
        names |= _feed_forward(at)
        if block % 2:
            names |= _attention(at) | _normed_heads(at)
        else:
            names |= {
                f"{at}.attn_norm.weight": (WIDTH,),
                f"{at}.shortconv.conv.weight": (WIDTH, taps),
                f"{at}.shortconv.in_proj.weight": (3 * WIDTH, WIDTH),
                f"{at}.shortconv.out_proj.weight": (WIDTH, WIDTH),
            }
    keys = _keys("lfm2", shortconv__l_cache=taps, attention__head_count_kv=[0, 1], rope__freq_base=1e6)
    return File("lfm2", keys | byte_pairs("lfm2"), weights(names))


def olmo2() -> File:
    names = _base(output=True)
    for block in range(LAYERS):
        at = f"blk.{block}"
        names |= _attention(at, groups=HEADS) | _feed_forward(at)
        names |= {f"{at}.attn_{part}_norm.weight": (WIDTH,) for part in "qk"}
        names |= {f"{at}.post_attention_norm.weight": (WIDTH,), f"{at}.post_ffw_norm.weight": (WIDTH,)}
        del names[f"{at}.attn_norm.weight"], names[f"{at}.ffn_norm.weight"]
    keys = _keys("olmo2", attention__head_count_kv=HEADS, attention__sliding_window=16, rope__freq_base=5e5)
    return File("olmo2", keys | byte_pairs("dbrx"), weights(names))


def _experts(at: str, inner: int = 32, experts: int = 4) -> dict[str, Shape]:
    names: dict[str, Shape] = {
        f"{at}.ffn_gate_inp.weight": (experts, WIDTH),
        f"{at}.ffn_gate_inp_shexp.weight": (WIDTH,),
    }
    for part in ("gate", "up", "down"):
        rows, columns = (WIDTH, inner) if part == "down" else (inner, WIDTH)
        names[f"{at}.ffn_{part}_exps.weight"] = (experts, rows, columns)
        names[f"{at}.ffn_{part}_shexp.weight"] = (rows, columns)
    return names


def qwen35(family: str = "qwen35") -> File:
    layers, state, groups, heads = 4, 16, 2, 4  # every fourth layer has a cache, the others a state
    keys_width, inner = state * groups, state * heads
    names = _base(output=True)
    for block in range(layers):
        at = f"blk.{block}"
        names |= _feed_forward(at) if family == "qwen35" else _experts(at)
        names |= {f"{at}.attn_norm.weight": (WIDTH,), f"{at}.post_attention_norm.weight": (WIDTH,)}
        names.pop(f"{at}.ffn_norm.weight", None)
        if block == layers - 1:
            names |= _attention(at) | _normed_heads(at) | {f"{at}.attn_q.weight": (2 * HEADS * HEAD, WIDTH)}
            continue
        names |= {
            f"{at}.attn_qkv.weight": (2 * keys_width + inner, WIDTH),
            f"{at}.attn_gate.weight": (inner, WIDTH),
            f"{at}.ssm_conv1d.weight": (2 * keys_width + inner, 4),
            f"{at}.ssm_dt.bias": (heads,),
            f"{at}.ssm_a": (heads,),
            f"{at}.ssm_norm.weight": (state,),
            f"{at}.ssm_out.weight": (WIDTH, inner),
        }
        parts = {"ba": 2 * heads} if family == "qwen3next" else {"beta": heads, "alpha": heads}
        names |= {f"{at}.ssm_{part}.weight": (rows, WIDTH) for part, rows in parts.items()}
    more: dict[str, Any] = {} if family == "qwen3next" else {"rope__dimension_sections": [4, 6, 6, 0]}
    if family != "qwen35":
        more |= {"expert_count": 4, "expert_used_count": 2, "expert_feed_forward_length": 32}
        more |= {"expert_shared_feed_forward_length": 32}
    keys = _keys(
        family,
        **more,
        block_count=layers,
        attention__key_length=HEAD,
        attention__value_length=HEAD,
        rope__freq_base=1e6,
        rope__dimension_count=HEAD,
        ssm__conv_kernel=4,
        ssm__state_size=state,
        ssm__group_count=groups,
        ssm__time_step_rank=heads,
        ssm__inner_size=inner,
        full_attention_interval=4,
    )
    tensors = weights(names)
    fading = {name: -abs(data) for name, data in tensors.items() if name.endswith(".ssm_a")}  # what is kept fades
    return File(family, keys | byte_pairs("qwen2" if family == "qwen3next" else "qwen35"), tensors | fading)


def llama3() -> File:
    """With as many words as the real one, among which the end of a turn has its place."""
    words, width = 128_256, 64
    names: dict[str, Shape] = {"token_embd.weight": (words, width), "output_norm.weight": (width,)}
    for block in range(LAYERS):
        names |= _attention(f"blk.{block}") | _feed_forward(f"blk.{block}")
    vocabulary = byte_pairs("llama-bpe", words)
    vocabulary["tokenizer.ggml.tokens"][128_009] = "<|eot_id|>"
    more = {"tokenizer.ggml.eos_token_id": 128_001, "tokenizer.ggml.eot_token_id": 128_009}
    tensors = weights(names)
    tensors["token_embd.weight"] = tensors["token_embd.weight"].astype(np.float16)
    return File("llama", _keys("llama", rope__freq_base=5e5) | vocabulary | more, tensors)


def gemma4() -> File:
    experts, inner = 4, 32
    names: dict[str, Shape] = _base() | {"rope_freqs.weight": (HEAD // 2,)}
    for block in range(LAYERS):
        at = f"blk.{block}"
        names |= _attention(at) | _feed_forward(at) | _normed_heads(at)
        norms = ("post_attention_norm", "post_ffw_norm", "pre_ffw_norm_2", "post_ffw_norm_1", "post_ffw_norm_2")
        names |= {f"{at}.{norm}.weight": (WIDTH,) for norm in norms}
        names |= {
            f"{at}.ffn_gate_inp.weight": (experts, WIDTH),
            f"{at}.ffn_gate_inp.scale": (WIDTH,),
            f"{at}.ffn_gate_exps.weight": (experts, inner, WIDTH),
            f"{at}.ffn_up_exps.weight": (experts, inner, WIDTH),
            f"{at}.ffn_down_exps.weight": (experts, WIDTH, inner),
            f"{at}.ffn_down_exps.scale": (experts,),
        }
    keys = _keys(
        "gemma4",
        attention__key_length=HEAD,
        attention__value_length=HEAD,
        attention__key_length_swa=HEAD,
        attention__value_length_swa=HEAD,
        attention__sliding_window=16,
        attention__sliding_window_pattern=[True, False],
        embedding_length_per_layer_input=0,
        expert_count=experts,
        expert_used_count=2,
        expert_feed_forward_length=inner,
        rope__freq_base=1e6,
        rope__freq_base_swa=1e4,
        rope__dimension_count=HEAD,
        rope__dimension_count_swa=HEAD,
    )
    words = byte_pairs("gemma4") | {"tokenizer.ggml.model": "gemma4", "tokenizer.ggml.scores": [0.0] * WORDS}
    return File("gemma4", keys | words, weights(names))


def deepseek2() -> File:
    latent, rotated, plain, experts, inner = 32, 16, 24, 4, 32
    head = plain + rotated
    names = _base(output=True)
    for block in range(LAYERS):
        at = f"blk.{block}"
        names |= {
            f"{at}.attn_norm.weight": (WIDTH,),
            f"{at}.attn_q_a.weight": (latent, WIDTH),
            f"{at}.attn_q_a_norm.weight": (latent,),
            f"{at}.attn_q_b.weight": (HEADS * head, latent),
            f"{at}.attn_kv_a_mqa.weight": (latent + rotated, WIDTH),
            f"{at}.attn_kv_a_norm.weight": (latent,),
            f"{at}.attn_k_b.weight": (HEADS, latent, plain),
            f"{at}.attn_v_b.weight": (HEADS, head, latent),
            f"{at}.attn_output.weight": (WIDTH, HEADS * head),
            f"{at}.ffn_norm.weight": (WIDTH,),
        }
        if not block:
            names |= _feed_forward(at)
            continue
        names |= {f"{at}.ffn_gate_inp.weight": (experts, WIDTH), f"{at}.exp_probs_b.bias": (experts,)}
        for part in ("gate", "up", "down"):
            rows, columns = (WIDTH, inner) if part == "down" else (inner, WIDTH)
            names[f"{at}.ffn_{part}_exps.weight"] = (experts, rows, columns)
            names[f"{at}.ffn_{part}_shexp.weight"] = (rows, columns)
    keys = _keys(
        "deepseek2",
        attention__q_lora_rank=latent,
        attention__kv_lora_rank=latent,
        attention__key_length=latent + rotated,
        attention__value_length=latent,
        attention__key_length_mla=head,
        attention__value_length_mla=head,
        rope__dimension_count=rotated,
        rope__freq_base=1e6,
        leading_dense_block_count=1,
        expert_count=experts,
        expert_used_count=2,
        expert_shared_count=1,
        expert_group_count=1,
        expert_group_used_count=1,
        expert_feed_forward_length=inner,
        expert_weights_scale=1.8,
        expert_weights_norm=True,
        expert_gating_func=2,
    )
    ends = {"tokenizer.ggml.eot_token_id": WORDS - 3, "tokenizer.ggml.eom_token_id": WORDS - 4}
    return File("deepseek2", keys | byte_pairs("glm4") | ends, weights(names))


def bert() -> File:
    names: dict[str, Shape] = {
        "token_embd.weight": (WORDS, WIDTH),
        "position_embd.weight": (4096, WIDTH),
        "token_types.weight": (1, WIDTH),
        **_norm("token_embd_norm", WIDTH),
    }
    for block in range(LAYERS):
        at = f"blk.{block}"
        for part in ("q", "k", "v", "output"):
            names |= _linear(f"{at}.attn_{part}", WIDTH, WIDTH)
        names |= _norm(f"{at}.attn_output_norm", WIDTH) | _norm(f"{at}.layer_output_norm", WIDTH)
        names |= _linear(f"{at}.ffn_up", FEED_FORWARD, WIDTH) | _linear(f"{at}.ffn_down", WIDTH, FEED_FORWARD)
    keys = _keys("bert", attention__head_count_kv=HEADS, attention__layer_norm_epsilon=1e-5, pooling_type=2)
    keys["bert.attention.causal"] = False
    words = pieces() | {
        "tokenizer.ggml.token_type_count": 1,
        "tokenizer.ggml.model": "t5",
        "tokenizer.ggml.precompiled_charsmap": CHARACTERS,
    }
    return File("bert", keys | words, weights(names))


# ---- what sees -------------------------------------------------------------------------------------------------------

EYE, EYE_HEADS, EYE_FEED_FORWARD, EYE_LAYERS = 32, 2, 48, 2


def _clip(kind: str, patch: int, side: int, **more: Any) -> dict[str, Any]:
    return {
        "clip.projector_type": kind,
        "clip.has_vision_encoder": True,
        "clip.vision.block_count": EYE_LAYERS,
        "clip.vision.embedding_length": EYE,
        "clip.vision.feed_forward_length": EYE_FEED_FORWARD,
        "clip.vision.attention.head_count": EYE_HEADS,
        "clip.vision.attention.layer_norm_epsilon": 1e-6,
        "clip.vision.image_size": side,
        "clip.vision.patch_size": patch,
        "clip.vision.projection_dim": WIDTH,
        **{key.replace("__", "."): value for key, value in more.items()},
    }


def _linear(name: str, rows: int, columns: int, *, bias: bool = True) -> dict[str, Shape]:
    return {f"{name}.weight": (rows, columns)} | ({f"{name}.bias": (rows,)} if bias else {})


def _norm(name: str, width: int = EYE, *, bias: bool = True) -> dict[str, Shape]:
    return {f"{name}.weight": (width,)} | ({f"{name}.bias": (width,)} if bias else {})


def _rounded(tensors: dict[str, np.ndarray], *names: str) -> dict[str, np.ndarray]:
    """To what 16 bits can hold, as those who stored them in so many have it."""
    return {
        name: data.astype(np.float16).astype(np.float32) if name in names else data for name, data in tensors.items()
    }


def gemma3_projector() -> File:
    names: dict[str, Shape] = {"v.patch_embd.weight": (EYE, 3, 16, 16), "v.patch_embd.bias": (EYE,)}
    names |= {"v.position_embd.weight": (16, EYE), "mm.input_projection.weight": (EYE, WIDTH)}
    names |= _norm("mm.soft_emb_norm", bias=False) | _norm("v.post_ln")
    for block in range(EYE_LAYERS):
        at = f"v.blk.{block}"
        names |= _norm(f"{at}.ln1") | _norm(f"{at}.ln2")
        names |= _linear(f"{at}.ffn_up", EYE_FEED_FORWARD, EYE) | _linear(f"{at}.ffn_down", EYE, EYE_FEED_FORWARD)
        for part in ("q", "k", "v", "out"):
            names |= _linear(f"{at}.attn_{part}", EYE, EYE)
    colours = {"clip__vision__image_mean": [0.5] * 3, "clip__vision__image_std": [0.5] * 3}
    more = {"clip__use_gelu": True, "clip__vision__projector__scale_factor": 2}
    keys = _clip("gemma3", 16, 64, **colours, **more)
    return File("clip", keys, _rounded(weights(names), "v.patch_embd.weight", "v.position_embd.weight"))


CLIP_MEAN, CLIP_DEVIATION = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]


def qwen25vl_projector() -> File:
    patches = ("v.patch_embd.weight", "v.patch_embd.weight.1")
    names: dict[str, Shape] = dict.fromkeys(patches, (EYE, 3, 14, 14))
    names |= _norm("v.post_ln", bias=False)
    names |= _linear("mm.0", 4 * EYE, 4 * EYE) | _linear("mm.2", WIDTH, 4 * EYE)
    for block in range(EYE_LAYERS):
        at = f"v.blk.{block}"
        names |= _norm(f"{at}.ln1", bias=False) | _norm(f"{at}.ln2", bias=False)
        for part in ("gate", "up"):
            names |= _linear(f"{at}.ffn_{part}", EYE_FEED_FORWARD, EYE)
        names |= _linear(f"{at}.ffn_down", EYE, EYE_FEED_FORWARD)
        for part in ("q", "k", "v", "out"):
            names |= _linear(f"{at}.attn_{part}", EYE, EYE)
    colours = {"clip__vision__image_mean": CLIP_MEAN, "clip__vision__image_std": CLIP_DEVIATION}
    more = {"clip__use_silu": True, "clip__vision__n_wa_pattern": 2, "clip__vision__spatial_merge_size": 2}
    keys = _clip("qwen2.5vl_merger", 14, 560, **colours, **more, clip__vision__window_size=112)
    return File("clip", keys, _rounded(weights(names), *patches))


def qwen3vl_projector() -> File:
    patches = ("v.patch_embd.weight", "v.patch_embd.weight.1")
    names: dict[str, Shape] = dict.fromkeys(patches, (EYE, 3, 16, 16))
    names |= {"v.patch_embd.bias": (EYE,), "v.position_embd.weight": (64, EYE)}
    names |= _norm("v.post_ln") | _linear("mm.0", 4 * EYE, 4 * EYE) | _linear("mm.2", WIDTH, 4 * EYE)
    names |= _norm("v.deepstack.1.norm", 4 * EYE)
    names |= _linear("v.deepstack.1.fc1", 4 * EYE, 4 * EYE) | _linear("v.deepstack.1.fc2", WIDTH, 4 * EYE)
    for block in range(EYE_LAYERS):
        at = f"v.blk.{block}"
        names |= _norm(f"{at}.ln1") | _norm(f"{at}.ln2")
        names |= _linear(f"{at}.attn_qkv", 3 * EYE, EYE) | _linear(f"{at}.attn_out", EYE, EYE)
        names |= _linear(f"{at}.ffn_up", EYE_FEED_FORWARD, EYE) | _linear(f"{at}.ffn_down", EYE, EYE_FEED_FORWARD)
    colours = {"clip__vision__image_mean": [0.5] * 3, "clip__vision__image_std": [0.5] * 3}
    more = {"clip__use_gelu": True, "clip__vision__spatial_merge_size": 2}
    keys = _clip("qwen3vl_merger", 16, 128, **colours, **more)
    keys["clip.vision.is_deepstack_layers"] = [False, True]
    return File("clip", keys, _rounded(weights(names), *patches, "v.position_embd.weight"))


def mistral3_projector() -> File:
    names: dict[str, Shape] = {"v.patch_embd.weight": (EYE, 3, 14, 14)} | _norm("v.pre_ln", bias=False)
    names |= _norm("mm.input_norm", bias=False) | _linear("mm.patch_merger", EYE, 4 * EYE, bias=False)
    names |= _linear("mm.1", WIDTH, EYE, bias=False) | _linear("mm.2", WIDTH, WIDTH, bias=False)
    for block in range(EYE_LAYERS):
        at = f"v.blk.{block}"
        names |= _norm(f"{at}.ln1", bias=False) | _norm(f"{at}.ln2", bias=False)
        for part in ("gate", "up"):
            names |= _linear(f"{at}.ffn_{part}", EYE_FEED_FORWARD, EYE, bias=False)
        names |= _linear(f"{at}.ffn_down", EYE, EYE_FEED_FORWARD, bias=False)
        for part in ("q", "k", "v", "out"):
            names |= _linear(f"{at}.attn_{part}", EYE, EYE, bias=False)
    colours = {"clip__vision__image_mean": CLIP_MEAN, "clip__vision__image_std": CLIP_DEVIATION}
    more: dict[str, Any] = {"clip__use_silu": True, "clip__vision__spatial_merge_size": 2}
    more["clip__vision__attention__layer_norm_epsilon"] = 1e-5
    keys = _clip("pixtral", 14, 112, **colours, **more)
    tensors = _rounded(weights(names), "v.patch_embd.weight")
    return File("clip", keys, tensors | {"v.token_embd.img_break": np.zeros(WIDTH, np.float32)})


def qwen35_projector() -> File:
    """As that of Qwen 3 VL, with nothing for layers in between."""
    other = qwen3vl_projector()
    tensors = {name: data for name, data in other.tensors.items() if "deepstack" not in name}
    return File("clip", {**other.keys, "clip.vision.is_deepstack_layers": [False, False]}, tensors)


def gemma4_projector() -> File:
    patches = 64  # of the longest row
    names: dict[str, Shape] = {"v.patch_embd.weight": (EYE, 3, 16, 16), "v.position_embd.weight": (2, patches, EYE)}
    names |= {"v.std_bias": (EYE,), "v.std_scale": (EYE,)}
    names |= _linear("mm.input_projection", WIDTH, EYE, bias=False)
    clamped = ["mm.input_projection"]
    for block in range(EYE_LAYERS):
        at = f"v.blk.{block}"
        for norm in ("ln1", "ln2", "attn_post_norm", "ffn_post_norm"):
            names |= _norm(f"{at}.{norm}", bias=False)
        names |= {f"{at}.attn_{part}_norm.weight": (EYE // EYE_HEADS,) for part in "qk"}
        for part in ("gate", "up"):
            names |= _linear(f"{at}.ffn_{part}", EYE_FEED_FORWARD, EYE, bias=False)
        names |= _linear(f"{at}.ffn_down", EYE, EYE_FEED_FORWARD, bias=False)
        for part in ("q", "k", "v", "out"):
            names |= _linear(f"{at}.attn_{part}", EYE, EYE, bias=False)
        clamped.append(f"{at}.attn_q")
    colours = {"clip__vision__image_mean": [0.0] * 3, "clip__vision__image_std": [1.0] * 3}
    keys = _clip("gemma4v", 16, 224, **colours, clip__vision__projector__scale_factor=2)
    ends = {"input_min": -0.5, "input_max": 0.75, "output_min": -1.25, "output_max": 1.5}
    clamps = {f"{name}.{end}": np.array([value], np.float32) for name in clamped for end, value in ends.items()}
    return File("clip", keys, _rounded(weights(names), "v.patch_embd.weight") | clamps)
