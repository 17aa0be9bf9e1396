"""Commands that need a registry, which this version cannot talk to: each says so and what works instead."""

from __future__ import annotations

from typing import NoReturn

import click

from server.cli.frame import Command, Failure, variables_named

CANNOT_PULL = (
    "this version of Puna cannot download models yet. "
    "`puna create` makes one of a GGUF file, and models that Ollama has pulled are there already: "
    "both keep them in the same folder"
)
CANNOT_PUSH = "this version of Puna cannot upload models yet; Ollama can push them from the same model folder"
CANNOT_LAUNCH = (
    "this version of Puna cannot start other programs yet; point yours at the address that `puna serve` prints, "
    "as you would for Ollama (OLLAMA_HOST, or the program's own setting for the API's address)"
)
CANNOT_SIGN_IN = "this version of Puna has no accounts yet: everything it does is local and needs none"

_INSECURE = click.Option(["--insecure"], is_flag=True, help="Use an insecure registry")
_HOST = variables_named("OLLAMA_HOST")


def _pull(args: tuple[str, ...], insecure: bool) -> NoReturn:
    raise Failure(CANNOT_PULL)


def _push(args: tuple[str, ...], insecure: bool) -> NoReturn:
    raise Failure(CANNOT_PUSH)


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
    options=[_INSECURE],
    variables=_HOST,
)
push = Command(
    "push",
    callback=_push,
    about="Push a model to a registry",
    arguments="MODEL",
    arity=(1, 1),
    options=[_INSECURE],
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
