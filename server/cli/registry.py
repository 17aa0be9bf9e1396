"""`puna pull` and `puna push`, and the commands that need an account, which Puna has none of."""

from __future__ import annotations

import json as json_format
import sys
from collections.abc import Iterable
from typing import Any, NoReturn

import click

from server.cli import formats
from server.cli.connect import connected
from server.cli.frame import Command, Failure, say, variables_named
from server.cli.progress import Progress
from server.client import Client, Stream
from server.errors import InvalidModelName, PunaError
from server.messages.names import DEFAULT_HOST, ModelName

NOT_YOURS = "you are not authorized to push to this namespace, create the model under a namespace you own"
KEPT = "Stopped. What has been downloaded is kept; the same command goes on from there."
CANNOT_LAUNCH = (
    "this version of Puna cannot start other programs yet; point yours at the address that `puna serve` prints, "
    "as you would for Ollama (OLLAMA_HOST, or the program's own setting for the API's address)"
)
CANNOT_SIGN_IN = "this version of Puna has no accounts yet: everything it does is local and needs none"

_JSON = click.Option(["--json"], is_flag=True, help="Print progress as one JSON object a line")
_INSECURE = click.Option(["--insecure"], is_flag=True, help="Use an insecure registry")
_HOST = variables_named("OLLAMA_HOST")


def _pull(args: tuple[str, ...], insecure: bool, json: bool) -> None:
    with connected() as client:
        pull_model(client, args[0], insecure=insecure, as_json=json)


def pull_model(client: Client, model: str, *, insecure: bool = False, as_json: bool = False) -> None:
    """Download a model and show how far it is, and before that whether it will fit. Raises PunaError."""
    try:
        _show(client.pull(model, insecure=insecure, fit=not as_json), as_json)
    except KeyboardInterrupt:
        say(KEPT)
        raise


def _push(args: tuple[str, ...], insecure: bool, json: bool) -> None:
    model = args[0]
    with connected() as client:
        try:
            _show(client.push(model, insecure=insecure), json)
        except PunaError as error:
            raise Failure(NOT_YOURS if "access denied" in str(error) else str(error)) from error
    if not json:
        click.echo(f"\nYou can find your model at:\n\n\t{_address(model)}")


def _address(model: str) -> str:
    """Where a model is after a push: a web page for Ollama's own registry, else its name."""
    try:
        name = ModelName.parse(model)
    except InvalidModelName:
        return model
    if name.host != DEFAULT_HOST:
        return name.full
    return f"https://ollama.com/{name.short.removesuffix(':latest')}"


def _show(stream: Stream, as_json: bool) -> None:
    with stream:
        if as_json:
            _print(stream)
            return
        with Progress() as progress:
            for update in stream:
                if fit := update.get("fit"):
                    progress.note(f"{formats.size(int(update.get('download_bytes', 0)))} to download. {fit}")
                status, digest = str(update.get("status", "")), str(update.get("digest", ""))
                total, completed = int(update.get("total", 0)), int(update.get("completed", 0))
                progress.step(status, key=digest, completed=completed, total=total)


def _print(updates: Iterable[dict[str, Any]]) -> None:
    for update in updates:
        sys.stdout.write(json_format.dumps(update) + "\n")
        sys.stdout.flush()


def _launch(args: tuple[str, ...], **flags: object) -> NoReturn:
    raise Failure(CANNOT_LAUNCH)


def _sign() -> NoReturn:
    raise Failure(CANNOT_SIGN_IN)


pull = Command(
    "pull",
    callback=_pull,
    about="Pull a model from a registry",
    arguments="MODEL",
    arity=(1, 1),
    options=[_INSECURE, _JSON],
    variables=_HOST,
)
push = Command(
    "push",
    callback=_push,
    about="Push a model to a registry",
    arguments="MODEL",
    arity=(1, 1),
    options=[_INSECURE, _JSON],
    variables=_HOST,
)
signin = Command("signin", callback=_sign, about="Sign in to ollama.com")
signout = Command("signout", callback=_sign, about="Sign out from ollama.com")
launch = Command(
    "launch",
    callback=_launch,
    about="Launch another program with a model",
    arguments="[INTEGRATION] [-- ARGS]",
    arity=(0, None),
    options=[
        click.Option(["--model"], help="Model to use"),
        click.Option(["--config"], is_flag=True, help="Configure without launching"),
        click.Option(["--restore"], is_flag=True, help="Undo the configuration"),
        click.Option(["-y", "--yes"], is_flag=True, help="Answer yes to every question"),
    ],
    variables=_HOST,
)
