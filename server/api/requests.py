"""The bodies of the native routes, one table per route. A class's name is the reference's (it appears in errors)."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from server.api.body import (
    Anything,
    Body,
    Flag,
    Integer,
    Integers,
    Kind,
    Mapped,
    MaybeFlag,
    Text,
    TextsByName,
    list_of,
    read_text,
    read_texts_by_name,
)
from server.api.values import read_image, read_keep_alive, read_messages, read_stored_messages, read_think, read_tool
from server.messages.chat import Message, Think

KeepAlive = Annotated[float | None, Kind(read_keep_alive)]
ThinkValue = Annotated[Think, Kind(read_think)]
Images = Annotated[tuple[bytes, ...], Kind(list_of(read_image, "[]api.ImageData"))]
Messages = Annotated[tuple[Message, ...], Kind(read_messages)]
Texts = Annotated[tuple[str, ...], Kind(list_of(read_text, "[]string"))]
Tools = Annotated[tuple[dict[str, Any], ...], Kind(list_of(read_tool, "api.Tools"))]


class Answering(Body, frozen=True, kw_only=True):
    """What generate and chat have in common. `format` is only looked at by who constrains the answer."""

    model: Text = ""
    stream: Flag = True
    format: Anything = None
    options: Mapped = msgspec.field(default_factory=dict)
    keep_alive: KeepAlive = None
    think: ThinkValue = None
    truncate: Flag = True
    shift: MaybeFlag = None
    logprobs: Flag = False
    top_logprobs: Integer = 0
    debug_render_only: Flag = msgspec.field(default=False, name="_debug_render_only")


class GenerateRequest(Answering, frozen=True, kw_only=True):
    prompt: Text = ""
    suffix: Text = ""
    system: Text = ""
    template: Text = ""
    context: Integers = ()
    raw: Flag = False
    images: Images = ()


class ChatRequest(Answering, frozen=True, kw_only=True):
    messages: Messages = ()
    tools: Tools = ()


class EmbedRequest(Body, frozen=True, kw_only=True):
    model: Text = ""
    input: Anything = None
    truncate: Flag = True
    dimensions: Integer = 0
    keep_alive: KeepAlive = None
    options: Mapped = msgspec.field(default_factory=dict)


class EmbeddingRequest(Body, frozen=True, kw_only=True):
    model: Text = ""
    prompt: Text = ""
    keep_alive: KeepAlive = None
    options: Mapped = msgspec.field(default_factory=dict)


class TokenizeRequest(Body, frozen=True, kw_only=True):
    """`content` is what other servers call `text`."""

    model: Text = ""
    text: Text = ""
    content: Text = ""
    add_special: Flag = False
    with_pieces: Flag = False
    keep_alive: KeepAlive = None
    options: Mapped = msgspec.field(default_factory=dict)


class DetokenizeRequest(Body, frozen=True, kw_only=True):
    model: Text = ""
    tokens: Integers = ()
    keep_alive: KeepAlive = None
    options: Mapped = msgspec.field(default_factory=dict)


class Named(Body, frozen=True, kw_only=True):
    """A request about one model; `name` is the older field."""

    model: Text = ""
    name: Text = ""

    @property
    def target(self) -> str:
        return self.model or self.name


class ShowRequest(Named, frozen=True, kw_only=True):
    verbose: Flag = False
    system: Text = ""
    template: Text = ""
    options: Mapped = msgspec.field(default_factory=dict)


class FitRequest(Named, frozen=True, kw_only=True):
    """0 and "" leave a value as it would be. With `pull` the model is the one that its registry has."""

    pull: Flag = False
    insecure: Flag = False
    num_ctx: Integer = 0
    parallel: Integer = 0
    kv_cache_type: Text = ""


class DeleteRequest(Named, frozen=True, kw_only=True):
    pass


class PullRequest(Named, frozen=True, kw_only=True):
    """`fit` is ours: a line more that says whether the model will fit, before it is downloaded."""

    fit: Flag = False
    insecure: Flag = False
    stream: Flag = True
    username: Text = ""
    password: Text = ""


class PushRequest(Named, frozen=True, kw_only=True):
    insecure: Flag = False
    stream: Flag = True
    username: Text = ""
    password: Text = ""


class CopyRequest(Body, frozen=True, kw_only=True):
    source: Text = ""
    destination: Text = ""


class CreateRequest(Named, frozen=True, kw_only=True):
    """`files` None is absent; an empty mapping is a mistake of its own."""

    from_: Text = msgspec.field(default="", name="from")
    files: Annotated[dict[str, str] | None, Kind(read_texts_by_name)] = None
    adapters: TextsByName = msgspec.field(default_factory=dict)
    draft_files: TextsByName = msgspec.field(default_factory=dict)
    template: Text = ""
    system: Text = ""
    license: Anything = None
    parameters: Mapped = msgspec.field(default_factory=dict)
    messages: Annotated[list[dict[str, Any]], Kind(read_stored_messages)] = msgspec.field(default_factory=list)
    renderer: Text = ""
    parser: Text = ""
    requires: Text = ""
    quantize: Text = ""
    quantization: Text = ""
    draft_quantize: Text = ""
    info: Mapped = msgspec.field(default_factory=dict)
    remote_host: Text = ""
    stream: Flag = True


class TakeFileRequest(Body, frozen=True, kw_only=True):
    """Ours: `path` is absolute, `beginning` the digest of the file's first MiB."""

    path: Text = ""
    beginning: Text = ""
    stream: Flag = True


class ImportRequest(Body, frozen=True, kw_only=True):
    """Files and folders on the server's machine, or the name of a program whose folders are known."""

    paths: Texts = ()
    source: Text = ""
    name: Text = ""
    dry_run: Flag = False
    join: Flag = False
    stream: Flag = True


class MoveRequest(Body, frozen=True, kw_only=True):
    path: Text = ""
    stream: Flag = True
