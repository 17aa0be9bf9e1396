"""Models of Ollama's library that were written for its own engine, as llama.cpp can load them.

To add a family: a file with a function that changes the draft of a header, and a row in the table of `families`.
"""

from server.store.foreign.families import ADVICE, FAMILIES, Loadable, as_loaded, foreign_reason, is_foreign, loadable

__all__ = ["ADVICE", "FAMILIES", "Loadable", "as_loaded", "foreign_reason", "is_foreign", "loadable"]
