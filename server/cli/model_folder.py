"""`puna models`: where the models are, and `puna models move FOLDER`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from server.cli import formats
from server.cli.connect import connected
from server.cli.frame import Command, Failure, say
from server.cli.models import HOST
from server.cli.progress import Progress
from server.client import Client


def _models(args: tuple[str, ...], json: bool) -> None:
    if args and (args[0] != "move" or len(args) != 2):
        raise Failure("the only thing to do with the model folder is to move it: puna models move FOLDER")
    with connected() as client:
        if args:
            _move(client, args[1])
        else:
            _show(client.models_folder(), json)


def _show(folder: dict[str, Any], json: bool) -> None:
    if json:
        click.echo(formats.as_json(folder), nl=False)
        return
    click.echo(folder.get("path", ""))
    if folder.get("fault"):
        raise Failure(str(folder["fault"]))
    say(f"{formats.size(int(folder.get('free_bytes', 0)))} free")
    if move := folder.get("move"):
        state = "is running" if move.get("is_running") else "was interrupted; the same command again finishes it"
        say(f"a move to {move.get('to', '')} {state}")


def _move(client: Client, folder: str) -> None:
    if not client.is_loopback:
        raise Failure("the model folder can only be moved on the server's own machine")
    path = Path(folder).expanduser().absolute()
    with Progress() as progress, client.move_models(str(path)) as stream:
        for line in stream:
            if (status := str(line.get("status", ""))) != "success":
                progress.step(status, completed=int(line.get("completed", 0)), total=int(line.get("total", 0)))
    click.echo(f"the models are in {path} now")


models = Command(
    "models",
    callback=_models,
    about="Show the folder of the models, or move it: puna models move FOLDER",
    arguments="[move FOLDER]",
    arity=(0, 2),
    options=[click.Option(["--json"], is_flag=True, help="Print JSON for scripts")],
    variables=HOST,
)
