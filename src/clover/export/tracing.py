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

from clover.errors import CloverError, ExportError
from clover.export.graphs import Free, Graph


def traced(graph: Graph) -> ExportedProgram:
    """Trace a graph; every free size of its inputs is one symbol, 1 and more.

    Raises:
        ExportError: the library cannot, or takes a free size for a fixed one.
    """
    dims: dict[str, Any] = {}

    def dimension(extent: int | Free) -> Any:
        if isinstance(extent, int):
            return Dim.STATIC
        symbol = dims.setdefault(extent.name, Dim(extent.name, min=extent.least, max=extent.most))
        return extent.times * symbol if extent.times > 1 else symbol

    shapes = tuple(tuple(dimension(extent) for extent in one.shape) for one in graph.inputs)
    examples = tuple(one.example for one in graph.inputs)
    with library_errors(graph, "trace it"), quietly(), _one_is_no_special_size(), _shapes_unchecked():
        return torch.export.export(
            graph.module,
            examples,
            dynamic_shapes=shapes,
            strict=False,
            prefer_deferred_runtime_asserts_over_guards=True,
        )


@contextmanager
def library_errors(graph: Graph, task: str) -> Iterator[None]:
    """One line in place of what a library raises.

    Args:
        graph: What is worked on.
        task: What torch is to do with it, as in "trace it".

    Raises:
        ExportError: anything was raised that is not one of ours.
    """
    try:
        yield
    except (CloverError, OSError, MemoryError):  # ours, and those of the machine
        raise
    except Exception as error:  # the tracers raise many kinds
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ExportError(
            f"the {graph.name} graph cannot be exported, for torch {torch.__version__} cannot {task}: {reason}"
        ) from error


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
