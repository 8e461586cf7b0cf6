"""What can be said of a single picture of a scene: colours, shapes, textures and places, but nothing that happens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clover.data.shapes.captions import SHAPE_WORDS, Speaker
from clover.data.shapes.draws import generator, pick
from clover.data.shapes.motion import seen
from clover.data.shapes.questions import Question, Witness
from clover.data.shapes.scene import Scene, SceneObject
from clover.data.shapes.vocabulary import NUMBERS

_MIN_OPACITY = 0.8
_CLEAR_OF_MIDDLE = 0.1
_CLEAR_OF_OTHER = 0.3
_MIDDLE = 0.08


@dataclass(frozen=True, kw_only=True)
class Still:
    """One picture of a scene.

    Attributes:
        frame: Which one, from 0.
        caption: What is seen in it.
    """

    frame: int
    caption: str


def still(scene: Scene, seed: int) -> Still:
    """Return the picture in which most of the scene's objects are seen, the one nearest to the middle, and a caption.

    The caption names every described object that is seen there, and where it is or how two of them are placed; other
    objects as well in half of the cases.
    """
    rng = generator(seed, scene.split, scene.index, "stills")
    state = seen(scene)
    num_visible = (state.opacity >= _MIN_OPACITY).sum(axis=0)
    best = np.flatnonzero(num_visible == num_visible.max())
    frame = int(best[np.abs(best - scene.num_frames // 2).argmin()])
    is_visible = state.opacity[:, frame] >= _MIN_OPACITY
    says_all = bool(rng.uniform() < 0.5)
    named = [place for place, item in enumerate(scene.objects) if is_visible[place] and (item.is_described or says_all)]
    speaker = _StillSpeaker(rng, says_details=bool(rng.uniform() < 0.6))
    nouns = [speaker.noun(scene.objects[place]) for place in named]
    x, y = state.x[named, frame], state.y[named, frame]
    if len(named) == 2:
        relation = _relation(float(x[0] - x[1]), float(y[0] - y[1]))
        if relation is not None and rng.uniform() < 0.7:
            return Still(frame=frame, caption=f"{nouns[0]} {speaker.word(relation)} {nouns[1]}")
    if len(named) > 2:
        return Still(frame=frame, caption=f"{', '.join(nouns[:-1])} and {nouns[-1]}")
    places = [_place(float(across), float(down)) for across, down in zip(x, y, strict=True)]
    said = [f"{noun} {speaker.word(place)}" if place else noun for noun, place in zip(nouns, places, strict=True)]
    return Still(frame=frame, caption=" and ".join(said))


@dataclass(frozen=True)
class _StillSpeaker(Speaker):
    """A speaker without size words: an object that grows has no size of its own in one picture."""

    def noun(self, item: SceneObject, *, article: str = "a") -> str:
        """A noun phrase of colour and shape, and texture where details are said."""
        words = [item.color, self.word(SHAPE_WORDS.get(item.shape, (item.shape,)))]
        if item.texture != "plain" and self.says_details:
            words.insert(0, item.texture)
        return " ".join(["an" if words[0][0] in "aeiou" else article, *words])


def _relation(dx: float, dy: float) -> tuple[str, ...] | None:
    """Ways to say where the first of two objects is; None when it is oblique."""
    if abs(dx) >= _CLEAR_OF_OTHER and abs(dy) < abs(dx) / 2:
        return ("to the left of", "left of") if dx < 0 else ("to the right of", "right of")
    if abs(dy) >= _CLEAR_OF_OTHER and abs(dx) < abs(dy) / 2:
        return ("above", "over") if dy < 0 else ("below", "under")
    return None


def _place(x: float, y: float) -> tuple[str, ...] | None:
    """Ways to say where in the picture something is; None when it is on no clear side."""
    if max(abs(x - 0.5), abs(y - 0.5)) <= _MIDDLE:
        return ("in the middle", "in the centre")
    if abs(x - 0.5) > max(_CLEAR_OF_MIDDLE, abs(y - 0.5)):
        return ("on the left", "on the left side") if x < 0.5 else ("on the right", "on the right side")
    if abs(y - 0.5) > max(_CLEAR_OF_MIDDLE, abs(x - 0.5)):
        return ("at the top",) if y < 0.5 else ("at the bottom",)
    return None


def frame_questions(scene: Scene, seed: int) -> list[Question]:
    """Questions that any picture of the video answers: at most one of each type, object, number, color and location.

    Objects that are not seen all the time are not asked about.
    """
    rng = generator(seed, scene.split, scene.index, "frames")
    witness = Witness(scene)
    state = seen(scene)
    rows: dict[str, list[tuple[str, str]]] = {"object": [], "number": [], "color": [], "location": []}
    is_steady = state.opacity.min(axis=1) >= _MIN_OPACITY
    if is_steady.all():
        rows["number"].append(("how many objects are there ?", NUMBERS[len(scene.objects)]))
        for texture in sorted({item.texture for item in scene.objects} - {"plain"}):
            count = sum(item.texture == texture for item in scene.objects)
            rows["number"].append((f"how many {texture} objects are there ?", NUMBERS[count]))
    for place in np.flatnonzero(is_steady):
        item = scene.objects[place]
        if witness.is_only("color", item.color):
            rows["object"].append((f"what is the {item.color} object ?", item.shape))
        if witness.is_only("shape", item.shape):
            rows["color"].append((f"what is the color of the {item.shape} ?", item.color))
        name = witness.name(item)
        for path, sides in ((state.x[place], ("left", "right")), (state.y[place], ("top", "bottom"))):
            is_on_one_side = path.max() < 0.5 - _CLEAR_OF_MIDDLE or path.min() > 0.5 + _CLEAR_OF_MIDDLE
            if name is not None and is_on_one_side:
                asked = f"where is the {name} , {sides[0]} or {sides[1]} ?"
                rows["location"].append((asked, sides[int(path[0] > 0.5)]))
    chosen = [(kind, *pick(rng, some)) for kind, some in rows.items() if some]
    return [Question(type=kind, question=question, answer=answer) for kind, question, answer in chosen]
