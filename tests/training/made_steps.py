"""A small network with everything random in it, made-up batches, and the gradients of one step."""

from dataclasses import replace

import torch

from clover.data.collators import PretrainingBatch
from clover.distributed import ALONE
from clover.experiment.losses import pretraining_loss
from clover.modeling.initialise import new_model
from clover.modeling.sizes import tiny
from clover.objectives.pretraining import PretrainingObjectiveConfig
from clover.training.compute import Compute, ComputeConfig
from clover.training.gradient_cache import exact_gradients
from clover.training.parallel import caller_for
from clover.types import IGNORED

NUM_WORDS = 40
OBJECTIVE = PretrainingObjectiveConfig()


def made_network(*, dropout=0.0, stochastic_depth=0.0, depths=(2, 2), num_layers=2):
    """Windows that are shifted in every second block of a stage."""
    plain = tiny(vocabulary_size=NUM_WORDS)
    layers = replace(plain.text.transformer, dropout=dropout, num_layers=num_layers)
    config = replace(
        plain,
        initial_weights="fan_in",
        fused_dropout=dropout,
        video=replace(plain.video, depths=depths, window=(2, 3, 3), stochastic_depth=stochastic_depth),
        text=replace(plain.text, transformer=layers),
        fusion=replace(plain.fusion, transformer=layers),
    )
    return new_model(config, seed=1).train()


def made_batch(size=7, length=9, *, seed=0):
    """Random pixels, and random words in texts of 3 to ``length`` tokens; about a third of the words are masked."""
    generator = torch.Generator().manual_seed(seed)
    token_ids = torch.randint(5, NUM_WORDS, (size, length), generator=generator)
    is_token = torch.arange(length) < torch.randint(3, length + 1, (size, 1), generator=generator)
    is_masked = (torch.rand(size, length, generator=generator) < 0.3) & is_token
    return PretrainingBatch(
        clip=torch.randint(0, 256, (size, 8, 32, 32, 3), generator=generator, dtype=torch.uint8),
        is_masked_cell=torch.rand(size, 2, 2, generator=generator) < 0.5,
        token_ids=token_ids.masked_fill(~is_token, 0),
        masked_token_ids=token_ids.masked_fill(is_masked, 4).masked_fill(~is_token, 0),
        is_token=is_token,
        targets=token_ids.masked_fill(~is_masked, IGNORED),
        names=tuple(f"sample {number}" for number in range(size)),
    )


def step(network, batch, config=None, *, micro_batch_size=0, seed=3, cut=None, compute=None):
    """Losses and gradients of one step, as a run does it; ``cut`` is done to every part before the network sees it."""
    compute = compute or Compute(config or ComputeConfig(device="cpu"))
    compute.prepare(network)
    network.zero_grad(set_to_none=True)
    torch.manual_seed(seed)
    loss = pretraining_loss(network, OBJECTIVE)
    outputs = compute.in_its_format(lambda part: loss.outputs(cut(part) if cut else part))
    caller = caller_for(network, outputs, ALONE)
    losses = exact_gradients(batch, loss, caller, micro_batch_size=micro_batch_size)
    return losses, {name: weight.grad for name, weight in network.named_parameters() if weight.grad is not None}


def distance(ours, theirs):
    """Of whole gradients, over the length of the second."""
    assert ours.keys() == theirs.keys()
    gap = sum(float((ours[name] - theirs[name]).double().square().sum()) for name in theirs)
    return (gap / sum(float(value.double().square().sum()) for value in theirs.values())) ** 0.5


def tensors_of(batch):
    return [value for value in vars(batch).values() if isinstance(value, torch.Tensor)]
