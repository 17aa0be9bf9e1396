"""Benchmarks: both sides in one go, taking turns, ratios printed. `python -m tests.bench` or `make bench`."""
