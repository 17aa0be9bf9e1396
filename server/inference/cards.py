"""What is told of a model where many are listed."""

from __future__ import annotations

import datetime
from typing import Any

import msgspec

from server.messages.names import ModelName
from server.store import Model


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """`train_context_tokens`: what it was trained for, 0 where nobody says; `num_ctx`: what its own parameters ask for.
    `size` in bytes of all its files."""

    name: ModelName
    digest: str
    modified_at: datetime.datetime
    capabilities: tuple[str, ...] = ()
    size: int = 0
    parameters: int = 0
    train_context_tokens: int = 0
    num_ctx: int | None = None

    def context_tokens(self, usual: int | None) -> int | None:
        """What a conversation gets when nobody asks for more; `usual` is the server's own choice, where it has one."""
        wanted = self.num_ctx or usual
        return wanted and min(wanted, self.train_context_tokens or wanted)


def card_of(model: Model, capabilities: tuple[str, ...]) -> Card:
    header = model.gguf
    return Card(
        name=model.name,
        digest=model.digest,
        modified_at=model.modified_at,
        capabilities=capabilities,
        size=model.size,
        parameters=header.parameter_count if header else 0,
        train_context_tokens=model.context_length,
        num_ctx=_number(model.params.get("num_ctx")),
    )


def _number(value: Any) -> int | None:
    """A wrong value is told to who asks the model something, and hides no list."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return int(value) if is_number and 1 <= value < 2**31 else None
