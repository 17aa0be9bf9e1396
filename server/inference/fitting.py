"""Will it fit? For an installed model, and for one of which only the beginning of the file is known."""

from __future__ import annotations

from dataclasses import dataclass

import anyio.to_thread
import msgspec

from server.errors import InvalidRequest
from server.inference.catalog import Catalog
from server.inference.checks import check_local
from server.messages.models import ModelSpec
from server.messages.options import RunnerOptions, read_options
from server.registry.preview import Preview
from server.scheduler import Scheduler
from server.scheduler.fit import Fit
from server.scheduler.placement import PlacementSettings
from server.scheduler.sizes import BLOCK_BYTES
from server.store.gguf import read_header_prefix
from server.store.gguf_projector import projector_shape

MOST_PARALLEL = 256  # sequences that llama.cpp tells apart
MOST_CONTEXT = 1 << 30
PROJECTOR = "projector"  # stands for the path of a file that is not here yet


@dataclass(frozen=True, slots=True)
class Question:
    """What if? None leaves a number as it would be."""

    num_ctx: int | None = None
    parallel: int | None = None
    kv_cache_type: str | None = None


PLAIN = Question()


@dataclass(frozen=True, slots=True)
class _Settings:
    """The server's settings with what was asked for in their place."""

    num_parallel: int
    context_length: int
    flash_attention: bool | None
    kv_cache_type: str
    sched_spread: bool
    gpu_overhead_bytes: int


class Fitting:
    """Answers for one machine. Nothing is loaded for them."""

    def __init__(self, catalog: Catalog, scheduler: Scheduler, settings: PlacementSettings) -> None:
        self._catalog = catalog
        self._scheduler = scheduler
        self._settings = settings

    async def of_model(self, raw: str, question: Question = PLAIN) -> Fit:
        """An installed model with its own parameters. Raises InvalidRequest, and what finding a model raises."""
        settings = self._asked(question)
        entry = await self._catalog.find(raw, "show")
        check_local(raw, entry)
        spec = await anyio.to_thread.run_sync(lambda: entry.spec)
        options = read_options(entry.model.params, {"num_ctx": question.num_ctx})
        return await self._scheduler.fit(spec, options.runner, settings)

    async def of_preview(self, name: str, found: Preview, question: Question = PLAIN) -> Fit | None:
        """A model as its registry has it; None where it has no weights, or where more of them is needed to know. Raises
        InvalidGguf and InvalidRequest."""
        if not found.prefix:
            return None
        return await self.of_prefix(
            name,
            found.prefix,
            found.weights_bytes,
            question,
            projector_prefix=found.projector_prefix,
            projector_bytes=found.projector_bytes,
        )

    async def of_prefix(
        self,
        name: str,
        prefix: bytes,
        file_bytes: int,
        question: Question = PLAIN,
        *,
        projector_prefix: bytes = b"",
        projector_bytes: int = 0,
    ) -> Fit | None:
        """A model before it is here. `prefix` is the beginning of its GGUF file, which will have `file_bytes`, and
        `projector_prefix` that of its projector's; None where more of one is needed to know. Raises InvalidGguf and
        InvalidRequest."""
        settings = self._asked(question)
        header = await anyio.to_thread.run_sync(read_header_prefix, prefix, file_bytes)
        if header is None:
            return None
        spec = ModelSpec(
            name=name,
            digest="",
            path="",
            shape=header.shape(),
            can_complete=not header.has_pooling,
            has_vision=bool(projector_bytes) or header.has_vision,
        )
        if projector_bytes:
            projector = await anyio.to_thread.run_sync(read_header_prefix, projector_prefix, projector_bytes)
            if projector is None:
                return None
            sizes = projector_shape(projector, header.number("embedding_length"))
            spec = msgspec.structs.replace(spec, projector_path=PROJECTOR, projector=sizes)
        return await self._scheduler.fit(spec, RunnerOptions(num_ctx=question.num_ctx), settings)

    def _asked(self, question: Question) -> PlacementSettings:
        own = self._settings
        _check(question)
        return _Settings(
            num_parallel=own.num_parallel if question.parallel is None else question.parallel,
            context_length=own.context_length,
            flash_attention=own.flash_attention,
            kv_cache_type=own.kv_cache_type if question.kv_cache_type is None else question.kv_cache_type.lower(),
            sched_spread=own.sched_spread,
            gpu_overhead_bytes=own.gpu_overhead_bytes,
        )


def _check(question: Question) -> None:
    if question.num_ctx is not None and not 0 < question.num_ctx <= MOST_CONTEXT:
        raise InvalidRequest(f"num_ctx must be between 1 and {MOST_CONTEXT}, not {question.num_ctx}")
    if question.parallel is not None and not 0 < question.parallel <= MOST_PARALLEL:
        raise InvalidRequest(f"parallel must be between 1 and {MOST_PARALLEL}, not {question.parallel}")
    if question.kv_cache_type is not None and question.kv_cache_type.lower() not in BLOCK_BYTES:
        known = ", ".join(BLOCK_BYTES)
        raise InvalidRequest(f'the KV cache type "{question.kv_cache_type}" is unknown; use one of {known}')
