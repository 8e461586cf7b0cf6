"""How a run computes: on which device, in which number format, compiled or not, and what is kept for the gradients.

With ``bfloat16`` the forward passes of the network run under autocast. Matrix products of linear layers and attention
are then in bfloat16 (a GPU adds them up in float32), and so is what directly follows them: GELU, and the running sum
of a video's tokens after the first merging. In float32 remain:

- weights, their gradients and the optimiser's averages;
- layer norms, inside and out (`clover.modeling.layers.LayerNorm`), and what is added to their output;
- all embeddings that leave the network;
- softmax and logarithms: of attention (inside the kernels), of similarities, of word, answer and choice scores;
- similarities themselves, and every loss: objectives are called outside of autocast, and do not mind when inside.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from clover.errors import ConfigError
from clover.modeling.cross_layers import CrossTransformer
from clover.modeling.huggingface import Borrowed, checkpointing
from clover.modeling.layers import RunLayer, Transformer, run_plainly
from clover.modeling.video_swin import VideoEncoder
from clover.training.devices import choose_device, on_device

BatchT = TypeVar("BatchT")
OutputT = TypeVar("OutputT")
ModuleT = TypeVar("ModuleT", bound=nn.Module)

_NUM_VARIANTS = 64
"""Forms of the layers that are compiled at most: kinds of layers times sizes of micro-batches."""


@dataclass(frozen=True, kw_only=True)
class ComputeConfig:
    """Device, number format, and what is traded for speed and memory; all but the format may change on resume."""

    device: str = "auto"
    """auto (a GPU where there is one, else the processor), cpu, cuda, or a GPU by number as in cuda:1. Of several
    processes each takes its own GPU."""
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    """Number format of the network's matrix products: float32; tf32, float32 of which a GPU multiplies ten bits; or
    bfloat16, with losses, norms and weights in float32."""
    compiles: bool = False
    """Compile the layers of the encoders with torch.compile: minutes at the start for faster steps on a GPU."""
    checkpoints_activations: bool = False
    """Keep only the inputs of each layer for the backward pass and compute the rest again: much less memory, about a
    third more time."""


class Compute:
    """A `ComputeConfig` on this machine.

    Args:
        config: What is wanted.
        backend: Compiler of `torch.compile`, for tests.
        fullgraph: Make it an error when the compiler cannot take a layer whole, for tests.

    Raises:
        ConfigError: the device is not there, or cannot do what is wanted.
    """

    def __init__(self, config: ComputeConfig, *, backend: Any = "inductor", fullgraph: bool = False) -> None:
        self.config, self.device = config, choose_device(config.device)
        self._backend, self._fullgraph = backend, fullgraph
        if config.precision == "tf32" and self.device.type != "cuda":
            raise ConfigError(f"precision tf32 is of NVIDIA GPUs and the device is {self.device}; give float32")
        if self.device.type == "cuda":
            if config.precision == "bfloat16" and not torch.cuda.is_bf16_supported(including_emulation=False):
                name = torch.cuda.get_device_name(self.device)
                raise ConfigError(f"{name} has no bfloat16; give --compute.precision tf32 or float32")
            torch.cuda.set_device(self.device)
            torch.backends.cuda.matmul.allow_tf32 = config.precision == "tf32"
        if config.compiles and backend == "inductor":
            _check_compiler(self.device)

    def prepare(self, module: ModuleT) -> ModuleT:
        """Move a module to the device and let its encoders run their layers as configured; returns the module.

        Models of others are not compiled.

        Raises:
            ConfigError: activations are to be computed again, and a model of others cannot do so.
        """
        for part in module.modules():
            if isinstance(part, VideoEncoder):
                part.run_layer = self._run_block
            elif isinstance(part, Transformer | CrossTransformer):
                part.run_layer = self._run_text_layer
            elif isinstance(part, Borrowed) and self.config.checkpoints_activations:
                checkpointing(part.model)
        return module.to(self.device)

    def autocast(self) -> AbstractContextManager[Any]:
        """Around forward passes of the network, and nothing else: the number format."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.config.precision == "bfloat16")

    def in_its_format(self, outputs: Callable[[BatchT], OutputT]) -> Callable[[BatchT], OutputT]:
        """A forward pass of the network, in the number format."""

        def run(batch: BatchT) -> OutputT:
            with self.autocast():
                return outputs(batch)

        return run

    def on_device(self, batches: Iterable[BatchT]) -> Iterator[BatchT]:
        """Batches on the device, on a GPU one ahead."""
        return on_device(batches, self.device)

    @cached_property
    def _run_block(self) -> RunLayer:
        """For video: a block is compiled for every size, for its tables are constants."""
        return self._runner(is_dynamic=False)

    @cached_property
    def _run_text_layer(self) -> RunLayer:
        """For text and fusion: batches and lengths vary without being compiled again."""
        return self._runner(is_dynamic=True)

    def _runner(self, *, is_dynamic: bool) -> RunLayer:
        run = run_plainly
        if self.config.compiles:
            torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _NUM_VARIANTS)

            def call(layer: nn.Module, *inputs: Tensor | int | None) -> Tensor:
                return run_plainly(layer, *inputs)

            run = torch.compile(call, dynamic=is_dynamic, fullgraph=self._fullgraph, backend=self._backend)
        keeps_all = not self.config.checkpoints_activations
        if run is run_plainly and keeps_all:
            return run_plainly

        def run_layer(layer: nn.Module, *inputs: Tensor | int | None) -> Tensor:
            if not torch.is_grad_enabled():  # evaluation: sizes of all kinds, and nothing to keep
                return run_plainly(layer, *inputs)
            output: Tensor = run(layer, *inputs) if keeps_all else checkpoint(run, layer, *inputs, use_reentrant=False)
            return output

        return run_layer


def _check_compiler(device: torch.device) -> None:
    """Find out before the first step whether torch.compile has what it needs."""
    if not any(shutil.which(name) for name in (os.environ.get("CXX", ""), "g++", "clang++", "c++", "cl") if name):
        raise ConfigError("compiling needs a C++ compiler: install g++, or leave --compute.compiles out")
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        raise ConfigError("compiling for a GPU needs the package triton: install it, or leave --compute.compiles out")
