"""What a pre-training starts from: an earlier checkpoint, or encoders that were imported, or parts of them."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from clover.errors import CheckpointError, ConfigError
from clover.experiment.configs import PretrainingExperiment, StageConfig
from clover.experiment.imported import Encoders, first_layers_for_fusion
from clover.experiment.sizes import with_sizes_of
from clover.files import shell_word
from clover.modeling.fusion import FusionKind
from clover.modeling.model import CloverModel, ModelConfig
from clover.modeling.positions import fit_positions
from clover.modeling.weight_files import PUBLISHED_WEIGHTS
from clover.modeling.weights import load_strictly
from clover.pipeline import Clover
from clover.publishing.history import Event, kept_parts, some_of
from clover.training.adapters import MODULES, Part
from clover.types import Resized

_NOT_IMPORTED = r"video_encoder\.mask_token|fusion_encoder\..*"
"""Names of ours that encoders of others have nothing for; the fusion gets layers of the text encoder, and no more."""

_IMPORTED_KINDS = {"bert": "--text", "swin": "--video"}
"""Models of transformers that are imported, and the option that takes them; others are borrowed as they are."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """Weights to start from, by part."""

    source: str
    """The folder, for messages."""
    fingerprint: str
    """Of all that is in the folder."""
    weights: dict[Part, dict[str, Tensor]]
    """By part, under our names; parts that were asked for and are not there are left out."""
    fresh: tuple[Part, ...]
    """Parts that were asked for and are not there."""
    model: ModelConfig | None
    """The network that they are of; None of imported encoders, which are described by themselves."""
    encoders: Encoders | None
    """Imported encoders; None of a checkpoint."""
    history: tuple[Event, ...] = ()
    """Where the weights come from."""

    @classmethod
    def read(cls, folder: str | Path, parts: Sequence[Part]) -> Start:
        """Read a checkpoint folder, or one of imported encoders.

        Raises:
            CheckpointError: it is neither, or weights of others as they were published, or broken, or has none of the
                parts.
        """
        encoders = Encoders.load(folder) if Encoders.is_there(folder) else None
        if encoders is not None:
            state, fingerprint, model = encoders.state, encoders.fingerprint, None
        else:
            _check_is_no_import(Path(folder))
            clover = Clover.from_pretrained(folder)
            state, fingerprint, model = clover.network.state_dict(), clover.fingerprint, clover.config.model
        asked = list(dict.fromkeys(parts))
        weights = {part: {name: value for name, value in state.items() if _is_of(name, part)} for part in asked}
        if encoders is not None and encoders.config.text is not None and "fusion" in weights:
            weights["fusion"] = first_layers_for_fusion(state, encoders.config.text.transformer.num_layers)
        found = {part: names for part, names in weights.items() if names}
        if not found:
            raise CheckpointError(f"{folder} has no {', '.join(asked)}; name parts that it has with --init-parts")
        return cls(
            source=str(folder),
            fingerprint=fingerprint,
            weights=found,
            fresh=tuple(part for part in asked if part not in found),
            model=model,
            encoders=encoders,
            history=encoders.history_of(found) if encoders else _history(clover, found),
        )

    @property
    def words(self) -> str:
        """Folder of the tokenizer that comes with the weights; empty where none does."""
        return self.source if self.encoders is None or self.encoders.tokenizer is not None else ""

    def adopted_by(self, experiment: PretrainingExperiment) -> PretrainingExperiment:
        """The run with what these weights need: their pixels and their sizes.

        A warm start falls away for an encoder that was imported: its weights are what that is to give.

        Raises:
            ConfigError: the run names a tokenizer, and the weights bring one; an encoder of transformers that it names
                would take the place of theirs; or its fusion is of another kind than theirs, which is to be taken over.
        """
        self._check_encoders(experiment)
        self._check_fusion(experiment.model.fusion.kind)
        if self.words and experiment.data.tokenizer not in ("", self.words):
            raise ConfigError(f"--init {self.source} brings its own tokenizer; leave --data.tokenizer out")
        model = experiment.model
        if self.encoders is not None:
            video, text = "video_encoder" in self.weights, "text_encoder" in self.weights
            model = self.encoders.adopted_by(model, experiment.inputs, video=video, text=text)
            experiment = replace(
                experiment,
                video_warm_start=StageConfig() if video else experiment.video_warm_start,
                text_warm_start=StageConfig() if text else experiment.text_warm_start,
            )
        elif self.model is not None:
            model = with_sizes_of(model, self.model, self.weights, experiment.inputs)
            if "video_encoder" in self.weights:
                model = replace(model, pixels=self.model.pixels)
        return replace(experiment, model=model)

    def _check_encoders(self, experiment: PretrainingExperiment) -> None:
        """Whether an encoder of transformers has a place beside the parts that are taken over."""
        named = {"video_encoder": experiment.video_encoder, "text_encoder": experiment.text_encoder}
        twice = [part for part in self.weights if named.get(part)]
        if experiment.text_encoder and "masked_words" in self.weights:
            twice.append("masked_words")  # whose words are the tokenizer's of before
        if not twice:
            return
        kept = [part for part in self.weights if part not in twice]
        options = " and ".join(f"--{part.replace('_', '-')}" for part in named if named[part])
        remedy = f"give --init-parts {' '.join(kept)}, or leave" if kept else "leave"
        raise ConfigError(
            f"--init {self.source} and {options} both give {', '.join(twice)}; {remedy} one of the two options out"
        )

    def _check_fusion(self, kind: FusionKind) -> None:
        if self.model is None or "fusion" not in self.weights or self.model.fusion.kind == kind:
            return
        theirs = self.model.fusion.kind
        kept = [part for part in self.weights if part not in ("fusion", "projections")]
        remedy = f"--init-parts {' '.join(kept)} (a fresh fusion), or " if kept else ""
        raise ConfigError(
            f"{self.source} has a fusion of kind {theirs}, this run one of kind {kind}, and weights of one kind do not "
            f"fit another; give {remedy}--model.fusion.kind {theirs}"
        )

    def put_into(
        self, network: CloverModel, *, given: Collection[Part] = (), quiet: bool = False
    ) -> tuple[dict[str, int], tuple[Event, ...]]:
        """Replace a network's weights, part by part, and say how many; all other weights stay as they are.

        Position tables of other extents are resized, which is said too.

        Args:
            network: Changed in place.
            given: Parts that come from elsewhere, and are not fresh where these weights lack them.
            quiet: Say nothing.

        Returns:
            Number of weight tensors by part, and where the weights come from, with what of their parts began fresh.

        Raises:
            CheckpointError: a weight is missing, too many, or has another shape.
        """
        weights = dict(self.weights)
        may_lack = ""
        if self.encoders is not None:
            may_lack = "|" + _NOT_IMPORTED
            if "fusion" in weights:
                num_layers = network.config.fusion.transformer.num_layers
                weights["fusion"] = first_layers_for_fusion(self.encoders.state, num_layers)
        taken = "|".join(re.escape(name) for part in weights for name in MODULES[part])
        state = {name: value for part in weights.values() for name, value in part.items()}
        resized: tuple[Resized, ...] = ()
        if self.model is not None:
            state, resized = fit_positions(state, self.model, network.config)
        missing = load_strictly(network, state, source=self.source, may_lack=rf"(?!(?:{taken})\.).*{may_lack}")
        counts = {part: len(names) for part, names in weights.items()}
        gaps = {part: names for part in weights if (names := [name for name in missing if _is_of(name, part)])}
        lacking = [part for part in self.fresh if part not in given]
        if not quiet:
            self._tell(counts, resized, gaps, lacking)
        return {str(part): count for part, count in counts.items()}, self._origins(counts, resized, gaps, lacking)

    def _origins(
        self,
        counts: Mapping[Part, int],
        resized: tuple[Resized, ...],
        gaps: Mapping[Part, Sequence[str]],
        lacking: Sequence[Part],
    ) -> tuple[Event, ...]:
        """Where the weights come from, what of its parts each source lacks, and what was resized in the last step.

        Parts that no source has are told with the last one.
        """
        told = {
            part: "mask token" if _are_mask_token(names) else some_of(part, len(names), len(names) + counts[part])
            for part, names in gaps.items()
        }
        events = [
            replace(event, fresh=(*event.fresh, *(told[part] for part in told if part in event.parts)))
            for event in self.history
        ]
        for event in events[-1:]:
            whole = tuple(part.replace("_", " ") for part in lacking)
            events[-1] = replace(event, resized=resized or event.resized, fresh=(*event.fresh, *whole))
        return tuple(events)

    def _tell(
        self,
        counts: Mapping[Part, int],
        resized: Sequence[Resized],
        gaps: Mapping[Part, Sequence[str]],
        lacking: Sequence[Part],
    ) -> None:
        parts = ", ".join(
            f"{count} of {count + len(gaps[part])} of {part}" if part in gaps else f"{count} of {part}"
            for part, count in counts.items()
        )
        rest = [f"{len(names)} of {part}" for part, names in gaps.items()]
        fresh = f"; fresh: {', '.join([*rest, *lacking])}" if rest or lacking else ""
        print(f"weights from {self.source}: {parts}{fresh}", file=sys.stderr)
        for one in resized:
            print(f"resized: {one.told}", file=sys.stderr)


def _is_of(name: str, part: Part) -> bool:
    return name.partition(".")[0] in MODULES[part]


def _are_mask_token(names: Sequence[str]) -> bool:
    return all(name.endswith(".mask_token") for name in names)


def _history(clover: Clover, parts: Iterable[Part]) -> tuple[Event, ...]:
    taken = tuple(parts)
    return (*kept_parts(clover.history, taken), Event(kind="start", parts=taken, digest=clover.fingerprint))


def _check_is_no_import(path: Path) -> None:
    """Whether a path is weights of others, as they were published, which a run starts from once they are imported.

    Raises:
        CheckpointError: it is; the line says how they are imported.
    """
    word, whole = shell_word(path), shell_word(f"hf:{path}")
    if path.is_file():
        raise CheckpointError(
            f"{path} is a file, and a run starts from a folder; import it first: clover import --video {word} --out "
            "init (--clover for a whole official Clover), then give --init init"
        )
    kind = _published_kind(path / "config.json")
    has_weights = any((path / name).is_file() for name in PUBLISHED_WEIGHTS)
    if kind in _IMPORTED_KINDS or (not kind and has_weights and not (path / "config.json").is_file()):
        option = _IMPORTED_KINDS.get(kind, "--video")
        raise CheckpointError(
            f"{path} holds weights as they were published; import them first: clover import {option} {word} --out "
            "init, then give --init init"
        )
    if kind:
        raise CheckpointError(
            f"{path} is a {kind} of transformers, no checkpoint folder; leave it out of --init and give it as "
            f"--video-encoder {whole} or --text-encoder {whole}"
        )


def _published_kind(path: Path) -> str:
    """What a config.json of transformers calls its model; empty of any other file, and where there is none."""
    try:
        plain: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return ""
    kind = plain.get("model_type", "") if isinstance(plain, dict) else ""
    return kind if isinstance(kind, str) else ""
