"""Whether a loaded model serves a request as it is, or must be loaded anew."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Setup:
    """How a model is loaded, as far as a request can tell.

    Numbers are those in effect, after defaults and clamping. The `_automatic` marks say that nobody asked for the
    number beside them. `num_gpu` is as it was asked for: negative leaves it to the engine.
    """

    adapter_paths: tuple[str, ...] = ()
    projector_path: str = ""
    shift: bool = True
    num_ctx: int = 4096
    num_ctx_automatic: bool = True
    num_batch: int = 512
    num_batch_automatic: bool = True
    num_gpu: int = -1
    main_gpu: int | None = None
    use_mmap: bool = True
    use_mmap_automatic: bool = True
    num_thread: int = 0
    draft_num_predict: int | None = None


def can_reuse(loaded: Setup, wanted: Setup) -> bool:
    """Everything must agree; what nobody asked for agrees with what nobody asked for.

    An explicit number that equals the automatic one agrees too, and a request that leaves the GPU layers open takes
    any. Sampling options are no part of a setup, so they never reload a model.
    """
    return (
        loaded.adapter_paths == wanted.adapter_paths
        and loaded.projector_path == wanted.projector_path
        and loaded.shift == wanted.shift
        and (loaded.num_ctx == wanted.num_ctx or (loaded.num_ctx_automatic and wanted.num_ctx_automatic))
        and (loaded.num_batch == wanted.num_batch or (loaded.num_batch_automatic and wanted.num_batch_automatic))
        and (wanted.num_gpu < 0 or loaded.num_gpu == wanted.num_gpu)
        and loaded.main_gpu == wanted.main_gpu
        and (loaded.use_mmap == wanted.use_mmap or (loaded.use_mmap_automatic and wanted.use_mmap_automatic))
        and loaded.num_thread == wanted.num_thread
        and loaded.draft_num_predict == wanted.draft_num_predict
    )
