"""Seed to scene graph: who is in a scene, where everything is, and that nothing overlaps that should not."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from clover.data.shapes.changes import CHECKS_PER_SECOND, CLEARANCE, near_duplicates
from clover.data.shapes.draws import generator, pick, uniform
from clover.data.shapes.motion import offsets, scales
from clover.data.shapes.plans import MAX_SECONDS, MIN_SECONDS, REPEATED, Plan, draw_kind, draw_plan
from clover.data.shapes.scene import Background, Camera, Event, Relation, Scene, SceneObject
from clover.data.shapes.splits import HeldOut, direction_name, held_out
from clover.data.shapes.vocabulary import COLORS, ROUND_SHAPES, SHAPES, SIZES, SPLITS, TEXTURES
from clover.errors import ConfigError

_RADIUS: dict[str, tuple[float, float]] = {"small": (0.115, 0.13), "large": (0.185, 0.205)}
_NUM_ATTEMPTS = 200
_FROM_MIDDLE = 0.08
_NUM_CANDIDATES = 48


@dataclass(frozen=True, kw_only=True)
class ShapesConfig:
    """Settings of a generated corpus; the same settings give the same corpus on every machine."""

    num_videos: int = 6000
    """Number of videos in all; a share of them is for testing and for validation."""
    seed: int = 0
    """Everything is drawn from this number."""
    size: int = 96
    """Side of the square picture in pixels, even, 64 to 512."""
    frames_per_second: float = 8.0
    """Frames per second, 4 to 60."""
    max_distractors: int = 1
    """Most objects in a video that no caption mentions, 0 to 2."""
    test_share: float = 0.1
    """Share of the videos that is for testing, up to 0.5; a third of it again is for validation."""
    first_video: int = 0
    """Number of the first video of every split: another one gives other videos, and the same pairs held out."""
    group_size: int = 1
    """Validation and test videos come in groups of so many that differ in one thing each, 1 to 8."""
    noise_share: float = 0.0
    """Share of the training captions that are another video's or say nothing, 0 to 0.9."""
    rich_words: bool = False
    """More words for the same, and near-duplicates told in the same words."""

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
        if not 0.0 < self.test_share <= 0.5:
            raise ConfigError(f"test_share is {self.test_share}: give more than 0, at most 0.5")
        if self.first_video < 0:
            raise ConfigError(f"first_video is {self.first_video}: give 0 or more")
        if not 1 <= self.group_size <= 8:
            raise ConfigError(f"group_size is {self.group_size}: give 1 (none are alike) to 8")
        if not 0.0 <= self.noise_share <= 0.9:
            raise ConfigError(f"noise_share is {self.noise_share}: give 0 to 0.9")

    @property
    def num_videos_per_split(self) -> dict[str, int]:
        """Number of videos of every split."""
        num_test = max(1, round(self.test_share * self.num_videos))
        num_validation = max(1, round(0.3 * self.test_share * self.num_videos))
        num_train = self.num_videos - num_test - num_validation
        return {"train": num_train, "validation": num_validation, "test": num_test}

    def first_of_group(self, split: str, index: int) -> int:
        """Number of the video that another one is nearly alike to; its own where it is the first, or alike to none."""
        return index if split == "train" else index - (index - self.first_video) % self.group_size


def sample_scene(config: ShapesConfig, split: str, index: int, kind: str | None = None) -> Scene:
    """Return the scene graph of one video: a pure function of the seed, the split, the index and the kind.

    A training scene shows no held-out pair; a validation or test scene shows at least one in its first object.

    Args:
        config: Settings; the number of videos does not matter here.
        split: "train", "validation" or "test".
        index: Number of the video within the split, from 0.
        kind: What kind of plan the scene follows; None draws one of `KIND_SHARES`.

    Raises:
        ConfigError: The split does not exist.
    """
    if split not in SPLITS:
        raise ConfigError(f"there is no split named {split!r}: choose from {', '.join(SPLITS)}")
    rules = held_out(config.seed)
    first = config.first_of_group(split, index)
    if first != index and kind is None:
        base = sample_scene(config, split, first)
        draws = generator(config.seed, split, first, "near-duplicates")
        alike = near_duplicates(base, config.group_size - 1, draws, rules)
        if index - first <= len(alike):
            return replace(alike[index - first - 1], index=index)
    rng = generator(config.seed, split, index, "scene")
    kind = kind or draw_kind(rng)
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
    cast = _draw_cast(rng, plan, rules, is_train=split == "train")
    plan = replace(plan, events=_with_distances(rng, plan, cast))
    camera = _draw_camera(rng, is_still=any(event.action == "bounces" for event in plan.events))
    num_distractors = int(rng.integers(config.max_distractors + 1))
    margin = 0.015 if camera.movement == "still" else 0.05
    objects = [_alike_halfway(rng, plan, cast[0])] if kind == REPEATED else _place(rng, plan, cast, margin)
    if objects is None:
        return None
    for _ in range(num_distractors):
        objects = _with_distractor(rng, plan, objects, rules, margin, is_train=split == "train")
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


def _alike_halfway(rng: np.random.Generator, plan: Plan, actor: SceneObject) -> SceneObject:
    """Return the actor with its place and radius, near the middle and of its own radius in the middle of the video.

    A frame from there tells nothing about what it does.
    """
    halfway = np.array([plan.duration_seconds / 2.0])
    x, y = offsets(1, plan.events, halfway)
    return replace(
        actor,
        x=round(0.5 - float(x[0, 0]) + uniform(rng, -_FROM_MIDDLE, _FROM_MIDDLE), 4),
        y=round(0.5 - float(y[0, 0]) + uniform(rng, -_FROM_MIDDLE, _FROM_MIDDLE), 4),
        radius=round(actor.radius / float(scales(1, plan.events, halfway)[0, 0]), 4),
    )


def _draw_cast(rng: np.random.Generator, plan: Plan, rules: HeldOut, *, is_train: bool) -> list[SceneObject]:
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
        if plan.kind == REPEATED or "grows" in actions:
            size = "small"
        elif "shrinks" in actions:
            size = "large"
        cast.append(_draw_object(rng, color, shape, size, depth=place, is_described=True))
    if plan.relation == "behind":
        # The hidden object must be drawn first, and large enough that a good part of it stays in sight.
        cast[0] = replace(cast[0], size="large", radius=uniform(rng, *_RADIUS["large"]), depth=1)
        cast[1] = replace(cast[1], size="small", radius=uniform(rng, *_RADIUS["small"]), depth=0)
    return cast


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


def _paths(plan: Plan, objects: list[SceneObject]) -> tuple[Float64[np.ndarray, "n t 2"], Float64[np.ndarray, "n t"]]:
    """Return the displacement and the radius of every object over the whole plan."""
    times = np.arange(0.0, plan.duration_seconds, 1.0 / CHECKS_PER_SECOND)
    # The turning points of a bounce and the ends of moves are checked exactly, whatever the grid.
    turns = [(event.start_seconds + event.end_seconds) / 2.0 for event in plan.events]
    times = np.concatenate([times, turns, [event.end_seconds for event in plan.events]])
    x, y = offsets(len(objects), plan.events, times)
    radius = np.array([[item.radius] for item in objects]) * scales(len(objects), plan.events, times)
    return np.stack([x, y], axis=-1), radius


def _place(rng: np.random.Generator, plan: Plan, cast: list[SceneObject], margin: float) -> list[SceneObject] | None:
    """Return the described objects with places inside the picture and apart from one another, or None."""
    path, radius = _paths(plan, cast)
    placed: dict[int, SceneObject] = {}
    for group in _relative_places(rng, plan, cast):
        members = list(group)
        relative = np.array([group[member] for member in members])[:, None, :] + path[members]
        others = list(placed)
        other_path = np.array([[placed[other].x, placed[other].y] for other in others]).reshape(-1, 1, 2) + path[others]
        wall = [event for event in plan.events if event.action == "bounces" and event.actor in members]
        start = _free_place(
            rng, relative, radius[members], other_path, radius[others], margin, wall[0] if wall else None
        )
        if start is None:
            return None
        for member in members:
            placed[member] = replace(
                cast[member],
                x=round(float(start[0] + group[member][0]), 4),
                y=round(float(start[1] + group[member][1]), 4),
            )
    return [placed[place] for place in range(len(cast))]


def _free_place(
    rng: np.random.Generator,
    path: Float64[np.ndarray, "m t 2"],
    radius: Float64[np.ndarray, "m t"],
    other_path: Float64[np.ndarray, "n t 2"],
    other_radius: Float64[np.ndarray, "n t"],
    margin: float,
    wall_event: Event | None = None,
) -> Float64[np.ndarray, 2] | None:
    """Return a start for a group of objects that keeps it in the picture and clear of the others, or None."""
    low = (margin + radius[..., None] - path).max(axis=(0, 1))
    high = (1.0 - margin - radius[..., None] - path).min(axis=(0, 1))
    if wall_event is not None:
        # The turning point of a bounce touches the edge of the picture.
        side = radius[0] - path[0, :, 0] if wall_event.dx < 0 else 1.0 - radius[0] - path[0, :, 0]
        low[0] = high[0] = side.max() if wall_event.dx < 0 else side.min()
        if ((path[0, :, 0] + low[0] < radius[0] - 1e-6) | (path[0, :, 0] + low[0] > 1.0 - radius[0] + 1e-6)).any():
            return None
        if abs(path[0, np.argmin(np.abs(side - low[0])), 0] - wall_event.dx) > 0.5:
            return None
    if (low > high).any():
        return None
    candidates = rng.uniform(low, high, size=(_NUM_CANDIDATES, 2))
    if len(other_path) == 0:
        return candidates[0]
    gaps = candidates[:, None, None, None, :] + path[None, :, None] - other_path[None, None]
    limits = CLEARANCE * (radius[:, None] + other_radius[None])
    is_free = (np.hypot(gaps[..., 0], gaps[..., 1]) >= limits).all(axis=(1, 2, 3))
    return candidates[np.argmax(is_free)] if is_free.any() else None


def _with_distractor(
    rng: np.random.Generator,
    plan: Plan,
    objects: list[SceneObject],
    rules: HeldOut,
    margin: float,
    *,
    is_train: bool,
) -> list[SceneObject]:
    """Return the objects and one more that rests and goes unmentioned, if there is room for it."""
    taken = {(item.color, item.shape) for item in objects}
    while True:
        color, shape = pick(rng, tuple(COLORS)), pick(rng, SHAPES)
        if (color, shape) not in taken and not (is_train and rules.is_hit_by(color, shape, ())):
            break
    extra = _draw_object(
        rng, color, shape, pick(rng, ("small", "small", "large")), depth=len(objects), is_described=False
    )
    path, radius = _paths(plan, [*objects, extra])
    starts = np.array([[item.x, item.y] for item in objects])[:, None, :]
    place = _free_place(rng, path[-1:], radius[-1:], starts + path[:-1], radius[:-1], margin)
    if place is None:
        return objects
    return [*objects, replace(extra, x=round(float(place[0]), 4), y=round(float(place[1]), 4))]


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
