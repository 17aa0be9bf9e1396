"""Exchanges recorded from the reference server (Ollama 0.33), replayed against ours."""
