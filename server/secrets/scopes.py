"""What a key may do. Each scope includes those before it."""

from __future__ import annotations

from typing import Literal, get_args

Scope = Literal["use", "manage", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)


def includes(held: Scope, needed: Scope) -> bool:
    return SCOPES.index(held) >= SCOPES.index(needed)
