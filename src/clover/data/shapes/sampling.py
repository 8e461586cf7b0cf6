"""Seed to scene graph: who is in a scene, where everything is, and that nothing overlaps that should not."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from clover.data.shapes.draws import generator, pick, uniform
from clover.data.shapes.motion import offsets, scales
from clover.data.shapes.plans import MAX_SECONDS, MIN_SECONDS, Plan, draw_kind, draw_plan
from clover.data.shapes.scene import Background, Camera, Event, Relation, Scene, SceneObject
from clover.data.shapes.splits import HeldOut, direction_name, held_out
from clover.data.shapes.vocabulary import COLORS, ROUND_SHAPES, SHAPES, SIZES, SPLITS, TEXTURES
from clover.errors import ConfigError

_NUM_ATTEMPTS = 200


@dataclass(frozen=True, kw_only=True)
class ShapesConfig:
    """Settings of a generated corpus; the same settings give the same corpus on every machine."""

    num_videos: int = 6000
    """Number of videos in all; a tenth of them is for testing and 3 % for validation."""
    seed: int = 0
    """Everything is drawn from this number."""
    size: int = 96
    """Side of the square picture in pixels, even, 64 to 512."""
    frames_per_second: float = 8.0
    """Frames per second, 4 to 60."""
    max_distractors: int = 1
    """Most objects in a video that no caption mentions, 0 to 2."""

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
            ConfigError: A setting is out of range.
        """
        if self.num_videos < 3:
            raise ConfigError(f"num_videos is {self.num_videos}: give at least 3, one for every split")
        if self.seed < 0:
            raise ConfigError(f"seed is {self.seed}: give 0 or more")
        if not 64 <= self.size <= 512 or self.size % 2:
            raise ConfigError(f"size is {self.size}: give an even number of pixels from 64 to 512")
        if not 4.0 <= self.frames_per_second <= 60.0:
            raise ConfigError(f"frames_per_second is {self.frames_per_second}: give 4 to 60")
        if not 0 <= self.max_distractors <= 2:
            raise ConfigError(f"max_distractors is {self.max_distractors}: give 0, 1 or 2")

    @property
    def num_videos_per_split(self) -> dict[str, int]:
        """Number of videos of every split."""
        num_test = max(1, round(0.1 * self.num_videos))
        num_validation = max(1, round(0.03 * self.num_videos))
        num_train = self.num_videos - num_test - num_validation
        return {"train": num_train, "validation": num_validation, "test": num_test}


def sample_scene(config: ShapesConfig, split: str, index: int) -> Scene:
    """Return the scene graph of one video: a pure function of the seed, the split and the index.

    A training scene shows no held-out pair; a validation or test scene shows at least one in its first object.

    Args:
        config: Settings; the number of videos does not matter here.
        split: "train", "validation" or "test".
        index: Number of the video within the split, from 0.

    Raises:
        ConfigError: The split does not exist.
    """
    if split not in SPLITS:
        raise ConfigError(f"there is no split named {split!r}: choose from {', '.join(SPLITS)}")
    rng = generator(config.seed, split, index, "scene")
    rules = held_out(config.seed)
    kind = draw_kind(rng)
    for _ in range(_NUM_ATTEMPTS):
        scene = _attempt(rng, config, split, index, kind, rules)
        if scene is not None:
            return scene
    raise AssertionError(f"no {kind} scene found for {split} {index}")


def _attempt(
    rng: np.random.Generator, config: ShapesConfig, split: str, index: int, kind: str, rules: HeldOut
) -> Scene | None:
    """Return a scene of one kind, or None when this draw does not fit."""
    plan = draw_plan(rng, kind)
    num_frames = round(plan.duration_seconds * config.frames_per_second)
    low, high = MIN_SECONDS * config.frames_per_second, MAX_SECONDS * config.frames_per_second
    if not low <= num_frames <= high:
        return None
    cast = draw_cast(rng, plan, rules, is_train=split == "train")
    plan = replace(plan, events=_with_distances(rng, plan, cast))
    camera = _draw_camera(rng, is_still=any(event.action == "bounces" for event in plan.events))
    num_distractors = int(rng.integers(config.max_distractors + 1))
    margin = 0.015 if camera.movement == "still" else 0.05
    objects = place(rng, plan, cast, margin)
    if objects is None:
        return None
    for _ in range(num_distractors):
        extra = draw_distractor(rng, objects, rules, is_train=split == "train")
        placed = place_distractor(rng, plan, objects, extra, margin)
        # A crowded scene simply has fewer distractors.
        objects = objects if placed is None else [*objects, placed]
    return Scene(
        split=split,
        index=index,
        kind=kind,
        size=config.size,
        frames_per_second=float(config.frames_per_second),
        num_frames=num_frames,
        objects=tuple(objects),
        events=tuple(sorted(plan.events, key=lambda event: (event.start_seconds, event.actor))),
        relations=(Relation(kind=plan.relation, first=0, second=1),) if plan.relation else (),
        camera=camera,
        background=_draw_background(rng),
        keyframe_interval=round(uniform(rng, 2.0, 4.0) * config.frames_per_second),
        num_b_frames=int(rng.integers(3)),
    )


def _with_distances(rng: np.random.Generator, plan: Plan, cast: list[SceneObject]) -> tuple[Event, ...]:
    """Return the events, with the directions of circles and hits turned into displacements."""
    events = []
    for event in plan.events:
        if event.action == "circles":
            distance = cast[0].radius + cast[1].radius + 0.02
            event = replace(event, dx=round(event.dx * distance, 4), dy=round(event.dy * distance, 4))
        elif event.action == "hits":
            distance = uniform(rng, 0.22, 0.4)
            event = replace(event, dx=event.dx * distance, dy=event.dy * distance)
        events.append(event)
    return tuple(events)


def _draw_camera(rng: np.random.Generator, *, is_still: bool) -> Camera:
    """Return a mild movement of the view, in a quarter of the scenes."""
    movement = pick(rng, ("still",) * 18 + ("pans left", "pans right", "pans up", "pans down", "zooms in", "zooms out"))
    amount = uniform(rng, 0.04, 0.07)
    if is_still or movement == "still":
        return Camera()
    if movement.startswith("zooms"):
        return Camera(
            movement=movement,
            zoom=round(1.0 + 2.0 * amount if movement == "zooms in" else 1.0 / (1.0 + 2.0 * amount), 4),
        )
    x, y = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "up": (0.0, -1.0), "down": (0.0, 1.0)}[
        movement.removeprefix("pans ")
    ]
    return Camera(movement=movement, pan_x=x * amount, pan_y=y * amount)


def _draw_background(rng: np.random.Generator) -> Background:
    """Return a muted pattern: between black and white objects, and greyer than any coloured one."""
    grey = rng.uniform(95.0, 150.0)
    color = np.clip(grey + rng.uniform(-16.0, 16.0, size=3), 80, 165).astype(int)
    return Background(
        pattern=pick(rng, ("plain", "gradient", "checks", "stripes", "waves", "hills")),
        color=(int(color[0]), int(color[1]), int(color[2])),
        contrast=uniform(rng, 8.0, 18.0),
        frequency=uniform(rng, 2.0, 6.0),
        phase=uniform(rng, 0.0, 6.28),
    )
