"""Tokens with a meaning of their own, what is put around a text, and the chat template."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from server.convert.folder import Folder
from server.convert.vocabulary import CONTROL, SpecialTokens, Vocabulary
from server.errors import InvalidRequest

_ROLES = ("bos", "eos", "unk", "sep", "pad", "mask", "cls")


def read_special_tokens(folder: Folder, config: Mapping[str, Any], vocabulary: Vocabulary) -> SpecialTokens:
    """`config`: of the model. Raises InvalidRequest."""
    settings = folder.json_if_there("tokenizer_config.json")
    mapped = folder.json_if_there("special_tokens_map.json")
    described = folder.json_if_there("tokenizer.json")
    generation = folder.json_if_there("generation_config.json")
    numbers = {token.text: number for number, token in enumerate(vocabulary.tokens)}
    ids: dict[str, int] = {}
    for role in _ROLES:
        named = (numbers.get(text) for source in (settings, mapped) if (text := _text(source.get(f"{role}_token"))))
        listed = (number for source in (generation, config) for number in _ids(source, role))
        number = next((item for item in (*named, *listed) if item is not None and item < len(numbers)), None)
        if number is not None:
            ids[role] = number
    if vocabulary.model == "bert":
        ids["bos"] = ids.get("cls", ids.get("bos", 0))
        ids["eos"] = ids.get("sep", ids.get("eos", 0))
    ids.pop("cls", None)
    ids |= _further_ends(ids, generation, config, vocabulary)
    return SpecialTokens(ids, _additions(settings, described, vocabulary), _chat_template(folder, settings))


def _text(value: Any) -> str:
    """Tokens are written as texts, or as objects with their content."""
    content = value.get("content") if isinstance(value, dict) else value
    return content if isinstance(content, str) else ""


def _ids(source: Mapping[str, Any], role: str) -> list[int]:
    value = source.get(f"{role}_token_id")
    return [item for item in (value if isinstance(value, list) else [value]) if type(item) is int and item >= 0]


def _further_ends(
    ids: Mapping[str, int], generation: Mapping[str, Any], config: Mapping[str, Any], vocabulary: Vocabulary
) -> dict[str, int]:
    """An answer may end with any of several tokens. A GGUF file has room for three; llama.cpp knows others by name."""
    ends = _ids(generation, "eos") or _ids(config, "eos")
    others = [end for end in dict.fromkeys(ends) if end != ids.get("eos") and end < len(vocabulary.tokens)]
    special = [end for end in others if vocabulary.tokens[end].type == CONTROL]
    # Of more than two, the one that ends a turn comes first: it is generated most.
    special.sort(key=lambda end: 0 if "eot" in (text := vocabulary.tokens[end].text) or "turn" in text else 1)
    return dict(zip(("eot", "eom"), special, strict=False))


def _additions(settings: Mapping[str, Any], described: Mapping[str, Any], vocabulary: Vocabulary) -> dict[str, bool]:
    """Which tokens are put around a text: what the settings say, then what tokenizer.json does."""
    if vocabulary.model == "bert":
        return {"bos": True, "eos": False, "sep": True}
    adds = {"bos": vocabulary.model == "llama", "eos": False}
    if described:
        first, last = _template_ends(described.get("post_processor"))
        adds = {"bos": first, "eos": last}
    for role in adds:
        if isinstance(value := settings.get(f"add_{role}_token"), bool):
            adds[role] = value
    return adds


def _template_ends(described: Any) -> tuple[bool, bool]:
    """Whether one text gets a special token in front, and one behind."""
    for step in _processors(described):
        if step.get("type") == "TemplateProcessing" and isinstance(single := step.get("single"), list) and single:
            marks = ["SpecialToken" in item for item in single if isinstance(item, dict)]
            return marks[0], marks[-1]
        if step.get("type") in ("RobertaProcessing", "BertProcessing"):
            return True, True
    return False, False


def _processors(described: Any) -> Iterator[dict[str, Any]]:
    if isinstance(described, dict):
        yield described
        for item in described.get("processors") or []:
            yield from _processors(item)


def _chat_template(folder: Folder, settings: Mapping[str, Any]) -> str:
    """Of several templates the one named default."""
    if folder.has("chat_template.jinja"):
        return folder.text("chat_template.jinja")
    value = folder.json_if_there("chat_template.json").get("chat_template") or settings.get("chat_template")
    if isinstance(value, list):
        named = {item.get("name"): item.get("template") for item in value if isinstance(item, dict)}
        value = named.get("default")
    if value is not None and not isinstance(value, str):
        raise InvalidRequest('"chat_template" of tokenizer_config.json must be a text or a list of named texts')
    return value or ""
