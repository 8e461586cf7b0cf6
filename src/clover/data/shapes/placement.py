"""Where objects start, so that all they do stays in the picture and nothing overlaps that should not."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from clover.data.shapes.draws import uniform
from clover.data.shapes.motion import offsets, scales
from clover.data.shapes.plans import Plan
from clover.data.shapes.scene import SceneObject

_NUM_CANDIDATES = 48
_CLEARANCE = 0.97
_CHECKS_PER_SECOND = 8.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Wall:
    """The touch that a bounce needs.

    Attributes:
        is_left: Whether it is the left edge of the picture, else the right one.
        moment: Place of the turning point on the time axis of `paths`.
    """

    is_left: bool
    moment: int


def place(
    rng: np.random.Generator, plan: Plan, cast: list[SceneObject], margin: float
) -> list[SceneObject] | None:
    """Return the described objects with places inside the picture and apart from one another, or None."""
    path, radius = paths(plan, cast)
    placed: dict[int, SceneObject] = {}
    for group in _relative_places(rng, plan, cast):
        members = list(group)
        others = list(placed)
        relative = np.array([group[member] for member in members])[:, None, :] + path[members]
        start = free_place(
            rng,
            relative,
            radius[members],
            _starts([placed[other] for other in others]) + path[others],
            radius[others],
            margin,
            _wall_of(plan, members[0]),
        )
        if start is None:
            return None
        for member in members:
            placed[member] = at(cast[member], start + np.array(group[member]))
    return [placed[member] for member in range(len(cast))]


def place_distractor(
    rng: np.random.Generator, plan: Plan, objects: list[SceneObject], extra: SceneObject, margin: float
) -> SceneObject | None:
    """Return an object that rests, at a place that no other object ever touches, or None when there is none."""
    path, radius = paths(plan, [*objects, extra])
    start = free_place(rng, path[-1:], radius[-1:], _starts(objects) + path[:-1], radius[:-1], margin)
    return None if start is None else at(extra, start)


def at(item: SceneObject, start: Float64[np.ndarray, "2"]) -> SceneObject:
    """Return the object at a place, rounded so that it reads well in a file."""
    return replace(item, x=round(float(start[0]), 4), y=round(float(start[1]), 4))


def _starts(objects: list[SceneObject]) -> Float64[np.ndarray, "n 1 2"]:
    """Return where objects start."""
    return np.array([[item.x, item.y] for item in objects]).reshape(-1, 1, 2)


def _wall_of(plan: Plan, member: int) -> Wall | None:
    """Return the touch of the wall that an object's bounce needs, or None when it does not bounce."""
    for position, event in enumerate(plan.events):
        if event.action == "bounces" and event.actor == member:
            return Wall(is_left=event.dx < 0, moment=position)
    return None


def paths(
    plan: Plan, objects: list[SceneObject]
) -> tuple[Float64[np.ndarray, "n t 2"], Float64[np.ndarray, "n t"]]:
    """Return the displacement and the radius of every object over the whole plan.

    The time axis begins with the middle and the end of every event (the turning points), in the plan's order, so that
    these are checked exactly; a grid of 8 moments a second follows.
    """
    middles = [(event.start_seconds + event.end_seconds) / 2.0 for event in plan.events]
    ends = [event.end_seconds for event in plan.events]
    grid = np.arange(0.0, plan.duration_seconds, 1.0 / _CHECKS_PER_SECOND)
    times = np.concatenate([middles, ends, grid])
    x, y = offsets(len(objects), plan.events, times)
    radius = np.array([[item.radius] for item in objects]) * scales(len(objects), plan.events, times)
    return np.stack([x, y], axis=-1), radius


def free_place(
    rng: np.random.Generator,
    path: Float64[np.ndarray, "m t 2"],
    radius: Float64[np.ndarray, "m t"],
    other_path: Float64[np.ndarray, "n t 2"],
    other_radius: Float64[np.ndarray, "n t"],
    margin: float,
    wall: Wall | None = None,
) -> Float64[np.ndarray, "2"] | None:
    """Return a start for a group of objects that keeps it in the picture and clear of the others, or None.

    Args:
        rng: Source of randomness.
        path: Displacement of every member of the group, relative to the start.
        radius: Radius of every member.
        other_path: Absolute places of the objects to stay clear of.
        other_radius: Radius of those objects.
        margin: Least distance from the edge of the picture, as a fraction of its side.
        wall: Where and when the first member must touch the edge, if it bounces.
    """
    if wall is not None:
        margin = 0.0
    low = (margin + radius[..., None] - path).max(axis=(0, 1))
    high = (1.0 - margin - radius[..., None] - path).min(axis=(0, 1))
    if wall is not None:
        edge = radius[0, wall.moment] if wall.is_left else 1.0 - radius[0, wall.moment]
        touching = edge - path[0, wall.moment, 0]
        if not low[0] - 1e-6 <= touching <= high[0] + 1e-6:
            return None
        low[0] = high[0] = touching
    if (low > high).any():
        return None
    candidates = rng.uniform(low, high, size=(_NUM_CANDIDATES, 2))
    if len(other_path) == 0:
        return candidates[0]
    gaps = candidates[:, None, None, None, :] + path[None, :, None] - other_path[None, None]
    limits = _CLEARANCE * (radius[:, None] + other_radius[None])
    is_free = (np.hypot(gaps[..., 0], gaps[..., 1]) >= limits).all(axis=(1, 2, 3))
    return candidates[np.argmax(is_free)] if is_free.any() else None


def _relative_places(
    rng: np.random.Generator, plan: Plan, cast: list[SceneObject]
) -> list[dict[int, tuple[float, float]]]:
    """Return groups of objects that are placed as one: for every object its start relative to the group."""
    if plan.kind == "circle":
        event = plan.events[0]
        return [{1: (0.0, 0.0), 0: (event.dx, event.dy)}]
    if plan.kind == "hit":
        event = plan.events[0]
        contact = 0.9 * (cast[0].radius + cast[1].radius)
        x = -event.dx - np.sign(event.dx) * contact
        y = -event.dy - np.sign(event.dy) * contact
        return [{1: (0.0, 0.0), 0: (float(x), float(y))}]
    if plan.relation in ("left of", "right of", "above", "below", "behind"):
        along = uniform(rng, 0.42, 0.55)
        across = uniform(rng, -0.08, 0.08)
        if plan.relation == "behind":
            angle = rng.uniform(0.0, 2.0 * np.pi)
            along = 0.62 * (cast[0].radius + cast[1].radius)
            return [{1: (0.0, 0.0), 0: (float(along * np.cos(angle)), float(along * np.sin(angle)))}]
        x, y = {
            "left of": (-along, across),
            "right of": (along, across),
            "above": (across, -along),
            "below": (across, along),
        }[plan.relation]
        return [{1: (0.0, 0.0), 0: (x, y)}]
    return [{place: (0.0, 0.0)} for place in range(len(cast))]
