"""The memory of a projector: its weights, and what it computes an image or a sound in.

All widths are in elements of 4 bytes, n positions (patches of an image, steps of a sound). The busiest of these moments
counts, because one takes the place of the other:

    attention     n * 5 embeddings; without flash attention every position's score for every other, per head, too
    masked        where layers see parts of the image, with flash attention: n * 4 embeddings, and the mask three times:
                  as it was given and two copies of half the size; without, it is there once beside the attention
    feed-forward  n * (3 embeddings + feed-forward), and with a gate n * (3 embeddings + 3 feed-forward + inputs)
    projection    tokens * 2 * projection + n * (embedding + inputs)

On top lies what early layers keep for the text model, tokens * projection each. llama.cpp makes room for an image of a
common size when it loads, and for a larger one when it comes. The numbers were found by comparing with what llama.cpp
reports for the shapes of known projectors; tests hold them to it.
"""

from __future__ import annotations

from dataclasses import dataclass

from server.messages.frames import LaunchPlan
from server.messages.models import EncoderShape, ProjectorShape
from server.scheduler.parts import Part

FLOAT_BYTES = 4
_SENSES = {"vision": "images", "audio": "sounds"}


@dataclass(frozen=True, slots=True)
class Work:
    """What one image or sound is computed in; `step` names the busiest moment."""

    positions: int
    inputs_bytes: int
    kept_bytes: int
    step: str
    step_bytes: int

    @property
    def total_bytes(self) -> int:
        return self.step_bytes + self.kept_bytes


@dataclass(frozen=True, slots=True)
class Projection:
    """The parts of a projector by where they are."""

    on_gpu: tuple[Part, ...] = ()
    on_cpu: tuple[Part, ...] = ()


def work_of(encoder: EncoderShape, positions: int, *, has_flash_attention: bool) -> Work:
    embedding, inputs = encoder.embedding_length, encoder.position_inputs
    tokens = positions * encoder.image_tokens // max(1, encoder.most_positions)
    mask = positions**2 if encoder.has_mask else 0
    rest = 3 * embedding + (3 * encoder.feed_forward + inputs if encoder.is_gated else encoder.feed_forward)
    steps = {
        "feed-forward": positions * rest,
        "projection": positions * (embedding + inputs) + tokens * 2 * encoder.projection_length,
    }
    if has_flash_attention:
        steps["attention"] = positions * 5 * embedding
        steps["masked"] = positions * 4 * embedding + 2 * mask if mask else 0
    else:
        steps["attention"] = positions * 5 * embedding + positions**2 * encoder.head_count + mask
    step = max(steps, key=lambda name: steps[name])
    return Work(
        positions=positions,
        inputs_bytes=(positions * inputs + mask) * FLOAT_BYTES,
        kept_bytes=tokens * encoder.kept_outputs * encoder.projection_length * FLOAT_BYTES,
        step=step,
        step_bytes=steps[step] * FLOAT_BYTES,
    )


def parts(projector: ProjectorShape, plan: LaunchPlan, *, on_gpu: bool) -> Projection:
    """Of the projector that the plan names, if it names one. A GPU gets a copy of the image that lies with the
    processor."""
    if not plan.projector_path:
        return Projection()
    flash = plan.flash_attention != "off"
    found = [Part("weights", projector.weights_bytes, "projector")]
    inputs_bytes = 0
    for encoder in projector.encoders:
        first = work_of(encoder, encoder.positions, has_flash_attention=flash)
        most = work_of(encoder, encoder.most_positions, has_flash_attention=flash)
        found.append(_computed(encoder, first))
        if most.total_bytes > first.total_bytes:
            found.append(_grown(first, most))
        inputs_bytes += first.inputs_bytes
    if not on_gpu:
        return Projection(on_cpu=tuple(found))
    return Projection(tuple(found), (Part("compute", inputs_bytes, "images and sounds for the projector"),))


def _computed(encoder: EncoderShape, work: Work) -> Part:
    per_position = work.step_bytes // max(1, work.positions)
    kept = f" + {work.kept_bytes} kept" if work.kept_bytes else ""
    text = f"{_SENSES[encoder.sense]}, {work.positions} positions x {per_position} bytes ({work.step}){kept}"
    return Part("compute", work.total_bytes, text)


def _grown(first: Work, most: Work) -> Part:
    text = f"the largest image has {most.positions} positions and not {first.positions}"
    return Part("overhead", most.total_bytes - first.total_bytes, text, is_later=True)
