"""clover plan."""

from __future__ import annotations

import json as json_format
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from clover.commands.options import parse, recipe_name
from clover.config import to_plain
from clover.errors import ConfigError
from clover.planning.workload import (
    IMAGE_BYTES,
    IMAGES_PER_CORE_SECOND,
    VIDEO_BYTES,
    VIDEOS_PER_CORE_SECOND,
    WORKLOADS,
    Storage,
    Workload,
)

if TYPE_CHECKING:
    from clover.planning.memory import Precision
    from clover.planning.plan import Setting


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """Operations, memory, days, processor cores and bytes of a pre-training run: arithmetic, nothing is run."""

    recipe: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RECIPE")]
    """A recipe of clover pretrain, such as webvid_cc3m."""
    fusion: Literal["recipe", "concatenated", "cross_attention", "gated"] = "recipe"
    """Kind of fusion; the recipe's if not given."""
    devices: str = "1xH100"
    """Number and kind, such as 8xH100; an unknown kind is answered with the known ones."""
    batch_size: int | None = None
    """Samples of a step on all devices; the recipe's if not given."""
    micro_batch_size: int = 0
    """Samples that go through the network together on one device; 0: the largest that fits."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """Whole weights on every device (ddp), or weights, gradients and optimiser states shared out (fsdp)."""
    precision: Literal["recipe", "bfloat16", "float32"] = "recipe"
    """Numbers that the network computes with; the recipe's if not given."""
    checkpoints_activations: bool = False
    """Compute every layer again in the backward pass: less memory, one forward pass more; also if the recipe does."""
    utilisation: float = 40.0
    """Per cent of the data sheet's peak that is reached, operations done twice included."""
    videos: int | None = None
    """Videos of one epoch; the recipe's if not given."""
    images: int | None = None
    """Images of one epoch; the recipe's if not given."""
    epochs: float | None = None
    """Times that the kind that takes more steps is read; the recipe's if not given."""
    packed: bool = False
    """Samples come from shards of clover data pack; else from files of their own. Decides what the next options take
    where they are not given."""
    machine_bandwidth: float = 50.0
    """GB a second that leave a machine of eight devices, through all its links; 50 is 400 Gbit/s."""
    videos_per_core_second: float | None = None
    """Videos that one processor core decodes in a second; if not given, what was measured: 57.0 packed, 5.6 in files of
    their own."""
    images_per_core_second: float = IMAGES_PER_CORE_SECOND
    """Images that one processor core decodes in a second."""
    video_megabytes: float | None = None
    """Mean size of a video file; if not given, 0.5 packed, 1.7 in files of their own."""
    image_megabytes: float = IMAGE_BYTES / 1e6
    """Mean size of an image file."""
    memory_share: float = 90.0
    """Per cent of a device's memory that may be used."""
    device_flops: float = 0.0
    """Peak operations a second, in place of the data sheet's (4e14 is 400 TFLOP/s)."""
    device_memory: float = 0.0
    """Memory in bytes, in place of the data sheet's."""
    json: bool = False
    """Print the plan as one JSON object."""


def plan(arguments: Sequence[str]) -> None:
    """Run `clover plan RECIPE`."""
    if not arguments:
        raise ConfigError("no recipe given; write clover plan webvid_cc3m, or another recipe of clover pretrain")
    options = parse(PlanOptions, arguments, command="plan")
    from clover.planning.plan import make_plan

    setting = setting_of(options)
    made = make_plan(setting)
    if options.json:
        print(json_format.dumps({"setting": to_plain(setting), "plan": to_plain(made)}, indent=2))
        return
    from clover.commands.plan_tables import show

    show(options.recipe, setting, made)


def setting_of(options: PlanOptions) -> Setting:
    """What the options and the recipe say together.

    Raises:
        ConfigError: there is no such recipe, or a figure is out of range.
    """
    from clover.planning.devices import parse_devices
    from clover.planning.network import SampleShape
    from clover.planning.plan import Setting
    from clover.recipes.pretrain import RECIPES

    name = recipe_name(RECIPES, options.recipe)
    recipe = RECIPES[name]()
    kind = recipe.model.fusion.kind if options.fusion == "recipe" else options.fusion
    vocabulary_size = max(recipe.model.text.vocabulary_size, recipe.data.vocabulary_size)
    num_devices, device = parse_devices(options.devices, flops=options.device_flops, memory_bytes=options.device_memory)
    batch_size = recipe.training.batch_size if options.batch_size is None else options.batch_size
    # other recipes say their steps, whatever the batch
    known = WORKLOADS.get(name) or Workload(
        num_videos=batch_size * recipe.training.num_steps, num_images=0, num_epochs=1.0
    )
    workload = Workload(
        num_videos=known.num_videos if options.videos is None else options.videos,
        num_images=known.num_images if options.images is None else options.images,
        num_epochs=known.num_epochs if options.epochs is None else options.epochs,
        name=known.name if options.videos is None and options.images is None else "",
    )
    storage: Storage = "packed" if options.packed or recipe.data.video_shards else "loose"
    rate, megabytes = options.videos_per_core_second, options.video_megabytes
    inputs = recipe.inputs
    chosen = recipe.compute.precision if options.precision == "recipe" else options.precision
    precision: Precision = "bfloat16" if chosen == "bfloat16" else "float32"
    return Setting(
        model=replace(
            recipe.model,
            text=replace(recipe.model.text, vocabulary_size=vocabulary_size),
            fusion=replace(recipe.model.fusion, kind=kind),
        ),
        objective=recipe.objective,
        video=SampleShape(
            num_frames=inputs.num_frames,
            frame_size=inputs.frames.size,
            text_length=inputs.max_text_length,
            number_bytes=2 if precision == "bfloat16" else 4,
        ),
        workload=workload,
        batch_size=batch_size,
        micro_batch_size=options.micro_batch_size,
        num_devices=num_devices,
        device=device,
        parallel=options.parallel,
        precision=precision,
        recomputes_blocks=options.checkpoints_activations or recipe.compute.checkpoints_activations,
        utilisation=options.utilisation / 100,
        memory_share=options.memory_share / 100,
        machine_bandwidth=options.machine_bandwidth * 1e9,
        storage=storage,
        videos_per_core_second=VIDEOS_PER_CORE_SECOND[storage] if rate is None else rate,
        images_per_core_second=options.images_per_core_second,
        video_bytes=VIDEO_BYTES[storage] if megabytes is None else megabytes * 1e6,
        image_bytes=options.image_megabytes * 1e6,
    )
