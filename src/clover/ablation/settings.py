"""Settings of an ablation, frozen in its folder: every run of it is made by them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from clover.config import flat, from_plain, to_plain
from clover.data.shapes.corpus import ShapesConfig
from clover.data.shapes.presets import hard_corpus, warm_corpus
from clover.errors import ConfigError, DataError
from clover.files import write_text
from clover.training.adapters import Part

_NAME = "settings.json"


@dataclass(frozen=True, kw_only=True)
class TuningConfig:
    """Fine-tuning on answers, the same for all systems."""

    num_steps: int = 300
    """Steps."""
    batch_size: int = 32
    """Samples a step."""
    learning_rate: float = 5e-4
    """Peak learning rate."""
    freeze: tuple[Part, ...] = ()
    """Parts that stay as they are; as published, none."""

    def __post_init__(self) -> None:
        if self.num_steps < 1 or self.batch_size < 1:
            raise ConfigError(f"{self.num_steps} steps of {self.batch_size} samples: give 1 or more of each")


@dataclass(frozen=True, kw_only=True)
class AblationConfig:
    """Everything that the results depend on but the systems and seeds."""

    corpus: ShapesConfig = field(default_factory=lambda: hard_corpus(5000, seed=11))
    """The corpus of the experiment."""
    warm_corpus: ShapesConfig = field(default_factory=lambda: warm_corpus(5000, seed=11))
    """Other videos with the same pairs held out, on which the encoders are warmed."""
    warm_seed: int = 1000
    """Seed of the warm encoders, which all runs share."""
    warm_video_steps: int = 3000
    """Steps of the video encoder on labels (the part that Kinetics plays)."""
    warm_text_steps: int = 600
    """Steps of the text encoder on masked words (the part that BERT plays)."""
    num_steps: int = 400
    """Steps of pre-training."""
    batch_size: int = 64
    """Samples of a step of pre-training."""
    ranking_ramp: tuple[float, float] = (0.0, 0.0)
    """Shares of the run between which the ranking weight rises to its full value; in the paper it is there at once."""
    open_answers: TuningConfig = field(default_factory=TuningConfig)
    """Fine-tuning on open questions (the part that TGIF-Frame plays)."""
    choices: TuningConfig = field(default_factory=lambda: TuningConfig(batch_size=16))
    """Fine-tuning on the choice of a sentence (the part that LSMDC-MC plays)."""
    evaluated_split: Literal["validation", "test"] = "test"
    """What is evaluated; settings are chosen on the validation split."""

    def __post_init__(self) -> None:
        first, last = sorted((self.corpus, self.warm_corpus), key=lambda each: each.first_video)
        if first.seed != last.seed:
            raise ConfigError(f"the corpora have seeds {first.seed} and {last.seed}: other pairs would be held out")
        if first.first_video + first.num_videos > last.first_video:
            raise ConfigError("the two corpora share videos; give --warm-corpus.first-video beyond the other's")


def quick() -> AblationConfig:
    """A few hundred videos and a few steps: shows in minutes that everything runs, and learns little."""
    config = AblationConfig()
    return replace(
        config,
        corpus=replace(config.corpus, num_videos=400),
        warm_corpus=replace(config.warm_corpus, num_videos=200),
        warm_video_steps=20,
        warm_text_steps=10,
        num_steps=10,
        batch_size=32,
        open_answers=replace(config.open_answers, num_steps=10),
        choices=replace(config.choices, num_steps=5),
    )


def stored(folder: Path) -> AblationConfig | None:
    """Settings of the ablation in a folder; None where there is none yet.

    Raises:
        DataError: they cannot be read.
    """
    path = Path(folder) / _NAME
    if not path.is_file():
        return None
    try:
        plain: Any = json.loads(path.read_text(encoding="utf-8"))
        return from_plain(AblationConfig, plain, where=str(path))
    except (OSError, ValueError, ConfigError) as error:
        raise DataError(f"{path} is not readable ({error}); restore it, or start in another folder") from error


def keep(folder: Path, config: AblationConfig) -> None:
    """Write the settings, or see that they are those that are there.

    Raises:
        ConfigError: the folder holds an ablation with other settings, or something else.
    """
    before, path = stored(folder), Path(folder) / _NAME
    if before is None:
        others = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
        if others:
            raise ConfigError(f"{folder} holds other things ({', '.join(sorted(others)[:3])}); give another --out")
        write_text(path, json.dumps(to_plain(config), indent=2) + "\n")
        return
    there, here = flat(to_plain(before)), flat(to_plain(config))
    names = [name for name in here if there.get(name) != here[name]]
    if names:
        told = "; ".join(f"{name}: {there.get(name)} there, {here[name]} here" for name in names[:3])
        raise ConfigError(f"{folder} holds an ablation with other settings ({told}); give another --out")
