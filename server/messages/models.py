"""What is known of a model on disk, and of a model that runs."""

from __future__ import annotations

from typing import Literal

import msgspec

from server.messages.frames import Buffer


class ModelShape(msgspec.Struct, frozen=True, kw_only=True):
    """The sizes that decide memory, read from the GGUF header. Lists of one number per layer are kept as such."""

    architecture: str = ""
    block_count: int = 0
    embedding_length: int = 0
    head_count: int = 0
    head_count_kv: tuple[int, ...] = ()
    key_length: int = 0
    value_length: int = 0
    context_length: int = 0
    vocab_size: int = 0
    weights_bytes: int = 0
    layer_bytes: tuple[int, ...] = ()
    has_pooling: bool = False


class ModelSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What the scheduler needs of a model. `path` is the weights file and the key of its runner: names that share a
    file share a runner."""

    name: str
    digest: str
    path: str
    adapter_paths: tuple[str, ...] = ()
    shape: ModelShape = ModelShape()
    can_complete: bool = True
    has_vision: bool = False


RunnerState = Literal["loading", "ready", "draining", "stopping"]


class RunningModel(msgspec.Struct, frozen=True, kw_only=True):
    """A status line of one runner. `expires_at` is a Unix time, None for never; sizes in bytes."""

    name: str
    digest: str
    path: str
    state: RunnerState
    pid: int | None = None
    context_tokens: int = 0
    slots: int = 1
    size_bytes: int = 0
    gpu_bytes: int = 0
    buffers: tuple[Buffer, ...] = ()
    load_fraction: float = 0.0
    active: int = 0
    waiting: int = 0
    used_tokens: int = 0
    tokens_per_second: float = 0.0
    prompt_tokens_per_second: float = 0.0
    keep_alive_seconds: float = 300.0
    expires_at: float | None = None
