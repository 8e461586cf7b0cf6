"""Clover for people: files and sentences in, embeddings and answers out; one folder on disk."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from clover.checkpoints import CARD_FILE, CloverConfig, InputConfig, read_checkpoint, write_checkpoint
from clover.config import from_plain, to_plain
from clover.data.media_source import Media, open_media
from clover.data.streaming import read_spans
from clover.data.text import Tokenizer
from clover.data.transforms import test_clip
from clover.data.video import OpenVideo, read_frames
from clover.errors import ConfigError
from clover.modeling.initialise import initialise
from clover.modeling.model import CloverModel, HeadConfig, unit
from clover.modeling.weights import fingerprint_of, load_strictly
from clover.publishing.card import model_card
from clover.publishing.history import Event
from clover.publishing.hub import check_name, upload
from clover.publishing.records import Records, read_records
from clover.types import Frames

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One possible answer to a question."""

    text: str
    probability: float
    """Softmax over the model's whole answer vocabulary."""


class Clover:
    """A network with its tokenizer and its preprocessing."""

    def __init__(self, network: CloverModel, tokenizer: Tokenizer, config: CloverConfig) -> None:
        self.network = network.eval()
        self.tokenizer = tokenizer
        self.config = config
        self.source: Path | None = None
        """The folder it was loaded from."""
        self.history: tuple[Event, ...] = ()
        """Where its weights come from; empty where nothing is known."""

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, *, device: str | torch.device = "cpu", revision: str | None = None
    ) -> Clover:
        """Load a checkpoint folder: config.json, model.safetensors, tokenizer.json.

        Args:
            folder: The folder; or ``owner/name`` of a model on the Hugging Face Hub, if there is no such folder.
            device: Where the network goes.
            revision: Branch, tag or commit of a model on the Hub.

        Raises:
            CheckpointError: a file is missing or broken, or the weights do not fit the config; or the model is not on
                the Hub either, or the Hub cannot be reached.
            ConfigError: a revision is given, and the folder is here.
        """
        found = read_checkpoint(folder, device=device, revision=revision)
        clover = cls(found.network, found.tokenizer, found.config)
        clover.source, clover.history = found.folder, found.history
        return clover

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the checkpoint folder, whole or not at all; an existing checkpoint is replaced.

        Raises:
            CheckpointError: the folder holds something else too, which would be lost.
            WriteError: the place cannot be written.
        """
        write_checkpoint(folder, self.network, self.tokenizer, self.config, self.history)

    def card(self, records: Records | None = None, *, name: str = "Clover", license_name: str = "") -> str:
        """The model card, of the config and of what is recorded.

        Args:
            records: Of the run; None reads those beside the folder that the model was loaded from.
            name: The heading.
            license_name: Of the weights, as the Hub abbreviates it; empty: unknown.
        """
        return model_card(
            to_plain(self.config),
            self.records if records is None else records,
            self.history,
            name=name,
            fingerprint=self.fingerprint,
            num_weights=sum(weight.numel() for weight in self.network.parameters()),
            license_name=license_name,
        )

    @property
    def records(self) -> Records:
        """What lies beside the folder that the model was loaded from: its run, and its results."""
        return Records() if self.source is None else read_records(self.source, self.fingerprint, self.is_of_this)

    @property
    def kept_card(self) -> bytes | None:
        """README.md of the folder that the model was loaded from; None where there is none."""
        card = self.source / CARD_FILE if self.source is not None else None
        return card.read_bytes() if card is not None and card.is_file() else None

    def is_of_this(self, result: Mapping[str, Any]) -> bool:
        """Whether a result file's content is of these very weights and words, and of the preprocessing.

        A zero-shot result is of a benchmark's own frames and lengths of texts, which it names.
        """
        clover = self
        if result.get("is_zero_shot") and "inputs" in result:
            try:
                clover = self.with_inputs(from_plain(InputConfig, result["inputs"], where="inputs"))
            except ConfigError:
                return False
        return bool(result.get("fingerprint") == clover.fingerprint)

    def push_to_hub(
        self,
        name: str,
        *,
        private: bool | None = None,
        commit_message: str = "Clover checkpoint",
        revision: str | None = None,
        token: str | None = None,
    ) -> str:
        """Send the checkpoint and its card to the Hugging Face Hub.

        The card is the README.md of the folder it was loaded from (`clover export --to hub` writes one), else made of
        the records beside it.

        Args:
            name: ``owner/name``; made if it is not there.
            private: Whether nobody else sees a new one; None: as the owner has it set.
            commit_message: What the commit is called.
            revision: Branch; None: the main one.
            token: Of an account that may write; None: the one that is logged in.

        Returns:
            The commit's address.

        Raises:
            CheckpointError: the name is malformed, the Hub refuses or cannot be reached, or huggingface_hub is not
                installed.
        """
        check_name(name)
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "checkpoint"
            self.save_pretrained(folder)
            card = self.kept_card or self.card(name=name.rpartition("/")[2]).encode()
            (folder / CARD_FILE).write_bytes(card)
            return upload(folder, name, private=private, commit_message=commit_message, revision=revision, token=token)

    @cached_property
    def fingerprint(self) -> str:
        """A short name of these exact weights, words and preprocessing; vectors of other ones are no company."""
        return fingerprint_of(to_plain(self.config), self.tokenizer.fingerprint, self.network.state_dict())

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    def clip(
        self, source: Media | OpenVideo, *, start_seconds: float = 0.0, end_seconds: float | None = None
    ) -> np.ndarray:
        """Read the clip ``[t h w 3]`` (uint8) that the network sees of a video or of a part of it.

        With several views they follow one another along ``t``. Where parts of a file cannot be decoded the nearest
        frames stand in, and a warning is logged.

        Raises:
            MediaError: the file is missing or cannot be read.
        """
        frames = self.frames(source, start_seconds=start_seconds, end_seconds=end_seconds)
        if frames.problem is not None:
            name = "the video" if isinstance(source, OpenVideo) else open_media(source).name
            _log.warning("%s: %s", name, frames.problem)
        return test_clip(frames.images, self.config.inputs.frames)

    def frames(
        self, source: Media | OpenVideo, *, start_seconds: float = 0.0, end_seconds: float | None = None
    ) -> Frames:
        """Read the frames that a clip is made of, before they become square; ``problem`` says what was missing.

        Raises:
            MediaError: the file is missing or cannot be read.
        """
        inputs = self.config.inputs
        if inputs.max_seconds and end_seconds is None:
            end_seconds = start_seconds + inputs.max_seconds
        return read_frames(
            source,
            inputs.num_frames * inputs.num_views // inputs.burst_length,
            start_seconds=start_seconds,
            end_seconds=end_seconds,
            short_side=inputs.frames.test_read_size,
            burst_length=inputs.burst_length,
            burst_interval=inputs.burst_interval,
        )

    def span_frames(self, video: OpenVideo, spans: Sequence[tuple[float, float]]) -> Iterator[Frames | None]:
        """Read the clips [t h w 3] of many spans of one video in one pass, as square as the network sees them.

        Args:
            video: The video; nothing else may read from it meanwhile.
            spans: Start and end of each in seconds, in the order of their starts.

        Yields:
            For each span its clip, and in ``problem`` what was missing; None where nothing could be decoded.

        Raises:
            MediaError: nothing at all can be decoded.
        """
        inputs = self.config.inputs
        return read_spans(
            video,
            spans,
            inputs.num_frames * inputs.num_views // inputs.burst_length,
            shrink=lambda images: test_clip(images, inputs.frames),
            short_side=inputs.frames.test_read_size,
            burst_length=inputs.burst_length,
            burst_interval=inputs.burst_interval,
        )

    @torch.inference_mode()
    def video_tokens(self, clips: Sequence[np.ndarray]) -> Float[Tensor, "b t h w d"]:
        """Encode clips; keep the tokens to ask several questions of one video."""
        num_views = self.config.inputs.num_views
        batch = torch.from_numpy(np.stack(clips)).to(self.device)
        tokens = self.network.video_tokens(batch.unflatten(1, (num_views, -1)).flatten(0, 1))
        return tokens.unflatten(0, (-1, num_views)).mean(dim=1) if num_views > 1 else tokens

    @torch.inference_mode()
    def embed_clips(self, clips: Sequence[np.ndarray]) -> Float[Tensor, "b d"]:
        """Normalised embeddings of clips."""
        return unit(self.network.embed_video(self.video_tokens(clips)))

    @overload
    def encode_video(self, source: Media) -> Float[Tensor, " d"]: ...
    @overload
    def encode_video(self, source: list[Media]) -> Float[Tensor, "b d"]: ...
    def encode_video(self, source: Media | list[Media]) -> Tensor:
        """Normalised embedding of one video (or of each of a list), to be compared with texts by dot product.

        Raises:
            MediaError: a file is missing or cannot be read.
        """
        if isinstance(source, list):
            found = [self.embed_clips([self.clip(one)]) for one in source]
            return torch.cat(found) if found else torch.zeros(0, self.config.model.embedding_width, device=self.device)
        return self.embed_clips([self.clip(source)])[0]

    @overload
    def encode_text(self, texts: str) -> Float[Tensor, " d"]: ...
    @overload
    def encode_text(self, texts: Sequence[str]) -> Float[Tensor, "b d"]: ...
    @torch.inference_mode()
    def encode_text(self, texts: str | Sequence[str]) -> Tensor:
        """Normalised embedding of one text (or of each of several).

        Raises:
            TextError: a text is empty.
        """
        token_ids, is_token = self.encode_words([texts] if isinstance(texts, str) else list(texts))
        embeddings = unit(self.network.embed_text(self.network.text_encoder(token_ids, is_token)))
        return embeddings[0] if isinstance(texts, str) else embeddings

    def encode_words(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token ids and which of them are no padding, on the network's device."""
        keep_mask = self.config.model.heads.answers_at_mask
        longest = self.config.inputs.max_text_length
        encoded = self.tokenizer.encode(texts, max_length=longest, keep_mask=keep_mask)
        token_ids = torch.from_numpy(encoded.token_ids).to(self.device)
        return token_ids, torch.from_numpy(encoded.is_token).to(self.device)

    @torch.inference_mode()
    def answer_probabilities(
        self, video_tokens: Float[Tensor, "b t h w d"], questions: Sequence[str]
    ) -> Float[Tensor, "b answers"]:
        """Probabilities of the answer vocabulary, one question per encoded video.

        Raises:
            ConfigError: the model was not fine-tuned on questions.
        """
        token_ids, is_token = self.encode_words(questions)
        is_blank = token_ids == self.tokenizer.mask_id if self.config.model.heads.answers_at_mask else None
        return self.network.answer_scores(video_tokens, token_ids, is_token, is_blank=is_blank).softmax(dim=-1)

    @torch.inference_mode()
    def choice_scores(
        self, video_tokens: Float[Tensor, "b t h w d"], texts: Sequence[Sequence[str]]
    ) -> Float[Tensor, "b k"]:
        """Scores of candidate texts (`clover.data.text.choice_texts`), the same number for every encoded video.

        Raises:
            ConfigError: the model was not fine-tuned on choices.
        """
        token_ids, is_token = self.encode_words([text for candidates in texts for text in candidates])
        shape = (len(texts), -1)
        return self.network.choice_scores(video_tokens, token_ids.unflatten(0, shape), is_token.unflatten(0, shape))

    def answer(self, source: Media, question: str, *, num_answers: int = 5) -> list[Answer]:
        """Answer a question about a video: the most probable answers, best first.

        Raises:
            MediaError: the file is missing or cannot be read.
            ConfigError: the model was not fine-tuned on questions.
        """
        if not self.config.answers:
            raise ConfigError("this checkpoint was not fine-tuned on questions: it has no answers to choose from")
        probabilities = self.answer_probabilities(self.video_tokens([self.clip(source)]), [question])[0]
        best = probabilities.topk(min(num_answers, len(self.config.answers)))
        return [
            Answer(text=self.config.answers[place], probability=probability)
            for place, probability in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]

    def with_heads(self, heads: HeadConfig, *, answers: Sequence[str] = (), seed: int) -> Clover:
        """The same weights with fresh task heads, and with an open-ended one its answer vocabulary."""
        config = replace(self.config, model=replace(self.config.model, heads=heads), answers=tuple(answers))
        network = CloverModel(config.model)
        initialise(network, seed)
        own = ("answer_head.", "choice_head.")
        kept = {key: value for key, value in self.network.state_dict().items() if not key.startswith(own)}
        load_strictly(network, kept, source="the pre-trained network", may_lack=r"(answer|choice)_head\..*")
        return self._alike(Clover(network.to(self.device), self.tokenizer, config))

    def with_inputs(self, inputs: InputConfig) -> Clover:
        """The same network reading other frames, or longer texts."""
        return self._alike(Clover(self.network, self.tokenizer, replace(self.config, inputs=inputs)))

    def _alike(self, other: Clover) -> Clover:
        """Another model of these weights, with their history."""
        other.history = self.history
        return other
