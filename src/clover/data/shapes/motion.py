"""Scene graph to tracks: where every object is, how large, how turned and how visible, at every moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from clover.data.shapes.scene import Camera, Event, Scene
from clover.data.shapes.vocabulary import MOVES

PUSH = 0.1
"""How far a hit object is pushed, as a fraction of the picture's side."""

RECOIL = 0.12
"""How far a hitting object springs back, as a fraction of its way to the target."""


@dataclass(frozen=True, kw_only=True)
class Tracks:
    """The state of every object at every frame; ``n`` counts objects here.

    Attributes:
        x: Horizontal place of the centre, as a fraction of the picture's side.
        y: Vertical place of the centre, growing downwards.
        radius: Radius of the circle around the shape, as a fraction of the side.
        angle: Turn in radians.
        opacity: 0 (not there) to 1.
    """

    x: Float64[np.ndarray, "n t"]
    y: Float64[np.ndarray, "n t"]
    radius: Float64[np.ndarray, "n t"]
    angle: Float64[np.ndarray, "n t"]
    opacity: Float64[np.ndarray, "n t"]


def offsets(
    num_objects: int, events: Sequence[Event], times: Float64[np.ndarray, " t"]
) -> tuple[Float64[np.ndarray, "n t"], Float64[np.ndarray, "n t"]]:
    """Return how far every object is from where it started, horizontally and vertically, at the given seconds."""
    x = np.zeros((num_objects, times.size))
    y = np.zeros((num_objects, times.size))
    for event in events:
        progress = _progress(event, times)
        if event.action in MOVES:
            x[event.actor] += event.dx * progress
            y[event.actor] += event.dy * progress
        elif event.action == "bounces":
            there_and_back = 1.0 - np.abs(2.0 * progress - 1.0)
            x[event.actor] += event.dx * there_and_back
            y[event.actor] += event.dy * there_and_back
        elif event.action == "jumps":
            phase = (event.count * progress) % 1.0
            y[event.actor] -= event.dy * 4.0 * phase * (1.0 - phase)
        elif event.action == "circles":
            turn = 2.0 * np.pi * event.turns * progress
            x[event.actor] += event.dx * (np.cos(turn) - 1.0) - event.dy * np.sin(turn)
            y[event.actor] += event.dx * np.sin(turn) + event.dy * (np.cos(turn) - 1.0)
        elif event.action == "hits" and event.target is not None:
            approach = np.minimum(progress / 0.5, 1.0)
            after = np.clip((progress - 0.5) / 0.5, 0.0, 1.0)
            after = after * (2.0 - after)
            x[event.actor] += event.dx * (approach - RECOIL * after)
            y[event.actor] += event.dy * (approach - RECOIL * after)
            x[event.target] += np.sign(event.dx) * PUSH * after
            y[event.target] += np.sign(event.dy) * PUSH * after
    return x, y


def scales(num_objects: int, events: Sequence[Event], times: Float64[np.ndarray, " t"]) -> Float64[np.ndarray, "n t"]:
    """Return every object's radius divided by its first radius, at the given seconds."""
    scale = np.ones((num_objects, times.size))
    for event in events:
        if event.scale != 1.0:
            scale[event.actor] *= 1.0 + (event.scale - 1.0) * _progress(event, times)
    return scale


def frame_times(scene: Scene) -> Float64[np.ndarray, " t"]:
    """Return the second at which every frame is shown."""
    return np.arange(scene.num_frames) / scene.frames_per_second


def tracks(scene: Scene) -> Tracks:
    """Return the state of every object of the scene at every frame, before the camera."""
    times = frame_times(scene)
    num_objects = len(scene.objects)
    x, y = offsets(num_objects, scene.events, times)
    angle = np.zeros((num_objects, times.size))
    opacity = np.ones((num_objects, times.size))
    for event in scene.events:
        progress = _progress(event, times)
        if event.action == "spins":
            angle[event.actor] += 2.0 * np.pi * event.turns * progress
        elif event.action == "blinks":
            phase = (event.count * progress) % 1.0
            opacity[event.actor] *= ~((phase >= 0.25) & (phase < 0.75))
        elif event.action == "appears":
            opacity[event.actor] *= progress
        elif event.action == "vanishes":
            opacity[event.actor] *= 1.0 - progress
    start = np.array([[item.x, item.y, item.radius, item.angle] for item in scene.objects])
    return Tracks(
        x=start[:, 0:1] + x,
        y=start[:, 1:2] + y,
        radius=start[:, 2:3] * scales(num_objects, scene.events, times),
        angle=start[:, 3:4] + angle,
        opacity=opacity,
    )


def camera_path(
    camera: Camera, num_frames: int
) -> tuple[Float64[np.ndarray, " t"], Float64[np.ndarray, " t"], Float64[np.ndarray, " t"]]:
    """Return the view's centre (x, y, fractions of the side, 0 is the middle) and magnification at every frame."""
    progress = np.linspace(0.0, 1.0, num_frames)
    start_zoom = 1.0 if camera.zoom >= 1.0 else 1.0 / camera.zoom
    zoom = start_zoom * (1.0 + (camera.zoom - 1.0) * progress)
    return camera.pan_x * (progress - 0.5), camera.pan_y * (progress - 0.5), zoom


def seen(scene: Scene) -> Tracks:
    """Return the state of every object at every frame as the camera shows it, in fractions of the picture's side."""
    state = tracks(scene)
    pan_x, pan_y, zoom = camera_path(scene.camera, scene.num_frames)
    x, y = (state.x - 0.5 - pan_x) * zoom + 0.5, (state.y - 0.5 - pan_y) * zoom + 0.5
    return replace(state, x=x, y=y, radius=state.radius * zoom)


def _progress(event: Event, times: Float64[np.ndarray, " t"]) -> Float64[np.ndarray, " t"]:
    """Return how much of the event is over, 0 to 1."""
    return np.clip((times - event.start_seconds) / (event.end_seconds - event.start_seconds), 0.0, 1.0)
