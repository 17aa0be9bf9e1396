"""A registry of our own on a loopback port. It behaves unless a test tells it otherwise, and notes requests."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.abc

from server.store.manifest import CONFIG_TYPE, MANIFEST_TYPE, MODEL

_STATUS = {200: "OK", 206: "Partial Content"}
PIECE_BYTES = 16 * 1024


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass
class Asked:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def span(self) -> tuple[int, int] | None:
        """First byte of a range and the one after its last."""
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range", ""))
        return (int(match[1]), int(match[2]) + 1) if match else None


@dataclass
class Answer:
    """`breaks_after` so many bytes of the body the connection ends; `stalls_after` so many nothing more comes while
    the client stays. `length` is what is announced, if it is not the truth."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    breaks_after: int | None = None
    stalls_after: int | None = None
    length: int | None = None


Hook = Callable[[Asked], Answer | None]


@dataclass
class HostileRegistry:
    """`hook` sees every request first; where it returns None the registry answers as a good one."""

    port: int
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    hook: Hook = lambda _: None
    gate: anyio.Event | None = None  # while it is set bodies wait for it
    etag: str = ""

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def add(self, data: bytes) -> dict[str, Any]:
        """A blob; its layer."""
        self.blobs[digest_of(data)] = data
        return {"mediaType": MODEL, "digest": digest_of(data), "size": len(data)}

    def publish(
        self, *layers: dict[str, Any], name: str = "lib/m", tag: str = "latest", config: bytes = b"{}"
    ) -> bytes:
        """A manifest of these layers; its bytes."""
        settings = {**self.add(config), "mediaType": CONFIG_TYPE}
        # The blanks are unlike what we would write: the bytes must be kept.
        data = json.dumps(
            {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": settings, "layers": list(layers)}, indent=3
        ).encode()
        self.manifests[f"/v2/{name}/manifests/{tag}"] = data
        return data

    def blob_requests(self, digest: str = "") -> list[Asked]:
        return [asked for asked in self.asked if asked.method == "GET" and f"/blobs/{digest}" in asked.target]

    # ---- answers ---------------------------------------------------------------------------------------------------

    def answer(self, asked: Asked) -> Answer:
        special = self.hook(asked)
        if special is not None:
            return special
        if asked.path in self.manifests:
            return Answer(body=self.manifests[asked.path], headers={"Content-Type": MANIFEST_TYPE})
        data = self.blobs.get(asked.path.rpartition("/")[2])
        return Answer(404, b'{"errors":[]}') if data is None else self.ranged(asked, data)

    def ranged(self, asked: Asked, data: bytes) -> Answer:
        """As a file server that knows ranges and If-Range."""
        headers = {"ETag": self.etag} if self.etag else {}
        is_other = "if-range" in asked.headers and asked.headers["if-range"] != self.etag
        if asked.span is None or is_other:
            return Answer(body=data, headers=headers)
        begin, end = asked.span
        headers |= {"Content-Range": f"bytes {begin}-{end - 1}/{len(data)}"}
        return Answer(206, data[begin:end], headers)

    async def serve(self, stream: anyio.abc.SocketStream) -> None:
        try:
            async with stream:
                buffer = bytearray()
                while (asked := await _read(stream, buffer)) is not None:
                    self.asked.append(asked)
                    if not await self._send(stream, asked, self.answer(asked)):
                        return
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream):
            pass  # the client left

    async def _send(self, stream: anyio.abc.SocketStream, asked: Asked, answer: Answer) -> bool:
        length = len(answer.body) if answer.length is None else answer.length
        fields = {"Content-Length": str(length), **answer.headers}
        head = f"HTTP/1.1 {answer.status} {_STATUS.get(answer.status, 'Status')}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        await stream.send(head.encode() + b"\r\n")
        sent = 0
        for at in range(0, 0 if asked.method == "HEAD" else len(answer.body), PIECE_BYTES):
            if self.gate is not None and at:
                await self.gate.wait()
            piece = answer.body[at : at + PIECE_BYTES]
            for limit, stalls in ((answer.breaks_after, False), (answer.stalls_after, True)):
                if limit is not None and sent + len(piece) > limit:
                    await stream.send(piece[: limit - sent])
                    if stalls:
                        await stream.receive()
                    return False
            await stream.send(piece)
            sent += len(piece)
        return answer.length is None


async def _read(stream: anyio.abc.SocketStream, buffer: bytearray) -> Asked | None:
    try:
        while b"\r\n\r\n" not in buffer:
            buffer += await stream.receive()
        head, _, rest = bytes(buffer).partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", 0))
        buffer[:] = rest
        while len(buffer) < length:
            buffer += await stream.receive()
    except anyio.EndOfStream:
        return None
    body = bytes(buffer[:length])
    del buffer[:length]
    return Asked(method, target, headers, body)


@asynccontextmanager
async def hostile_registry() -> AsyncIterator[HostileRegistry]:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        registry = HostileRegistry(port)
        tasks.start_soon(listener.serve, registry.serve)
        yield registry
        tasks.cancel_scope.cancel()
