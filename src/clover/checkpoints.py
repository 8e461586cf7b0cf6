"""The checkpoint folder: a network's config, its weights with their history, and its tokenizer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from clover.config import read_versioned, to_plain
from clover.data.text import Tokenizer
from clover.data.transforms import TransformConfig
from clover.errors import CheckpointError, ConfigError
from clover.files import is_hub_id, other_things, refused_address, write_folder
from clover.modeling.headers import check_header
from clover.modeling.model import CloverModel, ModelConfig
from clover.modeling.weights import load_strictly, save_tensors
from clover.publishing.history import Event, from_metadata, to_metadata
from clover.publishing.hub import download

_FORMAT = "clover-checkpoint-1"
_CONFIG, _WEIGHTS, _WORDS = "config.json", "model.safetensors", "tokenizer.json"
CHECKPOINT_FILES = (_CONFIG, _WEIGHTS, _WORDS)
"""What a checkpoint folder consists of."""
CARD_FILE = "README.md"
"""The model card, which may lie beside them."""


@dataclass(frozen=True, kw_only=True)
class InputConfig:
    """How a file or sentence becomes what the network takes."""

    num_frames: int = 8
    """Frames sampled from a video."""
    frames: TransformConfig = field(default_factory=TransformConfig)
    """Frames to clip."""
    max_seconds: float = 0.0
    """Only the first seconds of a video are looked at (DiDeMo's annotators saw 30); 0 looks at all of it."""
    max_text_length: int = 30
    """Longest caption or question in word pieces, [CLS] and [SEP] included."""
    lists_options: bool = True
    """Show all options of a multiple-choice question in the text of each, as published; without, the question and the
    option alone, which small models learn many times faster."""
    num_views: int = 1
    """Clips of ``num_frames`` that a video is seen by; their tokens are averaged (4 in the published TGIF tests)."""
    burst_length: int = 1
    """Frames taken in a row at each sampled place (4 in the published TGIF tests)."""
    burst_interval: int = 1
    """Distance between the frames of a burst (3 in the published TGIF tests)."""

    def __post_init__(self) -> None:
        for name in ("num_frames", "num_views", "burst_length", "burst_interval"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.num_frames * self.num_views % self.burst_length:
            raise ConfigError(
                f"{self.num_views} views of {self.num_frames} frames do not divide into bursts of {self.burst_length}"
            )


@dataclass(frozen=True, kw_only=True)
class CloverConfig:
    """Everything in config.json."""

    format: Literal["clover-checkpoint-1"] = "clover-checkpoint-1"
    """Version of the folder's layout."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """The network."""
    inputs: InputConfig = field(default_factory=InputConfig)
    """What goes into it."""
    answers: tuple[str, ...] = ()
    """The open-ended head's answer vocabulary, in the order of its scores."""

    def __post_init__(self) -> None:
        self.model.check()


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a checkpoint folder holds."""

    folder: Path
    """Where it was read."""
    network: CloverModel
    """The network with its weights."""
    tokenizer: Tokenizer
    """Its words."""
    config: CloverConfig
    """Everything in config.json."""
    history: tuple[Event, ...]
    """Where the weights come from; empty where nothing is known."""


def read_checkpoint(
    folder: str | Path, *, device: str | torch.device = "cpu", revision: str | None = None
) -> Checkpoint:
    """Read a checkpoint folder, here or on the Hub.

    Args:
        folder: The folder; or ``owner/name`` of a model on the Hugging Face Hub, if there is no such folder.
        device: Where the network goes.
        revision: Branch, tag or commit of a model on the Hub.

    Raises:
        CheckpointError: a file is missing or broken, or the weights do not fit the config; or the model is not on the
            Hub either, or the Hub cannot be reached.
        ConfigError: a revision is given, and the folder is here.
    """
    folder = _find(folder, revision)
    config = read_versioned(
        CloverConfig, folder / _CONFIG, what="a Clover checkpoint", version=_FORMAT, remedy="copy the checkpoint again"
    )
    weights = folder / _WEIGHTS
    check_header(config.model, weights)
    state, metadata = _read_weights(weights, device)
    network = CloverModel(config.model)
    load_strictly(network, state, source=str(weights))
    tokenizer = Tokenizer.load(folder)
    _check_sizes(folder, config, tokenizer)
    history = from_metadata(metadata, source=str(weights))
    return Checkpoint(folder=folder, network=network.to(device), tokenizer=tokenizer, config=config, history=history)


def write_checkpoint(
    folder: str | Path, network: CloverModel, tokenizer: Tokenizer, config: CloverConfig, history: Sequence[Event]
) -> None:
    """Write the checkpoint folder, whole or not at all; an existing checkpoint is replaced.

    Raises:
        CheckpointError: the folder holds something else too, which would be lost.
        WriteError: the place cannot be written.
    """
    folder = Path(folder)
    other = other_things(folder, CHECKPOINT_FILES)
    if other:
        raise CheckpointError(f"{folder} holds other things ({', '.join(other[:3])}); save into a folder of its own")
    metadata = {"format": "pt", **to_metadata(history)}

    def fill(aside: Path) -> None:
        plain = json.dumps(to_plain(config), indent=2)
        (aside / _CONFIG).write_text(plain + "\n", encoding="utf-8")
        save_tensors(aside / _WEIGHTS, network.state_dict(), metadata)
        tokenizer.save(aside)

    write_folder(folder, fill)


def _find(folder: str | Path, revision: str | None) -> Path:
    """The folder with all files in it, fetched from the Hub where it is not here."""
    if is_hub_id(folder) and not Path(folder).exists():
        folder, revision = download(str(folder), (*CHECKPOINT_FILES, CARD_FILE), revision=revision), None
    folder = Path(folder)
    missing = [name for name in CHECKPOINT_FILES if not (folder / name).is_file()]
    if missing and (refused := refused_address(folder)):
        raise CheckpointError(refused)
    if missing:
        hint = "it does not exist" if not folder.exists() else f"it lacks {', '.join(missing)}"
        if (folder / "encoders.json").is_file():
            hint = "it holds imported encoders, which are no model yet: pre-train from it with --init"
        raise CheckpointError(f"{folder} is not a checkpoint folder ({hint}); give the folder a run left behind")
    if revision is not None:
        raise ConfigError(f"revision {revision!r} is of a model on the Hub, and {folder} is here; leave it out")
    return folder


def _read_weights(path: Path, device: str | torch.device) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of a file, and its metadata."""
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is not a readable weights file ({error}); copy it again") from error


def _check_sizes(folder: Path, config: CloverConfig, tokenizer: Tokenizer) -> None:
    """Files of two runs in one folder would name wrong words, or none."""
    num_words, num_answers = config.model.text.vocabulary_size, config.model.heads.num_answers
    if tokenizer.vocabulary_size != num_words:
        raise CheckpointError(
            f"{folder}: tokenizer.json has {tokenizer.vocabulary_size} word pieces, the model {num_words}; "
            "they are of two runs, copy the checkpoint again"
        )
    if len(config.answers) != num_answers:
        raise CheckpointError(f"{folder}: config.json names {len(config.answers)} answers, the model has {num_answers}")
