"""Qwen 3.5 and Qwen 3 Next: layers with a state beside those with a cache, and the eyes of Qwen 3 VL."""

from __future__ import annotations

from server.errors import InvalidGguf
from server.store.foreign import qwen3vl, values
from server.store.foreign.draft import Draft
from server.store.foreign.qwen25vl import check_sections, rope_sections
from server.store.gguf import GgufHeader
from server.store.gguf_numbers import numbers

_STEP = ".ssm_dt"


def is_foreign(header: GgufHeader) -> bool:
    names = [tensor.name for tensor in header.tensors]
    sections = header.get("rope.dimension_sections")
    is_short = isinstance(sections, list) and len(sections) == 3
    has_more = any(name.startswith(("v.", "mm.", "mtp.")) or name.endswith(_STEP) for name in names)
    return has_more or is_short or isinstance(header.get("attention.head_count_kv"), list)


def text(draft: Draft) -> None:
    family = draft.header.architecture
    if family != "qwen3next":
        sections = rope_sections(draft, "rope.dimension_sections") or rope_sections(draft, "rope.mrope_section")
        check_sections(draft, sections)
        if not sections:
            raise InvalidGguf(f"the key {family}.rope.dimension_sections is missing")
        draft.put(f"{family}.rope.dimension_sections", values.numbers(values.I32, sections))
    heads = draft.header.get("attention.head_count_kv")
    if isinstance(heads, list):  # none in layers with a state, and the same number in all others
        draft.put(f"{family}.attention.head_count_kv", values.u32(max(numbers(heads), default=0)))
    if draft.has_any("mtp."):  # layers that guess words ahead, which only the old engine finds under these names
        draft.leave("mtp.")
        draft.drop(f"{family}.nextn_predict_layers")
    draft.leave("v.", "mm.")
    draft.rename_ends({_STEP: f"{_STEP}.bias"})


def projector(draft: Draft) -> None:
    draft.put_missing(f"{draft.header.architecture}.vision.attention.layer_norm_epsilon", values.f32(1e-6))
    qwen3vl.projector(draft)
