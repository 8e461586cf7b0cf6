"""Scene graph to questions with exact answers: open-ended and fill-in-the-blank."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from clover.data.shapes.captions import PlainSpeaker, tell
from clover.data.shapes.draws import generator, pick
from clover.data.shapes.scene import Event, Scene, SceneObject
from clover.data.shapes.vocabulary import (
    COLORS,
    COUNTED_ACTIONS,
    DIRECTIONS,
    MOVES,
    NUMBERS,
    PLACES,
    SHAPES,
    TEXTURES,
    TIMES,
)

NUM_QUESTIONS = 6
ORDER_TYPES = ("first", "last", "transition", "what first", "before and after")
"""Types of questions about what comes before what."""
BASE_FORMS = {action: action.replace("moves ", "move ") for action in MOVES} | {
    "grows": "grow",
    "shrinks": "shrink",
    "spins": "spin",
    "blinks": "blink",
    "jumps": "jump",
    "bounces": "bounce",
    "appears": "appear",
    "vanishes": "vanish",
    "circles": "circle",
    "hits": "hit",
}
"""What stands after "does it", for every action."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question, what kind it is, and its only right answer."""

    type: str
    question: str
    answer: str


@dataclass(frozen=True)
class Witness:
    """What can be asked about a scene without a second right answer."""

    scene: Scene

    def is_only(self, attribute: str, value: str) -> bool:
        """Whether exactly one object has this attribute."""
        return sum(getattr(item, attribute) == value for item in self.scene.objects) == 1

    def name(self, item: SceneObject) -> str | None:
        """Colour and shape of an object, if no other object has both."""
        alike = [other for other in self.scene.objects if (other.color, other.shape) == (item.color, item.shape)]
        return f"{item.color} {item.shape}" if len(alike) == 1 else None

    def acting(self) -> list[tuple[SceneObject, list[Event]]]:
        """Objects that act of their own, with their events in order of time."""
        places = sorted({event.actor for event in self.scene.events})
        return [(self.scene.objects[place], list(self.scene.events_of(place))) for place in places]


Maker = Callable[[Witness, np.random.Generator], list[Question]]


def _attributes(witness: Witness, rng: np.random.Generator) -> list[Question]:
    made = []
    for item in witness.scene.objects:
        if witness.is_only("shape", item.shape):
            made.append(Question(type="color", question=f"what color is the {item.shape}?", answer=item.color))
        if witness.is_only("color", item.color):
            made.append(Question(type="shape", question=f"what shape is the {item.color} object?", answer=item.shape))
        name = witness.name(item)
        if name:
            made.append(Question(type="texture", question=f"what texture does the {name} have?", answer=item.texture))
    return made


def _actions(witness: Witness, rng: np.random.Generator) -> list[Question]:
    made = []
    for item, events in witness.acting():
        name = witness.name(item)
        if name is None:
            continue
        if len(events) == 1:
            made.append(Question(type="action", question=f"what does the {name} do?", answer=events[0].action))
        else:
            first, last = events[0].action, events[-1].action
            made.append(Question(type="first", question=f"what does the {name} do first?", answer=first))
            made.append(Question(type="last", question=f"what does the {name} do last?", answer=last))
            after = f"what does the {name} do after it {third(events[-2])}?"
            made.append(Question(type="transition", question=after, answer=last))
            before = f"what does the {name} do before it {third(events[1])}?"
            made.append(Question(type="transition", question=before, answer=first))
    return made


def _who(witness: Witness, rng: np.random.Generator) -> list[Question]:
    made = []
    for item, events in witness.acting():
        for event in events:
            if sum(other.action == event.action for other in witness.scene.events) == 1:
                verb = third(event)
                made.append(Question(type="who", question=f"which object {verb}?", answer=item.shape))
                made.append(Question(type="who", question=f"what color is the object that {verb}?", answer=item.color))
    return made


def _counts(witness: Witness, rng: np.random.Generator) -> list[Question]:
    number = NUMBERS[len(witness.scene.objects)]
    made = [Question(type="how many", question="how many objects are there?", answer=number)]
    for item, events in witness.acting():
        name = witness.name(item)
        for event in events:
            if name and event.action in COUNTED_ACTIONS:
                asked = f"how many times does the {name} {BASE_FORMS[event.action]}?"
                made.append(Question(type="repetition", question=asked, answer=NUMBERS[event.count]))
    return made


def _where(witness: Witness, rng: np.random.Generator) -> list[Question]:
    made = []
    for item, events in witness.acting():
        name = witness.name(item)
        moves = [event for event in events if event.action in MOVES]
        if name and len(moves) == 1:
            asked = f"in which direction does the {name} move?"
            made.append(Question(type="where", question=asked, answer=moves[0].action.removeprefix("moves ")))
    return made


def _order(witness: Witness, rng: np.random.Generator) -> list[Question]:
    if witness.scene.kind != "in turn":
        return []
    events = witness.scene.events
    first, second = (witness.scene.objects[event.actor] for event in events)
    made = []
    if first.shape != second.shape and first.color != second.color:
        made += [
            Question(type="what first", question="which object acts first?", answer=first.shape),
            Question(type="what first", question="what color is the object that acts last?", answer=second.color),
        ]
    name, other = witness.name(first), witness.name(second)
    if name and other:
        before = f"what does the {name} do before the {other} {third(events[1])}?"
        after = f"what does the {other} do after the {name} {third(events[0])}?"
        made.append(Question(type="before and after", question=before, answer=events[0].action))
        made.append(Question(type="before and after", question=after, answer=events[1].action))
    return made


def _relations(witness: Witness, rng: np.random.Generator) -> list[Question]:
    """Relative place and relative speed; both hold during the whole video."""
    made = []
    for relation in witness.scene.relations:
        first, second = witness.scene.objects[relation.first], witness.scene.objects[relation.second]
        name, other = witness.name(first), witness.name(second)
        if relation.kind in PLACES and name and other:
            asked = f"where is the {name} relative to the {other}?"
            made.append(Question(type="relative place", question=asked, answer=relation.kind))
        if relation.kind == "faster than" and first.shape != second.shape:
            made.append(Question(type="faster", question="which object moves faster?", answer=first.shape))
        if relation.kind == "faster than" and first.color != second.color:
            asked = "what color is the object that moves slower?"
            made.append(Question(type="faster", question=asked, answer=second.color))
    return made


def _yes_no(witness: Witness, rng: np.random.Generator) -> list[Question]:
    item = pick(rng, witness.scene.objects)
    there = {(other.color, other.shape) for other in witness.scene.objects}
    if rng.uniform() < 0.5:
        return [Question(type="is there", question=f"is there a {item.color} {item.shape}?", answer="yes")]
    missing = [(color, item.shape) for color in COLORS] + [(item.color, shape) for shape in SHAPES]
    color, shape = pick(rng, [pair for pair in missing if pair not in there])
    return [Question(type="is there", question=f"is there a {color} {shape}?", answer="no")]


_MAKERS: tuple[Maker, ...] = (_attributes, _actions, _who, _counts, _where, _order, _relations, _yes_no)


def third(event: Event) -> str:
    """The verb after "it"; what needs a target is said without it."""
    return {"circles": "circles another", "hits": "hits another"}.get(event.action, event.action)


def questions(scene: Scene, seed: int) -> list[Question]:
    """Open-ended questions about one video: one of each kind that the scene allows, then more of any kind."""
    rng = generator(seed, scene.split, scene.index, "questions")
    witness = Witness(scene)
    chosen: list[Question] = []
    rest: list[Question] = []
    for make in _MAKERS:
        made = make(witness, rng)
        if made:
            place = int(rng.integers(len(made)))
            chosen.append(made.pop(place))
            rest += made
    rest = [question for question in rest if question.type != "is there"]
    chosen += [rest[place] for place in rng.permutation(len(rest))]
    return chosen[:NUM_QUESTIONS]


_BLANKED: tuple[frozenset[str], ...] = (
    frozenset(COLORS),
    frozenset(SHAPES),
    frozenset(TEXTURES),
    frozenset((*DIRECTIONS, "above", "below", "behind")),
    # not "moves", "bounces", "circles" and "hits": the rest of the sentence tells them
    frozenset(("grows", "shrinks", "spins", "blinks", "jumps", "appears", "vanishes")),
    frozenset((*TIMES, *NUMBERS)),
)
"""Words that a blank may stand for, by kind."""


def cloze(scene: Scene, seed: int) -> tuple[str, str] | None:
    """A caption with one word blanked, and the word; None when the caption repeats them all.

    Colours, shapes, textures, directions, places, verbs and numbers are blanked, each kind as often as another. The
    caption has one word for each thing ("ball", never "circle"), so that no other word is right.
    """
    return next(iter(clozes(scene, seed, 1)), None)


def clozes(scene: Scene, seed: int, count: int) -> list[tuple[str, str]]:
    """Several captions as `cloze` gives them, no word blanked twice; fewer where there are no more words."""
    rng = generator(seed, scene.split, scene.index, "cloze")
    found: list[tuple[str, str]] = []
    for _ in range(count):
        words = tell(scene, PlainSpeaker(rng, says_details=bool(rng.uniform() < 0.6))).split(" ")
        asked = {answer for _, answer in found}
        kinds = [
            [place for place, word in enumerate(words) if word in kind - asked and words.count(word) == 1]
            for kind in _BLANKED
        ]
        kinds = [places for places in kinds if places]
        if kinds:
            place = pick(rng, pick(rng, kinds))
            found.append((" ".join([*words[:place], "[MASK]", *words[place + 1 :]]), words[place]))
    return found
