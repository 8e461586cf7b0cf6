"""A plan as tables for people."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from clover.planning.devices import GIBIBYTE
from clover.planning.plan import Operations, Plan, Setting

_MEMORY_ROWS = (
    ("weights, float32", "weights"),
    ("gradients", "gradients"),
    ("copies of the gradients to be sent", "buckets"),
    ("AdamW's two averages", "optimizer"),
    ("copies of the weights to compute with", "narrow_weights"),
    ("clips: this batch and the next", "clips"),
    ("activations of one micro-batch", "activations"),
    ("gradients of the block that goes back", "working"),
    ("objective: embeddings and similarities", "objective"),
)


def show(recipe: str, setting: Setting, plan: Plan) -> None:
    """Print operations, memory, time, data, and what all of it assumes."""
    console = Console()
    device = setting.device

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False)

    say(
        f"{recipe}: {setting.num_devices} x {device.name} ({device.flops / 1e12:,.0f} TFLOP/s, "
        f"{device.memory_bytes / GIBIBYTE:.0f} GiB), {setting.parallel}, {setting.precision},"
    )
    say(f"batch {setting.batch_size:,} in micro-batches of {plan.micro_batch_size:,} a device, {_sample(setting)}\n")
    console.print(_operations(setting, plan))
    console.print(_memory(plan))
    say(_verdict(setting, plan) + "\n")
    console.print(_time(setting, plan))
    say("Assumptions")
    for line in assumptions(setting):
        say(f"- {line}")


def _sample(setting: Setting) -> str:
    shape = setting.video
    clip = f"{shape.num_frames} frames of {shape.frame_size} x {shape.frame_size}"
    return f"{clip}, {shape.text_length} word pieces"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(columns[0])
    for name in columns[1:]:
        table.add_column(name, justify="right")
    return table


def _kinds(setting: Setting) -> list[str]:
    """What the run reads: videos, images or both."""
    return [name for name in ("video", "image") if getattr(setting.workload, f"num_{name}s")]


def _operations(setting: Setting, plan: Plan) -> Table:
    kinds: list[Operations] = [getattr(plan, name) for name in _kinds(setting)]
    table = _table("GFLOP of one sample", "", *_kinds(setting))
    for part in plan.video.forward:
        row = [_gigaflop(kind.forward[part]) for kind in kinds]
        table.add_row(f"{part}, forward", *row, end_section=part == "heads")
    table.add_row("forward and backward", *(_gigaflop(kind.training) for kind in kinds))
    table.add_row(f"executed ({_repeated(setting, plan)})", *(_gigaflop(kind.executed) for kind in kinds))
    return table


def _gigaflop(flops: int) -> str:
    return f"{flops / 1e9:,.1f}" if flops >= 1e9 else f"{flops / 1e9:.2g}"


def _repeated(setting: Setting, plan: Plan) -> str:
    words = ["gradient cache: 1 forward more"] * plan.uses_gradient_cache
    words += ["checkpointing: 1 more"] * setting.recomputes_blocks
    return ", ".join(words) or "nothing twice"


def _memory(plan: Plan) -> Table:
    name, unit = ("GiB", GIBIBYTE) if plan.memory.peak >= GIBIBYTE else ("MiB", 1 << 20)
    table = _table("Memory of one device", "", name)
    for title, field in _MEMORY_ROWS:
        if getattr(plan.memory, field):
            table.add_row(title, f"{getattr(plan.memory, field) / unit:,.2f}", end_section=field == "objective")
    table.add_row("peak", f"{plan.memory.peak / unit:,.1f}")
    table.add_row("usable", f"{plan.usable_bytes / unit:,.1f}")
    return table


def _verdict(setting: Setting, plan: Plan) -> str:
    largest = plan.largest_micro_batch_size
    if plan.fits:
        return (
            f"It fits. The largest micro-batch that fits is {largest:,} of the device's {setting.batch_per_device:,}."
        )
    if largest:
        return f"IT DOES NOT FIT: the largest micro-batch that fits is {largest}; give --micro-batch-size {largest}."
    memory = plan.memory
    always = memory.weights + memory.gradients + memory.buckets + memory.optimizer
    if max(memory.objective, memory.clips) > max(always, memory.activations):
        remedy = "a smaller --batch-size, or more devices"
    elif always > memory.activations:
        remedy = "more devices with --parallel fsdp" if setting.parallel == "ddp" else "more devices"
    else:
        remedy = "a larger device" if setting.recomputes_blocks else "--checkpoints-activations"
    return f"IT DOES NOT FIT, not even one sample at a time: try {remedy}."


def _time(setting: Setting, plan: Plan) -> Table:
    table = _table("The run", "", "")
    for name in _kinds(setting):
        seconds = getattr(plan, f"{name}_step").compute_seconds
        table.add_row(f"seconds of a step of {name}s, network", f"{seconds:,.3f}")
    table.add_row("seconds of its objective", f"{plan.video_step.objective_seconds:,.4f}")
    table.add_row("samples a second", f"{plan.samples_per_second:,.0f}")
    table.add_row("steps", f"{plan.num_steps:,.0f}")
    table.add_row("FLOP, forward and backward", f"{plan.training_flops:.3g}")
    table.add_row("FLOP executed", f"{plan.executed_flops:.3g}", end_section=True)
    table.add_row("all of it, traffic hidden behind computation", duration(plan.days))
    table.add_row("all of it, every transfer waited for", duration(plan.days_nothing_hidden), end_section=True)
    traffic = plan.traffic
    table.add_row("MB a device sends in a step, gradients", f"{traffic.gradients / 1e6:,.0f}")
    if traffic.weights:
        table.add_row("  weights", f"{traffic.weights / 1e6:,.0f}")
    table.add_row("  embeddings", f"{traffic.embeddings / 1e6:,.1f}", end_section=True)
    table.add_row("processor cores that decode", f"{plan.decode_cores:,.0f}")
    table.add_row("GB of files", f"{plan.storage_bytes / 1e9:,.0f}")
    return table


def duration(days: float) -> str:
    """Days, hours, minutes or seconds, whichever reads best, to three digits."""
    for name, size in (("days", 1.0), ("hours", 1 / 24), ("minutes", 1 / 1440)):
        if days >= size:
            return f"{days / size:.3g} {name}" if days / size < 1000 else f"{days / size:,.0f} {name}"
    return f"{days * 86_400:.2g} seconds"


def _turns(setting: Setting) -> str:
    """How often each kind is read, where two kinds take turns."""
    sources, batch_size = setting.workload.sources, setting.batch_size
    if len(sources) < 2:
        return ""
    times = {name: count / sources[name] for name, count in setting.workload.samples(batch_size).items()}
    longer, shorter = sorted(sources, key=sources.__getitem__, reverse=True)
    return (
        f" Steps of videos and of images take turns, and an epoch is one pass over the {longer}s, which take more: "
        f"the {shorter}s begin anew meanwhile and are read {times[shorter]:.1f} times."
    )


_STORAGE = {
    "packed": "shards of clover data pack (--packed)",
    "loose": "files of their own (shards of clover data pack: --packed)",
}


def assumptions(setting: Setting) -> list[str]:
    """What the figures rest on, a sentence each."""
    workload, device, video = setting.workload, setting.device, setting.video
    counts = {"videos": workload.num_videos, "images": workload.num_images}
    read = workload.name or " and ".join(f"{count:,} {kind}" for kind, count in counts.items() if count)
    rate = device.flops if setting.precision == "bfloat16" else device.wide_flops
    share = f"{100 * setting.utilisation:g} %"
    held = "norms in float32, all else in two bytes" if video.number_bytes == 2 else "in float32"
    return [
        f"Data: {read}, {workload.num_epochs:g} epochs (--videos, --images, --epochs).{_turns(setting)}",
        f"Every text is {video.text_length} word pieces, padding included, with {video.num_masked_words} masked.",
        "Operations are those of matrix products; the backward pass takes two for each of the forward pass.",
        f"Rate: {share} of {rate:.3g} FLOP/s (--utilisation; {device.source}), operations done twice included. The "
        f"objective runs in float32 at {share} of {device.wide_flops:.3g}, each device's samples against all.",
        f"Activations: what PyTorch's autograd holds without torch.compile, {held}; within 7 % of the tensors counted "
        f"on a processor.",
        f"Memory: {100 * setting.memory_share:g} % of the device is used (--memory-share); the batch and the next lie "
        f"on it.",
        f"Traffic: ring algorithms in float32 at {setting.bandwidth / 1e9:g} GB/s: the data sheet's link within a "
        f"machine, {setting.machine_bandwidth / 1e9:g} out of each machine of eight (--machine-bandwidth).",
        f"Decoding: from {_STORAGE[setting.storage]}, a core reads {setting.videos_per_core_second:g} videos or "
        f"{setting.images_per_core_second:g} images a second (--videos-per-core-second, --images-per-core-second).",
        f"Files: {setting.video_bytes / 1e6:g} MB a video, {setting.image_bytes / 1e6:g} MB an image "
        f"(--video-megabytes, --image-megabytes).",
        "Not counted: start, evaluation, saving, failures, the optimiser's step and waiting for data.",
    ]
