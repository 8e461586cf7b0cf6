"""Every setting of a run in one value; two runs differ in what their configs differ in."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, TypeVar

from clover.checkpoints import InputConfig
from clover.config import to_plain
from clover.data.masking import TextMaskingConfig, VideoMaskingConfig
from clover.errors import ConfigError
from clover.modeling.model import ModelConfig
from clover.objectives.pretraining import PretrainingObjectiveConfig
from clover.training.adapters import PARTS, LoraConfig, Part
from clover.training.checkpoint import KeepConfig
from clover.training.compute import ComputeConfig
from clover.training.health import HealthConfig
from clover.training.optimizer import OptimizerConfig
from clover.training.sinks import SinkName
from clover.types import Parallel


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What is trained on."""

    corpus: str = ""
    """Folder of a generated corpus."""
    num_kept_frames: int = 16
    """Frames per video that are decoded once and kept (a multiple of the clip's frames); 0 decodes anew each time."""
    vocabulary_size: int = 2000
    """Most word pieces of a tokenizer trained from the captions."""
    tokenizer: str = ""
    """Tokenizer file or folder (ours, or bert-base-uncased's) to use in place of a trained one."""
    tagger: str = "hanta"
    """Part-of-speech tagger: hanta, nltk, or spacy:MODEL. Shards from clover data pack hold tags already."""
    strict: bool = False
    """Stop at a video that cannot be read, instead of leaving it out and counting it."""


@dataclass(frozen=True, kw_only=True)
class PretrainingDataConfig(DataConfig):
    """What is pre-trained on: a generated corpus, or one or several sources of captioned videos and images."""

    with_paragraphs: bool = False
    """Of a generated corpus, take the paragraph that tells all of a video as one more of its captions."""
    webvid_annotations: str = ""
    """Caption file of WebVid (results_2M_train.csv)."""
    webvid_videos: str = ""
    """Folder of its videos, at any depth below it."""
    video_shards: str = ""
    """Tars of captioned videos, from clover data pack or video2dataset: a folder, or a pattern such as 'dir/*.tar'."""
    cc3m_annotations: str = ""
    """Caption file of CC3M (Train_GCC-training.tsv)."""
    cc3m_images: str = ""
    """Folder of its images, at any depth below it."""
    image_shards: str = ""
    """Tars of captioned images, from clover data pack or img2dataset: a folder, or a pattern."""
    weights: tuple[float, ...] = ()
    """Share of the steps that each source gets, in the order above; none lets them alternate step by step, as
    published."""

    def __post_init__(self) -> None:
        for rows, media in (("webvid_annotations", "webvid_videos"), ("cc3m_annotations", "cc3m_images")):
            if bool(getattr(self, rows)) != bool(getattr(self, media)):
                options = [f"--data.{name.replace('_', '-')}" for name in (rows, media)]
                raise ConfigError(f"{options[0]} and {options[1]} go together; give both or neither")


Data = TypeVar("Data", bound=DataConfig)


def with_kept_frames(data: Data, num_frames: int) -> Data:
    """As many kept frames as before, or the few more that clips of so many frames can be taken from."""
    return replace(data, num_kept_frames=-(-data.num_kept_frames // num_frames) * num_frames)


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """One stretch of training."""

    num_steps: int = 0
    """Steps; with num_epochs, the most there are. 0 of both leaves the stage out."""
    num_epochs: float = 0.0
    """Passes over the data (of pre-training; with several sources, over the one that takes longest); 0 counts steps."""
    batch_size: int = 64
    """Samples a step."""
    micro_batch_size: int = 0
    """Samples that go through the network together on a process; 0 takes all of a step. Fewer need less memory and give
    the same gradients; where embeddings of a batch are compared, they need about a third more time."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """Learning rate and its schedule."""

    def __post_init__(self) -> None:
        if self.micro_batch_size < 0:
            raise ConfigError(
                f"micro_batch_size is {self.micro_batch_size}; give 1 or more samples, or 0 for all of them"
            )
        if self.num_steps < 0 or self.batch_size < 1:
            raise ConfigError(f"{self.num_steps} steps of {self.batch_size} samples: give 0 or more steps of 1 or more")
        if not 0 <= self.num_epochs < math.inf:
            raise ConfigError(f"num_epochs is {self.num_epochs}; give 0 or more")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """How a run is carried out; less the seed, it does not decide the result, and may be changed when it is resumed."""

    seed: int = 0
    """Seed of everything random."""
    save_every: int = 200
    """Steps between two saved states, from which a run resumes."""
    keep: KeepConfig = field(default_factory=KeepConfig)
    """Which saved states are kept."""
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    """Device, number format, and what is traded for speed and memory."""
    health: HealthConfig = field(default_factory=HealthConfig)
    """What is done about a loss or gradient that is no number."""
    parallel: Parallel = "ddp"
    """With several processes (torchrun): all weights on each (ddp), or a share of them (fsdp; pre-training only)."""
    num_workers: int = 0
    """Processes that read and decode ahead, one core each; 0 does so in a thread, -1 takes as many as there are cores,
    shared among the processes of the machine."""
    log_to: tuple[SinkName, ...] = ()
    """Where the figures go besides log.jsonl: tensorboard, wandb, trackio (an extra of the package each)."""


def deciding(settings: Any) -> Any:
    """A run's config as plain values, less what may differ when it is resumed.

    The number format stays; how a batch is cut goes, at any depth, and so does what pre-training is evaluated on.
    """
    plain = to_plain(settings)
    if not isinstance(plain, dict):
        return plain
    mine = {each.name for each in fields(RunConfig)} - {"seed"} | {"validation"}
    kept = {name: value for name, value in plain.items() if name not in mine}
    if "compute" in plain:
        kept["precision"] = plain["compute"]["precision"]
    return _whole_batches(kept)


_PLACES = (
    *("corpus", "webvid_annotations", "webvid_videos", "video_shards"),
    *("cc3m_annotations", "cc3m_images", "image_shards", "tokenizer"),
)


def wherever(deciding: dict[str, Any]) -> dict[str, Any]:
    """What `deciding` gives of a run that compares its data and words themselves, less the places where they lie.

    So that a run goes on in another working directory, or on a machine that keeps the same data elsewhere.
    """
    places = ("init", "annotations", "videos", "video_encoder", "text_encoder")
    kept = {name: value for name, value in deciding.items() if name not in places}
    if "data" in kept:
        kept["data"] = {name: value for name, value in kept["data"].items() if name not in _PLACES}
    if "objective" in kept and not kept["freeze"] and not kept["lora"]["rank"]:
        del kept["freeze"], kept["lora"]  # pre-training came without
    return kept


_LATER: dict[str, Any] = {"layer_rate_decay": 1.0, "decays_position_bias": False}
"""Settings that came later, and the value that means what was done before: runs of then go on."""


def _whole_batches(plain: Any) -> Any:
    if not isinstance(plain, dict):
        return plain
    return {
        name: _whole_batches(value)
        for name, value in plain.items()
        if name != "micro_batch_size" and not (name in _LATER and value == _LATER[name])
    }


@dataclass(frozen=True, kw_only=True)
class ValidationConfig:
    """Zero-shot retrieval while pre-training goes on; the weights are the same with and without."""

    every: int = 0
    """Steps of pre-training between two evaluations; 0 evaluates never."""
    source: str = ""
    """Captioned videos: WebVid's caption file of validation (results_2M_val.csv), shards, or a generated corpus (its
    split validation); empty takes the generated corpus that is trained on."""
    media: str = ""
    """Folder of the videos of a caption file; empty takes the file's own."""
    num_videos: int = 500
    """Most videos, drawn by the seed; the first text of each looks for it among all."""

    def __post_init__(self) -> None:
        if self.every < 0 or self.num_videos < 2:
            raise ConfigError(
                f"validation every {self.every} steps on {self.num_videos} videos: give 0 or more and 2 or more"
            )


@dataclass(frozen=True, kw_only=True)
class PretrainingExperiment(RunConfig):
    """A pre-training run."""

    data: PretrainingDataConfig = field(default_factory=PretrainingDataConfig)
    """What is trained on."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """The network; its vocabulary size is set to the tokenizer's."""
    inputs: InputConfig = field(default_factory=InputConfig)
    """How files and sentences become what the network takes."""
    video_warm_start: StageConfig = field(default_factory=StageConfig)
    """Video encoder on the corpus' own labels: the part that Kinetics plays in the paper."""
    text_warm_start: StageConfig = field(default_factory=StageConfig)
    """Text encoder on masked words: the part that BERT's weights play in the paper."""
    training: StageConfig = field(default_factory=lambda: StageConfig(num_steps=1000))
    """The pre-training itself."""
    objective: PretrainingObjectiveConfig = field(default_factory=PretrainingObjectiveConfig)
    """Terms and their weights."""
    ranking_ramp: tuple[float, float] = (0.0, 0.0)
    """Shares of the run between which the ranking weight rises from 0 to its full value."""
    text_masking: TextMaskingConfig = field(default_factory=TextMaskingConfig)
    """Which words are masked."""
    video_masking: VideoMaskingConfig = field(default_factory=VideoMaskingConfig)
    """Which cells are masked."""
    init: str = ""
    """Folder whose tokenizer and weights the run starts from: a checkpoint, or encoders from clover import, which bring
    their sizes too; empty starts from fresh weights."""
    init_parts: tuple[Part, ...] = PARTS
    """Parts that are taken from it, as far as it has them; the others begin with fresh weights, drawn by the seed."""
    video_encoder: str = ""
    """A model of transformers in place of the video encoder: hf: and its folder, or its name on the Hub. Any image
    model (CLIP, SigLIP, DINOv2, ViT, Swin, ...) or video model (VideoMAE, V-JEPA 2, TimeSformer, ViViT)."""
    text_encoder: str = ""
    """A model of transformers in place of the text encoder, with its tokenizer: hf: and its folder, or its name on the
    Hub. Any one of BERT's kind."""
    freeze: tuple[Part, ...] = ()
    """Parts that stay as they are in the pre-training itself; of an encoder of transformers the model alone: its mask
    token and the mixing of its frames learn."""
    lora: LoraConfig = field(default_factory=lambda: LoraConfig(parts=("video_encoder", "text_encoder")))
    """Low-rank adapters in place of the matrices of these parts; all other parts learn whole."""
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    """What is evaluated meanwhile."""

    def __post_init__(self) -> None:
        if self.text_encoder and self.data.tokenizer:
            raise ConfigError("--text-encoder brings its own tokenizer; leave --data.tokenizer out")
        if self.lora.rank and self.parallel == "fsdp":
            raise ConfigError("adapters are trained with --parallel ddp; give --lora.rank 0 with fsdp")
        if not 0 <= self.ranking_ramp[0] <= self.ranking_ramp[1]:
            raise ConfigError(f"ranking_ramp is {self.ranking_ramp}; it must begin at 0 or later and not end before")
        if self.init and not self.init_parts:
            raise ConfigError(f"init_parts is empty: nothing would be taken from {self.init}; name a part of it")


@dataclass(frozen=True, kw_only=True)
class QuestionExperiment(RunConfig):
    """A fine-tuning run on open-ended questions."""

    data: DataConfig = field(default_factory=DataConfig)
    """What is trained on."""
    training: StageConfig = field(default_factory=lambda: StageConfig(num_steps=500))
    """The fine-tuning."""
    answer_dropout: float = 0.1
    """Dropout in front of the answer head."""
    freeze: tuple[Part, ...] = ()
    """Parts that stay as they are; as published, none. With both encoders frozen only fusion and answer head learn, and
    the checkpoint's embeddings stay the pre-trained ones, so that it still searches as well as before."""
    lora: LoraConfig = field(default_factory=LoraConfig)
    """Low-rank adapters in place of whole matrices."""
    num_answers: int = 1500
    """Most frequent training answers that make the vocabulary."""

    def __post_init__(self) -> None:
        if self.training.num_epochs:
            raise ConfigError("the length of this fine-tuning is given in steps: use --training.num-steps")


@dataclass(frozen=True, kw_only=True)
class BenchmarkExperiment(RunConfig):
    """A fine-tuning run on one of the eleven benchmarks, by its published recipe or a small one."""

    annotations: str = ""
    """Folder of the publisher's annotation files."""
    videos: str = ""
    """Folder of the videos, at any depth below it."""
    by_fusion: bool = False
    """MSRVTT-MC: train a multiple-choice head on captions and four of other videos, in place of the published way."""
    missing: Literal["error", "drop"] = "error"
    """Rows whose video is not there: refuse to run, or leave them out and say so."""
    train_split: str = ""
    """Another training split than the benchmark's own (such as train_7k); empty takes its own."""
    select_on: Literal["last", "validation", "held_out", "test"] = "last"
    """Which checkpoint is kept: the last, or the best on the validation split, or on a tenth of the training videos
    that is held out (for benchmarks without a validation split). On the test split, as the published runs did, only if
    asked for by this name; the result then says so."""
    num_selected: int = 1000
    """Most rows of the validation split that the checkpoint is chosen on, drawn by the seed; the test split is used
    whole."""
    inputs: InputConfig = field(default_factory=InputConfig)
    """What the fine-tuned model reads when it is tested."""
    training_frames: int = 8
    """Frames of a training clip."""
    training_text_length: int = 30
    """Longest training text in word pieces."""
    num_kept_frames: int = 0
    """Frames per video that are decoded once and kept for the whole run; 0 decodes anew each time."""
    num_epochs: float = 10
    """Passes over the training rows."""
    max_steps: int = 0
    """Most steps, for a shorter run; 0 sets no limit."""
    batch_size: int = 32
    """Samples a step. The learning rate is scaled by it over the reference batch."""
    micro_batch_size: int = 0
    """Samples that go through the network together on a process; 0 takes all. Fewer need less memory and give the same
    gradients."""
    reference_batch_size: int = 32
    """Batch at which the learning rate holds as it is given."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """Learning rate and its schedule."""
    dropout: float = 0.1
    """Dropout in front of the task's head."""
    num_answers: int = 1500
    """Most frequent training answers that make the vocabulary."""
    vocabulary: str = ""
    """File of a ready-made answer vocabulary (JSON object of answer and class, JSON list, or one answer a line)."""
    freeze: tuple[Part, ...] = ()
    """Parts that stay as they are; as published, none."""
    lora: LoraConfig = field(default_factory=LoraConfig)
    """Low-rank adapters in place of whole matrices."""
    strict: bool = False
    """Stop at a row or video that cannot be read, instead of leaving it out and counting it."""
