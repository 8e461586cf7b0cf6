"""What a pre-training run reads: a generated corpus, or WebVid, CC3M and shards, one of them or several in turn."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from clover.checkpoints import InputConfig
from clover.data.captioned import Captioned, CorpusSamples
from clover.data.collators import SampleReader
from clover.data.corpora.loose import LooseCorpus
from clover.data.order import Mixture
from clover.data.packing.sources import Source, SourceFormat, SourceOptions, open_source
from clover.data.tagging import TagCache
from clover.data.text import Tokenizer
from clover.data.transforms import training_clip
from clover.data.video import read_frames
from clover.distributed import current
from clover.errors import ConfigError, DataError
from clover.experiment.configs import PretrainingDataConfig
from clover.experiment.pieces import cache_folder, captioned_videos, clip_reader, corpus_fingerprint, tokenizer_for

_TOKENIZER_CAPTIONS = 200_000
"""Most captions that a tokenizer is trained from: more of them hardly change its words, and take minutes."""


@dataclass(frozen=True, kw_only=True)
class PretrainingData:
    """Opened sources, ready to be read."""

    samples: Mixture[Captioned]
    read_clip: SampleReader
    tokenizer: Tokenizer
    tags: TagCache
    skipped: dict[str, str] = field(default_factory=dict)
    """What cannot be read, and why."""
    has_labels: bool = False
    """Whether it is known what each video shows."""
    fingerprint: Callable[[], Mapping[str, Any]]
    """What tells these data apart from others."""


def open_pretraining_data(
    data: PretrainingDataConfig,
    inputs: InputConfig,
    folder: Path,
    *,
    tokenizer: Tokenizer | None = None,
    quiet: bool = False,
) -> PretrainingData:
    """Open what a run was given.

    Args:
        data: Which sources.
        inputs: What the network takes.
        folder: Of the run; gets a cache where there is no better place for it.
        tokenizer: To be used; None takes the one of the settings, or trains one.
        quiet: Show nothing.

    Raises:
        ConfigError: no source was given, or a generated corpus beside others.
        DataError: a source is missing or has nothing to read.
        MediaError: in a strict run, a video of a generated corpus that cannot be read.
    """
    sources = list(_sources(data))
    if data.corpus and sources:
        raise ConfigError(f"--data.corpus cannot be mixed with {sources[0].option}; give one or the other")
    if data.corpus:
        return _generated(data, inputs, folder, tokenizer, quiet)
    if not sources:
        raise ConfigError(
            "no data: give a generated corpus with --data.corpus (clover corpus shapes DIR writes one), or videos and "
            "images with --data.video-shards, --data.image-shards, --data.webvid-annotations and --data.webvid-videos, "
            "--data.cc3m-annotations and --data.cc3m-images"
        )
    return _corpora(sources, data, inputs, folder, tokenizer, quiet)


def _generated(
    data: PretrainingDataConfig, inputs: InputConfig, folder: Path, tokenizer: Tokenizer | None, quiet: bool
) -> PretrainingData:
    corpus = Path(data.corpus)
    videos = captioned_videos(corpus, "train", with_paragraphs=data.with_paragraphs)
    captions = [caption for video in videos for caption in video.captions]
    cache = cache_folder(corpus, folder)
    tags = TagCache(cache / "tags.sqlite", tagger=data.tagger)
    with current().first_alone():
        tags.fill(captions)
    reader, skipped = clip_reader(data, inputs, [video.video for video in videos], cache=cache, quiet=quiet)

    def read(sample: Captioned, generator: np.random.Generator) -> np.ndarray:
        return reader(Path(sample.name), generator)

    readable = [video for video in videos if video.name not in skipped]
    return PretrainingData(
        samples=Mixture(sources=(readable,)),
        read_clip=read,
        tokenizer=tokenizer or tokenizer_for(data, captions),
        tags=tags,
        skipped=skipped,
        has_labels=True,
        fingerprint=partial(corpus_fingerprint, corpus, [video.video for video in videos]),
    )


@dataclass(frozen=True, kw_only=True)
class _Source:
    """One source that a run was given."""

    option: str
    path: str
    media: str = ""
    format: SourceFormat = "shards"
    is_image: bool


def _sources(data: PretrainingDataConfig) -> Iterator[_Source]:
    """Those that were given, videos before images: their order is that of their turns."""
    if data.webvid_annotations:
        yield _Source(
            option="--data.webvid-annotations",
            path=data.webvid_annotations,
            media=data.webvid_videos,
            format="webvid",
            is_image=False,
        )
    if data.video_shards:
        yield _Source(option="--data.video-shards", path=data.video_shards, is_image=False)
    if data.cc3m_annotations:
        yield _Source(
            option="--data.cc3m-annotations",
            path=data.cc3m_annotations,
            media=data.cc3m_images,
            format="cc3m",
            is_image=True,
        )
    if data.image_shards:
        yield _Source(option="--data.image-shards", path=data.image_shards, is_image=True)


def _corpora(
    sources: Sequence[_Source],
    data: PretrainingDataConfig,
    inputs: InputConfig,
    folder: Path,
    tokenizer: Tokenizer | None,
    quiet: bool,
) -> PretrainingData:
    if data.num_kept_frames:
        raise ConfigError("frames are kept of generated corpora only: use --data.num-kept-frames 0 with other data")
    skipped: dict[str, str] = {}
    with current().first_alone():  # indexes of shards are made once
        found = [open_source(SourceOptions(path=each.path, media=each.media, format=each.format)) for each in sources]
    opened = [
        _samples(source, corpus, skipped, strict=data.strict, quiet=quiet)
        for source, corpus in zip(sources, found, strict=True)
    ]
    abouts = [{name: value for name, value in source.about.items() if name != "path"} for source in found]
    mixture: Mixture[Captioned] = Mixture(sources=tuple(opened), weights=data.weights)
    if tokenizer is None and data.tokenizer:
        tokenizer = Tokenizer.load(data.tokenizer)
    return PretrainingData(
        samples=mixture,
        read_clip=_reader(inputs),
        tokenizer=tokenizer or Tokenizer.train(_some_captions(opened), data.vocabulary_size),
        tags=TagCache(folder / ".cache" / "tags.sqlite", tagger=data.tagger),
        skipped=skipped,
        fingerprint=lambda: {"sources": abouts},
    )


def _samples(source: _Source, found: Source, skipped: dict[str, str], *, strict: bool, quiet: bool) -> CorpusSamples:
    """The rows of a source that have media; lines are shown of how many they are and what is left out."""
    corpus, remarks, problems = found.corpus, list(found.remarks), list(found.problems)
    if isinstance(corpus, LooseCorpus):
        present = corpus.present()
        if len(present) < len(corpus):
            first = corpus.table[int(corpus.missing()[0])].video
            remarks.append(f"{len(corpus) - len(present):,} rows have no file (the first: {first})")
            problems.append(f"{first}: no such file")
        corpus = present
    if strict and problems:
        raise DataError(f"{problems[0]}; mend {source.path}, or train without --data.strict")
    skipped.update({problem: problem for problem in problems})
    if not quiet:
        for line in (f"{len(corpus):,} {'images' if source.is_image else 'videos'}", *remarks):
            print(f"{source.path}: {line}", file=sys.stderr)
    return CorpusSamples(corpus=corpus, is_image=source.is_image)


def _reader(inputs: InputConfig) -> SampleReader:
    """Read and crop a video's frames, or an image as one frame, which is cropped from its full size (published run)."""
    for_images = replace(inputs.frames, training_short_side=None)

    def read(sample: Captioned, generator: np.random.Generator) -> np.ndarray:
        transform = for_images if sample.is_image else inputs.frames
        frames = read_frames(
            sample.media(),
            1 if sample.is_image else inputs.num_frames,
            generator=generator,
            end_seconds=inputs.max_seconds or None,
            short_side=transform.training_read_size,
        )
        return training_clip(frames.images, transform, generator)

    return read


def _some_captions(sources: Sequence[CorpusSamples]) -> Iterable[str]:
    """Captions spread evenly over all sources."""
    total = sum(map(len, sources))
    step = -(-total // _TOKENIZER_CAPTIONS)
    return (source.corpus.caption(row) for source in sources for row in range(0, len(source), step))
