"""Programs of `torch.export`: files that PyTorch runs without this package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clover.export.graphs import Graph
from clover.export.tracing import library_errors, quietly, traced


def write_program(graph: Graph, path: Path) -> None:
    """Trace a graph and write it, weights and all, into one ``.pt2`` file.

    Raises:
        ExportError: the library cannot.
    """
    program = traced(graph)
    with library_errors(graph, "write it"), quietly():
        torch.export.save(program, path)


class TorchPrograms:
    """The programs of a folder, loaded from their files."""

    def __init__(self, folder: Path, graphs: Sequence[Graph]) -> None:
        """Load the program of every graph."""
        with quietly():
            self._programs: dict[str, Any] = {
                graph.name: torch.export.load(Path(folder) / f"{graph.name}.pt2").module() for graph in graphs
            }
        self._names = {graph.name: [one.name for one in graph.inputs] for graph in graphs}

    @torch.no_grad()
    def run(self, name: str, inputs: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        """All outputs of a program, in their order."""
        given = [torch.from_numpy(np.ascontiguousarray(inputs[key])) for key in self._names[name]]
        return [value.numpy() for value in self._programs[name](*given)]
