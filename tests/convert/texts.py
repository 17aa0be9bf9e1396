"""What the tiny models are trained on and asked, and their names; for the tests and for the processes beside them."""

from __future__ import annotations

FAMILIES = ("llama", "llama3", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "phi4", "bert", "nomic")
ENCODERS = ("bert", "nomic")
TEXTS = (
    "Once upon a time there was a little model that could read.",
    "Hello,  world!\n\nIt's 2024 and we've 12345 things: a, b & c...",
    "def f(x):\n\treturn x + 1  # naïve café",
    " leading space, Größe, 你好, and 🦙",
    "the quick brown fox jumps over the lazy dog, " * 30,
)
LONG_FROM = 4  # the texts from here on have more than 256 tokens
ENDS = ("<|stop|>", "<|call|>", "<|turn_over|>")  # any of them ends an answer of the model with three ends
