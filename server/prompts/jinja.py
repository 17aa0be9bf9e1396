"""The chat template that a GGUF file carries, rendered in the sandbox."""

from __future__ import annotations

import datetime
import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from server.errors import InvalidTemplate
from server.messages.chat import Message, Think

MAX_SOURCE_CHARACTERS = 1024 * 1024
_PROBE = "What does the template print of this?"

# What a model without any template is asked in: the format that most models know.
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


class ChatRefused(InvalidTemplate):
    """The model's chat template does not take messages in this order."""


@functools.lru_cache(maxsize=16)
def compile(text: str) -> JinjaTemplate:
    """Read a template. Raises InvalidTemplate."""
    return JinjaTemplate(text)


class JinjaTemplate:
    """One object serves any number of renderings, in any threads."""

    def __init__(self, text: str) -> None:
        from server.prompts.sandbox import BoundedEnvironment, Budget, run

        if len(text) > MAX_SOURCE_CHARACTERS:
            raise InvalidTemplate(f"the chat template is longer than {MAX_SOURCE_CHARACTERS} characters", status=500)
        self.text = text
        self._wants_parts: bool | None = None
        environment = BoundedEnvironment()
        environment.globals |= {"raise_exception": _raise_exception, "strftime_now": _strftime_now}
        environment.filters["tojson"] = _tojson
        try:
            self.environment_template = run(Budget(), lambda: environment.from_string(text))
        except Exception as error:
            raise _invalid(error) from error

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] | None = None,
        think: Think = None,
        *,
        bos_text: str = "",
        eos_text: str = "",
        add_generation_prompt: bool = True,
    ) -> str:
        """The prompt of a chat. Raises InvalidTemplate with the template's own words.

        A template that refuses two messages of one role in a row gets them as one, one that refuses system messages
        their text in front of the first user message. One that prints nothing of a content but its parts gets it as a
        part.
        """
        variables: dict[str, Any] = {
            "tools": list(tools) if tools else None,
            "add_generation_prompt": add_generation_prompt,
            "bos_token": bos_text,
            "eos_token": eos_text,
        }
        if think is not None:
            variables |= {"enable_thinking": bool(think), "thinking": bool(think)}
        if isinstance(think, str):
            variables["reasoning_effort"] = think
        # In this order: as it is; with neighbours of one role joined, which a template that insists on taking turns
        # wants after an answer that was cut off; with the system text in the first question.
        refusal: InvalidTemplate | None = None
        for form in (messages, joined := _join_neighbours(messages), _fold_system(joined)):
            if form is None or (refusal is not None and form == messages):
                continue
            try:
                return self._run(form, variables)
            except InvalidTemplate as error:
                if not isinstance(error, ChatRefused):
                    raise
                refusal = refusal or error
        assert refusal is not None
        raise refusal

    def _run(self, messages: Sequence[Message], variables: dict[str, Any]) -> str:
        if self._wants_parts is None:
            self._wants_parts = not self._prints(_PROBE, variables) and self._prints(_part(_PROBE), variables)
        objects = [as_object(one) for one in messages]
        if self._wants_parts:
            objects = [made | {"content": _part(made["content"])} for made in objects]
        return self._generate(objects, variables)

    def _prints(self, content: Any, variables: dict[str, Any]) -> bool:
        """Whether the content of a question reaches the prompt."""
        try:
            return _PROBE in self._generate([{"role": "user", "content": content}], variables | {"tools": None})
        except InvalidTemplate:
            return False

    def _generate(self, objects: Sequence[Mapping[str, Any]], variables: Mapping[str, Any]) -> str:
        from server.prompts import sandbox

        def render() -> str:
            pieces: list[str] = []
            size = 0
            for piece in self.environment_template.generate(messages=objects, **variables):
                size += len(piece)
                if size > sandbox.MAX_CHARACTERS:
                    raise sandbox.TooCostly(f"the prompt is longer than {sandbox.MAX_CHARACTERS} characters")
                pieces.append(piece)
            return "".join(pieces)

        try:
            return sandbox.run(sandbox.Budget(), render)
        except Exception as error:  # a template can raise anything that Python can
            raise _invalid(error, is_rendering=True) from error


def as_object(message: Message) -> dict[str, Any]:
    """A message as templates know it. Arguments of calls are objects, thoughts go by both of their names."""
    made: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.thinking:
        made |= {"reasoning_content": message.thinking, "thinking": message.thinking}
    if message.tool_calls:
        made["tool_calls"] = [
            {
                "id": call.id,
                "index": call.function.index,
                "type": "function",
                "function": {"name": call.function.name, "arguments": call.function.arguments or {}},
            }
            for call in message.tool_calls
        ]
    if message.tool_name:
        made["name"] = message.tool_name
    if message.tool_call_id:
        made["tool_call_id"] = message.tool_call_id
    return made


def _part(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text}]


def _join_neighbours(messages: Sequence[Message]) -> Sequence[Message]:
    """The messages with the texts of neighbours of one role joined by a blank line; results of tools stay apart."""
    import msgspec

    joined: list[Message] = []
    for message in messages:
        last = joined[-1] if joined else None
        if last is None or last.role != message.role or message.role == "tool":
            joined.append(message)
            continue
        joined[-1] = msgspec.structs.replace(
            last,
            content="\n\n".join(text for text in (last.content, message.content) if text),
            images=(*last.images, *message.images),
            tool_calls=(*last.tool_calls, *message.tool_calls),
        )
    return messages if len(joined) == len(messages) else joined


def _fold_system(messages: Sequence[Message]) -> list[Message] | None:
    """The messages with all system texts in front of the first user message; None where nothing can be folded."""
    import msgspec

    system = "\n\n".join(message.content for message in messages if message.role == "system")
    rest = [message for message in messages if message.role != "system"]
    at = next((number for number, message in enumerate(rest) if message.role == "user"), None)
    if not system or at is None:
        return None
    rest[at] = msgspec.structs.replace(rest[at], content=f"{system}\n\n{rest[at].content}")
    return rest


def _invalid(error: Exception, *, is_rendering: bool = False) -> InvalidTemplate:
    """A text that is no template is the model's fault; one that trips over some messages is mostly theirs. What a
    template raises itself has Ollama's status."""
    words = str(error) or type(error).__name__
    kind = ChatRefused if isinstance(error, _Refused) else InvalidTemplate
    status = 400 if is_rendering and kind is InvalidTemplate else 500
    return kind(f"the model's chat template cannot be used: {words}", status=status)


class _Refused(Exception):
    """What a template itself raises."""


def _raise_exception(message: object) -> None:
    raise _Refused(str(message))


def _strftime_now(form: str) -> str:
    return datetime.datetime.now().strftime(form[:1000])


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    from server.prompts import sandbox

    sandbox.tick()
    sandbox.measured(value)
    indent = min(indent, 16) if isinstance(indent, int) else None
    encoder = json.JSONEncoder(
        ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys, allow_nan=True
    )
    pieces: list[str] = []
    size = 0
    for piece in encoder.iterencode(value):  # piece by piece: wide separators and deep indents multiply
        size += len(piece)
        if size > sandbox.MAX_CHARACTERS:
            raise sandbox.TooCostly(f"JSON of more than {sandbox.MAX_CHARACTERS} characters")
        pieces.append(piece)
    return "".join(pieces)
