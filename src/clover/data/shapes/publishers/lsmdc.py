"""LSMDC: clips of invented movies; retrieval, multiple choice, and sentences with a blank."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from clover.data.shapes.captions import Wording, captions
from clover.data.shapes.choices import choice
from clover.data.shapes.publishers.publisher import Clip, VideoPublisher
from clover.data.shapes.publishers.tables import plain_text
from clover.data.shapes.questions import clozes
from clover.data.shapes.sampling import ShapesConfig
from clover.data.shapes.scene import Scene
from clover.data.shapes.vocabulary import SPLITS
from clover.data.shapes.writing import Rows

_CLIPS_PER_MOVIE = 8
_SECONDS_PER_CLIP = 15.0
_FIRST_SECONDS = 62.04
_MAX_TEST = 1000
_MAX_BLANKS = 3

_FIRST_WORDS = ("Paper", "Quiet", "Glass", "Midnight_00", "Low", "Far", "Stone", "Blue", "Old", "Winter", "Empty")
_SECOND_WORDS = ("Harbor", "Orbit", "River", "Train", "Tide", "Field", "House", "Door", "Map", "Garden")


def clip_id(scene: Scene, config: ShapesConfig) -> str:
    """``<movie>_<start>-<end>``; as in the original movies 0xxx are for training only, and 3xxx in capitals."""
    counts = config.num_videos_per_split
    before = SPLITS[: SPLITS.index(scene.split)]
    movie = sum(-(-counts[split] // _CLIPS_PER_MOVIE) for split in before) + scene.index // _CLIPS_PER_MOVIE
    source = (0, 1, 3)[movie % 3] if scene.split == "train" else (1, 3)[movie % 2]
    second = movie // len(_FIRST_WORDS) % len(_SECOND_WORDS)
    title = f"{_FIRST_WORDS[movie % len(_FIRST_WORDS)]}_{_SECOND_WORDS[second]}"
    start, end = _times(scene)
    return f"{source}{movie + 1:03d}_{title.upper() if source == 3 else title}_{start}-{end}"


def _times(scene: Scene) -> tuple[str, str]:
    start = _FIRST_SECONDS + _SECONDS_PER_CLIP * (scene.index % _CLIPS_PER_MOVIE)
    return _stamp(start), _stamp(start + scene.duration_seconds)


def _stamp(seconds: float) -> str:
    milliseconds = round(1000 * seconds)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}.{minutes % 60:02d}.{rest // 1000:02d}.{rest % 1000:03d}"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


@dataclass(frozen=True)
class Lsmdc(VideoPublisher):
    """Files without header and quoting: the id, four times (aligned and extracted, here the same), then the rest.

    Attributes:
        file_names: Annotation file of each split.
        rows_of: Makes what follows the times, a tuple for each row about a scene.
    """

    file_names: tuple[tuple[str, str], ...]
    rows_of: Callable[[Scene, ShapesConfig], list[tuple[object, ...]]]

    def clip(self, scene: Scene, config: ShapesConfig) -> Clip:
        """Name a clip by movie and times; the rows of its split."""
        name = clip_id(scene, config)
        movie = name.rsplit("_", 1)[0]
        head = (name, *_times(scene), *_times(scene))
        rows = [(*head, *rest) for rest in self.rows_of(scene, config)]
        return Clip(media=f"videos/{movie}/{name}.avi", rows={scene.split: rows})

    def texts(self, config: ShapesConfig, rows: Rows) -> dict[str, str]:
        """One file for each split."""
        return {f"annotations/{name}": plain_text(rows.get(split, [])) for split, name in self.file_names}


def _sentences(scene: Scene, config: ShapesConfig) -> list[tuple[object, ...]]:
    """Every caption, or the first alone in the retrieval test, of a thousand clips at most."""
    if scene.split == "test" and scene.index >= _MAX_TEST:
        return []
    texts = captions(scene, Wording(seed=config.seed))
    return [(_sentence(text),) for text in (texts[:1] if scene.split == "test" else texts)]


def _choices(scene: Scene, config: ShapesConfig) -> list[tuple[object, ...]]:
    """Five sentences: the right one first, or in the test anywhere, and then its place, from 1."""
    options, label = choice(scene, config.seed)
    texts = [_sentence(text) for text in options]
    if scene.split == "test":
        return [(*texts, label + 1)]
    return [(texts[label], *texts[:label], *texts[label + 1 :])]


def _blanks(scene: Scene, config: ShapesConfig) -> list[tuple[object, ...]]:
    """Sentence, the same with a blank, answer; no final stop, and too many spaces in every other row."""
    rows: list[tuple[object, ...]] = []
    for place, (text, answer) in enumerate(clozes(scene, config.seed, _MAX_BLANKS)):
        text = f"{text[0].upper()}{text[1:]}"
        blank = " _____ " if place % 2 else "_____"
        rows.append((text.replace("[MASK]", answer), text.replace("[MASK]", blank).strip(), answer))
    return rows


LSMDC_RETRIEVAL = Lsmdc(
    file_names=(
        ("train", "LSMDC16_annos_training.csv"),
        ("validation", "LSMDC16_annos_val.csv"),
        ("test", "LSMDC16_challenge_1000_publictect.csv"),
    ),
    rows_of=_sentences,
)
LSMDC_CHOICES = Lsmdc(
    file_names=(
        ("train", "LSMDC16_multiple_choice_train.csv"),
        ("validation", "LSMDC16_multiple_choice_valid.csv"),
        ("test", "LSMDC16_multiple_choice_test_randomized.csv"),
    ),
    rows_of=_choices,
)
LSMDC_BLANKS = Lsmdc(
    file_names=(
        ("train", "LSMDC16_annos_training_FIB.csv"),
        ("validation", "LSMDC16_annos_val_FIB.csv"),
        ("test", "LSMDC16_annos_test_FIB.csv"),
    ),
    rows_of=_blanks,
)
