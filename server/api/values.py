"""The values of requests with rules of their own: keep_alive, think, images, messages and tools.

Their errors end the decoding at once, so they win over type errors that stand before them, as in the reference.
"""

from __future__ import annotations

import binascii
from typing import Any

from server.api.body import Place, described, list_of, object_schema, read_any, read_fields, read_integer, read_text
from server.api.gojson import Members, kind, plain
from server.errors import InvalidRequest
from server.messages.chat import FOREVER_SECONDS, Message, Think, ToolCall, ToolFunction
from server.messages.durations import parse_duration

_LEVELS = ("low", "medium", "high", "max")
_ALPHABET = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")


@described({"type": ["string", "number"]})
def read_keep_alive(value: Any, _: Place) -> float:
    """Seconds; every negative value is for ever."""
    if isinstance(value, str):
        try:
            seconds = parse_duration(value)
        except ValueError as error:
            raise InvalidRequest(str(error)) from None
    elif kind(value) == "number":
        seconds = float(value) if abs(value) < FOREVER_SECONDS else -1.0
    else:
        names = {"bool": "bool", "array": "[]interface {}", "object": "map[string]interface {}"}
        raise InvalidRequest(f"Unsupported type: '{names[kind(value)]}'")
    return seconds if 0 <= seconds < FOREVER_SECONDS else -1.0


@described({"enum": [True, False, *_LEVELS]})
def read_think(value: Any, _: Place) -> Think:
    if isinstance(value, bool):
        return value
    choices = '"high", "medium", "low", "max", true, or false'
    if not isinstance(value, str):
        raise InvalidRequest(f"think must be a boolean or string ({choices})")
    if value not in _LEVELS:
        raise InvalidRequest(f'invalid think value: "{value}" (must be {choices})')
    return value  # type: ignore[return-value]  # one of _LEVELS


# ---- images --------------------------------------------------------------------------------------------------------


@described({"type": "string", "contentEncoding": "base64"})
def read_image(value: Any, place: Place) -> bytes | None:
    """Standard base64 with padding; line breaks are skipped."""
    if not isinstance(value, str):
        place.wrong(kind(value), "api.ImageData")
        return None
    data = value.encode()
    try:
        return binascii.a2b_base64(data.replace(b"\n", b"").replace(b"\r", b""), strict_mode=True)
    except binascii.Error:
        place.problems.append(f"illegal base64 data at input byte {_first_wrong_byte(data)}")
        return None


def _first_wrong_byte(data: bytes) -> int:
    """The offset that Go reports: of the wrong byte, or of the group of four that the end cuts off."""
    group_start, count, padding = 0, 0, 0
    for offset, byte in enumerate(data):
        if byte in b"\r\n":
            continue
        if count == 0:
            group_start = offset
        is_padding = byte == ord("=")
        if padding == 2 or (padding and not is_padding and count == 0):
            return offset
        if (count < 2) if is_padding else (padding > 0 or byte not in _ALPHABET):
            return offset
        padding += is_padding
        count = (count + 1) % 4
    return group_start if count and not padding else len(data)


# ---- messages ------------------------------------------------------------------------------------------------------


@described({"type": "object"})
def read_arguments(value: Any, _: Place) -> dict[str, Any]:
    if not isinstance(value, Members):
        raise InvalidRequest("Value looks like object, but can't find closing '}' symbol")
    return {name: plain(item) for name, item in value}


_CALLED_FUNCTION = {"name": read_text, "arguments": read_arguments, "index": read_integer}


@described(object_schema(_CALLED_FUNCTION))
def _read_called_function(value: Any, place: Place) -> ToolFunction | None:
    found = read_fields(value, _CALLED_FUNCTION, place, "api.ToolCallFunction")
    return None if found is None else ToolFunction(**found)


_TOOL_CALL = {"id": read_text, "function": _read_called_function}


@described(object_schema(_TOOL_CALL))
def _read_tool_call(value: Any, place: Place) -> ToolCall | None:
    found = read_fields(value, _TOOL_CALL, place, "api.ToolCall")
    return None if found is None else ToolCall(**{"function": ToolFunction(), **found})


_MESSAGE = {
    "role": read_text,
    "content": read_text,
    "thinking": read_text,
    "images": list_of(read_image, "[]api.ImageData"),
    "tool_calls": list_of(_read_tool_call, "[]api.ToolCall"),
    "tool_name": read_text,
    "tool_call_id": read_text,
}


@described(object_schema(_MESSAGE))
def read_message(value: Any, place: Place) -> Message | None:
    before = len(place.problems)
    found = read_fields(value, _MESSAGE, place, "api.Alias")
    if len(place.problems) > before:
        raise InvalidRequest(place.problems[before])
    if found is None:
        return None
    role = found.pop("role", "").lower()
    images, tool_calls = tuple(found.pop("images", ())), tuple(found.pop("tool_calls", ()))
    return Message(role=role, images=images, tool_calls=tool_calls, **found)


_MESSAGES = {"type": "array", "items": object_schema(_MESSAGE)}


@described(_MESSAGES)
def read_messages(value: Any, place: Place) -> tuple[Message, ...] | None:
    """Every item counts, also null ones: those are empty messages."""
    if not isinstance(value, list) or isinstance(value, Members):
        place.wrong(kind(value), "[]api.Message")
        return None
    read = (Message() if item is None else read_message(item, place) for item in value)
    return tuple(message for message in read if message is not None)


@described(_MESSAGES)
def read_stored_messages(value: Any, place: Place) -> list[dict[str, Any]] | None:
    """Messages to keep with a model, checked but as they were sent."""
    if read_messages(value, place) is None:
        return None
    return [plain(item) for item in value if item is not None]


# ---- tools ---------------------------------------------------------------------------------------------------------


@described({"type": "object"})
def _read_properties(value: Any, place: Place) -> dict[str, Any]:
    if not isinstance(value, Members):
        raise InvalidRequest("Value looks like object, but can't find closing '}' symbol")
    return {name: plain(item) for name, item in value}


_PARAMETERS = {
    "type": read_text,
    "required": list_of(read_text, "[]string"),
    "properties": _read_properties,
    "$defs": read_any,
    "items": read_any,
}


@described(object_schema(_PARAMETERS))
def _read_parameters(value: Any, place: Place) -> dict[str, Any] | None:
    place = Place("ToolFunctionParameters", place.path, place.problems)
    return read_fields(value, _PARAMETERS, place, "api.ToolFunctionParameters")


_FUNCTION = {"name": read_text, "description": read_text, "parameters": _read_parameters}


@described(object_schema(_FUNCTION))
def _read_function(value: Any, place: Place) -> dict[str, Any] | None:
    return read_fields(value, _FUNCTION, Place("ToolFunction", place.path, place.problems), "api.ToolFunction")


_TOOL = {"type": read_text, "function": _read_function, "items": read_any}


@described(object_schema(_TOOL))
def read_tool(value: Any, place: Place) -> dict[str, Any] | None:
    """A tool as it was sent, every keyword of its schema included, once its known parts are of the right type.

    Only an empty `required` is left out, as in the reference: models were tried with prompts that lack it.
    """
    if not isinstance(value, Members):
        place.wrong(kind(value), "api.Tool")
        return None
    read_fields(value, _TOOL, Place("Tool", place.path, place.problems), "api.Tool")
    tool: dict[str, Any] = plain(value)
    function = tool.get("function")
    parameters = function.get("parameters") if isinstance(function, dict) else None
    if isinstance(parameters, dict) and not parameters.get("required", True):
        del parameters["required"]
    return tool
