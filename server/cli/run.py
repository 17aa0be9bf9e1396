"""`puna run`: one answer, or a session where a person sits at both ends."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import click

from server.cli import request_options
from server.cli.answers import View, show_answer, show_timings
from server.cli.attachments import take_files
from server.cli.connect import connected
from server.cli.frame import Command, Failure, variables_named
from server.cli.progress import Progress
from server.cli.registry import pull_model
from server.client import Client
from server.errors import NotFound
from server.settings import load

NO_IMAGES = "image generation models are not currently supported"


def _run(args: tuple[str, ...], **flags: Any) -> int:
    model, words = args[0], list(args[1:])
    fields = _request_fields(flags)
    view = View(wordwrap=not flags["nowordwrap"], hide_thinking=flags["hidethinking"], verbose=flags["verbose"])
    settings = load()
    is_interactive = sys.stdin.isatty() and sys.stdout.isatty() and not words
    prompt = "" if is_interactive else _prompt(words)
    with connected(settings) as client:
        info = _known(client, model, insecure=flags["insecure"])
        capabilities = info.get("capabilities") or ()
        if "image" in capabilities:
            raise Failure(NO_IMAGES)
        if "embedding" in capabilities and "completion" not in capabilities:
            return _embed(client, model, prompt, flags)
        if "thinking" in capabilities:
            fields.setdefault("think", True)
        if is_interactive:
            from server.cli.session import run_session

            return run_session(client, model, info, fields, view, settings)
        return _answer(client, model, prompt, info, fields, view)


def _request_fields(flags: dict[str, Any]) -> dict[str, Any]:
    """What the flags add to every request. Raises Failure for a value that is not allowed."""
    fields: dict[str, Any] = {}
    if flags["keepalive"]:
        fields["keep_alive"] = request_options.keep_alive_of(flags["keepalive"])
    if flags["think"]:
        fields["think"] = request_options.think_of(flags["think"])
    if flags["format"]:
        fields["format"] = request_options.format_of(flags["format"])
    return fields


def _prompt(words: list[str]) -> str:
    """What was piped in, a blank, and the words of the command line."""
    piped = "" if sys.stdin.isatty() else sys.stdin.buffer.read().decode("utf-8", "replace")
    return " ".join([piped, *words] if piped else words)


def _known(client: Client, model: str, *, insecure: bool) -> dict[str, Any]:
    """What the server knows of a model, which is pulled first where it is not installed."""
    try:
        return client.show(model)
    except NotFound:
        pull_model(client, model, insecure=insecure)
        return client.show(model)


def _answer(client: Client, model: str, prompt: str, info: dict[str, Any], fields: dict[str, Any], view: View) -> int:
    if not prompt:
        client.load(model, **{key: value for key, value in fields.items() if key == "keep_alive"})
        return 0
    body = {"model": model, "prompt": prompt, **fields}
    if {"vision", "audio"} & set(info.get("capabilities") or ()):
        body["prompt"], files = take_files(prompt)
        body |= {"images": files} if files else {}
    try:
        with client.generate(body) as stream:
            answered = show_answer(until_first(stream), view.for_request(fields))
    except KeyboardInterrupt:
        return 0
    click.echo("\n")
    if view.verbose:
        show_timings(answered.last)
    return 0


def until_first(chunks: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The chunks, with a spinner on a terminal until the first one is there."""
    with contextlib.ExitStack() as stack:
        progress = stack.enter_context(Progress()) if sys.stderr.isatty() else None
        if progress:
            stack.callback(progress.clear)
            progress.step("")
        for chunk in chunks:
            if progress:
                progress.clear()
            yield chunk


def _embed(client: Client, model: str, prompt: str, flags: dict[str, Any]) -> int:
    if not prompt:
        raise Failure(f'embedding models require input text. Usage: puna run {model} "your text here"')
    body: dict[str, Any] = {"model": model, "input": prompt}
    if flags["keepalive"]:
        body["keep_alive"] = request_options.keep_alive_of(flags["keepalive"])
    if flags["truncate"] is not None:
        body["truncate"] = flags["truncate"]
    if flags["dimensions"] > 0:
        body["dimensions"] = flags["dimensions"]
    embeddings = client.embed(body).get("embeddings") or [[]]
    click.echo(json.dumps(embeddings[0], separators=(",", ":")))
    return 0


run = Command(
    "run",
    callback=_run,
    about="Run a model",
    arguments="MODEL [PROMPT]",
    arity=(1, None),
    optional_values=("--think", "--truncate"),
    options=[
        click.Option(["--keepalive"], metavar="duration", help="Duration to keep a model loaded (e.g. 5m)"),
        click.Option(["--verbose"], is_flag=True, help="Show timings for response"),
        click.Option(["--insecure"], is_flag=True, help="Use an insecure registry"),
        click.Option(["--nowordwrap"], is_flag=True, help="Don't wrap words to the next line automatically"),
        click.Option(["--format"], help="Response format (json, or a JSON schema)"),
        click.Option(["--think"], metavar="[level]", help="Thinking: true, false, low, medium, high or max (=LEVEL)"),
        click.Option(["--hidethinking"], is_flag=True, help="Hide thinking output (if provided)"),
        click.Option(["--truncate"], type=bool, metavar="[bool]", help="Embedding models: shorten inputs too long"),
        click.Option(["--dimensions"], type=int, default=0, metavar="int", help="Embedding models: size of vectors"),
    ],
    variables=variables_named("OLLAMA_EDITOR", "OLLAMA_HOST", "OLLAMA_NOHISTORY"),
)
