"""A port that is taken: who has it, what the user may choose, and how the question reads."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Literal

from app.i18n import text
from server.client import identify
from server.settings import reachable_host

PORTS_TRIED = 50


@dataclass(frozen=True)
class PortConflict:
    """`free_port` is 0 when none was found near; `program` and `pid` are "" and None where the system hides them."""

    kind: Literal["puna", "ollama", "other", "none"]
    host: str
    port: int
    free_port: int = 0
    version: str = ""
    program: str = ""
    pid: int | None = None

    @property
    def address(self) -> str:
        return address_text(self.host, self.port)

    @property
    def url(self) -> str:
        return f"http://{address_text(reachable_host(self.host), self.port)}"


@dataclass(frozen=True)
class PortQuestion:
    """The words of the dialog. An empty button is not offered."""

    title: str
    explanation: str
    advice: str
    use_running: str
    use_port: str


def look_at_port(host: str, port: int) -> PortConflict:
    """Ask who answers there and look for a free port. Blocking, some seconds at most."""
    found = identify(host, port, with_owner=True)
    version = found.puna or found.version
    return PortConflict(found.kind, host, port, next_free_port(host, port), version, found.owner.name, found.owner.pid)


def next_free_port(host: str, port: int) -> int:
    """The first port above `port` that can be listened on, 0 if there is none among the next PORTS_TRIED."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in range(port + 1, min(port + 1 + PORTS_TRIED, 65536)):
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((host, candidate))
            except OSError:
                continue
            return candidate
    return 0


def port_question(conflict: PortConflict) -> PortQuestion:
    """The words for one conflict."""
    process = text("port.process", pid=conflict.pid) if conflict.pid else ""
    program = (
        text("port.program", name=conflict.program, pid=conflict.pid)
        if conflict.program
        else text("port.unknown_program")
    )
    is_gone = conflict.kind == "none"
    return PortQuestion(
        title=text(f"port.title.{conflict.kind}"),
        explanation=text(
            f"port.text.{conflict.kind}",
            address=conflict.address,
            version=conflict.version,
            process=process,
            program=program,
        ),
        advice="" if is_gone else text("port.advice", port=conflict.port),
        use_running=text("port.use_running") if conflict.kind in ("puna", "ollama") else "",
        use_port=text("port.retry", port=conflict.port)
        if is_gone
        else text("port.use_port", port=conflict.free_port)
        if conflict.free_port
        else "",
    )


def chosen_port(conflict: PortConflict) -> int:
    """What the second button stands for."""
    return conflict.port if conflict.kind == "none" else conflict.free_port


def address_text(host: str, port: int) -> str:
    """`host:port` as shown; every interface is 0.0.0.0."""
    return f"[{host}]:{port}" if ":" in host else f"{host or '0.0.0.0'}:{port}"
