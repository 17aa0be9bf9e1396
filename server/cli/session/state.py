"""What a session knows: the model, the conversation, and what was set for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from server.cli.answers import View
from server.cli.session.history import PromptHistory
from server.client import Client


@dataclass
class Session:
    """`info` is the answer of /api/show; `fields` are sent with every request (format, think, keep_alive). `stored` are
    the messages that the model brings: the server puts them in front of `messages` by itself."""

    client: Client
    model: str
    info: dict[str, Any]
    view: View
    history: PromptHistory
    fields: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    messages: list[dict[str, Any]] = field(default_factory=list)
    stored: list[dict[str, Any]] = field(default_factory=list)
    system: str = ""

    def __post_init__(self) -> None:
        self.take_stored_messages()

    def take_stored_messages(self) -> None:
        self.messages = []
        self.stored = [dict(message) for message in self.info.get("messages") or ()]

    @property
    def capabilities(self) -> frozenset[str]:
        return frozenset(self.info.get("capabilities") or ())

    @property
    def takes_files(self) -> bool:
        return bool(self.capabilities & {"vision", "audio"})

    def switch(self, model: str, info: dict[str, Any]) -> None:
        """Go on with another model, and without the conversation so far."""
        self.model, self.info = model, info
        self.take_stored_messages()
        if "thinking" not in self.capabilities:
            self.fields.pop("think", None)
        else:
            self.fields.setdefault("think", True)

    def set_system(self, text: str) -> None:
        self.system = text
        message = {"role": "system", "content": text}
        if self.messages and self.messages[-1].get("role") == "system":
            self.messages[-1] = message
        else:
            self.messages.append(message)

    def clear(self) -> None:
        """Forget the conversation; the system text stays."""
        self.messages = [{"role": "system", "content": self.system}] if self.system else []

    def chat_body(self) -> dict[str, Any]:
        body: dict[str, Any] = {"model": self.model, "messages": self.messages, **self.fields}
        return body | ({"options": self.options} if self.options else {})

    def load_fields(self) -> dict[str, Any]:
        """For loading the model as the next question will want it."""
        fields = {key: value for key, value in self.fields.items() if key == "keep_alive"}
        return fields | ({"options": self.options} if self.options else {})

    def create_body(self, name: str) -> dict[str, Any]:
        """A model that begins where this session is."""
        body: dict[str, Any] = {"model": name, "from": self.model}
        if self.system:
            body["system"] = self.system
        if self.options:
            body["parameters"] = self.options
        if self.messages:
            body["messages"] = [
                {key: message[key] for key in ("role", "content", "images") if key in message}
                for message in (*self.stored, *self.messages)
            ]
        return body
