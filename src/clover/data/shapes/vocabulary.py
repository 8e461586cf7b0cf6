"""The closed sets a moving-shapes world is made of: colours, shapes, sizes, textures, actions, relations."""

from __future__ import annotations

SPLITS = ("train", "validation", "test")
"""Names of the splits, in the order of their random streams."""

COLORS: dict[str, tuple[int, int, int]] = {
    "red": (214, 32, 36),
    "orange": (250, 140, 20),
    "yellow": (246, 226, 40),
    "green": (30, 160, 60),
    "blue": (36, 76, 226),
    "purple": (140, 40, 180),
    "white": (246, 246, 246),
    "black": (16, 16, 18),
}
"""Name and 8-bit RGB value of every object colour; well apart from one another and from every background."""

SHAPES = ("square", "ball", "triangle", "star", "cross", "ring", "diamond", "heart")
SIZES = ("small", "large")
TEXTURES = ("plain", "striped", "dotted")

DIRECTIONS: dict[str, tuple[float, float]] = {
    "left": (-1.0, 0.0),
    "right": (1.0, 0.0),
    "up": (0.0, -1.0),
    "down": (0.0, 1.0),
}
"""Unit vector of every direction; x grows to the right and y grows downwards."""

MOVES = tuple(f"moves {direction}" for direction in DIRECTIONS)
"""The actions that carry an object from one place to another."""

SOLO_ACTIONS = (
    *MOVES,
    "grows",
    "shrinks",
    "spins",
    "blinks",
    "jumps",
    "bounces",
    "appears",
    "vanishes",
)
"""The actions that take one object."""

PAIR_ACTIONS = ("circles", "hits")
"""The actions that take an actor and a target."""

ACTIONS = SOLO_ACTIONS + PAIR_ACTIONS

COUNTED_ACTIONS = ("spins", "blinks", "jumps")
"""The actions that are repeated a countable number of times."""

RESIZING_ACTIONS = ("grows", "shrinks")
"""The actions after which an object's size word would be ambiguous."""

ROUND_SHAPES = ("ball", "ring")
"""Shapes whose spin could not be seen, so they never spin."""

PLACES = ("left of", "right of", "above", "below", "behind")
"""Where one object can be beside another."""

RELATIONS = (*PLACES, "faster than")

NUMBERS = ("zero", "one", "two", "three", "four", "five")
"""Number words; the index is the value."""

TIMES = ("never", "once", "twice", "three times", "four times", "five times")
"""How often, in words; the index is the value."""

ANSWERS: tuple[str, ...] = tuple(
    sorted({*COLORS, *SHAPES, *SIZES, *TEXTURES, *ACTIONS, *DIRECTIONS, *PLACES, *NUMBERS[1:5], "yes", "no"})
)
"""Every answer an open-ended question of the corpus may have."""
