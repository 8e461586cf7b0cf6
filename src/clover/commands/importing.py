"""clover import."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Literal

from clover.checkpoints import CHECKPOINT_FILES
from clover.commands.options import parse
from clover.errors import ConfigError
from clover.experiment.imported import ENCODER_FILES
from clover.experiment.importing import ChannelOrder, PositionBias, VideoOptions, import_encoders
from clover.experiment.official import CloverOptions, import_clover
from clover.files import check_replaceable, check_writable, shell_word


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """Take over weights of others: encoders for clover pretrain --init, or a whole official Clover."""

    video: str = ""
    """A Swin encoder: Video Swin's own checkpoint, torchvision's swin3d, or a Swin of images (Microsoft, timm,
    torchvision, Hugging Face), which is inflated; a file, or a folder of the Hub."""
    text: str = ""
    """BERT: a folder of the Hub with model.safetensors or pytorch_model.bin, config.json, and tokenizer.json or
    vocab.txt."""
    clover: str = ""
    """A whole official Clover, of pre-training or any fine-tuning (.pth); give its words with --tokenizer."""
    out: str = ""
    """Folder to write."""
    tokenizer: str = ""
    """With --clover: folder of bert-base-uncased, or its vocab.txt."""
    answers: str = ""
    """With --clover: file of the answers that an open-ended head scores."""
    num_heads: int = 0
    """With --clover: attention heads of text and fusion encoder; 0 takes one per 64 of width, as BERT-base has."""
    pairing: Literal["paper", "first_release"] = "paper"
    """With --clover: which fusion is compared with which anchor; first_release for the code of August 2022."""
    num_frames: int = 0
    """With --clover: frames of a clip, other than the file's; temporal positions are resized."""
    frame_size: int = 0
    """With --clover: side of a frame in pixels, other than the file's; spatial positions are resized."""
    window: tuple[int, int, int] | None = None
    """Frames, rows and columns (in tokens) of a video encoder's window, other than the file's; biases are resized. Of a
    file whose shapes fit several windows, and which does not tell, it says the file's."""
    patch_frames: int | None = None
    """Frames of a patch, when a Swin of images is inflated; left out: 2."""
    text_positions: int = 0
    """Most words, other than the file's: fewer are cut off, more are drawn out of the ones there are. With --clover,
    longer texts are cut to it too."""
    position_bias: PositionBias = "auto"
    """Bias of windows that a small frame clips: published cuts the table as Video Swin's, torchvision's and Clover's
    code do, exact goes by the true distances; auto takes the publisher's, or what our own
    export recorded. They agree on frames of 224 pixels."""
    channel_order: ChannelOrder = "auto"
    """Channels that the encoder was trained on: auto takes what our own export recorded, else bgr for
    official Clover and rgb for all others."""
    overwrite: bool = False
    """Replace what an earlier import of the same kind wrote; anything else is refused."""


_GOES_WITH = {
    **dict.fromkeys(("tokenizer", "answers", "num_heads", "pairing", "num_frames", "frame_size"), ("clover",)),
    **dict.fromkeys(("window", "position_bias", "channel_order"), ("video", "clover")),
    "patch_frames": ("video",),
    "text_positions": ("text", "clover"),
}
"""Options that mean something only together with one of others."""


_MOST = {
    "num_heads": 10_000,
    "num_frames": 10_000,
    "frame_size": 10_000,
    "patch_frames": 1_000,
    "text_positions": 100_000,
}
_MOST_IN_WINDOW = 10_000
"""More than any model has; tables of more would be made until memory ends."""


def import_weights(arguments: Sequence[str]) -> None:
    """Run `clover import`."""
    options = parse(ImportOptions, arguments, command="import")
    _check(options)
    out = Path(options.out)
    check_replaceable(out, CHECKPOINT_FILES if options.clover else ENCODER_FILES, verb="import")
    if out.is_dir() and any(out.iterdir()) and not options.overwrite:
        both = "" if options.clover else "; a video encoder and a text encoder for one folder are imported together"
        raise ConfigError(f"{out} is there already; give another place, or --overwrite{both}")
    check_writable(out)
    if options.clover:
        whole = {name: getattr(options, name) for name in CloverOptions.__dataclass_fields__}
        model, told = import_clover(options.clover, CloverOptions(**whole))
        model.save_pretrained(out)
        print("\n".join([*told, f"checkpoint: {out}"]))
        return
    video = VideoOptions(
        window=options.window,
        patch_frames=options.patch_frames,
        position_bias=options.position_bias,
        channel_order=options.channel_order,
    )
    encoders, told = import_encoders(options.video, options.text, options=video, text_positions=options.text_positions)
    encoders.save(out)
    if options.text:
        told.append("a run's fusion encoder begins with the text encoder's first layers; all other weights begin fresh")
    else:
        told.append("all other weights of a run begin fresh")
    print("\n".join([*told, f"encoders: {out} (clover pretrain RECIPE --init {shell_word(out)})"]))


def _check(options: ImportOptions) -> None:
    if options.clover and (options.video or options.text):
        raise ConfigError("--clover is a whole model; leave --video and --text out")
    if not (options.clover or options.video or options.text):
        raise ConfigError("nothing to import; name a file with --video, --text or --clover")
    if not options.out:
        raise ConfigError("no folder to write; name one with --out")
    for name, users in _GOES_WITH.items():
        is_given = getattr(options, name) != ImportOptions.__dataclass_fields__[name].default
        if is_given and not any(getattr(options, user) for user in users):
            allowed = " or ".join(f"--{user}" for user in users)
            raise ConfigError(f"--{name.replace('_', '-')} goes with {allowed}, which is not given; leave it out")
    if options.window is not None and prod(options.window) > _MOST_IN_WINDOW and min(options.window) > 0:
        raise ConfigError(
            f"window {options.window} has {prod(options.window):,} tokens, more than any encoder's; give at most "
            f"{_MOST_IN_WINDOW:,}"
        )
    for name, most in _MOST.items():
        value = getattr(options, name) or 0
        if value > most:
            option = f"--{name.replace('_', '-')}"
            raise ConfigError(f"{option} is {value:,}, more than any model has; give at most {most:,}")
    if options.window is not None and min(options.window) < 1:
        raise ConfigError(f"window {options.window} has no tokens; give three numbers of 1 or more")
    for name in ("num_heads", "num_frames", "frame_size", "text_positions"):
        if getattr(options, name) < 0:
            raise ConfigError(f"{name} is {getattr(options, name)}; give 1 or more, or 0 to keep the file's")
    if options.text_positions in (1, 2):
        raise ConfigError(
            f"text_positions is {options.text_positions}; give 3 or more, for [CLS], a word and [SEP], or 0 to keep "
            "the file's"
        )
    if options.patch_frames is not None and options.patch_frames < 1:
        raise ConfigError(f"patch_frames is {options.patch_frames}; give 1 or more")
