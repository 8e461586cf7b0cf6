"""Every kind of fusion and of input goes through both tracers, and computes what the checkpoint does."""

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch
from made_checkpoint import made_checkpoint
from torch import nn

from clover.cli import main
from clover.errors import ExportError
from clover.export.checking import check
from clover.export.graphs import Free, Graph, Input, graphs_of
from clover.export.onnx_files import write_onnx
from clover.export.programs import write_program
from clover.modeling.cross_layers import GatedLayer
from clover.modeling.initialise import initialise
from clover.modeling.model import CloverModel, HeadConfig
from clover.pipeline import Clover

pytestmark = pytest.mark.slow

BLANKS = HeadConfig(num_answers=3, answers_at_mask=True)
"""Answers are looked for at the [MASK]: the fusion takes `is_blank` besides."""
KINDS = {
    "fill in the blank": ({"fusion": {"has_own_cls": True}, "model": {"heads": BLANKS}}, "fusion"),
    "gated, of its own [CLS]": ({"fusion": {"kind": "gated", "has_own_cls": True}}, "fusion"),
    "cross attention": ({"fusion": {"kind": "cross_attention"}}, "fusion"),
    "as first released": ({"model": {"fused_pairing": "first_release"}}, "fusion"),
    "two views": ({"inputs": {"num_views": 2}}, "video"),
}
"""What differs from the checkpoint of the other tests, and the graph that it changes."""


def of_kind(changes):
    """The checkpoint of the other tests with one thing changed; weights are loud, so that every input is heard."""
    plain = made_checkpoint(depth=1)
    fusion = replace(plain.config.model.fusion, **changes.get("fusion", {}))
    model = replace(plain.config.model, fusion=fusion, initial_weights="fan_in", **changes.get("model", {}))
    inputs = replace(plain.config.inputs, **changes.get("inputs", {}))
    network = CloverModel(model)
    initialise(network, 0)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, GatedLayer):
                module.gates.fill_(0.5)  # closed at the start: nothing would be heard of the video
    return Clover(network, plain.tokenizer, replace(plain.config, model=model, inputs=inputs))


def runner(graph, to, path):
    """The graph, written and run by its own library."""
    if to == "onnx":
        write_onnx(graph, path)
        session = onnxruntime.InferenceSession(str(path))
        return lambda inputs: session.run(None, dict(inputs))
    write_program(graph, path)
    program = torch.export.load(path).module()
    return lambda inputs: plainly(program, inputs)


@torch.no_grad()
def plainly(module, inputs):
    given = [torch.from_numpy(np.ascontiguousarray(one)) for one in inputs.values()]
    return [value.numpy() for value in module(*given)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("to", ["onnx", "torch"])
def test_a_graph_of_any_kind_computes_what_the_checkpoint_does(kind, to, tmp_path):
    changes, changed = KINDS[kind]
    clover = of_kind(changes)
    graphs = graphs_of(clover)
    (graph,) = (graph for graph in graphs if graph.name == changed)
    written = runner(graph, to, tmp_path / ("graph.onnx" if to == "onnx" else "graph.pt2"))
    modules = {one.name: one.module for one in graphs}

    def run(name, inputs):
        return written(inputs) if name == changed else plainly(modules[name], inputs)

    worst = check(clover, graphs, run, ())
    assert set(graph.outputs) <= set(worst)
    assert max(worst.values()) < 1e-5


class ForThree(nn.Module):
    """Goes with a batch of three alone, which is what the tracer is shown."""

    def forward(self, rows):
        return (rows + torch.ones(3, 2).expand(len(rows), 2),)


def test_what_the_tracer_raises_is_one_line(clover, tmp_path, monkeypatch, capsys):
    rows = Input(name="rows", shape=(Free(name="batch"), 2), example=torch.zeros(3, 2), about="")
    graph = Graph(name="fusion", module=ForThree(), inputs=(rows,), outputs={"sum": ""})
    for write in (write_onnx, write_program):
        with pytest.raises(ExportError, match=r"^the fusion graph cannot be exported, for torch \S+ cannot trace it: "):
            write(graph, tmp_path / "graph")
    clover.save_pretrained(tmp_path / "checkpoint")
    monkeypatch.setattr("clover.export.folder.graphs_of", lambda _: (graph,))
    assert main(["export", str(tmp_path / "checkpoint"), "--to", "torch", str(tmp_path / "out")]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("clover: the fusion graph cannot be exported") and errors.count("\n") == 1
    assert not (tmp_path / "out").exists()
