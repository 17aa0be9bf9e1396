"""One reranking request: how well each document answers a question, by a model that was made to say that."""

from __future__ import annotations

import math
import struct
from typing import Any

import msgspec

from server.errors import InvalidRequest, Unsupported
from server.inference.catalog import Catalog, Entry
from server.inference.checks import check_local
from server.inference.embedding import groups
from server.inference.lending import lend
from server.messages.options import read_options
from server.scheduler import Scheduler

RANK_POOLING = 4  # LLAMA_POOLING_TYPE_RANK


class RerankRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`truncate`: a document that is too long loses its end. `normalize`: scores between 0 and 1."""

    model: str
    query: str
    documents: tuple[str, ...]
    truncate: bool = True
    normalize: bool = False
    options: dict[str, Any] = {}
    keep_alive_seconds: float | None = None


class RerankResult(msgspec.Struct, frozen=True):
    """`scores` in the order of the documents, as the model gives them or normalized."""

    scores: tuple[float, ...]
    prompt_tokens: int


class Reranking:
    """The reranking models among those that are installed."""

    def __init__(self, catalog: Catalog, scheduler: Scheduler) -> None:
        self._catalog = catalog
        self._scheduler = scheduler

    async def rerank(self, request: RerankRequest) -> RerankResult:
        """Cancel the task to cancel the request. Raises Unsupported for a model of another kind, ContextExceeded."""
        entry = await self._catalog.find(request.model, "chat")
        check_local(request.model, entry)
        if not _can_rank(entry):
            raise Unsupported(f'model "{request.model}" does not support reranking')
        options = read_options(entry.model.params, request.options).runner
        scores: list[float] = []
        tokens = 0
        async with lend(self._scheduler, entry, options, keep_alive_seconds=request.keep_alive_seconds) as lease:
            for group in groups(request.documents, request.truncate):
                answer = await lease.runner.embed(group, query=request.query, truncate=request.truncate)
                scores += map(_score, answer.vectors)
                tokens += sum(answer.token_counts)
        if not all(map(math.isfinite, scores)):
            raise InvalidRequest("the model gave a score that is no number")
        return RerankResult(tuple(map(_between, scores) if request.normalize else scores), tokens)


def _can_rank(entry: Entry) -> bool:
    """Whether the file says so, and has a classifier to do it with."""
    header = entry.model.gguf
    if header is None or header.get("pooling_type") != RANK_POOLING:
        return False
    return any(tensor.name.startswith("cls") for tensor in header.tensors)


def _score(vector: bytes) -> float:
    """The first number; models that classify have one for each class, and the first is that of a good answer."""
    score: float = struct.unpack_from("<f", vector)[0]
    return score


def _between(score: float) -> float:
    """A sigmoid that does not overflow."""
    return (1 + math.tanh(score / 2)) / 2
