"""Names of tools as gpt-oss models may see them: identifiers. Prompts write them, answers are read back with them."""

from __future__ import annotations

from collections.abc import Iterable

BUILT_IN = frozenset({"browser.open", "browser.search", "browser.find", "python"})


def identifier(name: str) -> str:
    """A name with everything but letters, digits, `_` and `$` replaced or left out."""
    if name in BUILT_IN:
        return name
    kept = "".join("_" if c in " -." else c for c in name if c in " -._$" or c.isalpha() or c.isdecimal())
    if not kept:
        return "unnamed"
    return f"_{kept}" if kept[0].isdecimal() else kept


def identifiers(names: Iterable[str]) -> dict[str, str]:
    """Each name's identifier; one that is taken gets a number."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        if name in found:
            continue
        base = shown = identifier(name)
        number = 2
        while shown in taken:
            shown, number = f"{base}_{number}", number + 1
        found[name] = shown
        taken.add(shown)
    return found
