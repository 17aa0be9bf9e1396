"""Models that are nothing but metadata: llama.cpp makes up their tensors and tells how large their caches are.

`python -m tests.engine.bare_models FOLDER PLANS` writes JSON: by architecture, the bytes of the cache for each plan.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from pathlib import Path
from typing import Any

import gguf

from server.engine import bindings, cpu
from server.engine.logs import read_buffers

WIDTH, HEADS, KV_HEADS, FEED_FORWARD, VOCABULARY, LAYERS = 256, 4, 2, 512, 512, 8
EVERY_FOURTH = [0, 0, 0, 1] * 2
HYBRID: dict[str, Any] = {
    "attention.head_count_kv": [KV_HEADS * each for each in EVERY_FOURTH], "ssm.inner_size": 2 * WIDTH,
}  # fmt: skip
DELTA: dict[str, Any] = {"ssm.inner_size": 256, "ssm.state_size": 128, "ssm.time_step_rank": 2}
LATENT: dict[str, Any] = {
    "embedding_length": 128, "attention.head_count": 2, "attention.head_count_kv": 1, "attention.key_length": 576,
    "attention.value_length": 512, "attention.key_length_mla": 192, "attention.value_length_mla": 128,
    "rope.dimension_count": 64, "attention.q_lora_rank": 512, "attention.kv_lora_rank": 512,
    "leading_dense_block_count": 1,
}  # fmt: skip
EXPERTS: dict[str, Any] = {
    "expert_count": 8, "expert_used_count": 2, "expert_feed_forward_length": 256, "expert_shared_count": 1,
    "expert_shared_feed_forward_length": 128, "expert_gating_func": 2, "leading_dense_block_count": 1,
    "interleave_moe_layer_step": 2,
}  # fmt: skip
WINDOW = {"attention.sliding_window": 512}
FLAGS = [True, False] * 4
SCAN: dict[str, Any] = {"ssm.inner_size": 2 * WIDTH, "attention.head_count": 0, "attention.head_count_kv": 0}

MODELS: dict[str, dict[str, Any]] = {
    "llama": {}, "qwen2": {}, "qwen3": {}, "falcon": {}, "starcoder2": {}, "gpt2": {},
    "phi3": WINDOW, "gemma": {}, "gemma2": WINDOW, "gemma3": WINDOW, "gemma3n": {**WINDOW, "block_count": 24},
    "gemma4": {
        **WINDOW, "attention.sliding_window_pattern": FLAGS, "attention.shared_kv_layers": 2,
        "attention.key_length_swa": 32, "attention.value_length_swa": 32, "rope.freq_base_swa": 10000.0,
        "embedding_length_per_layer_input": 128,
    },
    "gpt-oss": WINDOW | EXPERTS, "cohere2": WINDOW, "cohere2moe": WINDOW | EXPERTS, "llama4": EXPERTS,
    "olmo2": WINDOW, "exaone4": WINDOW, "smallthinker": WINDOW | EXPERTS, "plamo3": WINDOW,
    "muse-glimmer": WINDOW, "qwen3moe": EXPERTS, "glm4moe": EXPERTS,
    "mimo2": {**WINDOW, **EXPERTS, "attention.sliding_window_pattern": FLAGS},
    "granite_swa": {**WINDOW, "attention.sliding_window_pattern": FLAGS},
    "deepseek2": LATENT | EXPERTS,
    "mamba": SCAN, "mamba2": SCAN, "jamba": HYBRID | EXPERTS, "falcon-h1": {"ssm.inner_size": 2 * WIDTH},
    "granitehybrid": HYBRID, "plamo2": {**HYBRID, "ssm.group_count": 0},
    "nemotron_h": {**HYBRID, "feed_forward_length": [0, 0, FEED_FORWARD, 0] * 2},
    "lfm2": {"attention.head_count_kv": HYBRID["attention.head_count_kv"], "shortconv.l_cache": 3},
    "lfm2moe": {**HYBRID, **EXPERTS, "shortconv.l_cache": 3},
    "qwen3next": DELTA | EXPERTS, "qwen35": DELTA,
    "rwkv7": {f"attention.{name}_lora_rank": 64 for name in ("decay", "iclr", "value_residual_mix", "gate")}
             | {"wkv.head_size": 64},
}  # fmt: skip

COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY, "context_length": 8192, "embedding_length": WIDTH, "block_count": LAYERS,
    "feed_forward_length": FEED_FORWARD, "attention.head_count": HEADS, "attention.head_count_kv": KV_HEADS,
    "attention.layer_norm_epsilon": 1e-5, "attention.layer_norm_rms_epsilon": 1e-5, "full_attention_interval": 4,
    "ssm.conv_kernel": 4, "ssm.state_size": 32, "ssm.time_step_rank": HEADS, "ssm.group_count": 2, "logit_scale": 1.0,
    "rope.dimension_sections": [16, 16, 16, 16],
}  # fmt: skip


def write(path: Path, architecture: str) -> None:
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in {**COMMON, **MODELS[architecture]}.items():
        name = f"{architecture}.{key}"
        if isinstance(value, list):
            writer.add_array(name, value)
        elif isinstance(value, float):
            writer.add_float32(name, value)
        else:
            writer.add_uint32(name, value)
    writer.add_tokenizer_model("test")
    writer.add_token_list([f"tok_{number}" for number in range(VOCABULARY)])
    writer.add_token_scores([0.0] * VOCABULARY)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


# ---- in a process of its own -----------------------------------------------------------------------------------------


class InitParams(ctypes.Structure):
    _fields_ = (("no_alloc", ctypes.c_bool), ("context", ctypes.c_void_p))


SetTensor = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)


class Llama:
    """llama.cpp, with the lines that it writes."""

    def __init__(self) -> None:
        self.api = bindings.llama()
        self.text = ""
        self._callback = self.api.llama_log_callback(self._receive)
        self.api.llama_log_set(self._callback, None)
        cpu.load_backends("", None, [sys.executable, "-m", "server.engine"])
        self.api.llama_backend_init()
        self._leave = SetTensor(lambda tensor, data: None)
        self._read = bindings.ggml_library("ggml-base").gguf_init_from_file
        self._read.argtypes, self._read.restype = [ctypes.c_char_p, InitParams], ctypes.c_void_p
        signature = ctypes.CFUNCTYPE(
            ctypes.c_void_p, ctypes.c_void_p, SetTensor, ctypes.c_void_p, self.api.llama_model_params
        )
        address = ctypes.cast(bindings.untyped("llama_model_init_from_user"), ctypes.c_void_p).value
        self._make = signature(address or 0)

    def _receive(self, level: int, text: bytes, data: object) -> None:
        self.text += text.decode(errors="replace")

    def model(self, path: Path) -> int:
        params = self.api.llama_model_default_params()
        params.n_gpu_layers = 0
        model = self._make(self._read(os.fsencode(path), InitParams(True, None)), self._leave, None, params)
        if not model:
            raise SystemExit(f"{path.stem}: {self.text[-1000:]}")
        return int(model)

    def cache_bytes(self, model: int, context: int, slots: int, batch: int, has_flash: int) -> int:
        self.text = ""
        params = self.api.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = context * slots, batch, batch
        params.n_seq_max = params.n_outputs_max = slots
        params.flash_attn_type = has_flash
        params.kv_unified, params.swa_full = True, False
        made = self.api.llama_init_from_model(model, params)
        if not made:
            raise SystemExit(self.text[-1000:])
        found = sum(buffer.bytes for buffer in read_buffers(self.text.splitlines()) if buffer.kind == "kv")
        self.api.llama_free(made)
        return found


def main(folder: Path, plans: list[list[int]]) -> None:
    llama = Llama()
    found: dict[str, list[int]] = {}
    for architecture in MODELS:
        model = llama.model(folder / f"{architecture}.gguf")
        found[architecture] = [llama.cache_bytes(model, *plan) for plan in plans]
        llama.api.llama_model_free(model)
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
