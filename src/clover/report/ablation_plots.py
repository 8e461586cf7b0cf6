"""Plots of an ablation, as SVG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np

from clover.report.pictures import smooth

_COLORS = ("#7a7a7a", "#b08a3e", "#4a6fa5", "#2a9d8f", "#8a5a9e", "#1f7a4d", "#a04a2a", "#c06c84", "#6b705c", "#457b9d")


@dataclass(frozen=True, kw_only=True)
class EffectLine:
    """One difference between two systems."""

    label: str
    mean: float
    interval: tuple[float, float]
    by_seed: Sequence[float]
    published: float | None
    """The paper's, in the same unit."""


def effect_plot(groups: Mapping[str, Sequence[EffectLine]], unit: str) -> bytes:
    """Differences with their intervals, a panel for each group; dots are seeds, a diamond the paper's difference."""
    pyplot = _pyplot()
    heights = [max(1, len(lines)) for lines in groups.values()]
    figure, axes = pyplot.subplots(
        len(groups),
        1,
        figsize=(7.4, 0.6 * len(groups) + 0.3 * sum(heights)),
        squeeze=False,
        height_ratios=heights,
    )
    for axis, (title, lines) in zip(axes[:, 0], groups.items(), strict=True):
        for place, line in enumerate(lines):
            low, high = line.interval
            axis.plot([low, high], [place, place], color="#8cc4a6", linewidth=4, solid_capstyle="butt")
            axis.plot(line.by_seed, [place] * len(line.by_seed), ".", color="#123", alpha=0.6, markersize=4)
            axis.plot([line.mean], [place], "|", color="#123", markersize=13, markeredgewidth=2)
            if line.published is not None:
                axis.plot([line.published], [place], "D", color="#a04a2a", markersize=4)
        axis.axvline(0, color="#888", linewidth=0.8)
        axis.set_yticks(range(len(lines)), [line.label for line in lines], fontsize=8)
        axis.set_ylim(len(lines) - 0.5, -0.5)
        axis.set_title(title, fontsize=9, loc="left")
        _plain(axis)
    figure.supxlabel(unit, fontsize=8)
    return _svg(figure)


def curves(runs: Mapping[str, Sequence[Sequence[Mapping[str, int | float]]]], names: Sequence[str]) -> bytes:
    """Losses over the share of the run, the mean over each system's runs."""
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(1, len(names), figsize=(3.7 * len(names), 2.8), squeeze=False)
    for axis, name in zip(axes[0], names, strict=True):
        for color, (title, logs) in zip(_COLORS, runs.items(), strict=False):
            having = [[row[name] for row in log] for log in logs if log and name in log[0]]
            if not having:
                continue
            length = min(map(len, having))
            mean = np.mean([values[:length] for values in having], axis=0)
            axis.plot(np.arange(1, length + 1), smooth(list(mean), max(1, length // 30)), color=color, label=title)
        axis.set_title(name.replace("_", " "), fontsize=9, loc="left")
        if axis.lines:  # one system alone lacks the terms of the others
            axis.legend(fontsize=6, frameon=False)
        _plain(axis)
    figure.supxlabel("step", fontsize=8)
    return _svg(figure)


def similarity_histograms(systems: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> bytes:
    """Cosines of captions with their video and with the others, system by system."""
    pyplot = _pyplot()
    columns = min(3, len(systems))
    lines = -(-len(systems) // columns)
    figure, axes = pyplot.subplots(lines, columns, figsize=(2.9 * columns, 1.8 * lines), squeeze=False, sharey=True)
    bins = np.linspace(-0.6, 1.0, 65)
    for axis, (title, (positive, negative)) in zip(axes.flat, systems.items(), strict=False):
        axis.hist(negative, bins, density=True, color="#c9d6cf", label="other videos")
        axis.hist(positive, bins, density=True, color="#1f7a4d", alpha=0.75, label="its video")
        axis.set_title(title, fontsize=8, loc="left")
        _plain(axis)
    for axis in list(axes.flat)[len(systems) :]:
        axis.remove()
    axes.flat[0].legend(fontsize=6, frameon=False)
    figure.supxlabel("cosine of a caption with its video, and with the others", fontsize=8)
    return _svg(figure)


def sweep_plot(sweeps: Mapping[str, Sequence[tuple[str, Mapping[str, float]]]], own: Mapping[str, str]) -> bytes:
    """Figures over the values of each setting; Clover's own value is marked."""
    pyplot = _pyplot()
    columns = min(3, len(sweeps))
    lines = -(-len(sweeps) // columns)
    figure, axes = pyplot.subplots(lines, columns, figsize=(3.2 * columns, 2.2 * lines), squeeze=False)
    for axis, (title, points) in zip(axes.flat, sweeps.items(), strict=False):
        labels = [label for label, _ in points]
        for color, name in zip(_COLORS[2:], points[0][1], strict=False):
            axis.plot(labels, [figures[name] for _, figures in points], "o-", color=color, markersize=3, label=name)
        if own[title] in labels:
            axis.axvline(labels.index(own[title]), color="#888", linewidth=0.8, linestyle=":")
        axis.set_title(title, fontsize=8, loc="left")
        _plain(axis)
    for axis in list(axes.flat)[len(sweeps) :]:
        axis.remove()
    axes.flat[0].legend(fontsize=6, frameon=False)
    return _svg(figure)


def _pyplot() -> Any:
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "clover"  # the same figures give the same file
    from matplotlib import pyplot

    return pyplot


def _plain(axis: Any) -> None:
    axis.tick_params(labelsize=7)
    axis.spines[["top", "right"]].set_visible(False)


def _svg(figure: Any) -> bytes:
    from matplotlib import pyplot

    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    pyplot.close(figure)
    return buffer.getvalue()
