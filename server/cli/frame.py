"""What every command shares: arguments, help texts and errors in the form that users of Ollama's commands know."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from server.settings import setting_named

PROGRAM = "puna"
ERROR_STATUS = 1


class Failure(click.ClickException):
    """Ends a command with `Error: <message>` and status 1; an empty message when all has been said."""

    exit_code = ERROR_STATUS


class Command(click.Command):
    """`arguments` is how they appear in the usage line, `arity` how many there may be (None: any number),
    `variables` the settings named at the end of the help."""

    def __init__(
        self,
        name: str,
        *,
        callback: Callable[..., Any],
        about: str,
        arguments: str = "",
        arity: tuple[int, int | None] = (0, 0),
        options: Sequence[click.Option] = (),
        variables: Sequence[tuple[str, str]] = (),
        optional_values: Sequence[str] = (),
    ) -> None:
        self.about = about
        self.arguments = arguments
        self.arity = arity
        self.variables = variables
        self.optional_values = frozenset(optional_values)
        params: list[click.Parameter] = [*options]
        if arity != (0, 0):
            params.append(click.Argument(["args"], nargs=-1))
        super().__init__(name, callback=callback, params=params, help=about, add_help_option=False)
        self.params.append(help_option())

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """A flag such as --think takes its value after `=` only: what follows a blank is the prompt."""
        end = args.index("--") if "--" in args else len(args)
        args = [f"{arg}=true" if arg in self.optional_values and i < end else arg for i, arg in enumerate(args)]
        ctx.allow_extra_args = True
        rest = super().parse_args(ctx, args)
        self._check_arity(len(ctx.params.get("args") or ()) + len(ctx.args))
        return rest

    def _check_arity(self, received: int) -> None:
        lowest, highest = self.arity
        if highest == lowest and received != lowest:
            raise Failure(f"accepts {lowest} arg(s), received {received}")
        if received < lowest:
            raise Failure(f"requires at least {lowest} arg(s), only received {received}")

    def get_help(self, ctx: click.Context) -> str:
        usage = " ".join(part for part in (PROGRAM, self.name, self.arguments, "[flags]") if part)
        text = f"{self.about}\n\nUsage:\n  {usage}\n"
        text += flags_text([param for param in self.params if isinstance(param, click.Option)])
        if self.variables:
            text += "\nEnvironment Variables:\n"
            text += "".join(f"      {name:<27}   {about}\n" for name, about in self.variables)
        return text.rstrip("\n")


def help_option() -> click.Option:
    def show(ctx: click.Context, _param: click.Parameter, is_asked: bool) -> None:
        if is_asked:
            click.echo(ctx.get_help())
            ctx.exit()

    return click.Option(
        ["-h", "--help"], is_flag=True, expose_value=False, is_eager=True, callback=show, help="Show this help"
    )


def flags_text(options: Sequence[click.Option]) -> str:
    rows = []
    for option in options:
        if option.hidden:
            continue
        short = next((f"{name}, " for name in option.opts if not name.startswith("--")), "    ")
        long = next(name for name in option.opts if name.startswith("--"))
        value = "" if option.is_flag else f" {option.metavar or 'string'}"
        rows.append((f"  {short}{long}{value}", option.help or ""))
    width = max(len(flag) for flag, _ in rows)
    return "\nFlags:\n" + "".join(f"{flag:<{width}}   {about}".rstrip() + "\n" for flag, about in rows)


def variables_named(*names: str) -> list[tuple[str, str]]:
    return [(name, setting_named(name).help) for name in names]


class Group(click.Group):
    """The program itself. `table` has, in the order of the help, name, description and where the command is; its
    module is imported when it is used. A row without a description is hidden."""

    def __init__(self, about: str, table: Sequence[tuple[str, str, str]], aliases: dict[str, str]) -> None:
        self.about = about
        self.table = table
        self.aliases = aliases
        super().__init__(PROGRAM, params=[help_option()], add_help_option=False, invoke_without_command=True)
        self.callback = self._without_command

    def _without_command(self) -> None:
        ctx = click.get_current_context()
        if ctx.invoked_subcommand is None:
            click.echo(self.get_help(ctx))

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name, about, _ in self.table if about]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        name = self.aliases.get(cmd_name, cmd_name)
        for known, _, place in self.table:
            if known == name:
                module, _, attribute = place.partition(":")
                command: click.Command = getattr(importlib.import_module(module), attribute)
                return command
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        command = self.get_command(ctx, args[0])
        if command is None:
            raise Failure(f'unknown command "{args[0]}" for "{PROGRAM}"{self._suggestion(args[0])}')
        return command.name, command, args[1:]

    def _suggestion(self, word: str) -> str:
        near = difflib.get_close_matches(word, [*self.list_commands(click.get_current_context())], n=3)
        return "".join(["\n\nDid you mean this?", *(f"\n\t{name}" for name in near)]) if near else ""

    def get_help(self, ctx: click.Context) -> str:
        width = max(len(name) for name, about, _ in self.table if about)
        commands = "".join(f"  {name:<{width}}  {about}\n" for name, about, _ in self.table if about)
        flags = flags_text(
            [option for option in self.params if isinstance(option, click.Option)]
            + [click.Option(["-v", "--version"], is_flag=True, help="Show version information")]
        )
        return (
            f"{self.about}\n\nUsage:\n  {PROGRAM} [flags]\n  {PROGRAM} [command]\n\n"
            f"Available Commands:\n{commands}{flags}"
            f'\nUse "{PROGRAM} [command] --help" for more information about a command.'
        )


def sentence_of(error: click.ClickException) -> str:
    """A mistake in the flags, in the words that scripts and people know."""
    if isinstance(error, click.NoSuchOption):
        name = error.option_name
        return f"unknown flag: {name}" if name.startswith("--") else f"unknown shorthand flag: '{name[1:2]}' in {name}"
    if isinstance(error, click.BadOptionUsage) and "requires an argument" in error.message:
        return f"flag needs an argument: {error.option_name}"
    if isinstance(error, click.BadParameter):
        flag = error.param.opts[-1] if error.param else "?"
        return f'invalid argument for "{flag}" flag: {error.message}'
    return error.format_message()


def say(text: str) -> None:
    """A line for the user that is not the command's result."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def fail(message: str) -> None:
    say(f"Error: {message}")
