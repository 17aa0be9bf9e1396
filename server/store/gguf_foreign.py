"""Library files that were written for Ollama's own engine.

They use names of tensors and keys that llama.cpp does not know, so it refuses them at best and answers nonsense at
worst. A clear sentence is better than either.
"""

from __future__ import annotations

from server.store.gguf import GgufHeader

ADVICE = "this model was built for another engine; get a GGUF build made for llama.cpp, for example from hf.co"
_ARCHITECTURES = frozenset({"gptoss", "qwen25vl", "olmo3", "glm4moelite", "mllama"})
_ENCODERS = ("v.", "mm.", "a.")


def foreign_reason(header: GgufHeader) -> str:
    """Why llama.cpp cannot run this file, "" where it probably can."""
    if header.kind != "model":
        return ""
    names = {tensor.name for tensor in header.tensors}
    if header.architecture in _ARCHITECTURES:
        return f"{ADVICE} (its architecture is {header.architecture})"
    if any(name.startswith(_ENCODERS) for name in names):
        return f"{ADVICE} (its vision or audio part is inside the same file)"
    is_gemma = header.architecture == "gemma3"
    if is_gemma and ("dense.0.weight" in names or header.get("attention.layer_norm_rms_epsilon") is None):
        return f"{ADVICE} (its gemma3 tensors or keys have other names)"
    if header.architecture == "lfm2" and "output_norm.weight" in names and "token_embd_norm.weight" not in names:
        return f"{ADVICE} (its lfm2 tensors have other names)"
    return ""
