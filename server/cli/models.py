"""`puna list`, `puna cp`, `puna rm`: the installed models."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from server.cli import formats
from server.cli.connect import connected
from server.cli.frame import Command, Failure, fail, say, variables_named
from server.client import Client
from server.errors import NotFound, PunaError

HOST = variables_named("OLLAMA_HOST")
JSON = click.Option(["--json"], is_flag=True, help="Print JSON for scripts")


def starting_with(models: list[dict[str, Any]], args: tuple[str, ...]) -> list[dict[str, Any]]:
    """Those whose name begins with the first argument, in any case."""
    prefix = args[0].lower() if args else ""
    return [model for model in models if str(model.get("name", "")).lower().startswith(prefix)]


def models_table(models: list[dict[str, Any]], now: datetime) -> str:
    return formats.table(
        ("NAME", "ID", "SIZE", "MODIFIED"),
        (
            (
                str(model.get("name", "")),
                str(model.get("digest", ""))[:12],
                "-" if model.get("remote_model") else formats.size(int(model.get("size", 0))),
                formats.moment(str(model.get("modified_at", "")), now),
            )
            for model in models
        ),
    )


def _list(args: tuple[str, ...], json: bool) -> None:
    with connected() as client:
        models = starting_with(client.tags(), args)
    text = formats.as_json({"models": models}) if json else models_table(models, datetime.now(UTC))
    click.echo(text, nl=False)
    for model in () if json else models:
        for part in model.get("linked") or ():
            if part.get("note"):
                say(str(part["note"]))


def _cp(args: tuple[str, ...]) -> None:
    source, destination = args
    with connected() as client:
        client.copy(source, destination)
    click.echo(f"copied '{source}' to '{destination}'")


def _rm(args: tuple[str, ...], json: bool) -> None:
    """One that cannot be removed does not keep the others."""
    outcomes: list[dict[str, Any]] = []
    with connected() as client:
        for name in args:
            try:
                outcomes.append({"name": name, "deleted": True, "freed_bytes": _remove(client, name)})
            except PunaError as error:
                fail(str(error))
                outcomes.append({"name": name, "deleted": False, "error": str(error)})
            else:
                if not json:
                    click.echo(f"deleted '{name}'")
    if json:
        click.echo(formats.as_json({"models": outcomes}), nl=False)
    elif freed := sum(outcome.get("freed_bytes") or 0 for outcome in outcomes):
        say(f"freed {formats.size(freed)}")
    if not all(outcome["deleted"] for outcome in outcomes):
        raise Failure("")


def _remove(client: Client, name: str) -> int | None:
    """The bytes freed, None where the server does not say."""
    try:
        client.unload(name)
    except NotFound:
        pass  # deleting says so
    except PunaError:
        say(f"Warning: unable to stop model '{name}'")
    linked = _linked(client, name)
    freed = client.delete(name)
    for path in linked:
        say(f"{path} stays where it is: Puna only used it there")
    return freed


def _linked(client: Client, name: str) -> list[str]:
    """Files of other programs that the model uses and that are there."""
    try:
        parts = client.show(name).get("linked") or ()
    except PunaError:
        return []  # deleting says what is wrong
    return [str(part.get("path", "")) for part in parts if part.get("state") != "gone"]


list_models = Command(
    "list",
    callback=_list,
    about="List models",
    arguments="[PREFIX]",
    arity=(0, None),
    options=[JSON],
    variables=HOST,
)
cp = Command("cp", callback=_cp, about="Copy a model", arguments="SOURCE DESTINATION", arity=(2, 2), variables=HOST)
rm = Command(
    "rm",
    callback=_rm,
    about="Remove a model",
    arguments="MODEL [MODEL...]",
    arity=(1, None),
    options=[JSON],
    variables=HOST,
)
