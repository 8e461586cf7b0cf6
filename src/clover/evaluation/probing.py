"""Fine-grained probes: does a video's embedding prefer its caption to the same caption with one thing changed?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from clover.errors import DataError
from clover.evaluation.retrieval import embed_texts, embed_videos
from clover.evaluation.views import ReadClip
from clover.pipeline import Clover
from clover.types import Probe


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """What a model made of every probe."""

    probes: list[Probe]
    """Those whose video can be read."""
    margins: Float[np.ndarray, " probes"]
    """Similarity of the video to the true caption less that to the changed one, -2 to 2."""
    skipped: dict[str, str]
    """Videos that cannot be read, and why."""

    @property
    def is_right(self) -> Bool[np.ndarray, " probes"]:
        """Whether the true caption is nearer; where both are as near, it is not (half of all is chance)."""
        return self.margins > 0

    @property
    def by_class(self) -> dict[str, float]:
        """Accuracy in percent by what was changed."""
        classes = np.array([probe.word_class for probe in self.probes])
        return {str(name): 100 * float(self.is_right[classes == name].mean()) for name in np.unique(classes)}


def evaluate_probes(clover: Clover, probes: Sequence[Probe], *, read: ReadClip | None = None) -> ProbeResult:
    """Compare every video with two captions by cosine similarity, without fusion.

    Args:
        clover: The model.
        probes: Videos with a true and a changed caption.
        read: How videos are read; None shows the model the whole clip.

    Raises:
        DataError: there is no probe whose video can be read.
    """
    videos, skipped = embed_videos(clover, list(dict.fromkeys(probe.video for probe in probes)), read=read)
    kept = [probe for probe in probes if probe.video in videos]
    if not kept:
        raise DataError("there is nothing to probe: no row whose video can be read")
    anchors = np.stack([videos[probe.video] for probe in kept])
    true, changed = (
        (anchors * embed_texts(clover, texts)).sum(axis=1)
        for texts in ([probe.text for probe in kept], [probe.changed for probe in kept])
    )
    return ProbeResult(probes=kept, margins=true - changed, skipped=skipped)
