"""What happens in a scene and when: the plan, before objects have a place."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from clover.data.shapes.draws import pick, uniform
from clover.data.shapes.scene import Event
from clover.data.shapes.vocabulary import (
    COUNTED_ACTIONS,
    DIRECTIONS,
    MOVES,
    RESIZING_ACTIONS,
    SOLO_ACTIONS,
)

MIN_SECONDS = 3.0
MAX_SECONDS = 10.0

KIND_SHARES: dict[str, float] = {
    "single": 0.10,
    "sequence": 0.30,
    "together": 0.20,
    "in turn": 0.14,
    "race": 0.06,
    "beside": 0.08,
    "circle": 0.06,
    "hit": 0.06,
}
"""How often each kind of plan is drawn."""

REPEATED = "repeated"
"""A kind that no share is drawn for: an object takes two or three steps, the same one or a different one each time."""

REPEATED_ACTIONS = (*MOVES, *RESIZING_ACTIONS)
"""What is done in steps."""

_STEP_SECONDS = {2: (0.8, 1.1), 3: (0.6, 0.8)}
_STEP_DISTANCE = {2: (0.19, 0.23), 3: (0.13, 0.155)}
"""Duration and way of a step by the number of steps; all steps together lead as far as any other movement."""
_REST_SECONDS = (0.3, 0.5)
_SHARE_OF_DIFFERENT_STEPS = 1.0 / (len(REPEATED_ACTIONS) + 1)
"""As often as one action is repeated, none is."""

_SECONDS: dict[str, tuple[float, float]] = {
    "grows": (1.4, 2.2),
    "shrinks": (1.4, 2.2),
    "bounces": (1.8, 2.6),
    "appears": (0.35, 0.5),
    "vanishes": (0.35, 0.5),
    "circles": (2.4, 3.4),
    "hits": (2.0, 2.8),
    "spins": (0.8, 1.0),
    "blinks": (0.8, 1.0),
    "jumps": (0.7, 0.9),
}
"""Shortest and longest duration of an action, of one repetition for a counted one."""

_MOVE_SECONDS = (1.5, 2.3)
_MOVE_DISTANCE = (0.34, 0.5)
_SLOW_DISTANCE = (0.15, 0.2)
_GROWTH = 1.75
_STILL_ACTIONS = ("spins", "blinks", "grows", "shrinks", "jumps")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Events without places.

    Attributes:
        kind: A key of `KIND_SHARES`, or `REPEATED`.
        events: What happens; `dx` and `dy` of circles and hits are still a direction of length 1.
        num_objects: Number of described objects; actors first, then a target or landmark.
        duration_seconds: Length of the video before rounding to whole frames.
        relation: A relation of object 0 to object 1 that must hold, or None.
    """

    kind: str
    events: tuple[Event, ...]
    num_objects: int
    duration_seconds: float
    relation: str | None = None


def draw_kind(rng: np.random.Generator) -> str:
    """Return a key of `KIND_SHARES`, drawn by its share."""
    shares = np.cumsum(list(KIND_SHARES.values()))
    place = int(np.searchsorted(shares, rng.uniform(0.0, shares[-1]), side="right"))
    return list(KIND_SHARES)[min(place, len(KIND_SHARES) - 1)]


def draw_plan(rng: np.random.Generator, kind: str) -> Plan:
    """Return a plan of one kind, with times."""
    if kind == REPEATED:
        return _in_steps(rng)
    if kind == "single":
        return _in_turn(rng, kind, [(0, pick(rng, SOLO_ACTIONS))])
    if kind == "sequence":
        actions = _sequence(rng, 3 if rng.uniform() < 0.12 else 2)
        return _in_turn(rng, kind, [(0, action) for action in actions])
    if kind == "in turn":
        return _in_turn(rng, kind, [(0, pick(rng, SOLO_ACTIONS)), (1, pick(rng, SOLO_ACTIONS))])
    if kind == "together":
        return _together(rng, kind, (pick(rng, SOLO_ACTIONS), pick(rng, SOLO_ACTIONS)))
    if kind == "race":
        plan = _together(rng, kind, (pick(rng, MOVES), pick(rng, MOVES)))
        slow = plan.events[1]
        factor = uniform(rng, *_SLOW_DISTANCE) / max(abs(slow.dx), abs(slow.dy))
        slow = replace(slow, dx=round(slow.dx * factor, 4), dy=round(slow.dy * factor, 4))
        return replace(plan, events=(plan.events[0], slow), relation="faster than")
    if kind == "beside":
        relation = pick(rng, ("left of", "right of", "above", "below", "behind", "behind"))
        if relation == "behind":
            action = pick(rng, ("spins", "blinks"))
        else:
            action = pick(rng, _STILL_ACTIONS if relation in ("left of", "right of") else _STILL_ACTIONS[:-1])
        plan = _in_turn(rng, kind, [(0, action)])
        return replace(plan, num_objects=2, relation=relation)
    plan = _in_turn(rng, kind, [(0, f"{kind}s")])
    return replace(plan, num_objects=2, events=tuple(replace(event, target=1) for event in plan.events))


def _sequence(rng: np.random.Generator, num_actions: int) -> list[str]:
    """Return different actions that one object can do one after the other."""
    while True:
        places = rng.permutation(len(SOLO_ACTIONS))[:num_actions]
        actions = [SOLO_ACTIONS[place] for place in places]
        is_possible = "appears" not in actions[1:] and "vanishes" not in actions[:-1]
        if is_possible and not {"grows", "shrinks"} <= set(actions):
            return actions


def _draw_event(rng: np.random.Generator, actor: int, action: str) -> Event:
    """Return one event that starts at 0 and lasts as long as its action usually does."""
    count = int(rng.integers(1, 5)) if action in COUNTED_ACTIONS else 1
    seconds = count * uniform(rng, *_SECONDS.get(action, _MOVE_SECONDS))
    event = Event(actor=actor, action=action, start_seconds=0.0, end_seconds=max(0.25, round(seconds, 4)), count=count)
    sign = pick(rng, (-1.0, 1.0))
    if action in MOVES:
        distance = uniform(rng, *_MOVE_DISTANCE)
        dx, dy = DIRECTIONS[action.removeprefix("moves ")]
        return replace(event, dx=dx * distance, dy=dy * distance)
    if action == "bounces":
        return replace(event, dx=sign * uniform(rng, *_MOVE_DISTANCE))
    if action == "jumps":
        return replace(event, dy=uniform(rng, 0.2, 0.27))
    if action == "grows":
        return replace(event, scale=_GROWTH)
    if action == "shrinks":
        return replace(event, scale=round(1.0 / _GROWTH, 4))
    if action == "spins":
        return replace(event, turns=sign * count)
    if action == "circles":
        angle = rng.uniform(0.0, 2.0 * np.pi)
        return replace(
            event,
            dx=round(float(np.cos(angle)), 4),
            dy=round(float(np.sin(angle)), 4),
            turns=sign * uniform(rng, 1.0, 1.5),
        )
    if action == "hits":
        dx, dy = pick(rng, tuple(DIRECTIONS.values()))
        return replace(event, dx=dx, dy=dy)
    return event


def _in_turn(rng: np.random.Generator, kind: str, steps: list[tuple[int, str]]) -> Plan:
    """Return a plan whose events follow one another."""
    now = _margin(rng, is_long=steps[0][1] == "appears")
    if len({actor for actor, _ in steps}) > 1 and any(action == "appears" for _, action in steps):
        now = max(now, uniform(rng, 0.8, 1.2))
    events = []
    for actor, action in steps:
        event = _draw_event(rng, actor, action)
        events.append(_shifted(event, now))
        now = events[-1].end_seconds + uniform(rng, 0.15, 0.35)
    return _finished(rng, kind, events, len({actor for actor, _ in steps}))


def _in_steps(rng: np.random.Generator) -> Plan:
    """Return a plan of one object that does the same thing two or three times, or as many things once each."""
    count = pick(rng, tuple(_STEP_SECONDS))
    if rng.uniform() < _SHARE_OF_DIFFERENT_STEPS:
        actions = [REPEATED_ACTIONS[place] for place in rng.permutation(len(REPEATED_ACTIONS))[:count]]
    else:
        actions = [pick(rng, REPEATED_ACTIONS)] * count
    now = _margin(rng, is_long=False)
    seconds, distance = uniform(rng, *_STEP_SECONDS[count]), uniform(rng, *_STEP_DISTANCE[count])
    growth = _GROWTH ** (1.0 / count)
    events = []
    for action in actions:
        event = Event(actor=0, action=action, start_seconds=now, end_seconds=round(now + seconds, 4))
        if action in MOVES:
            dx, dy = DIRECTIONS[action.removeprefix("moves ")]
            event = replace(event, dx=dx * distance, dy=dy * distance)
        else:
            event = replace(event, scale=round(growth if action == "grows" else 1.0 / growth, 4))
        events.append(event)
        now = event.end_seconds + uniform(rng, *_REST_SECONDS)
    return _finished(rng, REPEATED, events, 1)


def _together(rng: np.random.Generator, kind: str, actions: tuple[str, str]) -> Plan:
    """Return a plan of two objects that act at the same time."""
    start = _margin(rng, is_long="appears" in actions)
    events = [_draw_event(rng, actor, action) for actor, action in enumerate(actions)]
    window = max(event.end_seconds for event in events)
    events = [
        # What has no rhythm of its own lasts as long as the other action, so that "while" is true to the end.
        replace(event, end_seconds=window) if event.action not in (*COUNTED_ACTIONS, "appears", "vanishes") else event
        for event in events
    ]
    return _finished(rng, kind, [_shifted(event, start) for event in events], 2)


def _finished(rng: np.random.Generator, kind: str, events: list[Event], num_objects: int) -> Plan:
    """Return the plan with a quiet end, and a quiet beginning where the video would be too short."""
    end = max(event.end_seconds for event in events)
    end += _margin(rng, is_long=any(event.action == "vanishes" for event in events))
    if end < MIN_SECONDS:
        wait = uniform(rng, 0.0, MIN_SECONDS - end)
        events = [_shifted(event, wait) for event in events]
        end = MIN_SECONDS
    return Plan(kind=kind, events=tuple(events), num_objects=num_objects, duration_seconds=end)


def _margin(rng: np.random.Generator, *, is_long: bool) -> float:
    """Return the seconds before the first or after the last event; long where something must be seen to be absent."""
    return uniform(rng, 0.8, 1.2) if is_long else uniform(rng, 0.25, 0.5)


def _shifted(event: Event, seconds: float) -> Event:
    """Return the event that much later."""
    return replace(
        event,
        start_seconds=round(event.start_seconds + seconds, 4),
        end_seconds=round(event.end_seconds + seconds, 4),
    )
