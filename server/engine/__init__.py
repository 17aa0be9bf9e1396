"""The process that owns one model: llama.cpp through ctypes, the step loop, sampling, and the frames to its parent."""
