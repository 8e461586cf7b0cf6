"""A plan as tables for people."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from clover.planning.devices import GIBIBYTE
from clover.planning.plan import Plan, Setting

_MEMORY_ROWS = (
    ("weights, float32", "weights"),
    ("gradients", "gradients"),
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
    device, batch = setting.device, f"batch {setting.batch_size:,}"
    print(
        f"{recipe}: {setting.num_devices} x {device.name} ({device.flops / 1e12:,.0f} TFLOP/s, "
        f"{device.memory_bytes / GIBIBYTE:.0f} GiB), {setting.parallel}, {setting.precision},"
    )
    print(f"{batch} in micro-batches of {plan.micro_batch_size:,} a device, {_sample(setting)}\n")
    console.print(_operations(setting, plan))
    console.print(_memory(plan))
    print(_verdict(setting, plan) + "\n")
    console.print(_time(setting, plan))
    print("Assumptions")
    for line in assumptions(setting):
        console.print(f"- {line}", highlight=False, markup=False)


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


def _operations(setting: Setting, plan: Plan) -> Table:
    table = _table("GFLOP of one sample", "", "video", "image")

    def add(name: str, video: float, image: float, *, end: bool = False) -> None:
        table.add_row(name, f"{video / 1e9:,.1f}", f"{image / 1e9:,.1f}", end_section=end)

    for part, flops in plan.video.forward.items():
        add(f"{part}, forward", flops, plan.image.forward[part], end=part == "heads")
    add("forward and backward", plan.video.training, plan.image.training)
    add(f"executed ({_repeated(setting, plan)})", plan.video.executed, plan.image.executed)
    return table


def _repeated(setting: Setting, plan: Plan) -> str:
    words = ["gradient cache: 1 forward more"] * plan.uses_gradient_cache
    words += ["checkpointing: 1 more"] * setting.recomputes_blocks
    return ", ".join(words) or "nothing twice"


def _memory(plan: Plan) -> Table:
    table = _table("Memory of one device", "", "GiB")
    for title, name in _MEMORY_ROWS:
        table.add_row(title, f"{getattr(plan.memory, name) / GIBIBYTE:,.2f}", end_section=name == "objective")
    table.add_row("peak", f"{plan.memory.peak / GIBIBYTE:,.1f}")
    table.add_row("usable", f"{plan.usable_bytes / GIBIBYTE:,.1f}")
    return table


def _verdict(setting: Setting, plan: Plan) -> str:
    largest = plan.largest_micro_batch_size
    if plan.fits:
        return f"It fits. The largest micro-batch that fits is {largest} of the device's {setting.batch_per_device:,}."
    if largest:
        return f"IT DOES NOT FIT: the largest micro-batch that fits is {largest}; give --micro-batch-size {largest}."
    remedies = ["--activation-checkpointing"] * (not setting.recomputes_blocks)
    remedies += ["--parallel fsdp"] * (setting.parallel == "ddp" and setting.num_devices > 1)
    remedies += ["a smaller --batch-size" if plan.memory.objective > plan.usable_bytes / 2 else "a larger device"]
    return f"IT DOES NOT FIT, not even one sample at a time; try {', '.join(remedies)}."


def _time(setting: Setting, plan: Plan) -> Table:
    table = _table("The run", "", "")
    for name in ("video", "image"):
        if getattr(setting.workload, f"num_{name}s"):
            seconds = getattr(plan, f"{name}_step").compute_seconds
            table.add_row(f"seconds of a step of {name}s, network", f"{seconds:,.3f}")
    table.add_row("seconds of its objective", f"{plan.video_step.objective_seconds:,.4f}")
    table.add_row("samples a second", f"{plan.samples_per_second:,.0f}")
    table.add_row("steps", f"{plan.num_steps:,.0f}")
    table.add_row("FLOP, forward and backward", f"{plan.training_flops:.3g}")
    table.add_row("FLOP executed", f"{plan.executed_flops:.3g}", end_section=True)
    table.add_row("days, traffic hidden behind computation", _days(plan.days))
    table.add_row("days, all traffic waited for", _days(plan.days_nothing_hidden), end_section=True)
    traffic = plan.traffic
    table.add_row("MB a device sends in a step, gradients", f"{traffic.gradients / 1e6:,.0f}")
    if traffic.weights:
        table.add_row("  weights", f"{traffic.weights / 1e6:,.0f}")
    table.add_row("  embeddings", f"{traffic.embeddings / 1e6:,.1f}", end_section=True)
    table.add_row("processor cores that decode", f"{plan.decode_cores:,.0f}")
    table.add_row("GB of files", f"{plan.storage_bytes / 1e9:,.0f}")
    return table


def _days(days: float) -> str:
    return f"{days:.3g}" if days < 100 else f"{days:,.0f}"


def assumptions(setting: Setting) -> list[str]:
    """What the figures rest on, a sentence each."""
    workload, device, video = setting.workload, setting.device, setting.video
    name = f"{workload.name}, " if workload.name else ""
    rate = device.flops if setting.precision == "bfloat16" else device.wide_flops
    share = f"{100 * setting.utilisation:g} %"
    held = "norms in float32, all else in two bytes" if video.number_bytes == 2 else "in float32"
    return [
        f"Data: {name or f'{workload.num_videos:,} videos and {workload.num_images:,} images, '}each "
        f"{workload.num_epochs:g} times (--videos, --images, --epochs).",
        f"Every text is {video.text_length} word pieces, padding included, with {video.num_masked_words} masked.",
        "Operations are those of matrix products; the backward pass takes two for each of the forward pass.",
        f"Rate: {share} of {rate:.3g} FLOP/s (--utilisation; {device.source}), operations done twice included. The "
        f"objective runs in float32 at {share} of {device.wide_flops:.3g}, the whole batch on every device.",
        f"Activations: what PyTorch's autograd holds without torch.compile, {held}; within 7 % of the tensors counted "
        f"on a processor.",
        f"Memory: {100 * setting.memory_share:g} % of the device is used (--memory-share); the batch and the next lie "
        f"on it.",
        f"Traffic: ring algorithms in float32, {setting.bandwidth / 1e9:g} GB/s sent by each device (--bandwidth).",
        f"Decoding: a core reads {setting.videos_per_core_second:g} videos or {setting.images_per_core_second:g} "
        f"images a second (--videos-per-core-second, --images-per-core-second).",
        f"Files: {setting.video_bytes / 1e6:g} MB a video, {setting.image_bytes / 1e6:g} MB an image "
        f"(--video-megabytes, --image-megabytes).",
        "Not counted: start, evaluation, saving, failures, the optimiser's step and waiting for data.",
    ]
