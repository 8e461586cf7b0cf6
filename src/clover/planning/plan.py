"""A run, planned: operations, memory, days, cores and bytes, from its settings and a device's data sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from clover.errors import ConfigError
from clover.modeling.model import ModelConfig
from clover.objectives.pretraining import PretrainingObjectiveConfig
from clover.planning.devices import DEVICES_PER_MACHINE, Device
from clover.planning.memory import Memory, MemoryNeeds, Precision, largest_micro_batch, memory_of
from clover.planning.network import Block, SampleShape, blocks_of
from clover.planning.objective import OBJECTIVES
from clover.planning.traffic import Traffic, traffic_of
from clover.planning.workload import Storage, Workload
from clover.types import Parallel

SECONDS_A_DAY = 86_400


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Everything that a plan is made from."""

    model: ModelConfig
    objective: PretrainingObjectiveConfig
    video: SampleShape
    """A video sample; an image is the same with one frame."""
    workload: Workload
    batch_size: int
    """Samples of a step, on all devices."""
    micro_batch_size: int = 0
    """Samples that go through the network together on one device; 0 takes the largest power of two that fits."""
    num_devices: int
    device: Device
    parallel: Parallel = "ddp"
    precision: Precision = "bfloat16"
    recomputes_blocks: bool = False
    """Activation checkpointing."""
    utilisation: float = 0.4
    """Share of the peak rate that is reached, above 0 and at most 1."""
    memory_share: float = 0.9
    """Share of the memory that may be used; the rest is for the context and for gaps between tensors."""
    machine_bandwidth: float = 50e9
    """Bytes a second that leave one machine, through all its links."""
    storage: Storage = "loose"
    """Whether samples lie in shards of clover data pack or in files of their own; said with what is assumed of them."""
    videos_per_core_second: float
    images_per_core_second: float
    video_bytes: float
    """Of a video file."""
    image_bytes: float

    def __post_init__(self) -> None:
        if self.num_devices > self.batch_size or self.batch_size < 1:
            raise ConfigError(
                f"a batch of {self.batch_size} does not give each of {self.num_devices} devices a sample; "
                f"give a larger --batch-size or fewer --devices"
            )
        if not 0 <= self.micro_batch_size <= self.batch_per_device:
            raise ConfigError(
                f"micro_batch_size is {self.micro_batch_size}; a device's part of the batch is "
                f"{self.batch_per_device} samples: give 1 to {self.batch_per_device}, or 0 for the largest that fits"
            )
        for name in ("utilisation", "memory_share"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name) * 100:g} %; give more than 0 and at most 100 %")
        for name in ("machine_bandwidth", "videos_per_core_second", "images_per_core_second"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name} is {getattr(self, name):g}; it must be above 0")
        workload = self.workload
        if self.video_bytes < 0 or self.image_bytes < 0:
            raise ConfigError(f"files of {self.video_bytes:g} and {self.image_bytes:g} bytes: give 0 or more")
        if min(workload.num_videos, workload.num_images) < 0 or not 0 < workload.num_epochs < math.inf:
            raise ConfigError(
                f"{workload.num_videos} videos and {workload.num_images} images, {workload.num_epochs:g} times: "
                f"give 0 or more of each, and more than 0 epochs"
            )
        if workload.num_videos + workload.num_images == 0:
            raise ConfigError("a run without videos and images trains nothing; give --videos or --images")
        for name, count in workload.sources.items():
            if count < self.batch_size:
                raise ConfigError(
                    f"{count} {name}s do not fill a batch of {self.batch_size}; give more, or a smaller --batch-size"
                )

    @property
    def batch_per_device(self) -> int:
        """Samples of a step on one device; the last may have fewer."""
        return -(-self.batch_size // self.num_devices)

    @property
    def bandwidth(self) -> float:
        """Bytes a second at which a ring through all devices moves on.

        Rings leave a machine by one device and come back by another, and as many rings as a machine has links share
        the bytes: what counts is all of a machine's links together.
        """
        if self.num_devices <= DEVICES_PER_MACHINE:
            return self.device.link_bandwidth
        return min(self.device.link_bandwidth, self.machine_bandwidth)

    @property
    def image(self) -> SampleShape:
        """An image sample."""
        return replace(self.video, num_frames=1)


@dataclass(frozen=True, kw_only=True)
class Operations:
    """Floating-point operations of one sample."""

    forward: dict[str, int]
    """Of each part of the network: the complete and the masked sample."""
    training: int
    """Forward and backward."""
    executed: int
    """With what is computed twice: for the gradient cache, and for activation checkpointing."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of the run, all of whose samples are of one kind."""

    compute_seconds: float
    objective_seconds: float
    """Of a device's share, in float32."""
    samples_per_second: float
    """With the network's traffic hidden behind the computation."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run will take."""

    num_weights: int
    micro_batch_size: int
    largest_micro_batch_size: int
    """0: not even one sample fits."""
    fits: bool
    uses_gradient_cache: bool
    usable_bytes: float
    video: Operations
    image: Operations
    objective_flops: int
    """Of one step, of a device's share."""
    memory: Memory
    video_step: Step
    image_step: Step
    traffic: Traffic
    num_steps: int
    training_flops: float
    """Of the run: forward and backward of every sample."""
    executed_flops: float
    days: float
    """With the traffic between devices wholly hidden behind the computation."""
    days_nothing_hidden: float
    """With all of it waited for."""
    samples_per_second: float
    videos_per_second: float
    images_per_second: float
    decode_cores: float
    storage_bytes: float


def operations_of(blocks: Sequence[Block], *, uses_gradient_cache: bool, recomputes_blocks: bool) -> Operations:
    """Operations of one sample, by part of the network and in training."""
    forward: dict[str, int] = {}
    for block in blocks:
        forward[block.part] = forward.get(block.part, 0) + block.flops
    once = sum(forward.values())
    training = once + sum(block.gradient_flops for block in blocks)
    again = sum(block.flops for block in blocks if block.is_repeatable) if recomputes_blocks else 0
    executed = training + once * uses_gradient_cache + again
    return Operations(forward=forward, training=training, executed=executed)


def make_plan(setting: Setting) -> Plan:
    """Plan a run; every figure follows from the setting by arithmetic."""
    width, workload, device = setting.model.embedding_width, setting.workload, setting.device
    blocks = {name: blocks_of(setting.model, getattr(setting, name)) for name in ("video", "image")}
    needs = _needs(setting, blocks["video" if workload.num_videos else "image"])
    usable, has_cache = setting.memory_share * device.memory_bytes, bool(setting.objective.compared)
    largest = largest_micro_batch(needs, usable, has_cache=has_cache)
    micro_batch_size = setting.micro_batch_size or _convenient(largest, setting.batch_per_device)
    is_cached = has_cache and micro_batch_size < setting.batch_per_device
    memory = memory_of(needs, micro_batch_size, is_cached=is_cached)
    operations = {
        name: operations_of(part, uses_gradient_cache=is_cached, recomputes_blocks=setting.recomputes_blocks)
        for name, part in blocks.items()
    }
    objective_flops = needs.objective.flops(setting.batch_size, width) // setting.num_devices
    steps = {name: _step(setting, each, objective_flops) for name, each in operations.items()}
    counts = workload.samples(setting.batch_size)
    traffic = traffic_of(
        num_weights=needs.num_weights,
        embedding_width=width,
        batch_size=setting.batch_size,
        num_devices=setting.num_devices,
        parallel=setting.parallel,
        num_micro_batches=-(-setting.batch_per_device // micro_batch_size),
        uses_gradient_cache=is_cached,
    )
    seconds = sum(counts[name] / steps[name].samples_per_second for name in counts)
    num_steps = workload.num_steps(setting.batch_size)
    rates = {name: counts[name] / seconds for name in counts}
    return Plan(
        num_weights=needs.num_weights,
        micro_batch_size=micro_batch_size,
        largest_micro_batch_size=largest,
        fits=memory.peak <= usable,
        uses_gradient_cache=is_cached,
        usable_bytes=usable,
        video=operations["video"],
        image=operations["image"],
        objective_flops=objective_flops,
        memory=memory,
        video_step=steps["video"],
        image_step=steps["image"],
        traffic=traffic,
        num_steps=num_steps,
        training_flops=sum(counts[name] * operations[name].training for name in counts),
        executed_flops=sum(counts[name] * operations[name].executed for name in counts),
        days=seconds / SECONDS_A_DAY,
        days_nothing_hidden=(seconds + num_steps * traffic.total / setting.bandwidth) / SECONDS_A_DAY,
        samples_per_second=sum(rates.values()),
        videos_per_second=rates["video"],
        images_per_second=rates["image"],
        decode_cores=rates["video"] / setting.videos_per_core_second + rates["image"] / setting.images_per_core_second,
        storage_bytes=workload.num_videos * setting.video_bytes + workload.num_images * setting.image_bytes,
    )


def _needs(setting: Setting, blocks: Sequence[Block]) -> MemoryNeeds:
    shape = setting.video if setting.workload.num_videos else setting.image
    return MemoryNeeds(
        blocks=blocks,
        clip_bytes=3 * shape.num_frames * shape.frame_size**2,
        objective=OBJECTIVES[setting.objective.alignment],
        embedding_width=setting.model.embedding_width,
        batch_size=setting.batch_size,
        batch_per_device=setting.batch_per_device,
        num_devices=setting.num_devices,
        parallel=setting.parallel,
        precision=setting.precision,
        recomputes_blocks=setting.recomputes_blocks,
    )


def _convenient(largest: int, whole: int) -> int:
    """The whole batch, or the largest power of two that fits; 1 where nothing does."""
    return whole if largest == whole else 1 << max(0, largest.bit_length() - 1)


def _step(setting: Setting, operations: Operations, objective_flops: int) -> Step:
    device = setting.device
    rate = device.flops if setting.precision == "bfloat16" else device.wide_flops
    compute = operations.executed * setting.batch_size / (setting.num_devices * rate * setting.utilisation)
    objective = objective_flops / (device.wide_flops * setting.utilisation)
    return Step(
        compute_seconds=compute,
        objective_seconds=objective,
        samples_per_second=setting.batch_size / (compute + objective),
    )
