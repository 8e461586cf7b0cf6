"""The compositional split: which pairs of familiar words the training videos never show together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from clover.data.shapes.draws import STREAMS
from clover.data.shapes.scene import Scene
from clover.data.shapes.vocabulary import ACTIONS, COLORS, ROUND_SHAPES, SHAPES

NUM_COLORS_PER_SHAPE = 2
"""Colours in which a shape never occurs in training."""

NUM_ACTIONS_PER_SHAPE = 2
"""Actions which a shape never performs in training."""


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Pairs that no training video shows, not even as a distractor; every test and validation video shows one.

    Attributes:
        color_shapes: Held-out (colour, shape) pairs.
        shape_actions: Held-out (shape, action) pairs.
    """

    color_shapes: frozenset[tuple[str, str]]
    shape_actions: frozenset[tuple[str, str]]

    def is_hit_by(self, color: str, shape: str, actions: tuple[str, ...]) -> bool:
        """Return whether an object of this colour and shape that does these actions shows a held-out pair."""
        return (color, shape) in self.color_shapes or any((shape, action) in self.shape_actions for action in actions)

    def to_json(self) -> dict[str, Any]:
        """Return the pairs as sorted lists."""
        return {
            "color_shapes": sorted(map(list, self.color_shapes)),
            "shape_actions": sorted(map(list, self.shape_actions)),
        }


@lru_cache(maxsize=16)
def held_out(seed: int) -> HeldOut:
    """Return the pairs that a seed keeps out of training.

    Colours and actions are dealt in turn from a shuffled deck, so that none is held out from more than a few shapes and
    every single colour, shape and action does occur in training.
    """
    rng = np.random.default_rng([seed, 0, 0, STREAMS.index("held out")])
    color_deck = [list(COLORS)[place] for place in rng.permutation(len(COLORS))]
    action_deck = [ACTIONS[place] for place in rng.permutation(len(ACTIONS))]
    color_shapes = set()
    shape_actions = set()
    place = 0
    for row, shape_place in enumerate(rng.permutation(len(SHAPES))):
        shape = SHAPES[shape_place]
        for step in range(NUM_COLORS_PER_SHAPE):
            color_shapes.add((color_deck[(row + 3 * step) % len(color_deck)], shape))
        num_taken = 0
        while num_taken < NUM_ACTIONS_PER_SHAPE:
            action = action_deck[place % len(action_deck)]
            place += 1
            if not (action == "spins" and shape in ROUND_SHAPES):
                shape_actions.add((shape, action))
                num_taken += 1
    return HeldOut(color_shapes=frozenset(color_shapes), shape_actions=frozenset(shape_actions))


def shown_actions(scene: Scene, place: int) -> tuple[str, ...]:
    """Return every action that one object is seen to do, including the way of a hitter and the push of the one hit.

    The way to and from the wall of a bounce, and the rise of a jump, are part of those actions and not moves.
    """
    actions = [event.action for event in scene.events_of(place)]
    actions += [
        f"moves {direction_name(event.dx, event.dy)}"
        for event in scene.events
        if event.action == "hits" and place in (event.actor, event.target)
    ]
    return tuple(dict.fromkeys(actions))


def direction_name(dx: float, dy: float) -> str:
    """Return "left", "right", "up" or "down", whichever a displacement is closest to."""
    if abs(dx) >= abs(dy):
        return "right" if dx > 0 else "left"
    return "down" if dy > 0 else "up"
