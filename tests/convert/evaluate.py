"""What llama.cpp makes of GGUF files: a JSON object a line on standard input, a line of JSON for each when it is done.

Each line has "model", "ids" (lists of tokens), "texts", "first" (the number of the first text), "context" (its length),
"embedding", perhaps "adapters", and "output": the file that gets the same arrays as make_families writes, and "ends",
the tokens that end an answer. Runs in a process of its own, because only runner processes load native model code.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np

from server.engine import bindings, cpu
from server.engine.batch import Batch
from server.engine.context import DECODED, Context
from server.engine.logs import NativeLog
from server.engine.model import Model
from server.engine.process import write_line
from server.messages.frames import LaunchPlan
from server.programs import ENGINE


def evaluate(order: dict[str, Any], log: NativeLog) -> None:
    plan = LaunchPlan(
        model_path=order["model"], context_tokens=order["context"], slots=1, batch_tokens=512, gpu_layers=0,
        device_indices=(), flash_attention="off", kv_type="f32", embedding=order["embedding"],
        adapter_paths=tuple(order.get("adapters", ())),
    )  # fmt: skip
    model = Model(plan, log, lambda fraction: None)
    context = Context(model, plan, 1, log)
    found: dict[str, Any] = {"ends": np.array(sorted(model.vocabulary.end_tokens))}
    for number, (ids, text) in enumerate(zip(order["ids"], order["texts"], strict=True), order["first"]):
        found[f"ids{number}"] = model.vocabulary.tokenize(text, add_special=True, parse_special=True)
        tokens = np.array(ids, np.int32)
        found[f"values{number}"] = vector(context, tokens) if order["embedding"] else logits(context, tokens)
    np.savez(order["output"], **found)


def logits(context: Context, tokens: Any) -> Any:
    """Of every token, one after the other; the last one once more, with all before it in one batch."""
    context.clear()
    rows = [step(context, tokens[at : at + 1], at) for at in range(len(tokens))]
    context.clear()
    at_once = step(context, tokens, 0)
    if np.abs(at_once - rows[-1]).max() > 0.01 * np.abs(at_once).max():
        raise SystemExit(f"at once and in steps differ: {np.abs(at_once - rows[-1]).max()}")
    return np.stack(rows)


def step(context: Context, tokens: Any, position: int) -> Any:
    batch = Batch(len(tokens), 1)
    batch.add_run(0, tokens, position, wants_output=True)
    decode(context, batch)
    return context.logits(1)[0].copy()


def vector(context: Context, tokens: Any) -> Any:
    batch = Batch(len(tokens), 1)
    batch.add_text(0, tokens)
    decode(context, batch)
    return np.frombuffer(context.vector(0), np.float32)


def decode(context: Context, batch: Batch) -> None:
    if context.decode(batch) != DECODED:
        raise SystemExit("llama.cpp could not compute")
    context.synchronize()


def main() -> None:
    log = NativeLog(write_line)
    log.install()
    cpu.load_backends("", None, ENGINE.command())
    bindings.llama().llama_backend_init()
    for line in sys.stdin:
        evaluate(json.loads(line), log)
        sys.stdout.write('{"done": true}\n')
        sys.stdout.flush()


if __name__ == "__main__":
    main()
