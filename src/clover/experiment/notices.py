"""What a training says before it begins, of things that a user may not expect."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping

from clover.experiment.configs import DataConfig, PretrainingExperiment, StageConfig
from clover.experiment.sizes import as_words, differences
from clover.modeling.model import ModelConfig
from clover.training.adapters import WARMED


def tell_left_out(asked: PretrainingExperiment, experiment: PretrainingExperiment) -> None:
    """Say which warm starts fall away because their encoder brings weights that others trained."""
    stages = {"video encoder": "video_warm_start", "text encoder": "text_warm_start"}
    left_out = [
        name
        for name, stage in stages.items()
        if getattr(asked, stage) != getattr(experiment, stage) and getattr(asked, stage).num_steps
    ]
    if left_out:
        brings = "it brings" if len(left_out) == 1 else "they bring"
        print(f"no warm start of the {' and the '.join(left_out)}: {brings} trained weights", file=sys.stderr)


def tell_kept_frames(asked: DataConfig, data: DataConfig, num_frames: int) -> None:
    """Say that more frames are kept of a video than was asked for, because clips have so many."""
    if data.num_kept_frames != asked.num_kept_frames:
        print(
            f"frames kept of a video: {data.num_kept_frames} in place of {asked.num_kept_frames}, "
            f"a multiple of the {num_frames} of a clip",
            file=sys.stderr,
        )


def tell_taken_over(asked: ModelConfig, adopted: ModelConfig, final: ModelConfig) -> None:
    """Say which settings of a network come with the weights that its run starts from.

    Args:
        asked: The network as it was asked for.
        adopted: With what the weights bring.
        final: With encoders of transformers on top, which may bring others again.
    """
    again = differences(adopted, final)
    changed = {name: value for name, value in differences(asked, adopted).items() if name not in again}
    for kind in ("video", "text"):
        if type(getattr(adopted, kind)) is not type(getattr(final, kind)):
            changed = {name: value for name, value in changed.items() if not name.startswith(f"{kind}.")}
    if changed:
        settings = ", ".join(f"{name} {as_words(value)}" for name, value in changed.items())
        print(f"taken over with the weights: {settings}", file=sys.stderr)


def tell_untrained(frozen: Iterable[str], given: Collection[str], stages: Mapping[str, StageConfig]) -> None:
    """Say which parts stay as chance drew them, because they are frozen before anything has trained them.

    Args:
        frozen: Parts.
        given: Those that begin with weights of before.
        stages: By name.
    """
    warm = {part for name, parts in WARMED.items() if stages[name].num_steps for part in parts}
    untrained = [part for part in frozen if part not in given and part not in warm]
    if untrained:
        print(f"frozen, and nothing has trained it: {', '.join(untrained)} (--init gives weights)", file=sys.stderr)
