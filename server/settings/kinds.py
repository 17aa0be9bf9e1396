"""Kinds of values: how a setting's text is read, and what is allowed in words.

Every kind reads text, whatever the source: the settings file's numbers, booleans and lists become text first.
"""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.messages.durations import parse_duration
from server.settings.address import parse_address

TRACE = 5  # below logging.DEBUG
KV_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")

_TRUE = frozenset({"1", "t", "true", "yes", "on"})
_FALSE = frozenset({"0", "f", "false", "no", "off"})
_LEVELS = {"trace": TRACE, "debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING,
           "warning": logging.WARNING, "error": logging.ERROR}  # fmt: skip
_INTEGER = re.compile(r"[+-]?[0-9]{1,20}")
_DECIMAL = re.compile(r"[+-]?[0-9]{1,20}(\.[0-9]{0,9})?")
_NETWORK = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*://)?([0-9A-Fa-f.:]+|\[[0-9A-Fa-f.:]+\])/([0-9]+)(?::(?:[0-9]+|\*))?")
_HOST = re.compile(r"(?:[a-z0-9_][a-z0-9_.-]{0,252}|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
_URL = re.compile(
    r"https?://(?:[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?(?:/[!-\"$->@-~]*)?"
)
_ORIGIN = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^\s/]*)(?:/([^\s]*))?")


@dataclass(frozen=True)
class Kind:
    """`name` tells an interface which control to draw; `read` raises ValueError; `allowed` follows "must be"."""

    name: str
    read: Callable[[str], Any]
    allowed: str
    choices: tuple[str, ...] = ()


def _read_boolean(text: str) -> bool:
    word = text.lower()
    if word not in _TRUE | _FALSE:
        raise ValueError(text)
    return word in _TRUE


def _read_log_level(text: str) -> int:
    if text.lower() in _TRUE | _FALSE:
        return logging.DEBUG if _read_boolean(text) else logging.INFO
    if text.lower() in _LEVELS:
        return _LEVELS[text.lower()]
    steps = _read_integer(text)
    if steps > 0:
        return TRACE
    return logging.WARNING if steps == -1 else logging.ERROR


def _read_integer(text: str) -> int:
    """Plain digits; int() alone would also take 1_000 and digits of other scripts."""
    if not _INTEGER.fullmatch(text):
        raise ValueError(text)
    return int(text)


def _read_seconds(text: str) -> float:
    return float(text) if _DECIMAL.fullmatch(text) else parse_duration(text)


def _read_kv_type(text: str) -> str:
    if text.lower() not in KV_TYPES:
        raise ValueError(text)
    return text.lower()


def _read_folder(text: str) -> Path:
    if "\0" in text:
        raise ValueError(text)
    # RuntimeError: the home folder of `~user` is not known.
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError as error:
        raise ValueError(str(error)) from error


def _read_origins(text: str) -> tuple[str, ...]:
    return tuple(_read_origin(entry.strip()) for entry in text.split(",") if entry.strip())


def _read_origin(entry: str) -> str:
    """An origin, a pattern with one `*`, or a network: `[scheme://]network/bits[:port]`."""
    if entry.count("*") > 1 or re.search(r"\s", entry):
        raise ValueError(entry)
    network = _NETWORK.fullmatch(entry)
    if network:
        ipaddress.ip_network(f"{network[1].strip('[]')}/{network[2]}", strict=False)
        return entry
    if "*" in entry:
        return entry
    match = _ORIGIN.fullmatch(entry)
    if match is None or (not match[2] and match[1] != "file"):
        raise ValueError(entry)
    if match[3]:
        raise ValueError(entry)
    return entry.removesuffix("/") if match[2] else entry


def _read_aliases(text: str) -> tuple[tuple[str, str], ...]:
    """`pattern=model` pairs, the pattern with any number of `*`."""
    pairs = [entry.partition("=") for entry in text.split(",") if entry.strip()]
    found = tuple((pattern.strip(), model.strip()) for pattern, _, model in pairs)
    if not all(pattern and model for pattern, model in found):
        raise ValueError(text)
    return found


def choice(*allowed: str) -> Kind:
    def read(text: str) -> str:
        if text.lower() not in allowed:
            raise ValueError(text)
        return text.lower()

    return Kind("choice", read, "one of " + ", ".join(allowed), allowed)


def _read_hosts(text: str) -> tuple[str, ...]:
    return tuple(_read_host(entry.strip().lower()) for entry in text.split(",") if entry.strip())


def _read_host(entry: str) -> str:
    """`host[:port]`, an address, or a network with its number of bits."""
    if "/" in entry:
        return str(ipaddress.ip_network(entry, strict=False))
    if entry.count(":") > 1 and not entry.startswith("["):
        return str(ipaddress.IPv6Address(entry))
    if not _HOST.fullmatch(entry):
        raise ValueError(entry)
    return entry


def _read_places(text: str) -> tuple[str, ...]:
    """Hosts and networks, and the word `public`, for which a plain yes will do."""
    if text.lower() in _TRUE | _FALSE:
        return ("public",) if _read_boolean(text) else ()
    return _read_hosts(text)


def _read_url(text: str) -> str:
    """A web address, without a login: it is shown in the log and in the window."""
    match = _URL.fullmatch(text)
    if match is None or (match[1] and not 0 < int(match[1]) < 65536):
        raise ValueError(text)
    return text


def whole_number(lowest: int, highest: int) -> Kind:
    def read(text: str) -> int:
        number = _read_integer(text)
        if not lowest <= number <= highest:
            raise ValueError(text)
        return number

    return Kind("integer", read, f"a whole number from {lowest} to {highest}")


ADDRESS = Kind("address", parse_address, "[http:// or https://]host[:port][/path] with a port from 0 to 65535")
BOOLEAN = Kind("boolean", _read_boolean, "true or false (or 1 and 0, yes and no, on and off)")
TRISTATE = Kind("tristate", _read_boolean, "true, false or empty for automatic")
LOG_LEVEL = Kind(
    "log_level",
    _read_log_level,
    "true, false, one of trace, debug, info, warn, error, or a whole number from 2 down to -2",
)
DURATION = Kind("duration", _read_seconds, "a duration such as 300ms, 10m or 1h30m, or a number of seconds")
KV_TYPE = Kind("choice", _read_kv_type, "one of " + ", ".join(KV_TYPES), KV_TYPES)
FOLDER = Kind("folder", _read_folder, "the path of a folder")
TEXT = Kind("text", str, "any text")
URL = Kind("url", _read_url, "a web address such as http://localhost:8080, without a login, a query or blanks")
ALIASES = Kind("list", _read_aliases, "a comma-separated list of pattern=model, such as claude-*=qwen3,gpt-4o=llama3.2")
ORIGINS = Kind(
    "list",
    _read_origins,
    "a comma-separated list of origins such as https://example.com or chrome-extension://*, "
    "each with at most one * and no path, or of networks such as http://192.168.1.0/24 or 10.0.0.0/8",
)
HOSTS = Kind(
    "list",
    _read_hosts,
    "a comma-separated list of hosts such as registry.example.com or 192.168.1.10:5000, "
    "or of networks such as 10.0.0.0/8",
)
PLACES = Kind(
    "list",
    _read_places,
    "true or false, or a comma-separated list of `public`, hosts such as pictures.example.com or 192.168.1.10:8000, "
    "and networks such as 10.0.0.0/8",
)
