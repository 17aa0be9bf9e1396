"""How a byte-level BPE tokenizer cuts text into words, and what llama.cpp calls that way.

llama.cpp has the rules built in and takes only a name. The rules in tokenizer.json decide which name it is; where none
has the same rules the model is refused, because a wrong cut spoils every answer without a sign.
"""

from __future__ import annotations

from typing import Any

from server.errors import InvalidRequest

_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_WORDS = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_GPT4O_CONTRACTIONS = f"{_CONTRACTIONS}?"
_SLASH_TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def _cased(behind: str, digits: str) -> str:
    first = rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{behind}"
    second = rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{behind}"
    return f"{first}|{second}|{digits}{_SLASH_TAIL}"


_DEEPSEEK_LETTERS = (
    r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-"
    r"ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+"
)
_CJK = "[一-龥ࠀ-一가-퟿]+"
_DIGIT, _GPT2 = "<digits>", "<words of gpt-2>"

# The rules, in their order, to llama.cpp's name.
_NAMES: dict[tuple[str, ...], str] = {
    (_WORDS + r"|\p{N}{1,3}" + _TAIL,): "llama-bpe",
    (_WORDS + r"|\p{N}" + _TAIL,): "qwen2",
    (_CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
     r"|\s*[\r\n]+|\s+(?!\S)|\s+",): "qwen35",
    (_cased("", r"\p{N}"),): "tekken",
    (_cased(_GPT4O_CONTRACTIONS, r"\p{N}{1,3}"),): "gpt-4o",
    (_GPT2,): "gpt-2",
    (_DIGIT, _GPT2): "smollm",
    ("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _CJK, _DIGIT): "deepseek-coder",
    ("[\r\n]", _DEEPSEEK_LETTERS, r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", _CJK, _DIGIT): "deepseek-llm",
}  # fmt: skip
# The same rules for a tokenizer that always merges, even where a whole word is a token.
_MERGING = {"llama-bpe": "dbrx"}


def is_byte_level(tokenizer: dict[str, Any]) -> bool:
    return any(step.get("type") == "ByteLevel" for step in _steps(tokenizer.get("pre_tokenizer")))


def pre_tokenizer_name(tokenizer: dict[str, Any]) -> str:
    """llama.cpp's name for the rules of a byte-level tokenizer. Raises InvalidRequest where it has none."""
    rules = tuple(rule for step in _steps(tokenizer.get("pre_tokenizer")) for rule in _rules(step))
    name = _NAMES.get(rules)
    if name is None:
        raise InvalidRequest(
            "the tokenizer of this model cuts text by rules that Puna cannot name to llama.cpp: "
            f"{' then '.join(rules)[:200] or 'none'}; use a GGUF build of the model"
        )
    return name if tokenizer["model"].get("ignore_merges") else _MERGING.get(name, name)


def _steps(described: Any) -> list[dict[str, Any]]:
    if not isinstance(described, dict):
        return []
    if described.get("type") == "Sequence":
        return [step for item in described.get("pretokenizers") or [] for step in _steps(item)]
    return [described]


def _rules(step: dict[str, Any]) -> list[str]:
    """What a step adds to the rules; one that does nothing adds nothing."""
    kind = step.get("type")
    if kind == "Split":
        pattern = step.get("pattern") or {}
        is_plain = step.get("behavior") in ("Isolated", "Removed") and "Regex" in pattern
        inverted = bool(step.get("invert"))
        if is_plain and inverted == (step.get("behavior") == "Removed"):
            return [str(pattern["Regex"])]
    if kind == "ByteLevel" and not step.get("add_prefix_space"):
        return [_GPT2] if step.get("use_regex", True) else []
    if kind == "Digits" and step.get("individual_digits"):
        return [_DIGIT]
    return [f"{kind} {sorted(step.items())}"]
