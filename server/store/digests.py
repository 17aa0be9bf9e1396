"""Digests: `sha256:<64 hex digits>`. Nothing becomes a path before it has matched here as a whole."""

from __future__ import annotations

import hashlib
import re

from server.errors import InvalidDigest

_DIGEST = re.compile(r"sha256[:-]([0-9a-fA-F]{64})")


def is_digest(text: str) -> bool:
    return _DIGEST.fullmatch(text) is not None


def hex_of(text: str) -> str:
    """The 64 digits, in the case they came in. Raises InvalidDigest."""
    match = _DIGEST.fullmatch(text)
    if match is None:
        raise InvalidDigest()
    return match[1]


def normal(text: str) -> str:
    """With a colon and in lower case. Raises InvalidDigest."""
    return f"sha256:{hex_of(text).lower()}"


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
