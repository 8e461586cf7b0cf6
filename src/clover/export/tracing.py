"""Graphs to programs: `torch.export` with free sizes."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jaxtyping
import torch
from torch.export import Dim, ExportedProgram

from clover.export.graphs import Free, Graph


def traced(graph: Graph) -> ExportedProgram:
    """Trace a graph; every free size of its inputs is one symbol, 1 and more."""
    dims: dict[str, Any] = {}

    def dimension(extent: int | Free) -> Any:
        if isinstance(extent, int):
            return Dim.STATIC
        symbol = dims.setdefault(extent.name, Dim(extent.name, min=extent.least, max=extent.most))
        return extent.times * symbol if extent.times > 1 else symbol

    shapes = tuple(tuple(dimension(extent) for extent in one.shape) for one in graph.inputs)
    examples = tuple(one.example for one in graph.inputs)
    with quietly(), _one_is_no_special_size(), _shapes_unchecked():
        return torch.export.export(
            graph.module,
            examples,
            dynamic_shapes=shapes,
            strict=False,
            prefer_deferred_runtime_asserts_over_guards=True,
        )


def _one_is_no_special_size() -> Any:
    """Without it a symbol means 2 and more: PyTorch takes a size of 1 for one that is stretched to the others'."""
    from torch.fx.experimental import _config

    config: Any = _config  # its methods are put on at run time
    return config.patch(backed_size_oblivious=True)


@contextmanager
def _shapes_unchecked() -> Iterator[None]:
    """Checks of annotations, where a program has switched them on, do not know that a symbol is a number."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)


@contextmanager
def quietly() -> Iterator[None]:
    """The tracers tell their own makers about what is to be renamed; a user can do nothing about it."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
