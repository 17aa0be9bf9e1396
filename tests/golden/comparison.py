"""What of a recorded answer must be the same: everything but what differs from run to run.

Free are times, durations, sizes, made-up ids, log-probabilities, digests of model files, and where a stream cuts its
text. What is said, and in which order, is not.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import re
import time
from collections.abc import Callable
from typing import Any

Step = dict[str, Any]
Answer = dict[str, Any]
Compare = Callable[[Step, Answer, Answer], list[str]]

_TIMES = frozenset({"created_at", "modified_at", "expires_at"})
_NUMBERS = frozenset({
    "total_duration", "load_duration", "prompt_eval_duration", "eval_duration", "size_vram", "size", "logprob",
})  # fmt: skip
_TEXTS = frozenset({"response", "content", "thinking"})
_MADE_UP_ID = re.compile(r"call_.*|[A-Za-z0-9]{32}", re.DOTALL)
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")
_PERIODS = (0, 10, 60, 300, 600, 1800, 3600, 5400, 7200, 86400)
_TOLERANCE = 1e-4


def with_time_left(text: str) -> str:
    """An answer in which every `expires_at` also says how far ahead it is, as the recordings do."""
    return re.sub(r'("expires_at":\s*")([^"]+)', lambda match: f"{match[1]}{match[2]} ({_time_left(match[2])})", text)


def _time_left(text: str) -> str:
    match = _TIME.fullmatch(text)
    if not match:
        return "not RFC 3339"
    ahead = datetime.datetime.fromisoformat(match[1] + match[3].replace("Z", "+00:00")).timestamp() - time.time()
    return "never" if ahead > 1e9 else f"in {min(_PERIODS, key=lambda period: abs(period - ahead))} s"


# ---- one form for what may differ ----------------------------------------------------------------------------------


def _parsed(answer: Answer) -> tuple[str, Any]:
    """The kind of a body (stream, json, text) and its value."""
    content_type, text = answer["headers"].get("content-type") or "", answer["text"]
    if "ndjson" in content_type:
        return "stream", [json.loads(line) for line in text.splitlines() if line.strip()]
    if "json" in content_type:
        with contextlib.suppress(ValueError):
            return "json", json.loads(text)
    return "text", text


def _normal(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return _normal_object(value)
    if isinstance(value, list):
        return _normal_list(value, key)
    if key in _NUMBERS and isinstance(value, (int, float)) and not isinstance(value, bool):
        return "<number>"
    if not isinstance(value, str):
        return value
    if key == "expires_at" and " (" in value:
        return value[value.index(" (") :]
    if key in _TIMES:
        return "<time>" if _TIME.fullmatch(value) else "<not a time>"
    if key == "id" and _MADE_UP_ID.fullmatch(value):
        return "<id>"
    return _normal_model_text(value, key) if key in ("digest", "modelfile", "parameters") else value


def _normal_object(value: dict[str, Any]) -> dict[str, Any]:
    if "status" in value and "total" in value:  # how far and how much depends on speed and storage
        value = {k: v for k, v in value.items() if k != "completed"} | {"total": "<number>"}
    # A rewritten copy of a model file gains this key; ours keeps the file as it came.
    return {k: _normal(v, k) for k, v in value.items() if k != "general.quantization_version"}


def _normal_list(value: list[Any], key: str) -> list[Any]:
    if key in ("tensors", "capabilities"):
        value = sorted(value, key=str)
    if key == "top_logprobs" and all(isinstance(item, dict) and "token" in item for item in value):
        # The small models give every token but one the same chance, so only the first has a fixed place.
        return [_normal(item) if at == 0 else "<alternative>" for at, item in enumerate(value)]
    return [_normal(item) for item in value]


def _normal_model_text(text: str, key: str) -> str:
    """Digests of stored files, the path in a Modelfile's FROM, and the order of parameters are free."""
    if key == "digest":
        return re.sub(r"[0-9a-f]{64}", "<sha256>", text)
    lines = re.sub(r"^FROM .*$", "FROM <model>", text, flags=re.MULTILINE).split("\n")
    places = [at for at, line in enumerate(lines) if key == "parameters" or line.startswith("PARAMETER ")]
    for at, line in zip(places, sorted(lines[at] for at in places), strict=True):
        lines[at] = line
    return "\n".join(lines)


def _settled(value: Any, key: str = "") -> Any:
    """The order of members in a call's arguments is free; a JSON text of them is compared as what it means."""
    if isinstance(value, dict):
        return {k: _settled(v, k) for k, v in value.items()}
    if isinstance(value, list):
        return [_settled(item) for item in value]
    if key == "arguments" and isinstance(value, str):
        with contextlib.suppress(ValueError):
            return json.dumps(json.loads(value), sort_keys=True)
    return value


# ---- streams -------------------------------------------------------------------------------------------------------


def _shape(value: Any, key: str = "") -> Any:
    """The value with growing text blanked: two neighbouring chunks of one shape can be joined."""
    if isinstance(value, dict):
        return {k: _shape(v, k) for k, v in value.items() if k != "logprobs"}
    if isinstance(value, list):
        return [_shape(item) for item in value]
    return "<text>" if key in _TEXTS and isinstance(value, str) and value else value


def _glued(a: Any, b: Any, key: str = "") -> Any:
    if isinstance(a, dict):
        return {k: _glued(v, b[k], k) if k in b else v for k, v in a.items()}
    if isinstance(a, list) and isinstance(b, list):
        return a + b if key == "logprobs" else [_glued(x, y) for x, y in zip(a, b, strict=False)]
    return a + b if key in _TEXTS and isinstance(a, str) and isinstance(b, str) else a


def _says_nothing(chunk: Any) -> bool:
    """Some parsers send an empty chunk while they hold text back; checking a model may be too quick to tell."""
    if not isinstance(chunk, dict):
        return False
    if chunk.get("status") == "validating GGUF model":
        return True
    message = chunk.get("message") or {}
    said = [chunk.get(key) for key in ("response", "thinking", "logprobs")]
    said += [value for key, value in message.items() if key != "role"]
    return chunk.get("done") is False and not any(said)


def _joined(chunks: list[Any]) -> list[Any]:
    joined: list[Any] = []
    for chunk in (_normal(chunk) for chunk in chunks):
        if _says_nothing(chunk):
            continue
        is_last = isinstance(chunk, dict) and chunk.get("done") is True
        if joined and not is_last and _shape(joined[-1]) == _shape(chunk):
            joined[-1] = _glued(joined[-1], chunk)
        else:
            joined.append(chunk)
    return joined


# ---- differences ---------------------------------------------------------------------------------------------------


def _differences(want: Any, got: Any, at: str = "") -> list[str]:
    if isinstance(want, dict) and isinstance(got, dict):
        found = [f"{at}.{key}: missing" for key in want.keys() - got.keys()]
        found += [f"{at}.{key}: not in the reference" for key in got.keys() - want.keys()]
        for key in want.keys() & got.keys():
            found += _differences(want[key], got[key], f"{at}.{key}")
        return found
    if isinstance(want, list) and isinstance(got, list):
        found = [] if len(want) == len(got) else [f"{at}: {len(got)} items, want {len(want)}"]
        for index, (a, b) in enumerate(zip(want, got, strict=False)):
            found += _differences(a, b, f"{at}[{index}]")
        return found
    if isinstance(want, (int, float)) and isinstance(got, (int, float)) and float in (type(want), type(got)):
        got = want if abs(want - got) < _TOLERANCE else got
    if want == got:
        return []
    return [f"{at}: {json.dumps(got, ensure_ascii=False)[:160]}, want {json.dumps(want, ensure_ascii=False)[:160]}"]


def without(value: Any, names: list[str]) -> Any:
    if isinstance(value, dict):
        return {k: "<free>" if k in names else without(v, names) for k, v in value.items()}
    return [without(item, names) for item in value] if isinstance(value, list) else value


def head_differences(want: Answer, got: Answer) -> list[str]:
    """Status, content type without its parameters, and the headers that the step names."""
    found = []
    if want["status"] != got["status"]:
        found.append(f"status {got['status']}, want {want['status']}: {got['text'][:200]}")
    for name, value in want["headers"].items():
        a, b = value, got["headers"].get(name)
        if name == "content-type":
            a, b = ((text or "").split(";")[0].strip().lower() for text in (a, b))
        if a != b:
            found.append(f"header {name}: {b!r}, want {a!r}")
    return found


def compare(step: Step, want: Answer, got: Answer) -> list[str]:
    """What differs, in words; nothing where a client could not tell the two apart."""
    found = head_differences(want, got)
    if found:
        return found
    for pattern in step.get("ignore") or ():
        want, got = ({**answer, "text": re.sub(pattern, "0", answer["text"])} for answer in (want, got))
    (kind_a, a), (kind_b, b) = _parsed(want), _parsed(got)
    if kind_a != kind_b:
        return [f"a body that is {kind_b}, want {kind_a}"]
    if step["path"] == "/api/version" and kind_a == "json":  # which version, and ours beside it, is our own business
        return [] if re.fullmatch(r"\d+\.\d+\.\d+", b.get("version", "")) else [f".version: {b}"]
    a, b = (without(value, step.get("free") or []) for value in (a, b))
    if step.get("loose"):
        a, b = (value[-1] if kind_a == "stream" else value for value in (a, b))
        return _differences(*(sorted(value) if isinstance(value, dict) else type(value).__name__ for value in (a, b)))
    if kind_a == "text":
        return _differences(a, b)
    return _differences(*(_settled(_joined(value) if kind_a == "stream" else _normal(value)) for value in (a, b)))
