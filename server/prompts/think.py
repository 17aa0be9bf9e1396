"""What a request's `think` means for a model and to its templates."""

from __future__ import annotations

from server.messages.chat import Think


def is_on(think: Think) -> bool:
    return bool(think)


def level(think: Think) -> str:
    """The level that templates see: `true` is medium; off and unset are empty."""
    if isinstance(think, str):
        return think
    return "medium" if think else ""
