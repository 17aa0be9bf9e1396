"""What requests of the OpenAI routes have in common: reasoning, formats, limits, tools."""

from __future__ import annotations

from typing import Any

from server.api.responses import encode
from server.api.wire_fields import Fields, RefusedField
from server.api.wire_tools import Tooling, chosen, function_tool, only_named
from server.messages.chat import Think

MAX_TOP_LOGPROBS = 20
MAX_CHOICES = 8
# What OpenAI's own service takes where neither the client nor the model's author says anything.
DEFAULT_OPTIONS: dict[str, Any] = {"temperature": 1.0, "top_p": 1.0}
_EFFORTS: dict[str, Think] = {
    "none": False, "minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "max", "ultra": "max",
    "max": "max",
}  # fmt: skip
_CHOICES_OF_EFFORT = '"minimal", "low", "medium", "high", "xhigh", "ultra", "max", or "none"'


# ---- reasoning -----------------------------------------------------------------------------------------------------


def think_of_effort(effort: str | None) -> Think:
    if not effort:
        return None
    if effort not in _EFFORTS:
        why = f'invalid reasoning value: "{effort}" (must be {_CHOICES_OF_EFFORT})'
        raise RefusedField(why, param="reasoning_effort")
    return _EFFORTS[effort]


def read_think(fields: Fields) -> Think:
    """`reasoning.effort`, `reasoning_effort`, `reasoning.enabled`, the template's `enable_thinking`, the native
    `think`: the first that is said."""
    reasoning = fields.fields("reasoning") or Fields({})
    think = think_of_effort(reasoning.text("effort") or fields.text("reasoning_effort"))
    if think is not None:
        return think
    template = fields.fields("chat_template_kwargs") or Fields({}, "chat_template_kwargs")
    for said in (reasoning.flag("enabled"), template.flag("enable_thinking")):
        if said is not None:
            return said
    native = fields.get("think")
    if native is None or isinstance(native, bool):
        return native
    return think_of_effort(fields.text("think"))


def read_budget(fields: Fields) -> int | None:
    """The most tokens of thought that `reasoning` allows."""
    reasoning = fields.fields("reasoning")
    limit = reasoning.integer("max_tokens") if reasoning is not None else None
    return limit if limit is None or limit >= 0 else None


def hides_reasoning(fields: Fields) -> bool:
    """Whether the model may think, but its thoughts are not wanted."""
    reasoning = fields.fields("reasoning")
    return reasoning is not None and reasoning.flag("exclude") is True


# ---- formats -------------------------------------------------------------------------------------------------------


def read_format(fields: Fields) -> str:
    """`response_format`, `json_schema` or the native `format` as JSON text; "" for none."""
    wanted = fields.fields("response_format")
    if wanted is not None:
        return format_text(wanted, wanted.fields("json_schema"))
    bare = fields.mapping("json_schema")
    value = bare if bare is not None else fields.get("format")
    return "" if value in (None, "") else encode(value).decode()


def format_text(wanted: Fields, schema_holder: Fields | None) -> str:
    """`schema_holder` is the object whose `schema` a format of the type json_schema has."""
    kind = (wanted.text("type") or "text").strip().lower()
    if kind == "text":
        return ""
    if kind == "json_object":
        schema = wanted.mapping("schema")
        return '"json"' if schema is None else encode(schema).decode()
    if kind != "json_schema":
        why = f"'{wanted.place('type')}' cannot be {kind!r}; use text, json_object or json_schema."
        raise wanted.refuse("type", why, "unsupported_value")
    schema = schema_holder.mapping("schema") if schema_holder is not None else None
    if schema is None:
        place = (schema_holder or wanted).place("schema")
        raise RefusedField(f"'{place}' is missing: a format of the type json_schema needs it.", param=place)
    return encode(schema).decode()


# ---- limits --------------------------------------------------------------------------------------------------------


def read_limit(fields: Fields, *names: str) -> int | None:
    """The most tokens an answer may have: the first of `names` that is said. 0 asks for an answer of nothing."""
    for name in names:
        limit = fields.integer(name)
        if limit is not None:
            if limit < 0 and name != "n_predict":
                raise fields.refuse(name, f"'{fields.place(name)}' must not be negative.")
            return limit
    return None


def read_choices(fields: Fields) -> int:
    count = fields.integer("n" if "n" in fields else "n_cmpl")
    if count is not None and not 1 <= count <= MAX_CHOICES:
        raise fields.refuse("n", f"'n' must be between 1 and {MAX_CHOICES}.")
    return count or 1


def read_top_logprobs(fields: Fields, name: str) -> int:
    count = fields.integer(name) or 0
    if not 0 <= count <= MAX_TOP_LOGPROBS:
        raise fields.refuse(name, f"top_logprobs must be between 0 and {MAX_TOP_LOGPROBS}")
    return count


def sampling(fields: Fields) -> dict[str, Any]:
    """The sampling members that chat and text completions share; None is not said."""
    return {
        "temperature": fields.number("temperature"),
        "top_p": fields.number("top_p"),
        "frequency_penalty": fields.number("frequency_penalty"),
        "presence_penalty": fields.number("presence_penalty"),
        "seed": fields.integer("seed"),
        "stop": fields.texts("stop", or_text=True) if "stop" in fields else None,
    }


# ---- tools ---------------------------------------------------------------------------------------------------------


def read_tooling(fields: Fields) -> Tooling:
    """`tools` and `tool_choice`, or the older `functions` and `function_call`."""
    tools = tuple(_tool(tool) for tool in fields.objects("tools"))
    tooling = _legacy(fields) if uses_functions(fields) else _chosen(fields, tools)
    if fields.flag("parallel_tool_calls") is False or uses_functions(fields):
        return Tooling(tooling.tools, tooling.must_call, only_one=True)
    return tooling


def uses_functions(fields: Fields) -> bool:
    """Whether the client only knows the form from before tools."""
    return "functions" in fields and not fields.items("tools")


def _tool(tool: Fields) -> dict[str, Any]:
    function = tool.fields("function")
    if function is None:
        kind = tool.text("type")
        if kind not in (None, "function"):
            raise tool.refuse("type", f"Tools of the type {kind!r} are not supported here.", "unsupported_value")
        raise tool.refuse("function", f"'{tool.place('function')}' is missing.", "missing_required_parameter")
    _checked_name(function)
    parameters = function.mapping("parameters")
    rest = {k: v for k, v in function.members.items() if k not in ("name", "description", "parameters")}
    read = function_tool(function.text("name") or "", function.text("description"), parameters, **rest)
    return {**tool.members, **read}


def _checked_name(function: Fields) -> None:
    if not function.text("name"):
        raise function.refuse("name", f"'{function.place('name')}' is missing.", "missing_required_parameter")


def _chosen(fields: Fields, tools: tuple[dict[str, Any], ...]) -> Tooling:
    choice = fields.get("tool_choice")
    if not isinstance(choice, dict):
        return chosen(tools, fields, named=None, word=fields.text("tool_choice"))
    wanted = Fields(choice, "tool_choice")
    if wanted.text("type") == "allowed_tools":
        allowed = wanted.fields("allowed_tools") or wanted
        names = [(tool.fields("function") or tool).text("name") or "" for tool in allowed.objects("tools")]
        return Tooling(only_named(tools, names, "tool_choice"), must_call=allowed.text("mode") == "required")
    return chosen(tools, fields, named=wanted.fields("function") or wanted, word=None)


def _legacy(fields: Fields) -> Tooling:
    tools = []
    for function in fields.objects("functions"):
        _checked_name(function)
        parameters = function.mapping("parameters")
        tools.append(function_tool(function.text("name") or "", function.text("description"), parameters))
    choice = fields.get("function_call")
    if isinstance(choice, dict):
        return chosen(tools, fields, named=Fields(choice, "function_call"), word=None)
    return chosen(tools, fields, named=None, word=fields.text("function_call"))
