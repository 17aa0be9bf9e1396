"""`puna import`: models from GGUF files of other programs, used where they are."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from server.cli import formats
from server.cli.connect import connected
from server.cli.frame import Command, Failure, fail, say
from server.cli.models import HOST
from server.cli.progress import Progress
from server.client import Client

_SOURCES = ("lmstudio", "huggingface", "llama.cpp")


def _import(args: tuple[str, ...], source: str | None, name: str | None, dry_run: bool, join: bool, json: bool) -> None:
    body: dict[str, Any] = {"paths": _paths(args, source), "source": source or "", "join": join}
    body |= {"name": name} if name else {}
    with connected() as client:
        if not client.is_loopback:
            raise Failure(
                "import links files where they are, so it works only on the server's own machine; "
                "`puna create` sends files to another"
            )
        if dry_run:
            _show_preview(client.preview_import(body), json)
        else:
            _run(client, body, json)


def _paths(args: tuple[str, ...], source: str | None) -> list[str]:
    """Absolute, and those of a program as this user's variables name them. Raises Failure."""
    if not args and not source:
        raise Failure("name files or folders, or a program with --from: " + ", ".join(_SOURCES))
    if source and source not in _SOURCES:
        raise Failure(f'"{source}" is no program that models are imported from; known are {", ".join(_SOURCES)}')
    paths = [Path(arg).expanduser().absolute() for arg in args]
    if missing := [path for path in paths if not path.exists()]:
        raise Failure(f"{missing[0]} does not exist")
    return [str(path) for path in paths or _folders_of(source or "")]


def _folders_of(source: str) -> list[Path]:
    from server.settings import process_environ
    from server.store.importing import SOURCES, folders

    (known,) = (each for each in SOURCES if each == source)
    found = folders(known, sys.platform, process_environ(), Path.home())
    if not found:
        raise Failure(
            f"no folder of {source} was found in its usual places; name the folder in which it keeps its models"
        )
    return found


def _show_preview(found: dict[str, Any], json: bool) -> None:
    if json:
        click.echo(formats.as_json(found), nl=False)
        return
    rows = [
        (
            str(model["name"]),
            formats.size(int(model["size"])),
            str(model.get("quantization", "")) or "-",
            _note(model),
            str(model["path"]),
        )
        for model in found["models"]
    ]
    click.echo(formats.table(("NAME", "SIZE", "QUANTIZATION", "NOTE", "PATH"), rows), nl=False)
    for file in found["skipped"]:
        say(f"skipped {file['path']}: {file['reason']}")


def _note(model: dict[str, Any]) -> str:
    notes = []
    if known := model.get("known_as"):
        notes.append(f"known as {known}")
    if parts := model.get("parts"):
        notes.append(f"{parts} parts, to be copied with --join")
    if projector := model.get("projector"):
        notes.append(f"with {Path(projector).name}")
    return ", ".join(notes) or "-"


def _run(client: Client, body: dict[str, Any], json: bool) -> None:
    """Raises Failure where a file failed, or no model came of all."""
    ended: list[dict[str, Any]] = []
    with Progress() as progress, client.import_models(body) as stream:
        for line in stream:
            status = str(line.get("status", ""))
            if status in ("imported", "known", "skipped", "failed"):
                ended.append(line)
            elif status != "success":
                text = f"{status} {line.get('path', '')}"
                progress.step(text, completed=int(line.get("completed", 0)), total=int(line.get("total", 0)))
    if json:
        click.echo(formats.as_json({"files": ended}), nl=False)
    else:
        for line in ended:
            _tell(line)
    has_model = any(line["status"] in ("imported", "known") for line in ended)
    if any(line["status"] == "failed" for line in ended) or not has_model:
        raise Failure("")


def _tell(line: dict[str, Any]) -> None:
    path, name = line.get("path", ""), line.get("name", "")
    match line["status"]:
        case "imported":
            click.echo(f"imported '{name}' from {path}")
        case "known":
            click.echo(f"'{name}' is {path} already")
        case "skipped":
            say(f"skipped {path}: {line.get('reason', '')}")
        case _:
            fail(f"{path}: {line.get('reason', '')}")


import_command = Command(
    "import",
    callback=_import,
    about="Use the GGUF files of other programs where they are",
    arguments="[PATH...]",
    arity=(0, None),
    options=[
        click.Option(["--from", "source"], metavar="program", help=f"Find the folders of {', '.join(_SOURCES)}"),
        click.Option(["--name"], metavar="string", help="Name of the model, where it is one"),
        click.Option(["--dry-run"], is_flag=True, help="List what would be taken, and change nothing"),
        click.Option(["--join"], is_flag=True, help="Copy models in several parts into one file each"),
        click.Option(["--json"], is_flag=True, help="Print JSON for scripts"),
    ],
    variables=HOST,
)
