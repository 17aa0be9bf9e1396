"""`/rerank`: documents by how well they answer a question, for clients of Jina, Cohere and Voyage, and of
text-embeddings-inference, which says `texts` and gets a bare list.

Scores are the model's own numbers, as llama.cpp's server gives them; `normalize` puts them between 0 and 1.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp

from server.api.llama_model import with_model
from server.api.responses import BARE_JSON, json_answer
from server.api.services import services_of
from server.api.streaming import while_connected
from server.api.wire_fields import Fields
from server.api.wire_options import RUNNING, read_model, read_running
from server.api.wire_reading import FLAG, TEXT, WHOLE, either, list_of, members, takes
from server.inference import Reranking, RerankRequest, RerankResult

RERANK = members(
    ("query",),
    RUNNING,
    query=TEXT,
    documents=list_of(either(TEXT, members(("text",), text=TEXT))),
    texts=list_of(TEXT),
    top_n=WHOLE,
    top_k=WHOLE,
    return_documents=FLAG,
    return_text=FLAG,
    normalize=FLAG,
)


@takes("Rerank", RERANK)
async def rerank(request: Request, fields: Fields) -> ASGIApp:
    """compat 14.2"""
    fields = with_model(request, fields)
    # here `top_k` is how many documents come back, and no option of sampling
    running = read_running(Fields({**fields.members, "top_k": None}), request.headers, {})
    query, documents, limit = _query(fields), _documents(fields), _limit(fields)
    asked = RerankRequest(
        model=read_model(fields),
        query=query,
        documents=documents,
        truncate=running.truncate is not False,
        normalize=fields.flag("normalize") is True,
        options=running.options,
        keep_alive_seconds=running.keep_alive_seconds,
    )
    returns_texts = bool(fields.flag("return_documents") or fields.flag("return_text"))
    services = services_of(request)
    reranking = Reranking(services.catalog, services.scheduler)
    found = await while_connected(request.scope, request.receive, lambda: reranking.rerank(asked))
    answer = _bare if "texts" in fields else _named
    return json_answer(answer(asked, found, limit, returns_texts), content_type=BARE_JSON)


def _query(fields: Fields) -> str:
    query = fields.get("query")
    if query is None:
        raise fields.refuse("query", '"query" must be provided', "missing_required_parameter")
    if not isinstance(query, str):
        raise fields.refuse("query", '"query" must be a string', "invalid_type")
    return query


def _documents(fields: Fields) -> tuple[str, ...]:
    name = "texts" if "texts" in fields else "documents"
    listed = fields.get(name)
    found = [_text(item) for item in listed] if isinstance(listed, list) else []
    if not found or None in found:
        raise fields.refuse(name, '"documents" must be a non-empty string array', "invalid_type")
    return tuple(text for text in found if text is not None)


def _text(document: Any) -> str | None:
    text = document.get("text") if isinstance(document, dict) else document
    return text if isinstance(text, str) else None


def _limit(fields: Fields) -> int | None:
    for name in ("top_n", "top_k"):
        limit = fields.integer(name)
        if limit is not None:
            if limit < 0:
                raise fields.refuse(name, f"'{name}' must not be negative.")
            return limit
    return None


def _best(found: RerankResult, limit: int | None) -> list[tuple[int, float]]:
    """Place and score, the best first; of equal ones, that which was named first."""
    return sorted(enumerate(found.scores), key=lambda each: -each[1])[:limit]


def _named(asked: RerankRequest, found: RerankResult, limit: int | None, returns_texts: bool) -> dict[str, Any]:
    results: list[dict[str, Any]] = [
        {
            "index": index,
            "relevance_score": score,
            **({"document": {"text": asked.documents[index]}} if returns_texts else {}),
        }
        for index, score in _best(found, limit)
    ]
    usage = {"prompt_tokens": found.prompt_tokens, "total_tokens": found.prompt_tokens}
    return {"object": "list", "model": asked.model, "results": results, "data": results, "usage": usage}


def _bare(asked: RerankRequest, found: RerankResult, limit: int | None, returns_texts: bool) -> list[dict[str, Any]]:
    return [
        {"index": index, "score": score, **({"text": asked.documents[index]} if returns_texts else {})}
        for index, score in _best(found, limit)
    ]
