"""`puna ps` and `puna stop`: the loaded models."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from server.cli import formats
from server.cli.connect import connected
from server.cli.frame import Command, Failure
from server.cli.models import HOST, JSON, starting_with
from server.errors import NotFound


def processor(size: int, gpu_size: int) -> str:
    """Where a model of so many bytes is: `100% CPU`, `100% GPU`, `48%/52% CPU/GPU`."""
    if size <= 0 or gpu_size > size:
        return "Unknown"
    if gpu_size == 0:
        return "100% CPU"
    if gpu_size == size:
        return "100% GPU"
    on_cpu = round((size - gpu_size) / size * 100)
    return f"{on_cpu}%/{100 - on_cpu}% CPU/GPU"


def running_table(models: list[dict[str, Any]], now: datetime) -> str:
    return formats.table(
        ("NAME", "ID", "SIZE", "PROCESSOR", "CONTEXT", "UNTIL"),
        (
            (
                str(model.get("name", "")),
                str(model.get("digest", ""))[:12],
                formats.size(int(model.get("size", 0))),
                processor(int(model.get("size", 0)), int(model.get("size_vram", 0))),
                str(model.get("context_length", 0)),
                _until(str(model.get("expires_at", "")), now),
            )
            for model in models
        ),
    )


def _until(expires_at: str, now: datetime) -> str:
    return "Stopping..." if formats.is_past(expires_at, now) else formats.moment(expires_at, now)


def _ps(args: tuple[str, ...], json: bool) -> None:
    with connected() as client:
        models = starting_with(client.ps(), args)
    text = formats.as_json({"models": models}) if json else running_table(models, datetime.now(UTC))
    click.echo(text, nl=False)


def _stop(args: tuple[str, ...]) -> None:
    with connected() as client:
        try:
            client.unload(args[0])
        except NotFound as error:
            raise Failure(f'couldn\'t find model "{args[0]}" to stop') from error


ps = Command(
    "ps",
    callback=_ps,
    about="List running models",
    arguments="[PREFIX]",
    arity=(0, None),
    options=[JSON],
    variables=HOST,
)
stop = Command("stop", callback=_stop, about="Stop a running model", arguments="MODEL", arity=(1, 1), variables=HOST)
