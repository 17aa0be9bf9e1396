"""Safetensors folders become GGUF files. Runs in a process of its own: numbers and memory stay out of the server."""
