"""A scene with one thing changed: hard negatives for captions, and videos that are nearly alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from clover.data.shapes.draws import pick
from clover.data.shapes.motion import offsets, scales
from clover.data.shapes.scene import Event, Scene, SceneObject
from clover.data.shapes.splits import HeldOut, shown_actions
from clover.data.shapes.vocabulary import COLORS, COUNTED_ACTIONS, MOVES, RESIZING_ACTIONS, ROUND_SHAPES, SHAPES

_OPPOSITES = {"moves left": "moves right", "moves up": "moves down", "grows": "shrinks"}
_OPPOSITES |= {other: one for one, other in _OPPOSITES.items()}
_OPPOSITE_RELATIONS = {"left of": "right of", "above": "below"}
_OPPOSITE_RELATIONS |= {other: one for one, other in _OPPOSITE_RELATIONS.items()}
_TIED_KINDS = ("circle", "hit")
"""Kinds of scenes in which two objects belong to one event."""
_NUM_ATTEMPTS = 40
CHECKS_PER_SECOND = 8.0
"""How often a second the places of objects are looked at."""
CLEARANCE = 0.97
"""Objects are apart that are so much of the sum of their radii from each other."""
_JUMP = 0.22

Change = Callable[[Scene, np.random.Generator], Scene | None]


def _color(scene: Scene, rng: np.random.Generator) -> Scene | None:
    """Another colour, that nothing in the video has."""
    place = pick(rng, _described(scene))
    others = [color for color in COLORS if color not in {item.color for item in scene.objects}]
    return _with_object(scene, place, replace(scene.objects[place], color=pick(rng, others)))


def _shape(scene: Scene, rng: np.random.Generator) -> Scene | None:
    """Another shape, that nothing in the video has."""
    place = pick(rng, _described(scene))
    others = [shape for shape in SHAPES if shape not in {item.shape for item in scene.objects}]
    if any(event.action == "spins" for event in scene.events_of(place)):
        others = [shape for shape in others if shape not in ROUND_SHAPES]
    return _with_object(scene, place, replace(scene.objects[place], shape=pick(rng, others))) if others else None


def _verb(scene: Scene, rng: np.random.Generator) -> Scene | None:
    """Another thing done as often, or the opposite change of size."""
    event = _pick_event(scene, rng, (*COUNTED_ACTIONS, *RESIZING_ACTIONS))
    if event is None:
        return None
    item = scene.objects[event.actor]
    if event.action in RESIZING_ACTIONS:
        return _with_event(scene, event, replace(event, action=_OPPOSITES[event.action], scale=1.0 / event.scale))
    others = [action for action in COUNTED_ACTIONS if action not in {each.action for each in scene.events}]
    if item.shape in ROUND_SHAPES:
        others = [action for action in others if action != "spins"]
    if not others:
        return None
    action = pick(rng, others)
    dy = _JUMP if action == "jumps" else 0.0
    turns = float(event.count) if action == "spins" else 0.0
    return _with_event(scene, event, replace(event, action=action, dy=dy, turns=turns))


def _direction(scene: Scene, rng: np.random.Generator) -> Scene | None:
    """The same way in the opposite direction."""
    event = _pick_event(scene, rng, MOVES)
    if event is None or _OPPOSITES[event.action] in {each.action for each in scene.events}:
        return None
    item = scene.objects[event.actor]
    turned = replace(item, x=round(item.x + event.dx, 4), y=round(item.y + event.dy, 4))
    back = replace(event, action=_OPPOSITES[event.action], dx=-event.dx, dy=-event.dy)
    return _with_object(_with_event(scene, event, back), event.actor, turned)


def _order(scene: Scene, rng: np.random.Generator) -> Scene | None:
    """The two things that happen, the other way round."""
    if scene.kind not in ("sequence", "in turn") or len(scene.events) != 2:
        return None
    first, second = scene.events
    actions = {first.action, second.action}
    if len(actions) < 2 or actions & {"appears", "vanishes"}:
        return None
    end = first.start_seconds + second.end_seconds - second.start_seconds
    start = second.end_seconds - (first.end_seconds - first.start_seconds)
    now_first = replace(second, start_seconds=first.start_seconds, end_seconds=round(end, 4))
    now_second = replace(first, start_seconds=round(start, 4), end_seconds=second.end_seconds)
    return replace(scene, events=(now_first, now_second))


def _number(scene: Scene, rng: np.random.Generator) -> Scene | None:
    """Another number of repetitions; never once, which may go unsaid."""
    event = _pick_event(scene, rng, COUNTED_ACTIONS)
    if event is None or event.count == 1:
        return None
    count = pick(rng, [number for number in (2, 3, 4) if number != event.count])
    turns = float(np.sign(event.turns)) * count
    return _with_event(scene, event, replace(event, count=count, turns=turns))


def _relation(scene: Scene, rng: np.random.Generator) -> Scene | None:
    """The opposite relation; only to be told, since nothing is moved."""
    if not scene.relations or scene.relations[0].kind not in _OPPOSITE_RELATIONS:
        return None
    relation = scene.relations[0]
    return replace(scene, relations=(replace(relation, kind=_OPPOSITE_RELATIONS[relation.kind]),))


CHANGES: dict[str, Change] = {
    "color": _color,
    "shape": _shape,
    "verb": _verb,
    "direction": _direction,
    "order": _order,
    "number": _number,
    "relation": _relation,
}
"""What may be changed, by word class; each returns None where a scene has nothing of the kind."""

_SHOWN = ("color", "shape", "verb", "direction", "order")
"""Changes that can be shown as well as told."""


def near_duplicates(base: Scene, count: int, rng: np.random.Generator, rules: HeldOut) -> list[Scene]:
    """Scenes that differ from one in one thing each, and can be shown; fewer than asked for where few fit.

    The first object of each shows a held-out pair, as in every video that is not for training.
    """
    found: list[Scene] = []
    for _ in range(_NUM_ATTEMPTS):
        if len(found) == count:
            break
        scene = CHANGES[pick(rng, _SHOWN)](base, rng)
        if scene is None or not _fits(scene) or not _is_held_out(scene, rules):
            continue
        if all((scene.objects, scene.events) != (other.objects, other.events) for other in found):
            found.append(scene)
    return found


def _is_held_out(scene: Scene, rules: HeldOut) -> bool:
    actor = scene.objects[0]
    return rules.is_hit_by(actor.color, actor.shape, shown_actions(scene, 0))


def _fits(scene: Scene) -> bool:
    """Whether all stays in the picture and apart; objects that touch by plan stay where they are."""
    if scene.kind in _TIED_KINDS or any(relation.kind == "behind" for relation in scene.relations):
        return all(event.action != "jumps" for event in scene.events)
    times = np.arange(0.0, scene.duration_seconds, 1.0 / CHECKS_PER_SECOND)
    times = np.concatenate([times, [event.end_seconds for event in scene.events]])
    place = np.array([[item.x, item.y] for item in scene.objects])[:, None, :]
    path = place + np.stack(offsets(len(scene.objects), scene.events, times), axis=-1)
    radius = np.array([[item.radius] for item in scene.objects]) * scales(len(scene.objects), scene.events, times)
    bounces = any(event.action == "bounces" for event in scene.events)
    margin = 0.015 if scene.camera.movement == "still" else 0.05
    low, high = radius[..., None] - path, path + radius[..., None]
    if low.max() > (1e-3 if bounces else -margin) or high.max() > 1.0 + (1e-3 if bounces else -margin):
        return False
    for first in range(len(scene.objects)):
        for second in range(first):
            gap = np.hypot(*(path[first] - path[second]).T)
            if (gap < CLEARANCE * (radius[first] + radius[second])).any():
                return False
    return True


def _described(scene: Scene) -> list[int]:
    return [place for place, item in enumerate(scene.objects) if item.is_described]


def _pick_event(scene: Scene, rng: np.random.Generator, actions: tuple[str, ...]) -> Event | None:
    events = [event for event in scene.events if event.action in actions]
    return pick(rng, events) if events else None


def _with_object(scene: Scene, place: int, item: SceneObject) -> Scene:
    objects = tuple(item if number == place else other for number, other in enumerate(scene.objects))
    return replace(scene, objects=objects)


def _with_event(scene: Scene, event: Event, other: Event) -> Scene:
    return replace(scene, events=tuple(other if each is event else each for each in scene.events))
