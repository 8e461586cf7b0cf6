"""Official Clover: its checkpoints become ours, and ours go back to the authors' code."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from clover.checkpoints import CloverConfig, InputConfig
from clover.data.annotations.problems import Problems
from clover.data.annotations.vocabulary import read_vocabulary
from clover.data.text import Tokenizer
from clover.data.transforms import TransformConfig
from clover.errors import CheckpointError, ConfigError
from clover.experiment.imported import check_words
from clover.experiment.importing import ChannelOrder, PositionBias
from clover.experiment.official_record import (
    check_agree,
    check_replaceable_file,
    kept_config,
    to_meta,
    video_extents,
)
from clover.files import written_aside
from clover.modeling.initialise import new_model
from clover.modeling.model import ModelConfig
from clover.modeling.official import (
    OfficialImport,
    Task,
    export_official,
    import_official,
    input_size,
    otherwise_biased,
    parts_of,
    task_of,
)
from clover.modeling.positions import fit_positions
from clover.modeling.weight_files import read_weights, weights_checksum
from clover.modeling.weights import load_strictly, official_names
from clover.modeling.windows import Size
from clover.pipeline import Clover
from clover.publishing.history import Event

_TITLE = "official Clover, "
"""Before the task, of the event of an import."""
_JOBS: dict[str, tuple[tuple[str, ...], tuple[Task, ...]]] = {
    "retrieval is": (("video projection", "text projection"), ("retrieval",)),
    "pre-training on is": (
        ("mask token", "masked-word head", "fused video projection", "fused text projection"),
        ("pre-training",),
    ),
    "the answers are": (("answer head",), ("open-answers", "fill-in-the-blank")),
    "multiple choice is": (("choice head",), ("multiple-choice",)),
}
"""What a checkpoint does, the parts that only this needs, and the authors' classes that have them."""


@dataclass(frozen=True, kw_only=True)
class CloverOptions:
    """How a whole official Clover is taken over."""

    tokenizer: str = ""
    """Folder or file of its words; official ones use bert-base-uncased's."""
    answers: str = ""
    """File of the answers that an open-ended head scores."""
    num_heads: int = 0
    """Attention heads of text and fusion encoder; 0: one per 64 of width."""
    num_frames: int = 0
    """Frames of a clip; 0 keeps the file's, another number has the temporal positions resized."""
    frame_size: int = 0
    """Side of a frame in pixels; 0 keeps the file's, another has the spatial positions resized."""
    window: Size | None = None
    """Window; None keeps the file's, another has the bias tables resized."""
    text_positions: int = 0
    """Number of text positions; 0 keeps the file's."""
    position_bias: PositionBias = "auto"
    """Bias of clipped windows; auto: as published."""
    channel_order: ChannelOrder = "auto"
    """Order of the channels; auto: as the file says if we exported it, else blue first."""
    pairing: Literal["paper", "first_release"] = "paper"
    """Which fusion is compared with which anchor; `first_release` for checkpoints of the code of August 2022."""


def import_clover(place: str, options: CloverOptions) -> tuple[Clover, list[str]]:
    """Take over an official Clover, of pre-training or any fine-tuning.

    Returns:
        A model like any other, and lines that say what was taken, what was not, and what is fresh.

    Raises:
        CheckpointError: the file is missing, broken, unsafe, no official Clover, or does not fit.
        ConfigError: its words, or the answers that its head scores, are not given.
    """
    if not options.tokenizer:
        raise ConfigError(
            "official Clover has no words in its file; name them with --tokenizer (the folder of bert-base-uncased, "
            "or its vocab.txt)"
        )
    tokenizer = Tokenizer.load(options.tokenizer)
    file = read_weights(place)
    kept = kept_config(file.meta, file.path)
    num_heads = options.num_heads or (kept.model.own_text.transformer.num_heads if kept else 0)
    found = import_official(
        file.state, source=str(file.path), num_heads=num_heads, window=options.window, prefix=file.prefix
    )
    check_words(tokenizer, found.config.text.vocabulary_size, source=place)
    model, inputs = _as_asked(found.config, kept, options)
    state, resized = fit_positions(found.state, found.config, model)
    answers = _answers(model, kept, options)
    network = new_model(model, seed=0)
    fresh = load_strictly(
        network,
        state,
        source=place,
        may_lack=found.may_lack,
        named=lambda name: [file.prefix + theirs for theirs in official_names(name)],
    )
    config = CloverConfig(model=model, inputs=inputs, answers=answers)
    told = [f"official Clover, {found.task}: {sum(value.numel() for value in state.values()) / 1e6:.1f} M weights"]
    told += [f"  resized: {one.told}" for one in resized]
    reasons = sorted(set(found.unused.values()))
    told += [f"  not used: {sum(why == reason for why in found.unused.values())} of {reason}" for reason in reasons]
    told += _told_of_fresh(fresh, found)
    order = "blue first (BGR)" if model.pixels.channel_order == "bgr" else "red first"
    told.append(f"  reads {inputs.num_frames} frames of {inputs.frames.size} pixels, channels: {order}")
    told.append(f"  reads texts of up to {inputs.max_text_length} word pieces, longer ones are cut")
    clover = Clover(network, tokenizer, config)
    event = Event(
        kind="import",
        title=_TITLE + found.task,
        name=file.path.name,
        digest=weights_checksum(file.path),
        fresh=parts_of(fresh),
        resized=resized,
    )
    clover.history = (event,)
    return clover, told


def _as_asked(found: ModelConfig, kept: CloverConfig | None, options: CloverOptions) -> tuple[ModelConfig, InputConfig]:
    """The network and what goes into it, by the file, by what we exported, and by what is asked for."""
    model, inputs = _as_it_was(found, kept, options)
    video = model.own_video
    if options.position_bias != "auto":
        video = replace(video, clipped_window_bias=options.position_bias)
    if options.window is not None:
        video = replace(video, window=options.window)
    pixels, text, fusion = model.pixels, model.text, model.fusion
    if options.channel_order != "auto":
        pixels = replace(pixels, channel_order=options.channel_order)
    if options.text_positions:
        text = replace(text, max_length=options.text_positions)
    if options.num_frames or options.frame_size:
        frames = inputs.frames.of_size(options.frame_size or inputs.frames.size)
        inputs = replace(inputs, num_frames=options.num_frames or inputs.num_frames, frames=frames)
        t, h, w = video.output_grid(inputs.num_frames, frames.size, frames.size)
        fusion = replace(fusion, num_temporal_positions=t, num_spatial_positions=h * w)
    inputs = replace(inputs, max_text_length=min(inputs.max_text_length, text.max_length))
    return replace(model, video=video, pixels=pixels, text=text, fusion=fusion), inputs


def _as_it_was(
    found: ModelConfig, kept: CloverConfig | None, options: CloverOptions
) -> tuple[ModelConfig, InputConfig]:
    if kept is not None:
        check_agree(_extents(kept.model), _extents(found))
        _check_agrees(kept.model, options)
        heads = replace(
            kept.model.heads,
            num_answers=found.heads.num_answers,
            answers_at_mask=found.heads.answers_at_mask,
            has_choices=found.heads.has_choices,
        )
        return replace(kept.model, heads=heads), kept.inputs
    size = input_size(found)
    if size is None:
        raise CheckpointError(f"{found.fusion.num_spatial_positions} spatial positions are no square of cells")
    num_frames, side = size
    frames = TransformConfig(size=side, training_short_side=round(side * 256 / 224))
    return replace(found, fused_pairing=options.pairing), InputConfig(num_frames=num_frames, frames=frames)


def _check_agrees(kept: ModelConfig, options: CloverOptions) -> None:
    """What a file of ours records of itself is not overruled in silence."""
    heads = kept.own_text.transformer.num_heads
    if options.num_heads not in (0, heads):
        raise ConfigError(f"--num-heads is {options.num_heads}, the file records {heads}; leave it out")
    if options.pairing not in ("paper", kept.fused_pairing):
        raise ConfigError(f"--pairing is {options.pairing}, the file records {kept.fused_pairing}; leave it out")


def _extents(model: ModelConfig) -> dict[str, object]:
    """What the weights of a file tell of its network, whatever else is said of it."""
    text, fusion = model.own_text, model.fusion
    found: dict[str, object] = {
        **video_extents(model.own_video),
        "word pieces": text.vocabulary_size,
        "text positions": text.max_length,
        "temporal positions": fusion.num_temporal_positions,
        "spatial positions": fusion.num_spatial_positions,
    }
    for part, layers in (("text", text.transformer), ("fusion", fusion.transformer)):
        found[f"{part} layers"] = (layers.num_layers, layers.width, layers.feed_forward_width)
    return found


def _answers(model: ModelConfig, kept: CloverConfig | None, options: CloverOptions) -> tuple[str, ...]:
    num_answers = model.heads.num_answers
    if not num_answers:
        if options.answers:
            raise ConfigError("--answers is for checkpoints with an open-ended head; this one has none")
        return ()
    if not options.answers and kept is not None and len(kept.answers) == num_answers:
        return kept.answers
    if not options.answers:
        raise ConfigError(
            f"its head scores {num_answers} answers, whose words are not in its file; name them with --answers (JSON "
            "object of answer and class, JSON list, or one a line)"
        )
    answers = read_vocabulary(Path(options.answers), Problems())
    if len(answers) != num_answers:
        raise ConfigError(f"{options.answers} holds {len(answers)} answers, its head scores {num_answers}")
    return answers


def _told_of_fresh(fresh: list[str], found: OfficialImport) -> list[str]:
    if not fresh:
        return []
    return [f"  fresh, because a checkpoint of {found.task} has none: {', '.join(parts_of(fresh))}"]


def _own_task(clover: Clover) -> Task:
    """The class whose head a model has; of one without, that of the file it was imported from, if nothing came since.

    What a checkpoint of retrieval lacks of pre-training is fresh after an import: nothing that is worth exporting.
    """
    task = task_of(clover.config.model)
    last = clover.history[-1] if clover.history else None
    is_untrained = last is not None and last.kind == "import" and last.title == f"{_TITLE}retrieval"
    return "retrieval" if task == "pre-training" and is_untrained else task


def save_official(clover: Clover, place: Path, task: Task | None = None) -> list[str]:
    """Write a model as a file that a class of the authors' loads strictly.

    Args:
        clover: The model.
        place: The file, ``{"meta": ..., "state_dict": ...}`` as mmcv writes it; an earlier export is replaced,
            and nothing else.
        task: What the class is for; None takes the one whose head the model has, else the one that it was imported
            from and not trained since, else pre-training.

    Returns:
        Lines that say what was filled in, what was left out, and which settings of the authors' the weights need.

    Raises:
        ConfigError: the model has not the head of the task, or parts that the authors' code has no place for.
        WriteError: the place cannot be written, is a folder, or is another file, which would be lost.
    """
    check_replaceable_file(place)
    task = task or _own_task(clover)
    made = export_official(clover.network, task)
    state = {name: value.detach().cpu().contiguous() for name, value in made.state.items()}
    meta = {"epoch": 0, "iter": 0, "task": task, **to_meta(clover.config)}
    with written_aside(place) as aside, aside.open("wb") as file:
        torch.save({"meta": meta, "state_dict": state}, file)
    told = [f"{len(state)} weights and constants for the authors' class of {task}"]
    for why in sorted(set(made.filled.values())):
        names = [name for name, reason in made.filled.items() if reason == why]
        shown = names[0] if len(names) == 1 else f"{len(names)} such as {names[0]}"
        told.append(f"  filled in, {why}: {shown}")
    if made.left_out:
        told.append(f"  left out, because that class has none: {', '.join(made.left_out)}")
        told += _warnings_of_loss(made.left_out, task_of(clover.config.model))
    told += [f"  set {line}" for line in _official_settings(clover.config.model)]
    return told + _warnings_of_clipping(clover.config)


def _warnings_of_loss(left_out: tuple[str, ...], answering: Task) -> list[str]:
    """What the exported file can no longer do, by the parts that it lacks, and what keeps them.

    Args:
        left_out: Parts that the class has no place for.
        answering: The class of the checkpoint's head.
    """
    lines = []
    for job, (parts, tasks) in _JOBS.items():
        lost = [part for part in left_out if part in parts]
        task = next((one for one in tasks if one in ("pre-training", "retrieval", answering)), None)
        if lost:
            remedy = f"--task {task} writes {'it' if len(lost) == 1 else 'those'}" if task else "--to hub keeps it"
            lines.append(f"  warning: {job} lost in this class: {', '.join(lost)}; {remedy}")
    return lines


def _official_settings(model: ModelConfig) -> list[str]:
    """What the authors' configuration must say so that these weights mean there what they mean here."""
    is_blue_first = model.pixels.channel_order == "bgr"
    lines = [f"to_bgr={is_blue_first} in img_norm_cfg" + ("" if is_blue_first else ", and its mean and std in RGB")]
    if model.fusion.has_own_cls == (not model.heads.answers_at_mask):
        lines.append(f"use_text_cls={not model.fusion.has_own_cls} in mm_backbone")
    return lines


def _warnings_of_clipping(config: CloverConfig) -> list[str]:
    """Whether the authors' code gives other figures, because frames of the checkpoint's own size clip its windows.

    No other size is advised: the fusion's positions are for this one.
    """
    video, inputs = config.model.own_video, config.inputs
    if video.clipped_window_bias != "exact":
        return []
    clipped = otherwise_biased(video, inputs.num_frames, inputs.frames.size)
    if not clipped:
        return []
    window, used = ("x".join(map(str, size)) for size in (video.window, clipped[-1]))
    return [
        f"  warning: frames of {inputs.frames.size} pixels clip the window of {window} to {used}, where the authors' "
        "code cuts its bias otherwise and gives other figures (it agrees with weights that were trained with "
        "--model.video.clipped-window-bias published)"
    ]
