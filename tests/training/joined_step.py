"""What each process of a test does: its rows of a batch through the exact step; the first writes what came out.

torchrun --nproc-per-node N joined_step.py OUT GOLDEN...
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from test_gradient_cache import loss_of, made_batch, made_network

from clover.distributed import Processes, together, whole
from clover.objectives.contrastive import symmetric_info_nce
from clover.objectives.pretraining import PretrainingObjectiveConfig, WeightedTerm, embedding_terms
from clover.training.checkpoint import TrainingStates
from clover.training.gradient_cache import SplitLoss, exact_gradients
from clover.training.optimizer import Optimizer, OptimizerConfig
from clover.training.parallel import caller_for
from golden import Golden

OURS = {
    "V_e": "video",
    "T_e": "text",
    "V_m": "masked_video",
    "T_m": "masked_text",
    "M_vm": "fused_for_video",
    "M_tm": "fused_for_text",
}
THEIRS = {
    "video_alignment": "nce_loss",
    "text_alignment": "v_nce_loss",
    "text_ranking": "rank_t_tm_loss",
    "video_ranking": "rank_v_vm_loss",
    "infonce": "infonce",
}
SIZE = 7
FULL = PretrainingObjectiveConfig()
OBJECTIVES = {
    "full": FULL,
    "baseline": PretrainingObjectiveConfig(alignment="pair-wise", ranking_weight=0.0),
    "alignment": PretrainingObjectiveConfig(ranking_weight=0.0, masked_word_weight=0.0),
    "words": PretrainingObjectiveConfig(alignment="none", ranking_weight=0.0),
    "published": PretrainingObjectiveConfig(published_num_processes=32, reduction="sum"),
}
UNEVEN = {1: [7], 2: [2, 5], 4: [1, 3, 1, 2]}


def cases(parallel):
    names = OBJECTIVES if parallel == "ddp" else ("full", "baseline")
    return [(f"{parallel}.{name}.{size}", name, size) for name in names for size in (0, 2)]


def rows_of(batch, start, size):
    return type(batch)(
        **{
            name: value[start : start + size] if isinstance(value, torch.Tensor) else value
            for name, value in vars(batch).items()
        }
    )


def step(network, parallel, objective, micro_batch_size, processes, *, num_masked=None):
    sizes = UNEVEN[processes.count]
    batch = rows_of(made_batch(SIZE, num_masked=num_masked), sum(sizes[: processes.rank]), sizes[processes.rank])
    loss = loss_of(network, objective)
    caller = caller_for(network, loss.outputs, processes, parallel=parallel)
    return exact_gradients(batch, loss, caller, micro_batch_size=micro_batch_size, processes=processes)


def gradients(processes, out):
    found, totals = {}, {}
    for parallel in ("ddp", "fsdp"):
        for key, name, size in cases(parallel):
            network = made_network(dtype=torch.float64)
            losses = step(network, parallel, OBJECTIVES[name], size, processes)
            totals[key] = {term: value.item() for term, value in losses.terms.items()} | {"total": losses.total.item()}
            for weight, parameter in network.named_parameters():
                if parameter.grad is not None:
                    found[f"{key}:{weight}"] = whole(parameter.grad).clone()
    no_words = step(made_network(dtype=torch.float64), "ddp", FULL, 2, processes, num_masked=0)
    totals["without words"] = {"masked_words": no_words.terms["masked_words"].item()}
    said = processes.told(totals)
    assert all(other == said[0] for other in said), "processes disagree about the losses"
    if processes.is_first:
        save_file(found, out / f"gradients-{processes.count}.safetensors")
        (out / f"losses-{processes.count}.json").write_text(json.dumps(totals))


def trained(processes, parallel, folder, *, begin):
    """Three steps of optimisation with a state saved after the second; without ``begin``, the last from that state."""
    network = made_network(dtype=torch.float64)
    loss = loss_of(network, FULL)
    caller = caller_for(network, loss.outputs, processes, parallel=parallel)
    optimizer = Optimizer(network, OptimizerConfig(learning_rate=1e-3), num_steps=10)
    states = TrainingStates(folder=folder, run="{}", module=network, optimizer=optimizer, processes=processes)
    first = 0 if begin else states.restore()
    sizes = UNEVEN[processes.count]
    for number in range(first, 3):
        batch = rows_of(made_batch(SIZE, seed=number), sum(sizes[: processes.rank]), sizes[processes.rank])
        optimizer.clear()
        exact_gradients(batch, loss, caller, processes=processes)
        optimizer.clip()
        optimizer.update(number)
        if begin and number == 1:
            states.save(2)
    return {name: whole(value).clone() for name, value in network.state_dict().items()}


def resumed(processes, out):
    """Two processes begin, whatever number goes on."""
    for parallel in ("ddp", "fsdp"):
        weights = trained(processes, parallel, out / f"{parallel}-states", begin=processes.count == 2)
        if processes.is_first:
            save_file(weights, out / f"{parallel}-weights-{processes.count}.safetensors")


def golden(processes, out, paths):
    """The contrastive terms of the authors' processes: every one's losses, and the gradients of its own rows."""
    for path in paths:
        file = Golden.load(path)
        sizes = file.config["rows_per_rank"]
        if len(sizes) != processes.count:
            continue
        rows = slice(sum(sizes[: processes.rank]), sum(sizes[: processes.rank + 1]))
        temperature = file.config["temperature"]
        objective = PretrainingObjectiveConfig(temperature=temperature, ranking_margin=file.config["margin"])

        def plain(found, _, rows, temperature=temperature):
            value = symmetric_info_nce(found["video"], found["text"], temperature, rows)
            return {"infonce": WeightedTerm(value=value, weight=1.0)}

        found = {}
        for name, compare in (
            ("total", lambda found, _, rows, objective=objective: embedding_terms(found, objective, rows=rows)),
            ("infonce", plain),
        ):
            own = {ours: file.tensors[f"in.{theirs}"][rows].clone().requires_grad_() for theirs, ours in OURS.items()}
            loss = SplitLoss(
                outputs=lambda batch: dict(zip(OURS.values(), batch, strict=True)),
                compared=tuple(own),
                compare=compare,
            )
            caller = caller_for(torch.nn.Module(), loss.outputs, Processes())
            losses = exact_gradients(tuple(own.values()), loss, caller, processes=processes)
            found |= {f"out.rank{processes.rank}.{THEIRS[term]}": value for term, value in losses.terms.items()}
            gradients = {f"grad.rank{processes.rank}.{name}.{theirs}": own[ours].grad for theirs, ours in OURS.items()}
            found |= {key: value for key, value in gradients.items() if value is not None}
        save_file(found, out / f"{file.name}-{processes.rank}.safetensors")


def main():
    torch.set_num_threads(1)
    out = Path(sys.argv[1])
    with together() as processes:
        gradients(processes, out)
        resumed(processes, out)
        golden(processes, out, [Path(path) for path in sys.argv[2:]])


if __name__ == "__main__":
    main()
