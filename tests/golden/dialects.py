"""What of a recorded answer of the OpenAI and Anthropic routes must be the same: everything a client can notice.

Free are the cut of texts, comments and pings, made-up ids, times, the order of members in a call's arguments, what a
decoder says of a bad body, and members beyond the reference's that the published formats know.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import struct
from typing import Any

from tests.golden.comparison import Answer, Step, compare, head_differences, without

Value = Any
_MAY_ADD = frozenset({
    "reasoning_content", "refusal", "timings", "prompt_tokens_details", "completion_tokens_details", "bytes",
    "top_logprobs", "signature", "cache_creation_input_tokens", "cache_read_input_tokens", "namespace", "status",
    "name", "type", "display_name", "created_at", "has_more", "first_id", "last_id", "lifecycle", "capabilities",
    "context_length", "max_input_tokens", "meta",
})  # fmt: skip
_MADE_UP_IDS = frozenset({"id", "call_id", "item_id", "request_id"})
_MADE_UP = re.compile(r"(chatcmpl-|cmpl-|(resp|msg|rs|fc|ctc|call|toolu|req)_).*|[A-Za-z0-9]{32}", re.DOTALL)
_FREE_TEXTS = frozenset({"system_fingerprint", "signature", "encrypted_content"})
_FREE_NUMBERS = frozenset({"created", "created_at", "completed_at", "logprob", "cached_tokens", "reasoning_tokens"})
_DECODER = re.compile(
    r"json: |invalid character|unexpected (?:EOF|end)|^Value looks like|^EOF$|^failed to parse|^file is required"
    r"|base64 (?:image )?data"
    r"|^invalid (message content type|type for 'stop' field|input_schema for tool)"
)
_FREE_EVENTS = frozenset({
    "ping", "response.reasoning_summary_part.added", "response.reasoning_summary_part.done",
})  # fmt: skip
_GROWING = frozenset({"delta", "text", "thinking", "partial_json", "content", "reasoning", "arguments"})
_TOLERANCE = 1e-4


# ---- bodies --------------------------------------------------------------------------------------------------------


def _parsed(answer: Answer) -> tuple[str, Value]:
    """The kind of a body (stream, json, text) and its value; a stream is its frames without the free ones."""
    content_type, text = answer["headers"].get("content-type") or "", answer["text"]
    if "text/event-stream" in content_type:
        return "stream", [frame for frame in map(_frame, re.split(r"\n\n", text.strip())) if not _is_free(frame)]
    with contextlib.suppress(ValueError):
        return "json", json.loads(text)
    return "text", text


def _frame(block: str) -> dict[str, Value]:
    fields = dict(re.findall(r"^(event|data): ?(.*)$", block, flags=re.MULTILINE))
    data: Value = fields.get("data", "")
    with contextlib.suppress(ValueError):
        data = json.loads(data)
    return {"event": fields.get("event"), "data": data}


def _is_free(frame: dict[str, Value]) -> bool:
    data: Value = frame["data"]
    if not isinstance(data, dict):
        return bool(data == "")
    delta = data.get("delta")
    if isinstance(delta, dict) and data.get("type") == "content_block_delta":
        says_nothing = not any(value for key, value in delta.items() if key != "type")
        return bool(delta.get("type") == "signature_delta" or says_nothing)
    return bool(data.get("type") in _FREE_EVENTS or delta == "")


# ---- streams of chunks ---------------------------------------------------------------------------------------------


class _Facts:
    """What chunks say, one fact each: a role, a text, a whole call, a finish. Other frames stay as they are."""

    def __init__(self) -> None:
        self.found: list[Value] = []
        self._calls: dict[Value, dict[str, Value]] = {}
        self._logprobs: list[Value] = []

    def add(self, frame: dict[str, Value]) -> None:
        data = frame["data"]
        is_chunk = isinstance(data, dict) and data.get("object") in ("chat.completion.chunk", "text_completion")
        if not is_chunk or not data.get("choices"):
            self.found.append(frame)
            return
        envelope = {k: v for k, v in data.items() if k not in ("choices", "usage")}
        for choice in data["choices"]:
            self._logprobs += (choice.get("logprobs") or {}).get("content") or []
            for fact in self._said(choice):
                self.found.append({**envelope, "index": choice["index"], **fact})

    def _said(self, choice: dict[str, Value]) -> list[dict[str, Value]]:
        delta = choice.get("delta") or {}
        said = {
            "text": choice.get("text"),
            "role": delta.get("role"),
            "reasoning": delta.get("reasoning"),
            "content": delta.get("content"),
        }
        facts = [{name: value} for name, value in said.items() if value]
        for call in delta.get("tool_calls") or ():
            key = (choice["index"], call["index"])
            if key in self._calls and "id" not in call:
                self._calls[key]["arguments"] += call["function"]["arguments"]
            else:
                self._calls[key] = dict(call["function"])
                facts.append({"call": {**call, "function": self._calls[key]}})
        return facts + ([{"finish": choice["finish_reason"]}] if choice.get("finish_reason") else [])

    def all(self) -> list[Value]:
        return [*self.found, *([{"logprobs": self._logprobs}] if self._logprobs else [])]


def _joined(frames: list[Value]) -> list[Value]:
    facts = _Facts()
    for frame in frames:
        facts.add(frame)
    joined: list[Value] = []
    for fact in (_normal(fact) for fact in facts.all()):
        if joined and _shape(joined[-1]) == _shape(fact):
            joined[-1] = _glued(joined[-1], fact)
        else:
            joined.append(fact)
    return joined


def _shape(value: Value, key: str = "") -> Value:
    """The value with growing text blanked: two neighbours of one shape can be joined."""
    if isinstance(value, dict):
        return {k: _shape(v, k) for k, v in value.items() if k != "logprobs"}
    if isinstance(value, list):
        return [_shape(item) for item in value]
    return "<text>" if key in _GROWING and isinstance(value, str) and value else value


def _glued(a: Value, b: Value, key: str = "") -> Value:
    if isinstance(a, dict):
        return {k: _glued(v, b[k], k) if k in b else v for k, v in a.items()}
    if isinstance(a, list) and isinstance(b, list):
        return a + b if key == "logprobs" else [_glued(x, y) for x, y in zip(a, b, strict=True)]
    return a + b if key in _GROWING and isinstance(a, str) and isinstance(b, str) else a


# ---- one form for what may differ ----------------------------------------------------------------------------------


def _normal(value: Value, key: str = "") -> Value:
    if isinstance(value, list):
        # Every token but one has the same chance in the small models, so only the first has a fixed place.
        is_tied = key == "top_logprobs"
        return ["<alternative>" if is_tied and at else _normal(item) for at, item in enumerate(value)]
    if isinstance(value, dict):
        return _normal_object(value, key)
    if key in _FREE_NUMBERS and isinstance(value, (int, float, str)):
        return "<free>"
    if not isinstance(value, str):
        return value
    if key in _FREE_TEXTS or (key in _MADE_UP_IDS and _MADE_UP.fullmatch(value)):
        return "<made up>"
    return _floats(value) if key == "embedding" else value


def _normal_object(value: dict[str, Value], key: str) -> dict[str, Value]:
    if "cache_read_input_tokens" in value:  # Anthropic counts what the cache saved apart
        value = {**value, "input_tokens": value["input_tokens"] + (value["cache_read_input_tokens"] or 0)}
    if value.get("type") == "message_start":  # the reference guesses here, and message_delta has the true count
        value = {**value, "message": {**value["message"], "usage": "<usage>"}}
    if key == "error" and isinstance(value.get("message"), str):
        told = "<any sentence>" if _DECODER.search(value["message"]) else value["message"]
        value = {**{k: v for k, v in value.items() if k not in ("param", "code")}, "message": told}
    return {k: _normal(v, k) for k, v in value.items() if k != "sequence_number"}


def _floats(text: str) -> Value:
    raw = base64.b64decode(text)
    return {"base64": list(struct.unpack(f"<{len(raw) // 4}f", raw))}


def _settled(value: Value, key: str = "") -> Value:
    """A text of arguments as what it means."""
    if isinstance(value, dict):
        is_arguments = str(value.get("type")).endswith("function_call_arguments.delta")
        return {k: _settled(v, "arguments" if is_arguments and k == "delta" else k) for k, v in value.items()}
    if isinstance(value, list):
        return [_settled(item) for item in value]
    if key in ("arguments", "partial_json") and isinstance(value, str):
        with contextlib.suppress(ValueError):
            return json.dumps(json.loads(value), sort_keys=True)
    return value


# ---- differences ---------------------------------------------------------------------------------------------------


def _differences(want: Value, got: Value, at: str = "") -> list[str]:
    if isinstance(want, dict) and isinstance(got, dict):
        found = [f"{at}.{key}: missing" for key in want.keys() - got.keys()]
        more = [key for key in got.keys() - want.keys() if key not in _MAY_ADD and got[key] is not None]
        found += [f"{at}.{key}: not in the reference" for key in more]
        return found + [text for key in want.keys() & got.keys() for text in _one(want[key], got[key], f"{at}.{key}")]
    if isinstance(want, list) and isinstance(got, list):
        found = [] if len(want) == len(got) else [f"{at}: {len(got)} items, want {len(want)}"]
        for index, (a, b) in enumerate(zip(want, got, strict=False)):
            found += _differences(a, b, f"{at}[{index}]")
        return found
    return _one(want, got, at)


def _one(want: Value, got: Value, at: str) -> list[str]:
    if isinstance(want, (dict, list)) and isinstance(got, (dict, list)) and type(want) is type(got):
        return _differences(want, got, at)
    if want == "<any sentence>" and isinstance(got, str) and got:
        return []
    if isinstance(want, (int, float)) and isinstance(got, (int, float)) and float in (type(want), type(got)):
        got = want if abs(want - got) < _TOLERANCE else got
    return [] if want == got else [f"{at}: {json.dumps(got)[:160]}, want {json.dumps(want)[:160]}"]


def _outline(value: Value) -> Value:
    return sorted(value) if isinstance(value, dict) else type(value).__name__


def compare_dialect(step: Step, want: Answer, got: Answer) -> list[str]:
    """What differs, in words. Steps of the native API are compared as such."""
    if not step["path"].startswith("/v1"):
        return compare(step, want, got)
    found = head_differences(want, got)
    if found:
        return found
    (kind_a, a), (kind_b, b) = _parsed(want), _parsed(got)
    if kind_a != kind_b:
        return [f"a body that is {kind_b}, want {kind_a}"]
    a, b = (without(value, step.get("free") or []) for value in (a, b))
    if step.get("loose"):
        return _differences(_outline(a), _outline(b))
    form = _joined if kind_a == "stream" else _normal
    return _differences(_settled(form(a)), _settled(form(b)))
