"""Messages of `/v1/chat/completions`: OpenAI's forms to the internal ones."""

from __future__ import annotations

from server.api.audio_media import kind_of_audio
from server.api.wire_fields import Fields, RefusedField, kind_of
from server.api.wire_media import Parts, decode_base64, image_of_url, text_of_url
from server.api.wire_tools import arguments_of
from server.messages.chat import Message, ToolCall, ToolFunction
from server.messages.media import kind_of_sound

_ROLES = {
    "system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool",
    "function": "tool",
}  # fmt: skip


def read_messages(fields: Fields) -> tuple[Message, ...]:
    """The messages of a request. Raises RefusedField."""
    if not fields.items("messages"):
        raise fields.refuse("messages", "[] is too short - 'messages'")
    names: dict[str, str] = {}
    read: list[Message] = []
    for item in fields.objects("messages"):
        message = _message(item, names)
        names |= {call.id: call.function.name for call in message.tool_calls if call.id}
        if message.content or message.images or message.tool_calls or not _is_empty_list(item):
            read.append(message)
    return tuple(read)


def _is_empty_list(item: Fields) -> bool:
    return isinstance(item.get("content"), list) and not item.get("content")


def _message(item: Fields, names: dict[str, str]) -> Message:
    """`names` are the functions of earlier calls by the calls' ids."""
    said = (item.text("role") or "").lower()
    if said not in _ROLES:
        raise item.refuse("role", f"'{item.place('role')}' cannot be {said!r}; use one of {', '.join(_ROLES)}.")
    role = _ROLES[said]
    calls = _calls(item)
    content, images = _content(item, may_be_empty=role == "assistant" or "tool_calls" in item)
    call_id = item.text("tool_call_id") or ""
    return Message(
        role=role,
        content=content,
        thinking=next((text for text in map(item.text, ("reasoning_content", "reasoning", "thinking")) if text), ""),
        images=images,
        tool_calls=calls,
        tool_name=(item.text("name") or names.get(call_id, "")) if role == "tool" else "",
        tool_call_id=call_id,
    )


# ---- calls ---------------------------------------------------------------------------------------------------------


def _calls(item: Fields) -> tuple[ToolCall, ...]:
    calls = [
        ToolCall(id=call.text("id") or "", function=_function(call.fields("function") or Fields({}), at))
        for at, call in enumerate(item.objects("tool_calls"))
    ]
    legacy = item.fields("function_call")
    if legacy is not None:
        calls.append(ToolCall(function=_function(legacy, len(calls))))
    return tuple(calls)


def _function(function: Fields, index: int) -> ToolFunction:
    arguments = function.get("arguments")
    if not isinstance(arguments, dict):
        try:
            arguments = arguments_of(function.text("arguments") or "")
        except ValueError:
            raise function.refuse("arguments", "invalid tool call arguments") from None
    return ToolFunction(name=function.text("name") or "", arguments=arguments, index=index)


# ---- content -------------------------------------------------------------------------------------------------------


def _content(item: Fields, *, may_be_empty: bool) -> tuple[str, tuple[bytes, ...]]:
    """Text, and pictures in their places. The texts of several parts become lines of one message."""
    value = item.get("content")
    if isinstance(value, str):
        return value, ()
    if value is None and may_be_empty:
        return "", ()
    if not isinstance(value, list):
        place = item.place("content")
        raise RefusedField(f"'{place}' must be a string or a list of parts, not {kind_of(value)}.", param=place)
    parts = Parts("\n")
    for at, part in enumerate(value):
        if not isinstance(part, dict):
            raise RefusedField("invalid message format", param=f"{item.place('content')}[{at}]")
        parts.add(_part(Fields(part, f"{item.place('content')}[{at}]")))
    return parts.content, parts.images


def _part(part: Fields) -> str | bytes:
    kind = part.get("type")
    if kind in ("text", "refusal"):
        text = part.get(kind)
        if isinstance(text, str):
            return text
    elif kind == "image_url":
        image = part.get("image_url")
        url = image.get("url") if isinstance(image, dict) else image
        if isinstance(url, str):
            return _image(part, url)
    elif kind == "input_audio":
        return _audio(part)
    elif kind == "file":
        return _file(part)
    raise RefusedField("invalid message format", param=part.where)


def _image(part: Fields, url: str) -> bytes:
    try:
        return image_of_url(url)
    except ValueError as error:
        raise RefusedField(str(error), param=part.place("image_url")) from None


def _audio(part: Fields) -> bytes:
    """The bytes of a recording; what is in them tells its kind, not `format`."""
    audio = part.get("input_audio")
    if not isinstance(audio, dict):
        raise RefusedField("invalid input_audio format", param=part.where)
    data = audio.get("data")
    if not isinstance(data, str) or not data:
        raise RefusedField("invalid input_audio format: missing data", param=part.where)
    try:
        sound = decode_base64(data)
    except ValueError as error:
        raise RefusedField(f"invalid input_audio base64 data: {error}", param=part.where) from None
    kind = kind_of_audio(sound)
    if kind and not kind_of_sound(sound):
        raise RefusedField(f"Puna cannot read {kind} recordings; send one in wav, mp3 or flac.", param=part.where)
    return sound


def _file(part: Fields) -> str:
    file = part.fields("file") or Fields({})
    text = text_of_url(file.text("file_data") or "")
    if text is None:
        why = "Only text and JSON files can be read, as a data URL in 'file_data'; send other files as text."
        raise RefusedField(why, param=part.where, code="unsupported_value")
    return text
