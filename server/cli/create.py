"""`puna create`: a Modelfile and the files it names become a model."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from server.cli.connect import connected
from server.cli.frame import Command, Failure, say
from server.cli.model_files import files_of, local_path, relative_names
from server.cli.models import HOST, JSON
from server.cli.progress import JsonLines, Progress
from server.client import Client, file_digest
from server.errors import InvalidModelfile, InvalidModelName, PunaError
from server.messages.names import ModelName

if TYPE_CHECKING:
    from server.store.modelfile import Modelfile

DEFAULT_NAME = "Modelfile"
# Instructions of which the last one counts, under the names of the request's fields.
_SINGLE = ("template", "system", "renderer", "parser", "requires")
_NO_WEIGHTS = ("unknown type", "supplied file was not in GGUF format")
NO_WEIGHTS = "FROM takes a GGUF file, a folder with one, or the name of an installed model"


def _create(
    args: tuple[str, ...], file: str | None, quantize: str | None, draft_quantize: str | None, json: bool
) -> None:
    name = args[0]
    try:
        ModelName.parse(name)
    except InvalidModelName as error:
        raise Failure(f"invalid model name: {name}") from error
    with _lines_named():
        modelfile, folder = _read(file)
        fields = _fields(modelfile)
    if draft_quantize and not modelfile.last("draft"):
        raise Failure("--draft-quantize requires a DRAFT model")
    body = {"model": name, **fields}
    body |= {"quantize": quantize} if quantize else {}
    body |= {"draft_quantize": draft_quantize} if draft_quantize else {}
    with connected() as client, JsonLines() if json else Progress() as progress:
        progress.step("gathering model components")
        body |= _sources(client, modelfile, folder, progress)
        try:
            with client.create(body) as stream:
                for update in stream:
                    progress.step(
                        str(update.get("status", "")),
                        completed=int(update.get("completed", 0)),
                        total=int(update.get("total", 0)),
                    )
        except PunaError as error:
            # The API's words are those that its clients know; a person needs to know what FROM takes.
            raise Failure(f"{error}: {NO_WEIGHTS}" if str(error) in _NO_WEIGHTS else str(error)) from error


@contextlib.contextmanager
def _lines_named() -> Iterator[None]:
    """The sentences are those that the API's clients know; a person needs to know where to look as well."""
    try:
        yield
    except InvalidModelfile as error:
        sentence = str(error)
        if sentence == "unexpected EOF":
            sentence += ": the instruction that begins here is not complete; are its quotes closed?"
        is_named = not error.line or sentence.startswith("(line ")
        raise Failure(sentence if is_named else f"(line {error.line}): {sentence}") from error


def _read(file: str | None) -> tuple[Modelfile, Path]:
    """The Modelfile and the folder that its paths are relative to. Without -f and without a Modelfile here, what is
    in this folder is the model."""
    from server.store import modelfile, parameters

    path = Path(file or DEFAULT_NAME)
    try:
        source = sys.stdin.buffer.read() if file == "-" else path.read_bytes()
    except FileNotFoundError as error:
        if file:
            raise Failure(f"specified Modelfile wasn't found: {file}") from error
        source = b"FROM .\n"
    except OSError as error:
        raise Failure(f"the Modelfile cannot be read: {error}") from error
    parsed = modelfile.parse(source)
    if parsed.dropped:
        say(f"warning: {parsed.dropped} unprintable characters of the Modelfile were left out")
    for warning in parameters.warnings(parsed.parameters):
        say(warning)
    return parsed, path.absolute().parent


def _fields(modelfile: Modelfile) -> dict[str, Any]:
    """The request's fields that need no files."""
    from server.store import parameters

    fields: dict[str, Any] = {key: value for key in _SINGLE if (value := modelfile.last(key))}
    parameters.check_requires(fields.get("requires", ""), modelfile.line_of("requires"))
    if licenses := modelfile.values("license"):
        fields["license"] = licenses
    if values := parameters.of_file(modelfile):
        fields["parameters"] = values
    if messages := modelfile.messages:
        fields["messages"] = [{"role": role, "content": content} for role, content in messages]
    return fields


def _sources(client: Client, modelfile: Modelfile, folder: Path, progress: Progress) -> dict[str, Any]:
    """The fields that say where the weights come from, their files uploaded."""
    fields: dict[str, Any] = {}
    paths = {value: local_path(value, folder) for value in modelfile.values("from")}
    names = [value for value, path in paths.items() if path is None]
    if names:
        fields["from"] = names[-1]
    groups = {"files": [file for path in paths.values() if path for file in files_of(path)]}
    for keyword, field in (("adapter", "adapters"), ("draft", "draft_files")):
        if not (value := modelfile.last(keyword)):
            continue
        path = local_path(value, folder)
        if path is None:
            raise Failure(f"{value} does not exist (seen from {folder})")
        if keyword == "draft" and path in paths.values():
            raise Failure(f"DRAFT must not reference the same local path as FROM: {value}")
        groups[field] = files_of(path)
    # Weights take minutes to hash and to send: every line has been looked at before that begins.
    return fields | {field: _uploaded(client, files, progress) for field, files in groups.items() if files}


def _uploaded(client: Client, files: list[Path], progress: Progress) -> dict[str, str]:
    """Names and digests; the server gets the files that it does not have."""
    digests: dict[str, str] = {}
    for name, path in relative_names(files).items():
        try:
            digests[name] = _taken(client, path, name, progress) or _sent(client, path, progress)
        except OSError as error:
            raise Failure(f"{path} cannot be read: {error.strerror or error}") from error
    return digests


def _taken(client: Client, path: Path, name: str, progress: Progress) -> str | None:
    """A server on this machine reads the file itself, once; None where it cannot."""
    text, size = f"copying file {name}", path.stat().st_size
    return client.take_file(path, lambda done: progress.step(text, completed=done, total=size))


def _sent(client: Client, path: Path, progress: Progress) -> str:
    digest = file_digest(path)
    if not client.has_blob(digest):
        text, size = f"copying file {digest}", path.stat().st_size
        progress.step(text, total=size)
        client.upload_blob(path, digest, lambda sent: progress.step(text, completed=sent, total=size))
    return digest


create = Command(
    "create",
    callback=_create,
    about="Create a model",
    arguments="MODEL",
    arity=(1, 1),
    options=[
        click.Option(
            ["-f", "--file"],
            metavar="string",
            help=f'Name of the Modelfile, - for standard input (default "{DEFAULT_NAME}")',
        ),
        click.Option(["-q", "--quantize"], metavar="string", help="Quantize model to this level (e.g. q4_K_M)"),
        click.Option(["--draft-quantize"], metavar="string", help="Quantize the draft model to this level"),
        JSON,
    ],
    variables=HOST,
)
