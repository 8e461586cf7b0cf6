"""Who is in a scene: colours, shapes, sizes and textures, within the rules of the compositional split."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from clover.data.shapes.draws import pick, uniform
from clover.data.shapes.plans import Plan
from clover.data.shapes.scene import SceneObject
from clover.data.shapes.splits import HeldOut, direction_name
from clover.data.shapes.vocabulary import COLORS, ROUND_SHAPES, SHAPES, SIZES, TEXTURES

_RADIUS: dict[str, tuple[float, float]] = {"small": (0.115, 0.13), "large": (0.185, 0.205)}
"""Radius as a fraction of the picture's side, by size word."""


def draw_cast(rng: np.random.Generator, plan: Plan, rules: HeldOut, *, is_train: bool) -> list[SceneObject]:
    """Return the described objects, still without places."""
    cast: list[SceneObject] = []
    for place in range(plan.num_objects):
        actions = tuple(event.action for event in plan.events if event.actor == place)
        implied = tuple(
            f"moves {direction_name(event.dx, event.dy)}" for event in plan.events if event.action == "hits"
        )
        taken = {(item.color, item.shape) for item in cast}
        while True:
            color, shape = pick(rng, tuple(COLORS)), pick(rng, SHAPES)
            if (color, shape) in taken or (shape in ROUND_SHAPES and "spins" in actions):
                continue
            is_held_out = rules.is_hit_by(color, shape, actions + implied)
            if is_train and is_held_out:
                continue
            if is_train or place > 0 or rules.is_hit_by(color, shape, actions):
                break
        size = pick(rng, SIZES)
        if plan.kind in ("circle", "hit") and place == 0:
            size = "small"
        if "grows" in actions:
            size = "small"
        elif "shrinks" in actions:
            size = "large"
        cast.append(_draw_object(rng, color, shape, size, depth=place, is_described=True))
    if plan.relation == "behind":
        # The hidden object must be drawn first, and large enough that a good part of it stays in sight.
        cast[0] = replace(cast[0], size="large", radius=uniform(rng, *_RADIUS["large"]), depth=1)
        cast[1] = replace(cast[1], size="small", radius=uniform(rng, *_RADIUS["small"]), depth=0)
    return cast


def draw_distractor(
    rng: np.random.Generator, objects: list[SceneObject], rules: HeldOut, *, is_train: bool
) -> SceneObject:
    """Return an object that no caption mentions; it differs from every other in colour or shape."""
    taken = {(item.color, item.shape) for item in objects}
    while True:
        color, shape = pick(rng, tuple(COLORS)), pick(rng, SHAPES)
        if (color, shape) not in taken and not (is_train and rules.is_hit_by(color, shape, ())):
            break
    size = pick(rng, ("small", "small", "large"))
    return _draw_object(rng, color, shape, size, depth=len(objects), is_described=False)


def _draw_object(
    rng: np.random.Generator, color: str, shape: str, size: str, *, depth: int, is_described: bool
) -> SceneObject:
    """Return an object at the origin with a random texture, radius and a slight tilt."""
    return SceneObject(
        color=color,
        shape=shape,
        size=size,
        texture=pick(rng, (*TEXTURES, "plain", "plain")),
        x=0.0,
        y=0.0,
        radius=uniform(rng, *_RADIUS[size]),
        angle=uniform(rng, -0.12, 0.12),
        depth=depth,
        is_described=is_described,
    )
