"""What the machine has: devices that llama.cpp can use, and memory."""
