"""The HTTP surface: who may ask, what was asked, and how the answer goes out. Starlette is used here alone."""
