"""`puna show`: what is known of a model."""

from __future__ import annotations

from typing import Any

import click

from server.cli import formats
from server.cli.connect import connected
from server.cli.fit import fit_text
from server.cli.frame import Command, Failure
from server.cli.model_text import describe
from server.cli.models import HOST

_PARTS = ("license", "modelfile", "parameters", "system", "template")
_WITH_NEWLINE = ("license", "modelfile", "parameters")


def _show(
    args: tuple[str, ...],
    verbose: bool,
    json: bool,
    fit: bool,
    num_ctx: int,
    parallel: int,
    kv_cache_type: str,
    **parts: bool,
) -> None:
    asked = [name for name in _PARTS if parts[name]]
    if len(asked) > 1:
        raise Failure(
            "only one of '--license', '--modelfile', '--parameters', '--system', or '--template' can be specified"
        )
    if fit or num_ctx or parallel or kv_cache_type:
        if asked:
            raise Failure(f"--fit and --{asked[0]} cannot be used together")
        with connected() as client:
            found = client.fit(args[0], num_ctx=num_ctx, parallel=parallel, kv_cache_type=kv_cache_type)
        click.echo(formats.as_json(found) if json else fit_text(found), nl=False)
        return
    with connected() as client:
        answer = client.show(args[0], verbose=verbose)
    if json:
        click.echo(formats.as_json(answer), nl=False)
    elif asked:
        click.echo(part_of(answer, asked[0]), nl=asked[0] in _WITH_NEWLINE)
    else:
        click.echo(describe(answer, verbose=verbose), nl=False)


def part_of(answer: dict[str, Any], name: str) -> str:
    """One text of the answer, "" where the model has none."""
    return str(answer.get(name) or "")


show = Command(
    "show",
    callback=_show,
    about="Show information for a model",
    arguments="MODEL",
    arity=(1, 1),
    options=[
        click.Option(["--license"], is_flag=True, help="Show license of a model"),
        click.Option(["--modelfile"], is_flag=True, help="Show Modelfile of a model"),
        click.Option(["--parameters"], is_flag=True, help="Show parameters of a model"),
        click.Option(["--template"], is_flag=True, help="Show template of a model"),
        click.Option(["--system"], is_flag=True, help="Show system message of a model"),
        click.Option(["--fit"], is_flag=True, help="Show whether the model fits into memory"),
        click.Option(["--num-ctx"], type=int, default=0, metavar="int", help="With --fit: context length in tokens"),
        click.Option(["--parallel"], type=int, default=0, metavar="int", help="With --fit: answers at the same time"),
        click.Option(["--kv-cache-type"], default="", help="With --fit: number format of the context's cache"),
        click.Option(["-v", "--verbose"], is_flag=True, help="Show detailed model information"),
        click.Option(["--json"], is_flag=True, help="Print JSON for scripts"),
    ],
    variables=HOST,
)
