"""Texts in quotes and texts made safe for HTML, JavaScript and URLs."""

from __future__ import annotations

import re
import urllib.parse

from server.prompts.gotemplate.literals import to_bytes

_SHORT = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 92: "\\\\"}
_HTML = {"<": "&lt;", ">": "&gt;", "&": "&amp;", '"': "&#34;", "'": "&#39;", "\0": "\ufffd"}
_JS = {"\\": "\\\\", "'": "\\'", '"': '\\"', "<": "\\u003C", ">": "\\u003E", "&": "\\u0026", "=": "\\u003D"}


def quoted(text: str, ascii_only: bool = False) -> str:
    """A double-quoted literal of Go."""
    return '"' + "".join(_escaped(character, '"', ascii_only) for character in text) + '"'


def quoted_character(character: str, ascii_only: bool = False) -> str:
    return f"'{_escaped(character, chr(39), ascii_only)}'"


def _escaped(character: str, quote: str, ascii_only: bool) -> str:
    point = ord(character)
    if character == quote:
        return "\\" + quote
    if point in _SHORT:
        return _SHORT[point]
    if 0xDC80 <= point <= 0xDCFF:
        return f"\\x{point - 0xDC00:02x}"
    if character.isprintable() and (point < 128 or not ascii_only):
        return character
    if point < 32 or point == 127:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def html(text: str) -> str:
    return re.sub("[<>&\"'\0]", lambda match: _HTML[match[0]], text)


def js(text: str) -> str:
    return re.sub("[\\\\'\"<>&=\x00-\x1f]", lambda match: _JS.get(match[0]) or f"\\u{ord(match[0]):04X}", text)


def urlquery(text: str) -> str:
    return urllib.parse.quote_plus(to_bytes(text), safe="-_.~")
