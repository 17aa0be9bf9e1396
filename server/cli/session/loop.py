"""Question and answer until /bye."""

from __future__ import annotations

import sys
from typing import Any

import click

from server.cli.answers import Answered, View, show_answer, show_timings
from server.cli.attachments import begins_with_path, take_files
from server.cli.frame import say
from server.cli.progress import Progress
from server.cli.run import until_first
from server.cli.session.history import PromptHistory
from server.cli.session.keys import quiet_keys
from server.cli.session.line import LineDropped, PromptReader, without_quotes
from server.cli.session.slash import Leave, obey
from server.cli.session.state import Session
from server.client import Client
from server.errors import PunaError, ServerUnreachable
from server.settings import Settings, paths, usual_editor


def run_session(
    client: Client, model: str, info: dict[str, Any], fields: dict[str, Any], view: View, settings: Settings
) -> int:
    """Returns the exit status. Raises PunaError when the model cannot be loaded or the server is gone."""
    history = PromptHistory(paths.history_file(), is_kept=not settings.nohistory)
    session = Session(client, model, info, view, history, fields)
    reader = PromptReader(history, settings.editor or usual_editor())
    with quiet_keys():
        return _converse(session, reader) if load_model(session) else 0


def _converse(session: Session, reader: PromptReader) -> int:
    while True:
        try:
            text = reader.read()
        except EOFError:
            return 0
        except LineDropped as dropped:
            if not dropped.had_text:
                click.echo("\nUse Ctrl + d or /bye to exit.")
            continue
        try:
            _take(session, text)
        except Leave:
            return 0


def load_model(session: Session) -> bool:
    """Load the model with a spinner and show its stored conversation. False when Ctrl+C ended that."""
    try:
        with Progress() as progress:
            if sys.stderr.isatty():
                progress.step("")
            try:
                session.client.load(session.model, **session.load_fields())
            finally:
                progress.clear()
    except KeyboardInterrupt:
        return False
    for message in session.stored:
        if message.get("role") == "user":
            click.echo(f">>> {message.get('content', '')}")
        elif message.get("role") == "assistant":
            click.echo(f"{message.get('content', '')}\n\n")
    return True


def _take(session: Session, text: str) -> None:
    stripped = text.strip()
    if not stripped:
        return
    if stripped.startswith("/") and not (session.takes_files and begins_with_path(stripped)):
        if obey(session, stripped):
            load_model(session)
        return
    ask(session, without_quotes(text))


def ask(session: Session, text: str) -> None:
    """Send the whole conversation with one more message, and keep the reply. Raises ServerUnreachable."""
    message: dict[str, Any] = {"role": "user", "content": text}
    if session.takes_files:
        message["content"], files = take_files(text)
        message |= {"images": files} if files else {}
    session.messages.append(message)
    answered = Answered()
    try:
        with session.client.chat(session.chat_body()) as stream:
            show_answer(until_first(stream), session.view.for_request(session.fields), answered)
    except KeyboardInterrupt:
        # What a person stopped is no part of the conversation.
        click.echo()
        return
    except ServerUnreachable:
        raise
    except PunaError as error:
        if "images" in message:  # a file that cannot be used would be refused with every question to come
            session.messages.remove(message)
        say(f"error: {error}")
        return
    click.echo("\n")
    reply: dict[str, Any] = {"role": "assistant", "content": answered.content}
    if answered.thinking:
        reply["thinking"] = answered.thinking
    session.messages.append(reply)
    if session.view.verbose:
        show_timings(answered.last)
