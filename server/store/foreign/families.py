"""Which files were written for Ollama's own engine, and what makes them into something that llama.cpp can load.

They use names of tensors and keys that llama.cpp does not know, so it refuses them at best and answers nonsense at
worst. Where no row of the table fits, a clear sentence is better than either. Source of the differences: Ollama's own
compatibility layer, and what llama.cpp's loaders ask for.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from typing import NamedTuple
from weakref import WeakKeyDictionary

from server.errors import InvalidGguf, Unsupported
from server.messages.patchwork import Patchwork
from server.store.foreign import gemma3, gemma3n, gemma4, gptoss, mistral3, qwen3vl, qwen25vl, qwen35, small
from server.store.foreign.draft import Draft, Finished
from server.store.gguf import GgufHeader
from server.store.gguf_shape import check_loadable

ADVICE = "this model was built for another engine; get a GGUF build made for llama.cpp, for example from hf.co"
_ENCODERS = ("v.", "mm.", "a.")
_UNKNOWN = frozenset({"mllama", "glmocr", "deepseekocr", "nemotron_h_omni"})


class Translation(NamedTuple):
    """The language model, and the part that sees where it was in the same file."""

    text: Finished
    projector: Finished | None


class Loadable(NamedTuple):
    """What llama.cpp is given: headers as it will read them, and patches where files have to be read another way."""

    header: GgufHeader
    patches: Patchwork | None = None
    projector: GgufHeader | None = None
    projector_patches: Patchwork | None = None


class Family(NamedTuple):
    """`architectures`: what its files call themselves. `text` makes the language model, `projector` the part that sees.
    `is_foreign`: which of the files need it, where llama.cpp knows some of that name."""

    architectures: tuple[str, ...]
    text: Callable[[Draft], None]
    projector: Callable[[Draft], None] | None = None
    is_foreign: Callable[[GgufHeader], bool] = lambda _: True


def _has(header: GgufHeader, *names: str) -> bool:
    return any(tensor.name in names for tensor in header.tensors)


def _has_encoder(header: GgufHeader) -> bool:
    return any(tensor.name.startswith(_ENCODERS) for tensor in header.tensors)


def _is_gemma_embedding(header: GgufHeader) -> bool:
    return _has(header, "dense.0.weight")


def _is_gemma3(header: GgufHeader) -> bool:
    named = any(header.get(f"rope.{part}.freq_base") is not None for part in ("local", "global"))
    return named or header.get("attention.layer_norm_rms_epsilon") is None or _has_encoder(header)


def _is_gemma3n(header: GgufHeader) -> bool:
    rows = {tensor.name: tensor.shape[-1] for tensor in header.tensors if tensor.shape}
    return _has_encoder(header) or rows.get("token_embd.weight") != rows.get("per_layer_token_embd.weight")


def _is_qwen3vl(header: GgufHeader) -> bool:
    return header.get("rope.dimension_sections") is None or _has_encoder(header)


def _is_mistral3(header: GgufHeader) -> bool:
    keys = ("rope.scaling.beta_fast", "rope.scaling.mscale_all_dim", "rope.scaling_beta")
    return _has_encoder(header) or any(header.get(key) is not None for key in keys)


def _is_gemma4(header: GgufHeader) -> bool:
    is_misnamed = header.text("tokenizer.ggml.model") == "llama"
    scaled = any(tensor.name.endswith(".per_expert_scale") for tensor in header.tensors)
    return is_misnamed or scaled or _has_encoder(header)


def _is_lfm2(header: GgufHeader) -> bool:
    is_old = _has(header, "output_norm.weight") and not _has(header, "token_embd_norm.weight")
    return is_old and not _has_encoder(header)


# The first row that fits counts.
FAMILIES: tuple[Family, ...] = (
    Family(("gptoss",), gptoss.text),
    Family(("gemma3",), gemma3.embedding, None, _is_gemma_embedding),
    Family(("gemma3",), gemma3.text, gemma3.projector, _is_gemma3),
    Family(("gemma3n",), gemma3n.text, None, _is_gemma3n),
    Family(("gemma4",), gemma4.text, gemma4.projector, _is_gemma4),
    Family(("qwen25vl",), qwen25vl.text, qwen25vl.projector),
    Family(("qwen3vl", "qwen3vlmoe"), qwen3vl.text, qwen3vl.projector, _is_qwen3vl),
    Family(("qwen35", "qwen35moe", "qwen3next"), qwen35.text, qwen35.projector, qwen35.is_foreign),
    Family(("mistral3",), mistral3.text, mistral3.projector, _is_mistral3),
    Family(("lfm2",), small.lfm2, None, _is_lfm2),
    Family(("olmo3",), small.olmo3),
    Family(("glm4moelite",), small.glm4_lite),
    Family(("bert",), small.bert, None, small.is_lettered_bert),
    Family(("llama",), small.llama3, None, small.is_bare_llama3),
)

_models: WeakKeyDictionary[GgufHeader, Translation | InvalidGguf | None] = WeakKeyDictionary()
_projectors: WeakKeyDictionary[GgufHeader, Finished | None] = WeakKeyDictionary()
_rows: WeakKeyDictionary[GgufHeader, Family | None] = WeakKeyDictionary()
_lock = threading.RLock()


def translation(header: GgufHeader) -> Translation | None:
    """How llama.cpp can load a model file; None where it is to be loaded as it is. Made once for a header. Raises
    InvalidGguf where a family is known and the file lacks something, OSError where it cannot be read."""
    with _lock:
        if header in _models:
            found = _models[header]
        else:
            found = _models[header] = _attempt(header)
    if isinstance(found, InvalidGguf):
        raise InvalidGguf(str(found))
    return found


def _attempt(header: GgufHeader) -> Translation | InvalidGguf | None:
    family = _family(header)
    if family is None:
        return None
    try:
        check_loadable(header)
        text = _finish(header, family.text)
        check_loadable(text.header)
        has_eyes = family.projector and header.has_vision and _has_encoder(header)
        return Translation(text, _finish(header, family.projector) if has_eyes and family.projector else None)
    except InvalidGguf as error:
        return error


def projector_translation(header: GgufHeader) -> Finished | None:
    """The same for a projector that has a file of its own."""
    with _lock:
        if header not in _projectors:
            _projectors[header] = _finish(header, small.llava) if _is_old_llava(header) else None
        return _projectors[header]


def _is_old_llava(header: GgufHeader) -> bool:
    is_old = header.kind == "projector" and header.flag("clip.has_vision_encoder") is True
    kinds = ("clip.projector_type", "clip.vision.projector_type")
    return is_old and header.architecture == "clip" and all(header.metadata.get(kind) is None for kind in kinds)


def loadable(header: GgufHeader, projector: GgufHeader | None) -> Loadable:
    """A model, with the projector that has a file of its own. Raises Unsupported, with the reason."""
    try:
        found, seeing = translation(header), projector_translation(projector) if projector else None
    except (InvalidGguf, OSError) as error:
        raise Unsupported(_fault(error)) from error
    if found is None:
        if reason := foreign_reason(header):
            raise Unsupported(reason)
        own = Loadable(header, None, projector)
    elif projector is not None or found.projector is None:
        own = Loadable(found.text.header, found.text.patchwork, projector)
    else:
        own = Loadable(found.text.header, found.text.patchwork, found.projector.header, found.projector.patchwork)
    return own._replace(projector=seeing.header, projector_patches=seeing.patchwork) if seeing else own


def _fault(error: InvalidGguf | OSError) -> str:
    """Without paths, which are nobody's business on other machines."""
    if isinstance(error, OSError):
        return f"its file cannot be read: {error.strerror or 'unknown error'}"
    return f"{ADVICE} ({error})"


def as_loaded(header: GgufHeader) -> GgufHeader:
    """A model's header as llama.cpp will read it; the file's own where that is not to be had."""
    try:
        return loadable(header, None).header
    except Unsupported:
        return header


def _family(header: GgufHeader) -> Family | None:
    """Asked for whenever models are listed, and one of the answers takes reading the vocabulary."""
    with _lock:
        if header not in _rows:
            try:
                _rows[header] = _found_family(header) if header.kind == "model" else None
            except (InvalidGguf, OSError):  # the file has gone, which is told to those who load it
                return None
        return _rows[header]


def _found_family(header: GgufHeader) -> Family | None:
    rows = (family for family in FAMILIES if header.architecture in family.architectures)
    return next((family for family in rows if family.is_foreign(header)), None)


def _finish(header: GgufHeader, change: Callable[[Draft], None]) -> Finished:
    draft = Draft(header)
    try:
        change(draft)
        return draft.finished()
    except struct.error as error:
        raise InvalidGguf("a number in its header is too large") from error


def is_foreign(header: GgufHeader) -> bool:
    """Whether llama.cpp cannot use a model file as it is."""
    return _family(header) is not None or bool(foreign_reason(header))


def foreign_reason(header: GgufHeader) -> str:
    """Why neither llama.cpp nor a row of the table can make anything of this file, "" where one of them can."""
    if header.kind != "model":
        return ""
    if _family(header) is not None:
        try:
            translation(header)
        except (InvalidGguf, OSError) as error:
            return _fault(error)
        return ""
    if header.architecture in _UNKNOWN:
        return f"{ADVICE} (its architecture is {header.architecture})"
    if _has_encoder(header):
        return f"{ADVICE} (its vision or audio part is inside the same file)"
    return ""
