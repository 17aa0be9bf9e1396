"""One embedding request, from the model's name to vectors of length 1."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import anyio.to_thread

from server.errors import ContextExceeded, Forbidden, ModelNotFound, Unsupported
from server.inference import lookup, vectors
from server.inference.catalog import Catalog, Entry
from server.inference.lending import lend
from server.messages.embedding import EmbeddingRequest, EmbeddingResult
from server.messages.options import RunnerOptions, read_options
from server.scheduler import Lease, Scheduler

Input = str | tuple[int, ...]

GROUP_TEXTS = 256  # a runner is asked for so many at once, and for so many characters and token ids
GROUP_SIZE = 1 << 20
LONGEST_TEXT = 1 << 22  # more characters than the longest context has tokens, and far fewer than a frame has bytes
LARGEST_AUTOMATIC_BATCH = 2048
RAW_FAMILIES = ("nomic-bert", "nomic-bert-moe")


async def embed(catalog: Catalog, scheduler: Scheduler, request: EmbeddingRequest) -> EmbeddingResult:
    """Cancel the task to cancel the request, wherever it is. Without inputs the model is loaded, and that is all."""
    arrived_ns = time.perf_counter_ns()
    entry = await catalog.find(request.model, "embeddings" if request.is_older_call else "embed")
    _check_source(request, entry)
    options = read_options(entry.model.params, request.options).runner
    if request.inputs and entry.spec.can_complete:
        raise Unsupported(
            f'"{request.model}" does not support embeddings: it was made to write text, and the engine runs it without '
            "`--embeddings`. Please use an embedding model.",
            status=501,
        )
    async with lend(scheduler, entry, options, keep_alive_seconds=request.keep_alive_seconds) as lease:
        load_ns = time.perf_counter_ns() - arrived_ns
        found: list[bytes] = []
        tokens = 0
        limit, spare = _limits(entry, options, lease) if not request.is_older_call else (0, 0)
        truncate = request.truncate and not request.is_older_call
        for group in groups(request.inputs, truncate):
            answer = await lease.runner.embed(group, limit_tokens=limit, spare_tokens=spare, truncate=truncate)
            found += answer.vectors
            tokens += sum(answer.token_counts)
    normalize = not (request.is_older_call and _is_raw(entry))
    finished = await anyio.to_thread.run_sync(lambda: vectors.finished(found, request.dimensions, normalize=normalize))
    total_ns = time.perf_counter_ns() - arrived_ns
    return EmbeddingResult(vectors=finished, prompt_tokens=tokens, total_ns=total_ns, load_ns=load_ns)


def _check_source(request: EmbeddingRequest, entry: Entry) -> None:
    """A model that lives on another server cannot be asked from here."""
    if entry.model.is_remote:
        if lookup.is_local(request.model):
            raise ModelNotFound(f'model "{request.model}" not found, try pulling it first')
        raise Forbidden(lookup.CLOUD_DISABLED)


def _limits(entry: Entry, options: RunnerOptions, lease: Lease) -> tuple[int, int]:
    """How long a text may be, and how long where a batch cannot hold that. A context of 0 or less says nothing."""
    window = lease.plan.context_tokens if options.num_ctx is None else options.num_ctx
    batch = options.num_batch or min(LARGEST_AUTOMATIC_BATCH, window)
    trained = entry.spec.shape.context_length or lease.loaded.train_context_tokens
    limit = min((size for size in (window, trained) if size > 0), default=lease.plan.context_tokens)
    return limit, min(size for size in (limit, batch) if size > 0)


def groups(inputs: Sequence[Input], truncate: bool) -> Iterator[list[Input]]:
    """The inputs in portions that fit into a frame, and that a cancelled request is done with soon."""
    group: list[Input] = []
    size = 0
    for item in inputs:
        if len(item) > LONGEST_TEXT:
            if not truncate:
                raise ContextExceeded("the input length exceeds the context length")
            item = item[:LONGEST_TEXT]
        if group and (len(group) == GROUP_TEXTS or size + len(item) > GROUP_SIZE):
            yield group
            group, size = [], 0
        group.append(item)
        size += len(item)
    if group:
        yield group


def _is_raw(entry: Entry) -> bool:
    """Whether the older call gives the vectors of this model as they are."""
    header = entry.model.gguf
    if header is None:
        return False
    wanted = header.flag("normalize_embeddings")
    if header.architecture in RAW_FAMILIES:
        return wanted is not True
    is_other_tokenizer = header.text("tokenizer.ggml.model") != "bert"
    return header.architecture == "bert" and (is_other_tokenizer or wanted is False)
