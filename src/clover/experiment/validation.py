"""Zero-shot retrieval on validation videos while pre-training goes on; it leaves no trace in the weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from clover.checkpoints import InputConfig
from clover.data.captioned import CorpusSamples
from clover.data.corpora.loose import LooseCorpus
from clover.data.packing.sources import SourceOptions, open_source
from clover.distributed import Processes, current
from clover.errors import ConfigError, DataError, MediaError
from clover.evaluation.metrics import both_directions, similarities
from clover.evaluation.retrieval import embed_texts, embed_videos
from clover.experiment.configs import ValidationConfig
from clover.pipeline import Clover

FIGURES = {
    f"validation_{name}": name for name in ("recall_at_1", "recall_at_5", "recall_at_10", "median_rank", "mean_rank")
}
"""What is logged, and what it is called in `RetrievalMetrics`; recalls in percent, ranks from 1."""
_MOST_KEPT_BYTES = 2**30
"""Of decoded videos, on each process: about 900 of Clover-Base's."""


class Validation:
    """Videos with a text each, of which every process of a run embeds its share."""

    def __init__(self, config: ValidationConfig, *, corpus: str, seed: int) -> None:
        """Open the videos.

        Args:
            config: Where they are, and how many are taken.
            corpus: The generated corpus that is trained on, if it is one; its validation split is the default.
            seed: Draws them.

        Raises:
            ConfigError: it is not said where they are.
            DataError: there are no two of them, or their source is broken.
        """
        path = config.source or corpus
        if not path:
            raise ConfigError("nothing to evaluate on: give captioned videos with --validation.source")
        with current().first_alone():  # indexes of shards are made once
            found = open_source(SourceOptions(path=path, media=config.media, split="validation")).corpus
        samples = CorpusSamples(corpus=found.present() if isinstance(found, LooseCorpus) else found, is_image=False)
        if min(len(samples), config.num_videos) < 2:
            raise DataError(f"{path}: {len(samples)} videos to evaluate on; give 2 or more")
        drawn = np.random.default_rng([seed, 5]).permutation(len(samples))[: config.num_videos]
        self.samples = [samples[row] for row in sorted(drawn.tolist())]
        self._kept: dict[tuple[int, InputConfig], np.ndarray] = {}
        self._num_kept_bytes = 0

    def check(self, clover: Clover) -> None:
        """Find out before hours of training whether anything can be read.

        Raises:
            DataError: nothing can.
        """
        for place in range(len(self.samples)):
            try:
                self._clip(clover, place)
            except MediaError as error:
                reason = error
            else:
                return
        raise DataError(f"none of the {len(self.samples)} videos to evaluate on can be read; the last: {reason}")

    def _clip(self, clover: Clover, place: int) -> np.ndarray:
        """A video as the model sees it, decoded once as long as there is memory for it."""
        key = place, clover.config.inputs
        if key not in self._kept:
            clip = clover.clip(self.samples[place].media())
            if self._num_kept_bytes + clip.nbytes > _MOST_KEPT_BYTES:
                return clip
            self._kept[key] = clip
            self._num_kept_bytes += clip.nbytes
        return self._kept[key]

    def figures(self, clover: Clover, processes: Processes) -> dict[str, float]:
        """Figures of text to video, the first text of each against all; what cannot be read is left out.

        Random numbers are not used up. All processes must call.

        Args:
            clover: The model of this moment, the same on all processes; it is left in evaluation mode.
            processes: Who shares the videos.
        """
        own = [Path(str(place)) for place in range(processes.rank, len(self.samples), processes.count)]
        found, _ = embed_videos(clover, own, read=lambda place: self._clip(clover, int(str(place))))
        embeddings = {place: value for each in processes.told(found) for place, value in each.items()}
        if len(embeddings) < 2:
            raise DataError(f"only {len(embeddings)} of the {len(self.samples)} videos to evaluate on can be read")
        texts = embed_texts(clover, [self.samples[int(str(place))].captions[0] for place in embeddings])
        scores = similarities(texts, np.stack(list(embeddings.values())))
        metrics = both_directions(scores, np.arange(len(texts)))["text_to_video"]
        figures = {name: float(getattr(metrics, figure)) for name, figure in FIGURES.items()}
        return dict(processes.from_first(figures))
