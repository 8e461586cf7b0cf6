"""The Clover network: three encoders, the projections to the shared space, and the heads."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from clover.errors import ConfigError
from clover.modeling.borrowed_text import BorrowedTextConfig, BorrowedTextEncoder
from clover.modeling.borrowed_video import BorrowedVideoConfig, BorrowedVideoEncoder
from clover.modeling.fusion import FusedTokens, FusionConfig, FusionEncoder
from clover.modeling.heads import ChoiceHead, MaskedWordHead, OpenEndedHead, TextProjection, VideoProjection
from clover.modeling.pixels import Clip, PixelConfig, normalise
from clover.modeling.text_encoder import TextEncoder, TextEncoderConfig
from clover.modeling.video_swin import VideoEncoder, VideoEncoderConfig


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """Which task heads a model carries besides the ones of pre-training."""

    num_answers: int = 0
    """Size of the answer vocabulary of the open-ended head; 0 means no such head."""
    answer_dropout: float = 0.1
    """Dropout in front of the open-ended head."""
    answers_at_mask: bool = False
    """Read the answer at the text's [MASK] (fill-in-the-blank) and not at its [CLS]."""
    has_choices: bool = False
    """Carry a multiple-choice head."""
    choice_dropout: float = 0.5
    """Dropout in front of the multiple-choice head."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The whole network; the defaults are Clover-Base."""

    video: VideoEncoderConfig | BorrowedVideoConfig = field(default_factory=VideoEncoderConfig)
    """Video encoder: Clover's own, or a model of transformers in its place."""
    text: TextEncoderConfig | BorrowedTextConfig = field(default_factory=TextEncoderConfig)
    """Text encoder: Clover's own, or a model of transformers in its place."""
    fusion: FusionConfig = field(default_factory=FusionConfig)
    """Fusion encoder."""
    embedding_width: int = 768
    """Width of the space in which video, text and their fusion are compared."""
    projection_width: int = 1536
    """Hidden width of the video projections."""
    fused_dropout: float = 0.1
    """Dropout inside the projection of the fusion of video and masked text."""
    fused_pairing: Literal["paper", "first_release"] = "paper"
    """Which fusion is compared with which anchor: Eq. 2's, or the one of the authors' first release (2022)."""
    initial_weights: Literal["published", "fan_in"] = "published"
    """Spread of fresh weight matrices: 0.02 as published, or one over the square root of their input width, which
    narrow networks need to learn at all from nothing (0.02 is half of that at width 768, a sixth at width 64)."""
    pixels: PixelConfig = field(default_factory=PixelConfig)
    """How pixels become numbers."""
    heads: HeadConfig = field(default_factory=HeadConfig)
    """Task heads."""

    def __post_init__(self) -> None:
        if self.fused_pairing == "first_release" and self.fusion.kind != "concatenated":
            raise ConfigError(
                f"fused_pairing is first_release, which pools fused video tokens, and fusion.kind "
                f"{self.fusion.kind} fuses the text's alone: use fusion.kind concatenated, or fused_pairing paper"
            )

    def check(self) -> None:
        """Whether the sizes go together; not asked when this is made, for weights may bring other sizes yet.

        Raises:
            ConfigError: they do not.
        """
        if isinstance(self.video, VideoEncoderConfig):
            self.video.check()
        if isinstance(self.text, TextEncoderConfig):
            self.text.transformer.check()
        self.fusion.transformer.check()
        if self.fusion.video_width != self.video.output_width:
            raise ConfigError(
                f"fusion takes video tokens of width {self.fusion.video_width}, "
                f"but the video encoder gives {self.video.output_width}"
            )
        if self.fusion.transformer.width != self.text.width:
            raise ConfigError(
                f"the fusion encoder's width {self.fusion.transformer.width} is not "
                f"the text encoder's {self.text.width}"
            )

    @property
    def own_video(self) -> VideoEncoderConfig:
        """The video encoder, which must be Clover's own.

        Raises:
            ConfigError: it is a model of transformers.
        """
        if not isinstance(self.video, VideoEncoderConfig):
            raise ConfigError(f"the video encoder of this model is a {self.video.architecture['model_type']}; {_OWN}")
        return self.video

    @property
    def own_text(self) -> TextEncoderConfig:
        """The text encoder, which must be Clover's own.

        Raises:
            ConfigError: it is a model of transformers.
        """
        if not isinstance(self.text, TextEncoderConfig):
            raise ConfigError(f"the text encoder of this model is a {self.text.architecture['model_type']}; {_OWN}")
        return self.text


_OWN = "this can be done with Clover's own encoders only"


@dataclass(frozen=True, kw_only=True)
class Embeddings:
    """The six embeddings of a pre-training batch in the shared space, not normalised (method, section 1)."""

    video: Float[Tensor, "b d"]
    """``V_e``: complete video."""
    text: Float[Tensor, "b d"]
    """``T_e``: complete text."""
    masked_video: Float[Tensor, "b d"]
    """``V_m``."""
    masked_text: Float[Tensor, "b d"]
    """``T_m``."""
    fused_for_video: Float[Tensor, "b d"]
    """The fused embedding compared with the video: ``M_{V_m f}``, of masked video and complete text."""
    fused_for_text: Float[Tensor, "b d"]
    """The fused embedding compared with the text: ``M_{T_m f}``, of complete video and masked text."""


@dataclass(frozen=True, kw_only=True)
class PretrainingOutput:
    """What the objectives of pre-training look at."""

    embeddings: Embeddings
    word_scores: Float[Tensor, "masked vocabulary"]
    """Scores of every word piece at the masked places only, in the order of the batch."""


@dataclass(frozen=True, kw_only=True)
class FusedPair:
    """The fusion of complete video and complete text, projected for comparison with either; not normalised."""

    for_video: Float[Tensor, "b d"]
    for_text: Float[Tensor, "b d"]


class CloverModel(nn.Module):
    """Tensors in, tensors out. Files and sentences are the business of `clover.pipeline.Clover`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        config.check()
        self.config = config
        text_width, width = config.text.width, config.embedding_width
        self.video_encoder = (
            VideoEncoder(config.video)
            if isinstance(config.video, VideoEncoderConfig)
            else BorrowedVideoEncoder(config.video)
        )
        self.text_encoder = (
            TextEncoder(config.text) if isinstance(config.text, TextEncoderConfig) else BorrowedTextEncoder(config.text)
        )
        self.fusion_encoder = FusionEncoder(config.fusion)
        self.video_projection = VideoProjection(
            input_width=config.video.output_width, hidden_width=config.projection_width, output_width=width
        )
        self.text_projection = TextProjection(input_width=text_width, output_width=width)
        self.fused_video_projection = VideoProjection(
            input_width=text_width, hidden_width=config.projection_width, output_width=width
        )
        self.fused_text_projection = TextProjection(
            input_width=text_width, output_width=width, dropout=config.fused_dropout
        )
        self.masked_word_head = MaskedWordHead(
            width=text_width,
            vocabulary_size=config.text.vocabulary_size,
            norm_epsilon=config.text.norm_epsilon,
        )
        heads = config.heads
        self.answer_head = (
            OpenEndedHead(width=text_width, num_answers=heads.num_answers, dropout=heads.answer_dropout)
            if heads.num_answers
            else None
        )
        self.choice_head = ChoiceHead(width=text_width, dropout=heads.choice_dropout) if heads.has_choices else None

    def video_tokens(
        self, clip: Clip, is_masked_cell: Bool[Tensor, "b gh gw"] | None = None
    ) -> Float[Tensor, "b t2 h2 w2 dv"]:
        """Tokens of clips of RGB pixels, 0..255."""
        tokens: Tensor = self.video_encoder(normalise(clip, self.config.pixels), is_masked_cell)
        return tokens

    def embed_video(self, tokens: Float[Tensor, "b t h w dv"]) -> Float[Tensor, "b d"]:
        """Mean over all tokens, projected; in float32 (or wider) also under autocast, as all embeddings."""
        return _wide(self.video_projection(tokens.mean(dim=(1, 2, 3))))

    def embed_text(self, tokens: Float[Tensor, "b l dt"]) -> Float[Tensor, "b d"]:
        """The vector at [CLS], projected."""
        return _wide(self.text_projection(tokens[:, 0]))

    def fuse(
        self,
        video: Float[Tensor, "b t h w dv"],
        text: Float[Tensor, "b l dt"],
        is_token: Bool[Tensor, "b l"],
        *,
        gives_video: bool = True,
    ) -> FusedTokens:
        """Fuse the two encoders' tokens; see `FusionEncoder.forward`."""
        fused: FusedTokens = self.fusion_encoder(video, text, is_token, gives_video=gives_video)
        return fused

    def pretraining_output(
        self,
        clip: Clip,
        is_masked_cell: Bool[Tensor, "b gh gw"],
        token_ids: Int[Tensor, "b l"],
        masked_token_ids: Int[Tensor, "b l"],
        is_token: Bool[Tensor, "b l"],
        is_masked_word: Bool[Tensor, "b l"],
    ) -> PretrainingOutput:
        """All that one pre-training step compares; complete and masked samples share each encoder call.

        The fusion encoder sees (masked video, complete text) and (complete video, masked text); masked words
        are read off the latter.
        """
        pixels = normalise(clip, self.config.pixels)
        video_tokens = self.video_encoder.encode_kinds(pixels, is_masked_cell, ("masked", "complete"))
        text_tokens = self.text_encoder(torch.cat([token_ids, masked_token_ids]), is_token.repeat(2, 1))
        pools_video = self.config.fused_pairing == "first_release"
        fused = self.fuse(video_tokens, text_tokens, is_token.repeat(2, 1), gives_video=pools_video)
        masked_video, video = self.embed_video(video_tokens).chunk(2)
        text, masked_text = self.embed_text(text_tokens).chunk(2)
        fused_for_video, fused_for_text = self._fused_embeddings(fused)
        embeddings = Embeddings(
            video=video,
            text=text,
            masked_video=masked_video,
            masked_text=masked_text,
            fused_for_video=fused_for_video,
            fused_for_text=fused_for_text,
        )
        places = fused.text.chunk(2)[1][is_masked_word]
        return PretrainingOutput(embeddings=embeddings, word_scores=self.masked_word_head(places))

    def wanted_outputs(
        self,
        clip: Clip,
        is_masked_cell: Bool[Tensor, "b gh gw"],
        token_ids: Int[Tensor, "b l"],
        masked_token_ids: Int[Tensor, "b l"],
        is_token: Bool[Tensor, "b l"],
        is_masked_word: Bool[Tensor, "b l"],
        *,
        wanted: Collection[str],
    ) -> dict[str, Tensor]:
        """What some objectives of pre-training look at, computed with no more encoder passes than that takes.

        The paper's Baseline, IND-A and IND-F need half of the passes of the tri-modal objective, or fewer.

        Args:
            clip: Complete videos.
            is_masked_cell: Their masks.
            token_ids: Complete texts.
            masked_token_ids: The same with words masked.
            is_token: False at padding.
            is_masked_word: Where words are masked.
            wanted: Names of fields of `Embeddings`, and ``word_scores``.

        Returns:
            By name, in the order of ``wanted``; the values are those of `pretraining_output`.
        """
        needed = needed_inputs(wanted)
        if self.config.fused_pairing != "paper" or all(len(kinds) == len(_KINDS) for kinds in needed.values()):
            whole = self.pretraining_output(clip, is_masked_cell, token_ids, masked_token_ids, is_token, is_masked_word)
            found = vars(whole.embeddings) | {"word_scores": whole.word_scores}
            return {name: found[name] for name in wanted}
        video = self._video_tokens_by_kind(clip, is_masked_cell, needed["video"])
        ids = {"masked": masked_token_ids, "complete": token_ids}
        text = _each(
            needed["text"],
            lambda kinds: self.text_encoder(torch.cat([ids[kind] for kind in kinds]), is_token.repeat(len(kinds), 1)),
        )
        fused = {
            kind: self.fuse(video[kind], text[_OTHER[kind]], is_token, gives_video=False) for kind in needed["fusion"]
        }
        made: dict[str, Callable[[], Tensor]] = {
            "video": lambda: self.embed_video(video["complete"]),
            "masked_video": lambda: self.embed_video(video["masked"]),
            "text": lambda: self.embed_text(text["complete"]),
            "masked_text": lambda: self.embed_text(text["masked"]),
            "fused_for_video": lambda: _wide(self.fused_video_projection(fused["masked"].cls)),
            "fused_for_text": lambda: _wide(self.fused_text_projection(fused["complete"].cls)),
            "word_scores": lambda: self.masked_word_head(fused["complete"].text[is_masked_word]),
        }
        return {name: made[name]() for name in wanted}

    def _video_tokens_by_kind(
        self, clip: Clip, is_masked_cell: Bool[Tensor, "b gh gw"], kinds: Sequence[str]
    ) -> dict[str, Tensor]:
        if not kinds:
            return {}
        pixels = normalise(clip, self.config.pixels)
        return _each(kinds, lambda kinds: self.video_encoder.encode_kinds(pixels, is_masked_cell, kinds))

    def _fused_embeddings(self, fused: FusedTokens) -> tuple[Tensor, Tensor]:
        """The fused embeddings for the video anchor and for the text anchor.

        The batch holds (masked video, complete text) first, (complete video, masked text) second.
        """
        with_masked_video, with_masked_text = fused.cls.chunk(2)
        for_text = _wide(self.fused_text_projection(with_masked_text))
        if self.config.fused_pairing == "paper":
            return _wide(self.fused_video_projection(with_masked_video)), for_text
        assert fused.video is not None
        video_places = fused.video.chunk(2)[0].mean(dim=1)
        return for_text, _wide(self.fused_video_projection(video_places))

    def fused_pair(self, fused: FusedTokens) -> FusedPair:
        """Project a fusion as pre-training did for the video anchor and for the text anchor."""
        if self.config.fused_pairing == "paper":
            return FusedPair(
                for_video=self.fused_video_projection(fused.cls), for_text=self.fused_text_projection(fused.cls)
            )
        assert fused.video is not None, "this pairing pools the video's tokens"
        return FusedPair(
            for_video=self.fused_text_projection(fused.cls),
            for_text=self.fused_video_projection(fused.video.mean(dim=1)),
        )

    def answer_scores(
        self,
        video: Float[Tensor, "b t h w dv"],
        token_ids: Int[Tensor, "b l"],
        is_token: Bool[Tensor, "b l"],
        *,
        is_blank: Bool[Tensor, "b l"] | None = None,
    ) -> Float[Tensor, "b answers"]:
        """Scores of the answer vocabulary for questions about encoded videos.

        Args:
            video: Tokens of the video encoder.
            token_ids: Questions.
            is_token: False at padding.
            is_blank: True at the one [MASK] of each sentence; needed where answers are read at it.

        Raises:
            ConfigError: the model has no open-ended head, or a sentence has not exactly one blank.
        """
        if self.answer_head is None:
            raise ConfigError("this model has no open-ended answer head; fine-tune it on questions first")
        fused = self.fuse(video, self.text_encoder(token_ids, is_token), is_token, gives_video=False)
        if not self.config.heads.answers_at_mask:
            return self.answer_head(fused.cls)
        if is_blank is None or not bool((is_blank.sum(dim=1) == 1).all()):
            raise ConfigError("every fill-in-the-blank sentence needs exactly one [MASK]")
        return self.answer_head(fused.text[is_blank])

    def choice_scores(
        self,
        video: Float[Tensor, "b t h w dv"],
        token_ids: Int[Tensor, "b k l"],
        is_token: Bool[Tensor, "b k l"],
    ) -> Float[Tensor, "b k"]:
        """Scores of every candidate text of every video.

        Raises:
            ConfigError: the model has no multiple-choice head.
        """
        if self.choice_head is None:
            raise ConfigError("this model has no multiple-choice head; fine-tune it on choices first")
        num_choices = token_ids.shape[1]
        flat_ids, flat_is_token = token_ids.flatten(0, 1), is_token.flatten(0, 1)
        repeated = video.repeat_interleave(num_choices, dim=0)
        fused = self.fuse(repeated, self.text_encoder(flat_ids, flat_is_token), flat_is_token, gives_video=False)
        return self.choice_head(fused.cls).view(-1, num_choices)


_KINDS = ("masked", "complete")
_OTHER = {"masked": "complete", "complete": "masked"}
_INPUTS = {
    "video": {"video": "complete"},
    "masked_video": {"video": "masked"},
    "text": {"text": "complete"},
    "masked_text": {"text": "masked"},
    "fused_for_video": {"video": "masked", "text": "complete", "fusion": "masked"},
    "fused_for_text": {"video": "complete", "text": "masked", "fusion": "complete"},
    "word_scores": {"video": "complete", "text": "masked", "fusion": "complete"},
}
"""What each output needs: the masked or the complete video and text, and the fusion with the former."""


def needed_inputs(wanted: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Passes of each encoder that some outputs of pre-training need.

    Args:
        wanted: Names of fields of `Embeddings`, and ``word_scores``.

    Returns:
        For ``video``, ``text`` and ``fusion`` which of "masked" and "complete" (of the fusion: which video) must go
        through it.
    """
    return {
        part: tuple(kind for kind in _KINDS if any(_INPUTS[name].get(part) == kind for name in wanted))
        for part in ("video", "text", "fusion")
    }


def _each(kinds: Sequence[str], encode: Callable[[Sequence[str]], Tensor]) -> dict[str, Tensor]:
    """One call for all kinds, and its output by kind."""
    return dict(zip(kinds, encode(kinds).chunk(len(kinds)), strict=True)) if kinds else {}


def unit(embeddings: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
    """L2-normalise with the published floor of 1e-8 under the norm; similarities are then dot products."""
    return F.normalize(_wide(embeddings), dim=-1, eps=1e-8)


def _wide(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
