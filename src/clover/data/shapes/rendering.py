"""Scene graph to pixels: anti-aliased shapes on a muted ground, seen by a slowly moving camera."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Float32, UInt8

from clover.data.shapes.motion import camera_path, seen
from clover.data.shapes.scene import Background, Scene, SceneObject
from clover.data.shapes.vocabulary import COLORS

Field = Float32[np.ndarray, "h w"]


def render(scene: Scene, frames: Sequence[int] | None = None) -> UInt8[np.ndarray, "t h w 3"]:
    """Draw every frame of a scene, or those of the given numbers, RGB, 0..255."""
    size = scene.size
    state = seen(scene)
    pan_x, pan_y, zoom = camera_path(scene.camera, scene.num_frames)
    order = sorted(range(len(scene.objects)), key=lambda place: -scene.objects[place].depth)
    is_still = scene.camera.movement == "still"
    numbers = range(scene.num_frames) if frames is None else frames
    images = np.empty((len(numbers), size, size, 3), dtype=np.uint8)
    ground = np.zeros((size, size, 3), dtype=np.float32)
    for row, frame in enumerate(numbers):
        if row == 0 or not is_still:
            ground = draw_background(scene.background, size, pan_x[frame], pan_y[frame], zoom[frame])
        canvas = ground.copy()
        for place in order:
            opacity = float(state.opacity[place, frame])
            if opacity > 0.0:
                x, y, radius = (float(track[place, frame] * size) for track in (state.x, state.y, state.radius))
                angle = float(state.angle[place, frame])
                draw_object(canvas, scene.objects[place], x, y, radius, angle, opacity)
        images[row] = canvas.round()
    return images


def draw_object(
    canvas: np.ndarray, item: SceneObject, x: float, y: float, radius: float, angle: float, opacity: float
) -> None:
    """Blend one object into the picture, touching only the pixels around it; lengths in pixels."""
    size = len(canvas)
    left, right = max(0, int(x - radius - 1)), min(size, int(x + radius + 3))
    top, bottom = max(0, int(y - radius - 1)), min(size, int(y + radius + 3))
    if left >= right or top >= bottom:
        return
    across = ((np.arange(left, right) + 0.5 - x) / radius).astype(np.float32)
    along = ((np.arange(top, bottom) + 0.5 - y)[:, None] / radius).astype(np.float32)
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    u, v = cosine * across + sine * along, cosine * along - sine * across
    cover = np.minimum(np.maximum(depth_inside(item.shape, u, v) * np.float32(radius) + 0.5, 0.0), 1.0)
    patch = canvas[top:bottom, left:right]
    patch += (cover * np.float32(opacity))[..., None] * (_paint(item, u, v) - patch)


def _paint(item: SceneObject, u: Field, v: Field) -> np.ndarray:
    """Colour of every point of an object: plain, or with stripes or dots of a lighter or darker tone."""
    color = np.array(COLORS[item.color], dtype=np.float32)
    if item.texture == "plain":
        return color
    is_bright = color @ np.array([0.299, 0.587, 0.114]) > 110
    other = color * 0.45 if is_bright else color * 0.5 + 127.0
    if item.texture == "striped":
        is_other = np.sin(2.0 * np.pi * 1.5 * (u + v)) > 0.0
    else:
        is_other = (np.mod(u * 1.6 + 0.5, 1.0) - 0.5) ** 2 + (np.mod(v * 1.6 + 0.5, 1.0) - 0.5) ** 2 < 0.08
    return color + is_other[..., None] * (other - color).astype(np.float32)


def depth_inside(shape: str, u: Field, v: Field) -> Field:
    """How far a point is inside a shape of radius 1 around the origin; negative outside. ``v`` grows downwards."""
    if shape == "ball":
        return 1.0 - np.hypot(u, v)
    if shape == "ring":
        distance = np.hypot(u, v)
        return np.minimum(1.0 - distance, distance - 0.52)
    if shape == "square":
        return 0.8 - np.maximum(np.abs(u), np.abs(v))
    if shape == "diamond":
        return (1.0 - np.abs(u) / 0.62 - np.abs(v)) * 0.53
    if shape == "triangle":
        return _polygon_inside(u, v - 0.2, _edges(3), 0.52)
    if shape == "star":
        return _star_inside(u, v)
    if shape == "cross":
        wide = np.minimum(0.95 - np.abs(u), 0.33 - np.abs(v))
        tall = np.minimum(0.33 - np.abs(u), 0.95 - np.abs(v))
        return np.maximum(wide, tall)
    if shape == "heart":
        half, middle, root = 0.56, 0.1, 2.0**0.5
        slope = np.maximum(np.abs(u + (v - middle)), np.abs(u - (v - middle))) / root
        lobe = half - np.hypot(np.abs(u) - half / root, v - middle + half / root)
        return np.maximum(half - slope, lobe)
    raise AssertionError(f"no drawing of {shape}")


@lru_cache(maxsize=8)
def _edges(count: int) -> tuple[tuple[float, float], ...]:
    """Outward normals of a regular polygon that stands on its last edge."""
    angles = np.pi / 2 + 2.0 * np.pi * np.arange(count) / count
    return tuple((float(np.cos(angle)), float(np.sin(angle))) for angle in angles)


def _polygon_inside(u: Field, v: Field, edges: tuple[tuple[float, float], ...], reach: float) -> Field:
    inside = reach - (edges[0][0] * u + edges[0][1] * v)
    for x, y in edges[1:]:
        inside = np.minimum(inside, reach - (x * u + y * v))
    return inside


def _star_inside(u: Field, v: Field) -> Field:
    """A five-pointed star: the wedge of one point, folded around."""
    fold = 2.0 * np.pi / 5
    angle = np.abs(np.mod(np.arctan2(u, -v) + fold / 2, fold) - fold / 2)
    radius = np.hypot(u, v)
    tip, notch = np.array([0.0, 1.0]), 0.45 * np.array([np.sin(fold / 2), np.cos(fold / 2)])
    normal = np.array([tip[1] - notch[1], notch[0] - tip[0]])
    normal = (normal / np.linalg.norm(normal)).astype(np.float32)
    return np.float32(normal @ tip) - (normal[0] * radius * np.sin(angle) + normal[1] * radius * np.cos(angle))


def draw_background(background: Background, size: int, pan_x: float, pan_y: float, zoom: float) -> np.ndarray:
    """The ground as floats ``[h w 3]``, 0..255, seen from a camera that has panned and zoomed."""
    line = ((np.arange(size) + 0.5) / size - 0.5).astype(np.float32)
    x, y = (line / zoom + 0.5 + pan_x)[None, :], (line / zoom + 0.5 + pan_y)[:, None]
    wave = 2.0 * np.pi * background.frequency
    pattern = {
        "plain": lambda: np.zeros((size, size)),
        "gradient": lambda: 2.0 * (x * np.cos(background.phase) + y * np.sin(background.phase)) - 1.0,
        "checks": lambda: np.sign(np.sin(wave * x + background.phase) * np.sin(wave * y + background.phase)),
        "stripes": lambda: np.sign(np.sin(wave * (x + 0.5 * y) + background.phase)),
        "waves": lambda: np.sin(wave * y + 1.5 * np.sin(wave * x + background.phase)),
        "hills": lambda: np.sin(wave * x + background.phase) * np.cos(0.7 * wave * y),
    }[background.pattern]()
    field = np.clip(pattern, -1.0, 1.0).astype(np.float32) * np.float32(background.contrast)
    color = np.asarray(background.color, dtype=np.float32)
    return np.broadcast_to(field, (size, size))[..., None] + color
