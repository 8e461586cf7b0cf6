"""ONNX files of the graphs, and running them by ONNX Runtime."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clover.errors import ExportError
from clover.export.graphs import Free, Graph
from clover.export.tracing import library_errors, quietly, traced


def require_onnx() -> None:
    """Find out before any work whether the libraries are there.

    Raises:
        ExportError: one is not.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ExportError(f"{error.name} is not installed; pip install 'clover-vl[onnx]'") from error


def write_onnx(graph: Graph, path: Path) -> None:
    """Trace a graph and write it, weights and all, into one file; its free sizes carry their names.

    Raises:
        ExportError: the libraries cannot translate it.
    """
    import onnx
    import torch

    program = traced(graph)
    symbols = _symbols(graph, program)
    with library_errors(graph, "write it as ONNX"), quietly():
        made = torch.onnx.export(
            program,
            input_names=[one.name for one in graph.inputs],
            output_names=list(graph.outputs),
            dynamo=True,
            optimize=True,
            verbose=False,
        )
    assert made is not None
    model = made.model_proto
    del model.graph.value_info[:]  # some are of before the optimiser's transpositions, and the quantiser believes them
    for value in (*model.graph.input, *model.graph.output):
        for extent in value.type.tensor_type.shape.dim:
            if extent.dim_param:
                extent.dim_param = re.sub(r"s\d+", lambda found: symbols.get(found[0], found[0]), extent.dim_param)
    onnx.save(model, str(path))


def _symbols(graph: Graph, program: Any) -> dict[str, str]:
    """The tracer's names of the free sizes, and ours."""
    placeholders = [node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"][-len(graph.inputs) :]
    names: dict[str, str] = {}
    for one, value in zip(graph.inputs, placeholders, strict=True):
        for extent, symbol in zip(one.shape, value.shape, strict=True):
            if isinstance(extent, Free) and str(symbol).isidentifier():
                names[str(symbol)] = extent.name
    return names


class OnnxModel:
    """The graphs of a folder, run by ONNX Runtime on the processor."""

    def __init__(self, folder: Path, *, suffix: str = "", num_threads: int = 0) -> None:
        """Open video, text and fusion.

        Args:
            folder: Where they are.
            suffix: Of the files' names, in front of ``.onnx``.
            num_threads: 0: as ONNX Runtime chooses.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        self._sessions = {
            name: onnxruntime.InferenceSession(
                str(Path(folder) / f"{name}{suffix}.onnx"), options, providers=["CPUExecutionProvider"]
            )
            for name in ("video", "text", "fusion")
        }

    def run(self, name: str, inputs: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        """All outputs of a graph, in their order."""
        outputs: Sequence[np.ndarray] = self._sessions[name].run(None, dict(inputs))
        return outputs
