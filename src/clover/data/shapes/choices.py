"""Scene graph to multiple choice: five sentences that differ in one place, or five answers about what comes when.

All five sentences differ in the same place and in nothing else, so no option is more typical of the five than another:
without the video there is nothing to tell the right one by. (Were every wrong option the right one with a change of its
own, the right one would be the option that resembles all others.)
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from clover.data.shapes.captions import Speaker, tell
from clover.data.shapes.draws import generator, pick
from clover.data.shapes.plans import REPEATED, REPEATED_ACTIONS
from clover.data.shapes.questions import BASE_FORMS, Witness, third
from clover.data.shapes.scene import Event, Scene, SceneObject
from clover.data.shapes.splits import held_out, shown_actions
from clover.data.shapes.vocabulary import COLORS, COUNTED_ACTIONS, MOVES, RESIZING_ACTIONS, ROUND_SHAPES, SHAPES

NUM_OPTIONS = 5

_BLANK = "BLANK"
_NONE = "none"
_SWAPPED_ACTIONS = (*MOVES, *RESIZING_ACTIONS, *COUNTED_ACTIONS, "bounces")
"""Actions an object can be said to do at any time; to appear or to vanish would contradict the rest of a sentence."""


@dataclass(frozen=True)
class BlankSpeaker(Speaker):
    """A speaker who leaves one place of the sentence open.

    Attributes:
        item: The object whose colour or shape is left open, or None.
        event: What is done, if that is left open, or None.
    """

    item: SceneObject | None = None
    event: Event | None = None

    def noun(self, item: SceneObject, *, article: str = "a") -> str:
        """A noun phrase; the open word is written as a blank."""
        words = super().noun(item, article=article)
        return f"{words} {_BLANK}" if item is self.item else words

    def verb(self, event: Event) -> str:
        """What one object does, or a blank."""
        return _BLANK if event is self.event else super().verb(event)


def choice(scene: Scene, seed: int) -> tuple[list[str], int]:
    """Return five sentences of which one is true, and the place of the true one, from 0."""
    rng = generator(seed, scene.split, scene.index, "choices")
    details = bool(rng.uniform() < 0.6)
    slots = [
        (place, name) for place, item in enumerate(scene.objects) if item.is_described for name in ("color", "shape")
    ]
    if scene.kind not in ("race", "circle", "hit"):
        events = [number for number, event in enumerate(scene.events) if event.action in _SWAPPED_ACTIONS]
        slots += 2 * [(number, "action") for number in events]
    while True:
        place, name = pick(rng, slots)
        if name == "action":
            options = _action_options(scene, scene.events[place], rng, seed, details)
        else:
            options = _word_options(scene, place, name, rng, seed, details)
        if len(options) == NUM_OPTIONS:
            break
    order = rng.permutation(NUM_OPTIONS)
    return [options[position] for position in order], int(np.argmin(order))


def transition(scene: Scene, seed: int) -> tuple[str, list[str], int] | None:
    """What an object does before or after something else it does: question, five actions, place of the true one.

    None where one object does not do two things, or cannot be named. The wrong ones are what it could have done there:
    other actions of the same video first of all.
    """
    name = Witness(scene).name(scene.objects[0])
    events = scene.events_of(0)
    if scene.kind != "sequence" or name is None:
        return None
    rng = generator(seed, scene.split, scene.index, "transitions")
    asked, answer, when = pick(rng, ((events[-2], events[-1], "after"), (events[1], events[0], "before")))
    impossible = {answer.action, asked.action}
    if impossible & set(RESIZING_ACTIONS):
        impossible |= set(RESIZING_ACTIONS)
    possible = [action for action in _SWAPPED_ACTIONS if action not in impossible]
    done = [event.action for event in events if event.action in possible]
    other = [action for action in possible if action not in done]
    other = [action for action in other if _may_be_said(scene, scene.objects[0], (action,), seed)]
    wrong = [*done, *(other[place] for place in rng.permutation(len(other)))][: NUM_OPTIONS - 1]
    if answer.action not in _SWAPPED_ACTIONS or len(wrong) < NUM_OPTIONS - 1:
        return None
    options = [answer.action, *wrong]
    order = rng.permutation(NUM_OPTIONS)
    question = f"what does the {name} do {when} it {third(asked)}?"
    return question, [options[position] for position in order], int(np.argmin(order))


def repetition(scene: Scene, seed: int) -> tuple[str, list[str], int] | None:
    """What an object does two or three times: question, five options, place of the true one.

    None where it takes no such steps, or cannot be named. Each option is right as often as any other, "none" too, where
    the object does as many things once each: question and options tell nothing. The order of the
    frames tells: halfway all objects are alike, and what moves to the left passes where others move to the right.
    """
    name = Witness(scene).name(scene.objects[0])
    if scene.kind != REPEATED or name is None:
        return None
    rng = generator(seed, scene.split, scene.index, "repetitions")
    events = scene.events_of(0)
    done = {event.action for event in events}
    possible = [action for action in REPEATED_ACTIONS if _may_be_said(scene, scene.objects[0], (action,), seed)]
    true = BASE_FORMS[events[0].action] if len(done) == 1 else _NONE
    wrong = [option for option in (*(BASE_FORMS[action] for action in possible), _NONE) if option != true]
    options = [true, *(wrong[place] for place in rng.permutation(len(wrong))[: NUM_OPTIONS - 1])]
    order = rng.permutation(NUM_OPTIONS)
    question = f"what does the {name} do {len(events)} times?"
    return question, [options[position] for position in order], int(np.argmin(order))


def _word_options(scene: Scene, place: int, name: str, rng: np.random.Generator, seed: int, details: bool) -> list[str]:
    """Return the true sentence and others with one colour or shape changed; the true one comes first."""
    item = scene.objects[place]
    values = [value for value in (COLORS if name == "color" else SHAPES) if value != getattr(item, name)]
    there = {(other.color, other.shape) for other in scene.objects}
    actions = shown_actions(scene, place)
    wrong = []
    for value in values:
        twin = replace(item, color=value) if name == "color" else replace(item, shape=value)
        if (twin.color, twin.shape) not in there and _may_be_said(scene, twin, actions, seed):
            wrong.append(value)
    chosen = [getattr(item, name), *(wrong[spot] for spot in rng.permutation(len(wrong))[: NUM_OPTIONS - 1])]
    text = tell(scene, BlankSpeaker(rng, details, item=item))
    head, tail = text.split(f" {_BLANK}")
    *before, color, shape = head.split(" ")
    sentences = []
    for value in chosen:
        words = [*before, value, shape] if name == "color" else [*before, color, value]
        if name == "color" and before[-1] in ("a", "an"):
            words[-3] = "an" if value[0] in "aeiou" else "a"
        sentences.append(" ".join(words) + tail)
    return sentences


def _action_options(scene: Scene, event: Event, rng: np.random.Generator, seed: int, details: bool) -> list[str]:
    """Return the true sentence and others with one action changed; the true one comes first."""
    item = scene.objects[event.actor]
    done = {other.action for other in scene.events_of(event.actor)}
    wrong = [action for action in _SWAPPED_ACTIONS if action not in done and _may_be_said(scene, item, (action,), seed)]
    text = tell(scene, BlankSpeaker(rng, details, event=event))
    speaker = Speaker(rng, says_details=False)
    said = [speaker.verb(event)]
    for spot in rng.permutation(len(wrong))[: NUM_OPTIONS - 1]:
        action = wrong[spot]
        # A number of its own: one that is copied, or always the same, would betray which action was there first.
        count = int(rng.integers(1, 5)) if action in COUNTED_ACTIONS else 1
        said.append(speaker.verb(replace(event, action=action, count=count)))
    return [text.replace(_BLANK, verb) for verb in said]


def _may_be_said(scene: Scene, item: SceneObject, actions: tuple[str, ...], seed: int) -> bool:
    """Return whether a wrong option may speak of this object doing these things.

    In training, pairs that no video shows stay out of the wrong options too: there they would always be wrong, and a
    model would learn to reject the very pairs that it is tested on.
    """
    if item.shape in ROUND_SHAPES and "spins" in actions:
        return False
    return scene.split != "train" or not held_out(seed).is_hit_by(item.color, item.shape, actions)
