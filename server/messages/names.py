"""Model names: `[[scheme://]host/][namespace/]model[:tag]`.

Source of the rules: the name grammar of Ollama's model store, which registries share.
"""

from __future__ import annotations

import re

import msgspec

from server.errors import InvalidModelName, InvalidRequest

DEFAULT_SCHEME = "https"
DEFAULT_HOST = "registry.ollama.ai"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"

MISSING = "!MISSING!"  # an empty part that a separator announced; makes the name invalid

_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}")
_NAMESPACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}")
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")


class ModelName(msgspec.Struct, frozen=True, order=True):
    """A fully qualified name. Case is kept; compare with `same_as` to ignore it."""

    host: str
    namespace: str
    model: str
    tag: str
    scheme: str = DEFAULT_SCHEME

    @classmethod
    def parse(cls, text: str) -> ModelName:
        """Read a name and fill in the defaults. Raises InvalidModelName."""
        name = cls._split(text.strip())
        if not name.is_valid:
            raise InvalidModelName()
        return name

    @classmethod
    def _split(cls, text: str) -> ModelName:
        tag = namespace = host = scheme = ""
        colon, slash = text.rfind(":"), text.rfind("/")
        if colon > slash:
            text, tag = text[:colon], text[colon + 1 :] or MISSING
        front, model = _cut_last(text)
        if front is not None:
            before, mark, after = front.partition("://")
            scheme, front = (before, after) if mark else ("", front)
            head, namespace = _cut_last(front)
            host = head or (MISSING if scheme or head == "" else "")
        return cls(
            host=host or DEFAULT_HOST,
            namespace=namespace or DEFAULT_NAMESPACE,
            model=model,
            tag=tag or DEFAULT_TAG,
            scheme=scheme or DEFAULT_SCHEME,
        )

    @property
    def is_valid(self) -> bool:
        return bool(
            _HOST.fullmatch(self.host)
            and _NAMESPACE.fullmatch(self.namespace)
            and _PART.fullmatch(self.model)
            and _PART.fullmatch(self.tag)
        )

    @property
    def full(self) -> str:
        """`host/namespace/model:tag`"""
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"

    @property
    def short(self) -> str:
        """Without the default host, and then without the default namespace; always with the tag."""
        if self.host != DEFAULT_HOST:
            return self.full
        if self.namespace != DEFAULT_NAMESPACE:
            return f"{self.namespace}/{self.model}:{self.tag}"
        return f"{self.model}:{self.tag}"

    @property
    def path_parts(self) -> tuple[str, str, str, str]:
        """Folders and file below `manifests`."""
        return self.host, self.namespace, self.model, self.tag

    def same_as(self, other: ModelName) -> bool:
        return self.full.lower() == other.full.lower()

    def __str__(self) -> str:
        return self.short


def _cut_last(text: str) -> tuple[str | None, str]:
    """The text before and after the last slash; None before it where there is no slash."""
    slash = text.rfind("/")
    if slash < 0:
        return None, text or MISSING
    return text[:slash], text[slash + 1 :] or MISSING


class SourceName(msgspec.Struct, frozen=True):
    """A requested name without its source suffix."""

    text: str
    is_cloud: bool = False
    is_local: bool = False


def split_source(raw: str) -> SourceName:
    """Take `:cloud`, `…-cloud` or `:local` off a requested name. Raises InvalidRequest when two are given."""
    first = _take_source(raw.strip())
    if first.is_cloud or first.is_local:
        second = _take_source(first.text)
        if second.is_cloud or second.is_local:
            raise InvalidRequest(f'use either :local or :cloud, not both: "{raw}"')
    return first


def _take_source(text: str) -> SourceName:
    head, colon, tail = text.rpartition(":")
    if not colon:
        return SourceName(text)
    if tail.lower() == "cloud":
        return SourceName(head, is_cloud=True)
    if tail.lower() == "local":
        return SourceName(head, is_local=True)
    if tail.lower().endswith("-cloud") and "/" not in tail:
        return SourceName(f"{head}:{tail[: -len('-cloud')]}", is_cloud=True)
    return SourceName(text)
