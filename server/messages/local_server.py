"""What a running server leaves for the programs of the same user: where it listens, and a token that lets them in."""

from __future__ import annotations

import msgspec


class LocalServer(msgspec.Struct, frozen=True, kw_only=True):
    """`host` is the address that it listens on; 0.0.0.0 and :: are all of their kind."""

    host: str
    port: int
    pid: int
    token: str


def file_name(host: str, port: int) -> str:
    return f"{host.replace(':', '_')}-{port}.json"
