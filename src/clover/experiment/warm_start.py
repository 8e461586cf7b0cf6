"""Warm starts on a corpus' own labels and words: the parts that Kinetics and BERT's masked words play in the paper."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from clover.data.collators import LabelBatch, LabelCollator, PretrainingBatch, PretrainingCollator, SampleReader
from clover.experiment.losses import masked_words, num_masked
from clover.modeling.initialise import initialise
from clover.modeling.model import CloverModel
from clover.objectives.pretraining import PretrainingObjectiveConfig, WeightedTerm
from clover.objectives.warm_start import label_loss
from clover.training.gradient_cache import Outputs, SplitLoss, share_of_mean
from clover.types import IGNORED


@dataclass(frozen=True, kw_only=True)
class WarmStart:
    """What a warm start trains, on what, and by which loss."""

    title: str
    module: nn.Module
    make_batch: Any
    loss: SplitLoss[Any]


def video_warm_start(
    network: CloverModel,
    labels_of: Mapping[str, Collection[str]],
    *,
    read_clip: SampleReader,
    seed: int,
    strict: bool,
) -> WarmStart:
    """Teach the video encoder to name what training videos show, with a classifier that is thrown away.

    A label counts as seen where its best token sees it: the mean over tokens drowns small objects.

    Args:
        network: Its video encoder learns.
        labels_of: What each training video shows, by its id.
        read_clip: Reads clips.
        seed: Of the classifier's weights.
        strict: Stop at a video that cannot be read.
    """
    names = sorted({label for labels in labels_of.values() for label in labels})
    classifier = nn.Linear(network.config.video.output_width, len(names))
    initialise(classifier, seed)
    shares = torch.tensor([[name in labels for name in names] for labels in labels_of.values()]).float().mean(dim=0)
    with torch.no_grad():
        classifier.bias.copy_(torch.logit(shares, eps=1e-6))

    def outputs(batch: LabelBatch) -> Outputs:
        return {"labels": classifier(network.video_tokens(batch.clip)).amax(dim=(1, 2, 3))}

    def add_up(outputs: Outputs, batch: LabelBatch, count: int) -> dict[str, WeightedTerm]:
        return {"labels": share_of_mean(label_loss(outputs["labels"], batch.labels), len(batch.labels), count)}

    return WarmStart(
        title="warm start: video encoder",
        module=nn.ModuleList([network.video_encoder, classifier]),
        make_batch=LabelCollator(read_clip=read_clip, labels=labels_of, names=names, strict=strict),
        loss=SplitLoss(outputs=outputs, add_up=add_up),
    )


def text_warm_start(network: CloverModel, collator: PretrainingCollator) -> WarmStart:
    """Teach the text encoder to fill masked words of training captions without seeing the video.

    Args:
        network: Its text encoder and masked-word head learn.
        collator: That of pre-training, whose clips are left out.
    """

    def outputs(batch: PretrainingBatch) -> Outputs:
        tokens = network.text_encoder(batch.masked_token_ids, batch.is_token)
        return {"word_scores": network.masked_word_head(tokens[batch.targets != IGNORED])}

    objective = PretrainingObjectiveConfig(focal_gamma=0.0)
    return WarmStart(
        title="warm start: text encoder",
        module=nn.ModuleList([network.text_encoder, network.masked_word_head]),
        make_batch=replace(collator, read_clip=lambda *_: np.zeros((1, 1, 1, 3), np.uint8)),
        loss=SplitLoss(outputs=outputs, add_up=masked_words(objective), count=num_masked),
    )
