"""gpt-oss: another name of the architecture, and of three tensors of each layer."""

from __future__ import annotations

from server.store.foreign import values
from server.store.foreign.draft import Draft

_TENSORS = (
    (".attn_out.", ".attn_output."),
    (".attn_sinks.weight", ".attn_sinks"),
    (".attn_sinks", ".attn_sinks.weight"),
    (".ffn_norm.", ".post_attention_norm."),
)


def text(draft: Draft) -> None:
    experts = draft.tensor("blk.0.ffn_gate_exps.weight", 3)
    draft.become("gpt-oss")
    draft.put_missing("gpt-oss.expert_feed_forward_length", values.u32(experts.shape[1]))
    draft.put_missing("gpt-oss.rope.scaling.type", values.text("yarn"))
    draft.put("tokenizer.ggml.pre", values.text("gpt-4o"))
    draft.rename(_TENSORS)
