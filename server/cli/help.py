"""`puna help [COMMAND]`"""

from __future__ import annotations

import click

from server.cli.frame import PROGRAM, Command, Failure, Group


def _help(args: tuple[str, ...]) -> None:
    ctx = click.get_current_context()
    root = ctx.find_root()
    group = root.command
    assert isinstance(group, Group)
    if not args:
        click.echo(group.get_help(root))
        return
    command = group.get_command(root, args[0])
    if command is None:
        raise Failure(f'unknown help topic "{args[0]}"; `{PROGRAM} help` lists the commands')
    click.echo(command.get_help(ctx))


help_command = Command("help", callback=_help, about="Help about any command", arguments="[command]", arity=(0, None))
