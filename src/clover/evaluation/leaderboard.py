"""A checkpoint as MTEB takes models, for its tasks of video and text: `mteb.evaluate(VideoTextEncoder(...), tasks)`.

Videos are read as in all evaluations of Clover: undecoded files of a task go through `Clover.clip`, not through the
library's decoder, which takes other frames and need not be installed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from clover.data.sampling import sample_indices
from clover.errors import DataError
from clover.modeling.model import unit
from clover.pipeline import Clover

_PAPER = "https://arxiv.org/abs/2207.07885"


class VideoTextEncoder:
    """Follows `mteb.models.EncoderProtocol`; needs no part of mteb until it is asked for its description."""

    def __init__(
        self,
        model_name: str | Path,
        revision: str | None = None,
        *,
        device: str | None = None,
        name: str = "",
        training_datasets: Collection[str] | None = None,
        **_: Any,
    ) -> None:
        """Load a checkpoint.

        Args:
            model_name: Checkpoint folder, or ``owner/name`` on the Hub.
            revision: Of a model on the Hub.
            device: Where the network goes; None: the processor.
            name: ``owner/name`` under which results are kept; empty: the Hub's, or ``clover/`` and the fingerprint.
            training_datasets: Names of MTEB's tasks whose data the model was trained on, for the leaderboard's mark of
                zero-shot; None: unknown.

        Raises:
            CheckpointError: there is no such checkpoint, or it is broken.
            ConfigError: a revision is given, and the checkpoint is a folder here.
        """
        is_folder = Path(model_name).exists()
        self.clover = Clover.from_pretrained(model_name, device=device or "cpu", revision=revision)
        self._name = name or (f"clover/{self.clover.fingerprint}" if is_folder else str(model_name))
        self._revision = revision or self.clover.fingerprint
        self._training_datasets = None if training_datasets is None else set(training_datasets)

    @property
    def mteb_model_meta(self) -> Any:
        """The description that MTEB keeps beside results; what is not known of the checkpoint is None.

        Raises:
            DataError: mteb is not installed.
        """
        try:
            from mteb.models import ModelMeta
            from mteb.models.model_meta import ScoringFunction
        except ImportError as error:
            raise DataError(f"{error.name} is not installed; pip install 'clover-vl[mteb]'") from error
        config, network = self.clover.config, self.clover.network
        num_weights = sum(weight.numel() for weight in network.parameters())
        return ModelMeta(
            loader=VideoTextEncoder,
            name=self._name,
            revision=self._revision,
            release_date=None,
            languages=None,
            n_parameters=num_weights,
            memory_usage_mb=round(4 * num_weights / 2**20, 1),
            max_tokens=config.inputs.max_text_length,
            embed_dim=config.model.embedding_width,
            license=None,
            open_weights=None,
            public_training_code=None,
            public_training_data=None,
            framework=["PyTorch"],
            reference=_PAPER,
            similarity_fn_name=ScoringFunction.COSINE,
            use_instructions=False,
            training_datasets=self._training_datasets,
            modalities=["text", "video"],
            model_type=["dense"],
        )

    @torch.inference_mode()
    def encode(
        self,
        inputs: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: Any = None,
        **_: Any,
    ) -> Float[np.ndarray, "rows d"]:
        """Normalised embeddings of rows: of their video, of their text, or the mean where they have both.

        Args:
            inputs: Batches with the columns ``video`` and ``text``, or one of them.
            task_metadata: Not used, like the rest: texts take no prompt.
            hf_split: Not used.
            hf_subset: Not used.
            prompt_type: Not used.

        Raises:
            DataError: rows have neither a video nor a text.
            MediaError: a video cannot be read.
            TextError: a text is blank.
        """
        found = [self._embed(batch).cpu().numpy() for batch in _undecoded(inputs)]
        return np.concatenate(found) if found else np.zeros((0, self.clover.config.model.embedding_width), np.float32)

    def _embed(self, batch: Mapping[str, Sequence[Any]]) -> Float[Tensor, "rows d"]:
        parts = []
        if "video" in batch:
            parts.append(self.clover.embed_clips([self._clip(video) for video in batch["video"]]))
        if "text" in batch:
            parts.append(self.clover.encode_text(list(batch["text"])))
        if not parts:
            raise DataError(f"rows of {', '.join(batch)} have neither a video nor a text; choose tasks of these two")
        return parts[0] if len(parts) == 1 else unit(torch.stack(parts).mean(dim=0))

    def _clip(self, video: Any) -> np.ndarray:
        """The clip of a file's path or content, of a row that holds either, or of a decoder."""
        if isinstance(video, Mapping) and (video.get("bytes") or video.get("path")):
            return self.clover.clip(video.get("bytes") or video["path"])
        if isinstance(video, str | Path | bytes):
            return self.clover.clip(video)
        if hasattr(video, "get_frames_at"):
            inputs = self.clover.config.inputs
            chosen = sample_indices(
                video.metadata.num_frames,
                inputs.num_frames * inputs.num_views // inputs.burst_length,
                clip_length=inputs.burst_length,
                frame_interval=inputs.burst_interval,
            )
            frames = video.get_frames_at(chosen).data.permute(0, 2, 3, 1)
            exact = self.clover.with_inputs(inputs.__class__(num_frames=len(chosen), frames=inputs.frames))
            return exact.clip(np.ascontiguousarray(frames.numpy()))
        raise DataError(f"a {type(video).__name__} is no video; give a path, bytes, or a decoder of torchcodec")

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """Cosine similarity of all with all, ``[first second]``."""
        first, second = (unit(torch.as_tensor(one).float()) for one in (embeddings1, embeddings2))
        return first @ second.T

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """Cosine similarity of each with the one in its place."""
        first, second = (unit(torch.as_tensor(one).float()) for one in (embeddings1, embeddings2))
        return (first * second).sum(dim=-1)


def _undecoded(loader: Any) -> Any:
    """The loader, whose videos come as files if they are some of a Hugging Face data set."""
    features = getattr(loader.dataset, "features", None) or {}
    if not getattr(features.get("video"), "decode", False):
        return loader
    from datasets import Video
    from torch.utils.data import DataLoader

    files = loader.dataset.cast_column("video", Video(decode=False))
    return DataLoader(files, batch_size=loader.batch_size, collate_fn=loader.collate_fn, num_workers=loader.num_workers)
