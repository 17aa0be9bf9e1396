"""How an answer begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from server.messages.chat import Message, Think


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """What the request asked for, and the prompt that the answer follows."""

    think: Think = None
    tools: tuple[Mapping[str, Any], ...] = ()
    last: Message | None = None
    prompt: str = ""
