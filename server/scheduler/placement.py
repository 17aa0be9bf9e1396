"""A model, a request's options and the machine make an Order: the ways to load it, best first, with their memory.

    1. `num_gpu` 0, or no GPU: the processor.
    2. GPUs are grouped by vendor library; one runner never mixes two.
    3. `main_gpu`: the device with that number, alone.
    4. Unless OLLAMA_SCHED_SPREAD: each single GPU that holds the model in 80 % of its memory; discrete first, then
       most memory. The policy takes the first that is free, or frees the one that disturbs least.
    5. The best whole group: one with a discrete GPU first, then most memory. What does not fit there stays with the
       processor, layer by layer.

`room` is what our runners may take of each pool together, as if none were loaded; what is taken right now is the
policy's affair. A pool that is not in it is taken as large enough.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, Protocol

import msgspec

from server.hardware.devices import CPU_POOL, Device
from server.messages.frames import LaunchPlan
from server.messages.models import ModelSpec, ProjectorShape
from server.messages.options import RunnerOptions
from server.scheduler import context, sizes
from server.scheduler.events import Candidate, Order
from server.scheduler.footprint import footprint
from server.scheduler.measurements import Measured, nothing_measured
from server.scheduler.parts import Footprint, corrected
from server.scheduler.reuse import Setup

FILL = 0.8  # the part of a pool that an estimate may take, as the policy has it too
BATCH_FILLS = {2048: 0.6, 1024: 0.75}  # a large batch is for models that leave much memory
MARGIN_BYTES = sizes.GIB  # kept free on each GPU when a model is split between GPU and processor
PROJECTOR_MARGIN_BYTES = sizes.GIB  # that a GPU must have beside a projector
PROJECTOR_NOTE = "the GPU ran out of memory; the projector is loaded on the processor"
HOST_RESERVE_BYTES = 8 * 1000**3

FlashAttention = Literal["auto", "on", "off"]


class PlacementSettings(Protocol):
    """The part of the settings that decides how models are loaded."""

    @property
    def num_parallel(self) -> int: ...
    @property
    def context_length(self) -> int: ...
    @property
    def flash_attention(self) -> bool | None: ...
    @property
    def kv_cache_type(self) -> str: ...
    @property
    def sched_spread(self) -> bool: ...
    @property
    def gpu_overhead_bytes(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Machine:
    """The devices, and what models may take of each pool together. `platform` is as `sys.platform` says it;
    `measured` knows what a load took before."""

    devices: tuple[Device, ...] = ()
    room: Mapping[str, int] = field(default_factory=dict)
    platform: str = sys.platform
    measured: Measured = nothing_measured


def place(
    spec: ModelSpec, options: RunnerOptions, settings: PlacementSettings, machine: Machine, *, shift: bool | None = None
) -> Order:
    """All ways to load `spec`; see the head of this module."""
    if not spec.can_complete:  # what makes vectors reads text alone
        spec = msgspec.structs.replace(spec, projector_path="", projector=ProjectorShape())
    order = _placed(spec, options, settings, machine, shift)
    ways = (*order.candidates, *order.fallback)
    if not spec.projector_path or not any(way.plan.projector_offload for way in ways):
        return order
    spared = _placed(spec, options, settings, machine, shift, offloads_projector=False)
    return replace(order, projector_on_cpu=replace(spared, notes=(PROJECTOR_NOTE,)))


def _placed(
    spec: ModelSpec,
    options: RunnerOptions,
    settings: PlacementSettings,
    machine: Machine,
    shift: bool | None,
    *,
    offloads_projector: bool = True,
) -> Order:
    """With the automatic context's smaller way; `offloads_projector`: whether a GPU may have the projector."""

    def loading(context_tokens: int) -> _Loading:
        return _Loading(spec, options, settings, machine, context_tokens, offloads_projector)

    asked = options.num_ctx if options.num_ctx is not None else settings.context_length or None
    if asked is not None:
        return loading(asked).order(shift, is_automatic=False)
    tier = context.tier_context(machine.devices, settings.gpu_overhead_bytes)
    order = loading(tier).order(shift, is_automatic=True)
    lower = context.lower_tier(order.setup.num_ctx)
    if lower is None:
        return order
    return replace(order, fallback=loading(lower).order(shift, is_automatic=True).candidates)


@dataclass
class _Loading:
    """One model with one context."""

    spec: ModelSpec
    options: RunnerOptions
    settings: PlacementSettings
    machine: Machine
    wanted_context: int
    offloads_projector: bool = True

    def __post_init__(self) -> None:
        self.num_ctx = context.clamped_context(self.spec, self.wanted_context)
        self.slots = context.slot_count(self.spec, self.settings.num_parallel)
        self.cells = self.num_ctx * self.slots
        self.notes: list[str] = []
        self._plans: dict[tuple[int, ...], LaunchPlan] = {}
        self._footprints: dict[tuple[tuple[int, ...], int], Footprint] = {}

    def order(self, shift: bool | None, *, is_automatic: bool) -> Order:
        shift = context.shift_choice(self.spec, shift)
        candidates = tuple(
            replace(candidate, plan=msgspec.structs.replace(candidate.plan, shift=shift))
            for candidate in self._candidates()
        )
        plan, options = candidates[0].plan, self.options
        setup = Setup(
            adapter_paths=self.spec.adapter_paths,
            projector_path=self.spec.projector_path,
            shift=shift,
            num_ctx=self.num_ctx,
            num_ctx_automatic=is_automatic,
            num_batch=plan.batch_tokens,
            num_batch_automatic=options.num_batch is None,
            num_gpu=options.num_gpu,
            main_gpu=options.main_gpu,
            use_mmap=plan.use_mmap,
            use_mmap_automatic=options.use_mmap is None,
            num_thread=options.num_thread,
            draft_num_predict=options.draft_num_predict or 0,
        )
        self._note_limits(is_automatic)
        notes = tuple(dict.fromkeys(self.notes))
        return Order(self.spec.path, setup, candidates, name=self.spec.name, digest=self.spec.digest, notes=notes)

    def _note_limits(self, is_automatic: bool) -> None:
        if not is_automatic and self.wanted_context > self.num_ctx:
            self.notes.append(
                f"requested context size too large for model: num_ctx={self.wanted_context} n_ctx_train={self.num_ctx}"
            )
        if self.settings.num_parallel > self.slots and self.spec.can_complete:
            self.notes.append("model architecture does not currently support parallel requests")

    # ---- where ------------------------------------------------------------------------------------------------------

    def _candidates(self) -> list[Candidate]:
        devices = self.machine.devices
        if self.options.num_gpu == 0 or not devices:
            return [self._candidate(())]
        groups = self._groups()
        if self.options.main_gpu is not None:
            chosen = [group[self.options.main_gpu] for group in groups if 0 <= self.options.main_gpu < len(group)]
            if chosen:
                return [self._candidate((min(chosen, key=self._preference),))]
            self.notes.append(f"there is no GPU {self.options.main_gpu}; the best ones are used")
        found: list[Candidate] = []
        if not self.settings.sched_spread:
            singles = sorted(devices, key=self._preference)
            found = [self._candidate((device,)) for device in singles if self._is_held_by((device,))]
        group = groups[0]
        if not found or (len(group) > 1 and self._is_held_by(group)):
            found.append(self._candidate(group))
        return found

    def _groups(self) -> list[tuple[Device, ...]]:
        """The devices of each vendor library, in the vendor's order; the best library first."""
        libraries: dict[str, list[Device]] = {}
        for device in self.machine.devices:
            libraries.setdefault(device.library, []).append(device)

        def rank(group: tuple[Device, ...]) -> tuple[bool, int]:
            return all(device.is_integrated for device in group), -self._room(group)

        return sorted((tuple(group) for group in libraries.values()), key=rank)

    def _preference(self, device: Device) -> tuple[bool, int, int]:
        return device.is_integrated, -self._room((device,)), device.index

    def _room(self, devices: Sequence[Device]) -> int:
        """What models may take of these GPUs; of the processor's memory where there are none."""
        if not devices:
            return self.machine.room.get(CPU_POOL, sys.maxsize)
        return sum(max(0, self.machine.room.get(device.pool, device.free_bytes)) for device in devices)

    # ---- how --------------------------------------------------------------------------------------------------------

    @cached_property
    def _all_layers(self) -> int:
        return self.spec.shape.block_count + 1

    def _is_held_by(self, devices: Sequence[Device]) -> bool:
        """On GPUs, whether every layer that may go there fits; on the processor, whether everything does."""
        taken = self._footprint(devices, self._plan(devices)).need()
        need = sum(size for pool, size in taken.items() if not devices or pool != CPU_POOL)
        return need <= FILL * self._room(devices)

    def _footprint(self, devices: Sequence[Device], plan: LaunchPlan) -> Footprint:
        """A group shares in proportion to the room of its members, as the engine splits layers."""
        key = tuple(device.index for device in devices), plan.gpu_layers
        known = self._footprints.get(key)
        if known is None:
            shares = {device.pool: float(self._room((device,))) for device in devices}
            known = footprint(
                self.spec.shape,
                plan,
                shares,
                adapter_bytes=self.spec.adapter_bytes,
                projector=self.spec.projector,
            )
            measured = self.machine.measured(self.spec.digest, plan)
            known = self._footprints[key] = corrected(known, measured) if measured else known
        return known

    def _candidate(self, devices: tuple[Device, ...]) -> Candidate:
        plan = self._plan(devices)
        layers = self._gpu_layers(devices, plan)
        is_partial = bool(devices) and 0 <= layers < self._all_layers
        plan = msgspec.structs.replace(
            plan,
            gpu_layers=layers,
            use_mmap=self._use_mmap(devices, is_partial),
            projector_offload=plan.projector_offload and layers != 0,  # never there all alone
        )
        taken = self._footprint(devices, plan)
        return Candidate(plan, taken.need(), taken)

    def _plan(self, devices: Sequence[Device]) -> LaunchPlan:
        """With every layer where it is asked to be; how many surely fit is not known yet."""
        key = tuple(device.index for device in devices)
        if key not in self._plans:
            self._plans[key] = self._new_plan(devices)
        return self._plans[key]

    def _new_plan(self, devices: Sequence[Device]) -> LaunchPlan:
        is_partial = bool(devices) and 0 <= self.options.num_gpu < self._all_layers
        return LaunchPlan(
            model_path=self.spec.path,
            model_patches=self.spec.model_patches,
            projector_patches=self.spec.projector_patches,
            adapter_paths=self.spec.adapter_paths,
            projector_path=self.spec.projector_path,
            projector_offload=self._offloads_projector(devices),
            image_min_tokens=context.image_min_tokens(self.spec),
            context_tokens=self.num_ctx,
            slots=self.slots,
            batch_tokens=self._batch(devices),
            gpu_layers=self.options.num_gpu if devices else 0,
            main_gpu=self.options.main_gpu if len(devices) > 1 else None,
            device_indices=tuple(device.index for device in devices),
            use_mmap=self._use_mmap(devices, is_partial),
            threads=max(0, self.options.num_thread),
            flash_attention=self._flash_attention(devices),
            kv_type=self._kv_type(devices),
            embedding=not self.spec.can_complete,
        )

    def _gpu_layers(self, devices: tuple[Device, ...], plan: LaunchPlan) -> int:
        """-1 is everything. What was asked for is passed on; nobody asking, as many layers as surely fit."""
        if not devices:
            return 0
        if self.options.num_gpu >= 0 or self._is_held_by(devices) or not self.spec.shape.block_count:
            return self.options.num_gpu
        whole = self._footprint(devices, plan)
        computed = sum(each.bytes_of("compute") for each in whole.devices if each.pool != CPU_POOL)
        projector = self.spec.projector.weights_bytes if plan.projector_offload else 0
        room = int(FILL * self._room(devices)) - len(devices) * MARGIN_BYTES - computed - projector
        return sizes.layers_that_fit(self.spec.shape, plan, room)

    def _offloads_projector(self, devices: Sequence[Device]) -> bool:
        """A GPU has it, unless layers were kept from there by name, or one of the GPUs has little beside it."""
        if not self.spec.projector_path or not devices or not self.offloads_projector:
            return False
        if 0 <= self.options.num_gpu < self._all_layers:
            return False
        least = self.spec.projector.weights_bytes + PROJECTOR_MARGIN_BYTES
        return all(self._room((device,)) >= least for device in devices)

    def _batch(self, devices: Sequence[Device]) -> int:
        """Large enough for an image that cannot be split, whatever was asked for."""
        batch, image = self._batch_for_text(devices), min(context.whole_image_tokens(self.spec), self.cells)
        if batch < image and self.options.num_batch is not None:
            self.notes.append(f"num_batch is {image}, because a batch must hold a whole image")
        return max(batch, image)

    def _batch_for_text(self, devices: Sequence[Device]) -> int:
        asked = self.options.num_batch
        if not self.spec.can_complete:
            return max(1, min(asked or min(2048, self.num_ctx), self.cells))
        if asked is not None:
            return max(1, min(asked, self.cells))  # llama.cpp keeps it in 32 bits, and never needs more
        if self._flash_attention(devices) == "off" and any(device.library == "CUDA" for device in devices):
            return context.unfused_batch(self.cells, [device for device in devices if device.library == "CUDA"])
        room, plain = self._room(devices), self._kept_bytes(devices)
        for batch in context.batch_choices(self.cells):
            fits = plain + context.batch_spare_bytes(batch) <= FILL * room
            if fits and plain <= BATCH_FILLS.get(batch, FILL) * room:
                return batch
        return context.batch_choices(self.cells)[-1]

    def _kept_bytes(self, devices: Sequence[Device]) -> int:
        """Weights and cache on these devices, whatever is computed with them."""
        plan = LaunchPlan(
            model_path=self.spec.path,
            context_tokens=self.num_ctx,
            slots=self.slots,
            flash_attention=self._flash_attention(devices),
            kv_type=self._kv_type(devices),
        )
        here = not devices or self._offloads_projector(devices)
        weights = sizes.loaded_bytes(self.spec.shape) + (self.spec.projector.weights_bytes if here else 0)
        return weights + sum(sizes.cache_layer_bytes(self.spec.shape, plan))

    def _flash_attention(self, devices: Sequence[Device]) -> FlashAttention:
        choice = self.settings.flash_attention
        if choice is not None:
            return "on" if choice else "off"
        return "auto" if all(_has_flash_attention(device) for device in devices) else "off"

    def _kv_type(self, devices: Sequence[Device]) -> str:
        kv_type = self.settings.kv_cache_type or "f16"
        if kv_type not in ("f16", "f32", "bf16") and self._flash_attention(devices) == "off":
            self.notes.append(f"the KV cache stays f16: {kv_type} needs flash attention, which is off")
            return "f16"
        return kv_type

    def _use_mmap(self, devices: Sequence[Device], is_partial: bool) -> bool:
        """Mapping helps where pages go to a GPU or are shared; elsewhere it only delays reading to the first answer."""
        if self.spec.model_patches is not None:
            return False  # what is put together while it is read is nowhere to be mapped from
        if self.options.use_mmap is not None:
            return self.options.use_mmap
        libraries = {device.library for device in devices}
        if not devices or (self.machine.platform == "win32" and "CUDA" in libraries):
            return False
        if "Metal" in libraries:
            return not is_partial
        if self.machine.platform != "linux" or is_partial or any(device.is_integrated for device in devices):
            return True
        host = self._room(())
        return host >= self.spec.shape.weights_bytes + max(HOST_RESERVE_BYTES, host // 10)


def _has_flash_attention(device: Device) -> bool:
    if device.library != "CUDA" or not device.compute:
        return True
    major, _, minor = device.compute.partition(".")
    return int(major) >= 6 and (major, minor) != ("7", "2")
