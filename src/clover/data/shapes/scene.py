"""The scene graph: everything that is true of one generated video, and its form on disk."""

from __future__ import annotations

from dataclasses import dataclass


def video_name(split: str, index: int) -> str:
    """Return the path of a video within the corpus, with forward slashes."""
    return f"videos/{split}/{index:06d}.mp4"


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneObject:
    """One coloured shape.

    Lengths are fractions of the picture's side; x grows to the right, y grows downwards.

    Attributes:
        color: A key of `COLORS`.
        shape: One of `SHAPES`.
        size: One of `SIZES`.
        texture: One of `TEXTURES`.
        x: Horizontal place of the centre at the start.
        y: Vertical place of the centre at the start.
        radius: Radius of the circle around the shape at the start.
        angle: Turn of the shape at the start, in radians.
        depth: Drawing order; an object of higher depth is drawn behind.
        is_described: Whether captions may mention it; False for a distractor.
    """

    color: str
    shape: str
    size: str
    texture: str
    x: float
    y: float
    radius: float
    angle: float
    depth: int
    is_described: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One object doing one thing during one stretch of time.

    Attributes:
        actor: Place of the acting object in `Scene.objects`.
        action: One of `ACTIONS`.
        start_seconds: When it begins, counted from the first frame.
        end_seconds: When it is over.
        count: Number of repetitions of a counted action, 1 for every other.
        target: Place of the object that is circled or hit, None for every other action.
        dx: Horizontal displacement (moves, bounces, hits) or offset from the target (circles).
        dy: The same vertically; the height of one jump.
        turns: Signed number of full turns (spins, circles).
        scale: Final radius divided by the first (grows, shrinks).
    """

    actor: int
    action: str
    start_seconds: float
    end_seconds: float
    count: int = 1
    target: int | None = None
    dx: float = 0.0
    dy: float = 0.0
    turns: float = 0.0
    scale: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Relation:
    """A relation of `RELATIONS` that holds between two objects during the whole video.

    Attributes:
        kind: One of `RELATIONS`.
        first: Place in `Scene.objects` of the object that is left of, behind, faster than, ... the second.
        second: Place of the other object.
    """

    kind: str
    first: int
    second: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Camera:
    """A slow movement of the view.

    Attributes:
        movement: "still", "pans left", "pans right", "pans up", "pans down", "zooms in" or "zooms out".
        pan_x: Way of the view over the whole video, as a fraction of the side; positive to the right.
        pan_y: The same downwards.
        zoom: Final magnification divided by the first.
    """

    movement: str = "still"
    pan_x: float = 0.0
    pan_y: float = 0.0
    zoom: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Background:
    """A muted pattern of two similar greys.

    Attributes:
        pattern: "plain", "gradient", "checks", "stripes", "waves" or "hills".
        color: Middle 8-bit RGB value.
        contrast: Largest difference from the middle value, in 8-bit steps.
        frequency: Periods of the pattern across the picture.
        phase: Shift of the pattern in radians.
    """

    pattern: str
    color: tuple[int, int, int]
    contrast: float
    frequency: float
    phase: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """The scene graph of one video.

    Attributes:
        split: "train", "validation" or "test".
        index: Number of the video within its split.
        kind: The plan it was drawn from: "single", "sequence", "together", "in turn", "race", "beside",
            "circle", "hit", or "repeated", of which only the questions about repetitions are made.
        size: Side of the square picture in pixels.
        frames_per_second: Frames per second.
        num_frames: Number of frames.
        objects: Main objects first, then a landmark, then distractors.
        events: What happens, sorted by start.
        relations: What holds throughout and may be mentioned.
        camera: How the view moves.
        background: What lies behind the objects.
        keyframe_interval: Frames between two key frames of the encoded video.
        num_b_frames: Bidirectional frames between two others in the encoded video.
    """

    split: str
    index: int
    kind: str
    size: int
    frames_per_second: float
    num_frames: int
    objects: tuple[SceneObject, ...]
    events: tuple[Event, ...]
    relations: tuple[Relation, ...]
    camera: Camera
    background: Background
    keyframe_interval: int
    num_b_frames: int

    @property
    def duration_seconds(self) -> float:
        """Length of the video in seconds."""
        return self.num_frames / self.frames_per_second

    @property
    def video(self) -> str:
        """Path of the video within the corpus, with forward slashes."""
        return video_name(self.split, self.index)

    def events_of(self, actor: int) -> tuple[Event, ...]:
        """Return what one object does, in order of time."""
        return tuple(event for event in self.events if event.actor == actor)
