"""The entry of the program `puna`. Light: what a command needs is imported when it runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from server.errors import PunaError
from server.programs import run_hidden

# In the order of the help; a command without a description is hidden.
COMMANDS = (
    ("serve", "Start Puna", "server.cli.serve:serve"),
    ("create", "Create a model", "server.cli.create:create"),
    ("import", "Use the GGUF files of other programs where they are", "server.cli.importing:import_command"),
    ("show", "Show information for a model", "server.cli.show:show"),
    ("run", "Run a model", "server.cli.run:run"),
    ("stop", "Stop a running model", "server.cli.running:stop"),
    ("pull", "Pull a model from a registry", "server.cli.registry:pull"),
    ("push", "Push a model to a registry", "server.cli.registry:push"),
    ("signin", "Sign in to ollama.com", "server.cli.registry:signin"),
    ("signout", "Sign out from ollama.com", "server.cli.registry:signout"),
    ("list", "List models", "server.cli.models:list_models"),
    ("ps", "List running models", "server.cli.running:ps"),
    ("cp", "Copy a model", "server.cli.models:cp"),
    ("rm", "Remove a model", "server.cli.models:rm"),
    ("models", "Show or move the folder of the models", "server.cli.model_folder:models"),
    ("keys", "Show, make and revoke API keys", "server.cli.keys:keys"),
    ("launch", "", "server.cli.registry:launch"),
    ("help", "Help about any command", "server.cli.help:help_command"),
)
ALIASES = {"start": "serve", "ls": "list", "login": "signin", "logout": "signout"}


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    args = list(sys.argv[1:] if argv is None else argv)
    if (status := run_hidden(args)) is not None:
        return status
    _write_utf8()
    try:
        if args[:1] in (["-v"], ["--version"]):
            from server.cli.version import show_version

            return show_version()
        return _run(args)
    except PunaError as error:
        sys.stderr.write(f"Error: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader, such as `head`, has had enough. Nothing may be flushed into the closed pipe at exit.
        sys.stdout = None
        return 1


def _run(args: list[str]) -> int:
    import click

    from server.cli.frame import PROGRAM, Group, fail, sentence_of

    group = Group("Large language models on your own computer", COMMANDS, ALIASES)
    try:
        status = group.main(args, prog_name=PROGRAM, standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except click.Abort as error:
        raise KeyboardInterrupt from error
    except click.ClickException as error:
        if message := sentence_of(error):
            fail(message)
        return 1


def _write_utf8() -> None:
    """Models write all scripts, whatever a console of Windows or a locale of a service is set to."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure") and (stream.encoding or "").lower() != "utf-8":
            stream.reconfigure(encoding="utf-8", errors="replace")


if __name__ == "__main__":
    sys.exit(main())
