"""What a server would say, for the tests of the command line."""

from __future__ import annotations

from typing import Any

LLAMA: dict[str, Any] = {
    "details": {"parent_model": "", "family": "llama", "parameter_size": "3.2B", "quantization_level": "Q4_K_M"},
    "model_info": {
        "general.architecture": "llama",
        "general.parameter_count": 3212749888,
        "llama.context_length": 131072,
        "llama.embedding_length": 3072,
        "tokenizer.ggml.tokens": ["<unk>", "<s>", "</s>", "a", "b"],
        "llama.rope.freq_base": 500000.0,
    },
    "tensors": [{"name": "output.weight", "type": "Q6_K", "shape": [3072, 128256]}],
    "capabilities": ["completion", "tools"],
    "parameters": 'stop                           "<|eot|>"\ntemperature                    0.7',
    "system": "You are a llama.\n\nBe brief.\nBe kind.",
    "template": "{{ .Prompt }}",
    "license": "LICENSE\n\nline two\nline three\nline four\nline five",
    "modelfile": "# Modelfile\nFROM /blobs/sha256-1\n",
}
THINKER = {**LLAMA, "capabilities": ["completion", "thinking"]}
SEER = {**LLAMA, "capabilities": ["completion", "vision"]}
EMBEDDER = {**LLAMA, "capabilities": ["embedding"]}
BARE = {"details": {}, "model_info": {}, "capabilities": ["completion"]}

TIMED = {
    "done": True,
    "done_reason": "stop",
    "total_duration": 4660000000,
    "load_duration": 1200000000,
    "prompt_eval_count": 26,
    "prompt_eval_duration": 342000000,
    "eval_count": 298,
    "eval_duration": 3100000000,
}


def said(text: str) -> dict[str, Any]:
    """A piece of an answer of /api/generate."""
    return {"response": text, "done": False}


def chatted(text: str, thinking: str = "") -> dict[str, Any]:
    """A piece of an answer of /api/chat."""
    return {"message": {"role": "assistant", "content": text, "thinking": thinking}, "done": False}
