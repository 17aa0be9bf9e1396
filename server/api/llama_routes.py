"""Routes of llama.cpp's own server that editors and tools know: its health, tokens, and the prompt of a chat."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.types import ASGIApp

from server.api.llama_model import tokenizer_of, with_model
from server.api.openai_chat import read_chat
from server.api.openai_schema import CHAT
from server.api.responses import BARE_JSON, json_answer
from server.api.services import services_of
from server.api.streaming import all_of, while_connected
from server.api.tokens import text_or_bytes
from server.api.wire_fields import Fields
from server.api.wire_options import RUNNING, read_model, read_running
from server.api.wire_reading import FLAG, TEXT, WHOLE, either, list_of, members, takes
from server.inference.tokens import Pieces

TOKENIZE = members((), RUNNING, content=either(TEXT, list_of(either(TEXT, WHOLE))), add_special=FLAG, with_pieces=FLAG)
DETOKENIZE = members((), RUNNING, tokens=list_of(WHOLE))


async def health(request: Request) -> ASGIApp:
    """Who gets an answer knows that the server is up; nothing is loaded for it."""
    return json_answer({"status": "ok"}, content_type=BARE_JSON)


@takes("LlamaTokenize", TOKENIZE)
async def tokenize(request: Request, fields: Fields) -> ASGIApp:
    """compat 14.2: ids in a list of texts and ids stay as they are."""
    fields = with_model(request, fields)
    model, running = read_model(fields), read_running(fields, request.headers, {})
    content = fields.get("content")
    parts = [content] if isinstance(content, str) else fields.items("content")
    add_special, with_pieces = fields.flag("add_special") is True, fields.flag("with_pieces") is True
    tokenizer = tokenizer_of(request)

    async def work() -> Pieces:
        tokens: list[int] = []
        pieces: list[bytes] = []
        for at, part in enumerate(parts):
            if isinstance(part, str):
                options = {"add_special": add_special and at == 0, "with_pieces": with_pieces}
                found = (await tokenizer.tokenize(model, part, options=running.options, **options)).result
                tokens += found.tokens
                pieces += found.pieces
            elif isinstance(part, int) and not isinstance(part, bool) and 0 <= part < 2**31:
                text = (await tokenizer.detokenize(model, (part,), options=running.options)).result
                tokens.append(part)
                pieces.append(text.encode())
            else:
                raise fields.refuse("content", "'content' must be a text, or a list of texts and token ids.")
        return Pieces(tuple(tokens), tuple(pieces))

    found = await while_connected(request.scope, request.receive, work)
    if not with_pieces:
        return json_answer({"tokens": found.tokens}, content_type=BARE_JSON)
    told = [
        {"id": token, "piece": text_or_bytes(piece)} for token, piece in zip(found.tokens, found.pieces, strict=True)
    ]
    return json_answer({"tokens": told}, content_type=BARE_JSON)


@takes("LlamaDetokenize", DETOKENIZE)
async def detokenize(request: Request, fields: Fields) -> ASGIApp:
    fields = with_model(request, fields)
    model, running = read_model(fields), read_running(fields, request.headers, {})
    tokens = fields.items("tokens")
    if not all(isinstance(token, int) and not isinstance(token, bool) and 0 <= token < 2**31 for token in tokens):
        raise fields.refuse("tokens", "'tokens' must be a list of token ids.", "invalid_type")
    tokenizer = tokenizer_of(request)
    found = await while_connected(
        request.scope, request.receive, lambda: tokenizer.detokenize(model, tuple(tokens), options=running.options)
    )
    return json_answer({"content": found.result}, content_type=BARE_JSON)


@takes("ChatCompletion", CHAT)
async def apply_template(request: Request, fields: Fields) -> ASGIApp:
    """The prompt of a chat, and nothing generated."""
    asked = read_chat(with_model(request, fields), request.headers)
    generation = msgspec.structs.replace(asked.generation, debug_render_only=True)
    chunks = await all_of(request, services_of(request).inference.answer(generation))
    return json_answer({"prompt": chunks[0].rendered or ""}, content_type=BARE_JSON)
