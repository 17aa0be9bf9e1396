"""What a request's `think` means for a model and to its templates."""

from __future__ import annotations

from server.errors import Unsupported
from server.messages.chat import Think


def is_on(think: Think) -> bool:
    return bool(think)


def level(think: Think) -> str:
    """The level that templates see: `true` is medium; off and unset are empty."""
    if isinstance(think, str):
        return think
    return "medium" if think else ""


def resolve(think: Think, *, can_think: bool, is_harmony: bool = False, model: str = "") -> Think:
    """The value to go on with: a model that can think does so unless told otherwise.

    Raises Unsupported where a model that cannot is asked to. Harmony knows no level above high.
    """
    if not can_think:
        if think:
            raise Unsupported(f'"{model}" does not support thinking')
        return think
    if is_harmony and think == "max":
        return "high"
    return True if think is None else think
