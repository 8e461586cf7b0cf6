"""A folder of encoders that others trained: what `clover import` leaves and `clover pretrain --init` begins with."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from clover.checkpoints import InputConfig
from clover.config import read_versioned, to_plain
from clover.data.text import Tokenizer
from clover.errors import CheckpointError
from clover.experiment.sizes import with_text, with_video
from clover.files import other_things, write_folder
from clover.modeling.headers import check_header_of_encoders
from clover.modeling.model import ModelConfig
from clover.modeling.pixels import PixelConfig
from clover.modeling.text_encoder import TextEncoderConfig
from clover.modeling.video_swin import VideoEncoderConfig
from clover.modeling.weights import fingerprint_of, save_tensors
from clover.publishing.history import Event
from clover.types import Resized

_FORMAT = "clover-encoders-1"
_CONFIG, _WEIGHTS, _WORDS = "encoders.json", "encoders.safetensors", "tokenizer.json"
ENCODER_FILES = (_CONFIG, _WEIGHTS, _WORDS)
"""What a folder of imported encoders consists of."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where an encoder comes from."""

    part: str
    """Which encoder."""
    dialect: str
    """What the file was recognised as."""
    file: str
    """Its name, without folders."""
    sha256: str
    """Of the file; of an index, over those of the shards that it lists."""
    resized: tuple[str, ...] = ()
    """Tables that are not as they were in the file."""


@dataclass(frozen=True, kw_only=True)
class EncodersConfig:
    """Everything in encoders.json."""

    format: Literal["clover-encoders-1"] = "clover-encoders-1"
    """Version of the folder's layout."""
    video: VideoEncoderConfig | None = None
    """Geometry of the video encoder, if there is one."""
    text: TextEncoderConfig | None = None
    """Geometry of the text encoder, if there is one."""
    pixels: PixelConfig = field(default_factory=PixelConfig)
    """How the video encoder wants its pixels."""
    sources: tuple[Source, ...] = ()
    """Where the encoders come from."""

    def __post_init__(self) -> None:
        if self.video is not None:
            self.video.check()
        if self.text is not None:
            self.text.transformer.check()


@dataclass(frozen=True, kw_only=True)
class Encoders:
    """A video encoder, a text encoder with its words and perhaps its masked-word head, or both."""

    config: EncodersConfig
    state: dict[str, Tensor]
    """Weights under our names."""
    tokenizer: Tokenizer | None
    """The text encoder's words."""

    @classmethod
    def is_there(cls, folder: str | Path) -> bool:
        """Whether a folder holds imported encoders (and no whole checkpoint)."""
        return (Path(folder) / _CONFIG).is_file()

    @classmethod
    def load(cls, folder: str | Path) -> Encoders:
        """Read what `save` wrote.

        Raises:
            CheckpointError: a file is missing or broken, its weights are not what the list says, or the words are not
                those of the text encoder.
        """
        folder = Path(folder)
        config = read_versioned(
            EncodersConfig, folder / _CONFIG, what="a list of imported encoders", version=_FORMAT, remedy="import again"
        )
        check_header_of_encoders(config.video, config.text, folder / _WEIGHTS)
        try:
            state = load_file(folder / _WEIGHTS)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{folder / _WEIGHTS} is not readable ({error}); import again") from error
        tokenizer = None
        if config.text is not None:
            tokenizer = Tokenizer.load(folder / _WORDS)
            check_words(tokenizer, config.text.vocabulary_size, source=str(folder))
        return cls(config=config, state=state, tokenizer=tokenizer)

    def save(self, folder: str | Path) -> None:
        """Write the folder, whole or not at all; imported encoders that are there are replaced.

        Raises:
            CheckpointError: the folder holds something else too, which would be lost.
            WriteError: the place cannot be written.
        """
        folder = Path(folder)
        other = other_things(folder, ENCODER_FILES)
        if other:
            raise CheckpointError(
                f"{folder} holds other things ({', '.join(other[:3])}); import into a folder of its own"
            )

        def fill(aside: Path) -> None:
            plain = json.dumps(to_plain(self.config), indent=2)
            (aside / _CONFIG).write_text(plain + "\n", encoding="utf-8")
            save_tensors(aside / _WEIGHTS, self.state, {"format": "pt"})
            if self.tokenizer is not None:
                self.tokenizer.save(aside)

        write_folder(folder, fill)

    def history_of(self, parts: Iterable[str]) -> tuple[Event, ...]:
        """The files that parts of a network come from; of BERT's come the fusion's layers and the masked words too."""
        taken = {
            "video encoder": tuple(part for part in parts if part == "video_encoder"),
            "text encoder": tuple(part for part in parts if part != "video_encoder"),
        }
        return tuple(
            Event(
                kind="import",
                title=one.dialect,
                parts=taken[one.part],
                name=one.file,
                digest=one.sha256,
                resized=tuple(Resized(part=one.part.replace(" ", "_"), told=told) for told in one.resized),
            )
            for one in self.config.sources
            if taken[one.part]
        )

    @cached_property
    def fingerprint(self) -> str:
        """A short name of these exact weights and words."""
        words = self.tokenizer.fingerprint if self.tokenizer else ""
        return fingerprint_of(to_plain(self.config), words, self.state)

    def adopted_by(self, model: ModelConfig, inputs: InputConfig, *, video: bool, text: bool) -> ModelConfig:
        """A run's network with the geometry of these encoders.

        What training chooses stays the run's: dropout, stochastic depth, depth of the fusion, the shared space.

        Args:
            model: The run's network.
            inputs: What goes into it; the fusion's positions follow the grid that the video encoder makes of it.
            video: Take the video encoder's geometry, where there is one.
            text: Take the text encoder's, where there is one; the fusion encoder's layers get the same width.
        """
        if video and self.config.video is not None:
            model = replace(with_video(model, self.config.video, inputs), pixels=self.config.pixels)
        if text and self.config.text is not None:
            model = with_text(model, self.config.text)
        return model


def first_layers_for_fusion(state: dict[str, Tensor], num_layers: int) -> dict[str, Tensor]:
    """The text encoder's first layers under the fusion encoder's names: what it starts from (method, section 1)."""
    theirs, ours = "text_encoder.transformer.layers.", "fusion_encoder.transformer.layers."
    return {
        name.replace(theirs, ours): value.clone()
        for name, value in state.items()
        if name.startswith(theirs) and int(name.removeprefix(theirs).partition(".")[0]) < num_layers
    }


def check_words(tokenizer: Tokenizer, num_words: int, *, source: str) -> None:
    """Whether a tokenizer is that of a text encoder.

    Raises:
        CheckpointError: their numbers of word pieces differ.
    """
    if tokenizer.vocabulary_size != num_words:
        raise CheckpointError(
            f"{source}: the tokenizer has {tokenizer.vocabulary_size} word pieces, the text encoder {num_words}; "
            "give the vocabulary that it was trained with"
        )
