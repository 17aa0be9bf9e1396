"""What the process does, by the words it was started with."""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import traceback
from pathlib import Path
from time import perf_counter

import msgspec

from server.engine import bindings, cpu, cputrial, devices, lifeline
from server.engine.batch import Batch
from server.engine.context import DECODED, POOLING_LAST, POOLING_RANK, WHOLE_TEXT, Context, StepGuard
from server.engine.embedder import EmbeddingLoop
from server.engine.inputs import Inputs
from server.engine.logs import NativeLog, read_buffers, read_offload
from server.engine.loop import StepLoop
from server.engine.media import MediaDesk
from server.engine.model import Model, load_failure
from server.engine.pairs import Pairs
from server.engine.pipes import CommandReader, Desk, Encoded, EventPipe
from server.engine.projector import Projector
from server.engine.quantize import quantize
from server.engine.threads import wanted_threads
from server.errors import PunaError
from server.messages.frames import LaunchPlan, Loaded, LoadProgress
from server.programs import ENGINE

EXIT_OK, EXIT_FAILED = 0, 1
SMALLEST_CONTEXT_TOKENS = 4
PROGRESS_STEP = 0.01
PROGRESS_SECONDS = 1.0


def main(words: list[str]) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="server.engine", add_help=False)
    parser.add_argument("--cache", type=Path, default=None)
    parser.add_argument("errand", nargs="?", choices=["serve", "try-cpu", "devices", "quantize"], default="serve")
    parser.add_argument("details", nargs="*", default=[])
    parser.add_argument("--tensor", nargs=2, action="append", default=[])
    arguments = parser.parse_args(words)
    details = arguments.details
    try:
        if arguments.errand == "try-cpu":
            return EXIT_OK if cputrial.try_library(*details) else EXIT_FAILED
        if arguments.errand == "quantize":
            source, target, file_type = details
            quantize(source, target, file_type, dict(arguments.tensor))
            return EXIT_OK
        if arguments.errand == "devices":
            cpu.load_backends("", arguments.cache, ENGINE.command())
            sys.stdout.write(json.dumps(devices.list_devices()) + "\n")
            return EXIT_OK
        return serve(arguments.cache)
    except PunaError as error:
        write_line(f"{error} ({error.log})" if error.log != str(error) else str(error))
        return EXIT_FAILED


def write_line(line: str) -> None:
    """To the parent's log."""
    os.write(2, f"{line}\n".encode(errors="replace"))


def serve(cache_dir: Path | None) -> int:
    """Load what the first command says and run its streams until Shutdown or the parent's end."""
    lifeline.bind_to_parent()
    command_pipe, event_pipe = lifeline.claim_pipes()
    events = EventPipe(event_pipe)
    reader = CommandReader(command_pipe, events)
    reader.start()
    plan = reader.orders.get()
    if not isinstance(plan, LaunchPlan):
        return EXIT_OK
    plan = msgspec.structs.replace(plan, context_tokens=max(plan.context_tokens, SMALLEST_CONTEXT_TOKENS))
    try:
        loop = load(plan, cache_dir, reader, events)
    except PunaError as error:
        events.fail(0, error)
        return EXIT_FAILED
    # Ending the process is the one way to return all memory; destructors of GPU drivers may hang, so none is run.
    try:
        loop.run()
        os._exit(EXIT_OK)
    except BaseException:
        write_line(traceback.format_exc())
        os._exit(EXIT_FAILED)


def load(
    plan: LaunchPlan, cache_dir: Path | None, reader: CommandReader, events: EventPipe
) -> StepLoop | EmbeddingLoop:
    """Everything up to Loaded. Raises RunnerStartFailed."""
    api = bindings.llama()
    log = NativeLog(write_line)
    log.install()
    variant = cpu.load_backends(plan.cpu_library, cache_dir, ENGINE.command())
    api.llama_backend_init()
    threads = wanted_threads(plan.threads)
    model = Model(plan, log, ProgressReport(events), cache_dir)
    sees = plan.projector_path and not plan.embedding
    projector = Projector(model, plan, threads, log, cache_dir) if sees else None
    context = Context(model, plan, threads, log)
    events.send([LoadProgress(fraction=1.0)])
    warm_up(context, model, log)
    guard = StepGuard(context)
    can_generate = context.has_memory and model.can_generate and not plan.embedding
    may_shift = plan.shift and context.can_shift
    loaded = describe(model, context, projector, plan, log, variant)
    inputs = embedding_inputs(model, context, plan)
    media = None
    if projector is not None:
        media = MediaDesk(projector, model.vocabulary, lambda: reader.orders.put(Encoded()))
    reader.open(Desk(model.vocabulary, guard, plan.context_tokens, may_shift, can_generate, inputs, media))
    log.quieten()
    gc.collect()
    gc.freeze()
    gc.disable()  # collections happen when the runner is idle
    loop: StepLoop | EmbeddingLoop
    if plan.embedding:
        loop = EmbeddingLoop(context, threads, reader, events, guard, has_gpu=loaded.gpu_layers > 0)
    else:
        loop = StepLoop(model, context, plan, threads, reader, events, guard, media)
    events.send([loaded])
    return loop


class ProgressReport:
    """At most a hundred events per load, and at least one a second while bytes arrive."""

    def __init__(self, events: EventPipe) -> None:
        self._events = events
        self._sent = -1.0
        self._at = 0.0

    def __call__(self, fraction: float) -> None:
        now = perf_counter()
        if fraction - self._sent >= PROGRESS_STEP or now - self._at >= PROGRESS_SECONDS:
            self._sent, self._at = fraction, now
            self._events.send([LoadProgress(fraction=fraction)])


def warm_up(context: Context, model: Model, log: NativeLog) -> None:
    """Evaluate one token: pages come in and buffers are made now, and what cannot work fails here."""
    if not context.pooling and not (context.has_memory and model.can_generate):
        return
    batch = Batch(1, 1)
    batch.clear()
    batch.add_token(0, max(model.vocabulary.bos, model.vocabulary.eos, 0), 0)
    if context.decode(batch) != DECODED:
        raise load_failure("The model was loaded but cannot compute", log)
    context.synchronize()
    context.clear()


def embedding_inputs(model: Model, context: Context, plan: LaunchPlan) -> Inputs | Pairs | None:
    """None where the model makes no vectors of whole texts. A text is pooled as a whole, so it must fit into a batch;
    only what is taken from its last token can be computed in parts."""
    if context.pooling not in (*WHOLE_TEXT, POOLING_RANK):
        return None
    capacity = min(plan.context_tokens, model.train_context_tokens or plan.context_tokens)
    if not (context.pooling == POOLING_LAST and context.has_memory):
        capacity = min(capacity, context.batch_tokens)
    if context.pooling == POOLING_RANK:
        return Pairs(model.vocabulary, model.rerank_template, capacity)
    return Inputs(model.vocabulary, capacity)


def describe(
    model: Model, context: Context, projector: Projector | None, plan: LaunchPlan, log: NativeLog, variant: str
) -> Loaded:
    vocabulary = model.vocabulary
    gpu_layers, total_layers = read_offload(log.lines)
    return Loaded(
        context_tokens=plan.context_tokens,
        slots=plan.slots if plan.embedding else context.slots,
        train_context_tokens=model.train_context_tokens,
        vocab_size=vocabulary.size,
        add_bos=vocabulary.add_bos,
        bos_text=vocabulary.text_of(vocabulary.bos),
        eos_text=vocabulary.text_of(vocabulary.eos),
        control_texts=vocabulary.control_texts(),
        fill=vocabulary.fill_tokens(),
        can_shift=context.can_shift,
        can_see=projector is not None and projector.can_see,
        can_hear=projector is not None and projector.can_hear,
        gpu_layers=gpu_layers,
        total_layers=total_layers or model.layers + 1,
        buffers=read_buffers(log.lines, devices.gpu_names()) + (() if projector is None else (projector.buffer,)),
        cpu_variant=variant,
        system_info=(bindings.llama().llama_print_system_info() or b"").decode(errors="replace").strip(),
    )
