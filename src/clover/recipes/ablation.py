"""The systems of the paper's Tables 3 and 5 on the generated corpus; each differs from another in one field."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from clover.data.masking import TextMaskingConfig
from clover.experiment.configs import PretrainingExperiment, StageConfig
from clover.objectives.pretraining import PretrainingObjectiveConfig
from clover.planning.network import SampleShape, training_flops
from clover.recipes.pretrain import shapes
from clover.training.adapters import Part

WARM_PARTS: tuple[Part, ...] = ("video_encoder", "text_encoder", "masked_words")
"""What all systems start from: the parts that Kinetics labels and BERT's masked words have trained in the paper."""

_PUBLISHED_NUM_PROCESSES = 32
BATCH_LENGTH = 29
"""Word pieces of a row of captions in the experiment's corpus, the padding to the longest of 64 included
(`benchmarks/row_lengths.py`). What is in them is 14; with 16 in place of 29 alignment alone would get 5 % fewer steps
at equal compute."""


def combined() -> PretrainingExperiment:
    """COMB, the paper's Baseline: InfoNCE of the uni-modal embeddings and masked words, drawn from all words."""
    return replace(
        shapes(),
        video_warm_start=StageConfig(),
        text_warm_start=StageConfig(),
        training=replace(shapes().training, num_steps=400),
        ranking_ramp=(0.0, 0.0),
        objective=PretrainingObjectiveConfig(alignment="pair-wise", ranking_weight=0.0),
        text_masking=TextMaskingConfig(rule="random_words"),
        init_parts=WARM_PARTS,
    )


def individual_alignment() -> PretrainingExperiment:
    """IND-A: COMB without masked words; its fusion encoder is never trained."""
    return replace(combined(), objective=replace(combined().objective, masked_word_weight=0.0))


def individual_fusion() -> PretrainingExperiment:
    """IND-F: COMB without alignment; its embeddings are never trained."""
    return replace(combined(), objective=replace(combined().objective, alignment="none"))


def with_tri_modal_alignment() -> PretrainingExperiment:
    """+TMA: COMB with tri-modal alignment in place of the pair-wise one."""
    return replace(combined(), objective=replace(combined().objective, alignment="tri-modal"))


def with_semantic_masking() -> PretrainingExperiment:
    """+TMA+SM: the words masked are nouns and verb phrases."""
    return replace(with_tri_modal_alignment(), text_masking=TextMaskingConfig())


def with_semantic_masking_of_adjectives() -> PretrainingExperiment:
    """+TMA+SM as the paper's text has it: adjectives are masked too, which its run leaves alone."""
    return replace(with_semantic_masking(), text_masking=TextMaskingConfig(mask_adjectives=True))


def clover() -> PretrainingExperiment:
    """Clover, +TMA+SM+RankL: complete samples are ranked before masked ones."""
    before = with_semantic_masking()
    return replace(before, objective=replace(before.objective, ranking_weight=1.0))


def clover_published_weights() -> PretrainingExperiment:
    """Clover with the published run's weights: what compares embeddings weighs 1/32 against masked words."""
    objective = replace(clover().objective, published_num_processes=_PUBLISHED_NUM_PROCESSES)
    return replace(clover(), objective=objective)


@dataclass(frozen=True, kw_only=True)
class System:
    """One row of the tables."""

    name: str
    """In commands and folders."""
    title: str
    """In tables."""
    recipe: Callable[[], PretrainingExperiment]
    derives_from: str = ""
    """The system that it differs from in one field."""
    aligns: bool = True
    """Whether its embeddings are trained; without, its retrieval is chance and not in the paper."""
    fuses: bool = True
    """Whether its fusion encoder is pre-trained; without, its answers are learned by fine-tuning alone."""
    has_compute_of: str = ""
    """A system whose operations it gets, as more steps; empty: the same number of steps as all."""
    is_warm: bool = True
    """Whether its encoders start from the warm ones."""
    is_variant: bool = False
    """Whether it was added to find out why another does what it does."""

    @property
    def is_footnote(self) -> bool:
        """Whether it is none of the seven."""
        return bool(self.has_compute_of) or not self.is_warm or self.is_variant


def _footnotes(systems: tuple[System, ...]) -> tuple[System, ...]:
    """The cheaper systems with Clover's compute, two from fresh weights, and one that looks into semantic masking."""
    longer = [
        replace(
            system,
            name=f"{system.name}-compute",
            title=f"{system.title}, compute of Clover",
            derives_from=system.name,
            has_compute_of="clover",
        )
        for system in systems
        if system.name in ("ind-a", "ind-f", "comb")
    ]
    fresh = [
        replace(
            system,
            name=f"{system.name}-fresh",
            title=f"{system.title}, from nothing",
            derives_from=system.name,
            is_warm=False,
        )
        for system in systems
        if system.name in ("comb", "clover")
    ]
    adjectives = System(
        name="tma-sm-adjectives",
        title="+TMA+SM, adjectives too",
        recipe=with_semantic_masking_of_adjectives,
        derives_from="tma-sm",
        is_variant=True,
    )
    return (*longer, *fresh, adjectives)


_SEVEN = (
    System(name="ind-a", title="IND-A", recipe=individual_alignment, derives_from="comb", fuses=False),
    System(name="ind-f", title="IND-F", recipe=individual_fusion, derives_from="comb", aligns=False),
    System(name="comb", title="COMB (Baseline)", recipe=combined),
    System(name="tma", title="+TMA", recipe=with_tri_modal_alignment, derives_from="comb"),
    System(name="tma-sm", title="+TMA+SM", recipe=with_semantic_masking, derives_from="tma"),
    System(name="clover", title="Clover (+RankL)", recipe=clover, derives_from="tma-sm"),
    System(
        name="clover-32",
        title="Clover, weights of the published run",
        recipe=clover_published_weights,
        derives_from="clover",
    ),
)

SYSTEMS: dict[str, System] = {system.name: system for system in (*_SEVEN, *_footnotes(_SEVEN))}
"""The seven systems, the three cheaper ones with Clover's compute, two from nothing, and a variant."""


def step_flops(experiment: PretrainingExperiment, *, text_length: int = BATCH_LENGTH) -> int:
    """Operations of one step, forward and backward, by the counts of `clover.planning`.

    Args:
        experiment: The run.
        text_length: Word pieces of a row of captions, padding included.
    """
    sample = SampleShape(
        num_frames=experiment.inputs.num_frames,
        frame_size=experiment.inputs.frames.size,
        text_length=text_length,
        num_masked_words=3,
        number_bytes=4,
    )
    return experiment.training.batch_size * training_flops(experiment.model, sample, experiment.objective.wanted)


def compute_factor(system: System) -> float:
    """By how much a system's number of steps is multiplied: its share of the operations of the one it is matched to."""
    if not system.has_compute_of:
        return 1.0
    return step_flops(SYSTEMS[system.has_compute_of].recipe()) / step_flops(system.recipe())


Change = Callable[[PretrainingExperiment], PretrainingExperiment]


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """One setting of Clover, and what else it could have been."""

    title: str
    """In tables and plots."""
    own: str
    """Clover's own value."""
    values: dict[str, Change]
    """The others, and how an experiment gets each."""


def _in_objective(field: str, *values: int | float) -> dict[str, Change]:
    def change(value: Any) -> Change:
        return lambda run: replace(run, objective=replace(run.objective, **{field: value}))

    return {f"{value:.4g}": change(value) for value in values}


def _in_text_masking(*ratios: float) -> dict[str, Change]:
    def change(ratio: float) -> Change:
        return lambda run: replace(run, text_masking=replace(run.text_masking, ratio=ratio))

    return {f"{ratio:g}": change(ratio) for ratio in ratios}


def _in_video_masking(*ratios: float) -> dict[str, Change]:
    def change(ratio: float) -> Change:
        return lambda run: replace(run, video_masking=replace(run.video_masking, ratio=ratio))

    return {f"{ratio:g}": change(ratio) for ratio in ratios}


SWEEPS: dict[str, Sweep] = {
    "temperature": Sweep(title="temperature τ", own="0.05", values=_in_objective("temperature", 0.02, 0.1, 0.2)),
    "margin": Sweep(title="margin λ of the ranking", own="5", values=_in_objective("ranking_margin", 1.0, 2.5, 10.0)),
    "gamma": Sweep(title="γ of the focal loss", own="2", values=_in_objective("focal_gamma", 0.0, 1.0, 4.0)),
    "text-ratio": Sweep(title="share of words masked", own="0.3", values=_in_text_masking(0.15, 0.4, 0.5)),
    "video-ratio": Sweep(title="share of cells masked", own="0.2", values=_in_video_masking(0.1, 0.3, 0.5)),
    "towards-anchor": Sweep(
        title="weight of Eq. 3", own="0.3333", values=_in_objective("towards_anchor_weight", 0.0, 1.0)
    ),
    "world-size": Sweep(
        title="processes of the published run", own="1", values=_in_objective("published_num_processes", 4, 8)
    ),
    "ranking-ramp": Sweep(
        title="ranking weight rises from half of the run on",
        own="no",
        values={"yes": lambda run: replace(run, ranking_ramp=(0.5, 1.0))},
    ),
}
"""Sensitivity of Clover, one setting at a time."""
