"""Film strips and loss curves as data that a page can carry itself."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from jaxtyping import UInt8
from PIL import Image


def data_address(content: bytes, kind: str) -> str:
    """Bytes as a `data:` address."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def film_strip(images: UInt8[np.ndarray, "t h w 3"], *, height: int = 72) -> str:
    """Frames side by side as one JPEG, as a `data:` address."""
    frames = [Image.fromarray(image) for image in images]
    frames = [frame.resize((max(1, round(frame.width * height / frame.height)), height)) for frame in frames]
    strip = Image.new("RGB", (sum(frame.width for frame in frames) + 2 * (len(frames) - 1), height), "white")
    left = 0
    for frame in frames:
        strip.paste(frame, (left, 0))
        left += frame.width + 2
    buffer = io.BytesIO()
    strip.save(buffer, "JPEG", quality=88)
    return data_address(buffer.getvalue(), "image/jpeg")


def read_log(path: Path) -> list[dict[str, int | float]]:
    """Rows of a log.jsonl that are steps."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if "step" in row and "total" in row]


def smooth(values: Sequence[float], window: int) -> np.ndarray:
    """Running mean over a window, shorter at the start."""
    sums = np.cumsum(np.insert(np.asarray(values, dtype=float), 0, 0.0))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - window)
    return (sums[ends] - sums[starts]) / (ends - starts)


def loss_curves(rows: Sequence[dict[str, int | float]], names: Sequence[str]) -> str:
    """One small plot per named loss over the steps, as an SVG in a `data:` address."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = min(3, len(names))
    lines = -(-len(names) // columns)
    figure, axes = pyplot.subplots(lines, columns, figsize=(3.6 * columns, 2.2 * lines), squeeze=False)
    steps = [row["step"] + 1 for row in rows]
    window = max(1, len(rows) // 40)
    for axis, name in zip(axes.flat, names, strict=False):
        values = [row[name] for row in rows]
        axis.plot(steps, values, color="#c9d6cf", linewidth=0.7)
        axis.plot(steps, smooth(values, window), color="#1f7a4d", linewidth=1.6)
        axis.set_title(name.replace("_", " "), fontsize=9, loc="left")
        axis.tick_params(labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_ylim(bottom=0)
    for axis in list(axes.flat)[len(names) :]:
        axis.remove()
    figure.supxlabel("step", fontsize=8)
    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    pyplot.close(figure)
    return data_address(buffer.getvalue(), "image/svg+xml")
