"""The right device or one line saying why not; batches arrive whole, in order, and one ahead."""

import threading
from dataclasses import dataclass

import pytest
import torch
from made_steps import OBJECTIVE, made_batch, made_network
from torch.fx.experimental import _config as symbolic

from clover.errors import ConfigError
from clover.experiment.losses import network_output
from clover.modeling.model import CloverModel
from clover.objectives.pretraining import pretraining_losses
from clover.training.devices import choose_device, on_device, prefetched, to_device
from clover.types import IGNORED

CPU = torch.device("cpu")


@pytest.fixture
def gpus(monkeypatch):
    """As if the machine had so many."""

    def have(count):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    return have


def test_auto_takes_a_gpu_where_there_is_one(gpus):
    gpus(0)
    assert choose_device("auto") == CPU
    gpus(2)
    assert choose_device("auto") == torch.device("cuda", 0)
    assert choose_device("cpu") == CPU
    assert choose_device("cuda:1") == torch.device("cuda", 1)


@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_every_process_takes_its_own(name, gpus, monkeypatch):
    gpus(4)
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert choose_device(name) == torch.device("cuda", 3)
    with pytest.raises(ConfigError, match="device cuda:1: 4 processes would share it"):
        choose_device("cuda:1")
    gpus(2)
    with pytest.raises(ConfigError, match="cuda:3, of process 3 on this machine: there are only 2 GPUs"):
        choose_device(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gpu", "'gpu' is no device; give auto, cpu, cuda"),
        ("", "'' is no device"),
        ("cuda", "device cuda: this machine has no GPU that PyTorch .* can use; give cpu"),
        ("cuda:7", "device cuda:7: this machine has no GPU"),
        ("xpu", "device xpu: not available on this machine"),
        ("meta", "device meta: not available on this machine"),
    ],
)
def test_what_is_not_there_is_said_in_a_line(name, message, gpus):
    gpus(0)
    with pytest.raises(ConfigError, match=message) as caught:
        choose_device(name)
    assert "\n" not in str(caught.value)


@dataclass(frozen=True)
class Odd:
    rows: torch.Tensor
    inner: dict
    names: tuple[str, ...]
    count: int


def test_all_tensors_of_a_batch_move_and_nothing_else_changes():
    batch = Odd(torch.zeros(2, 3, dtype=torch.uint8), {"more": [torch.ones(2), (torch.ones(1), None)]}, ("a", "b"), 7)
    moved = to_device(batch, torch.device("meta"))
    assert moved.rows.is_meta and moved.rows.dtype == torch.uint8
    assert moved.inner["more"][0].is_meta and moved.inner["more"][1][0].is_meta
    assert moved.inner["more"][1][1] is None
    assert (moved.names, moved.count) == (("a", "b"), 7)
    assert not batch.rows.is_meta


def test_clips_travel_as_bytes():
    moved = to_device(made_batch(), torch.device("meta"))
    assert moved.clip.is_meta and moved.clip.dtype == torch.uint8
    assert moved.names == made_batch().names


def test_a_whole_step_needs_nothing_from_the_processor():
    """A device of its own, where there is no data: a tensor that was made on the processor would not mix with it."""
    config = made_network(stochastic_depth=0.2, dropout=0.1).config
    with torch.device("meta"):
        network = CloverModel(config).train()
    batch = to_device(made_batch(), torch.device("meta"))
    with symbolic.patch(meta_nonzero_assume_all_nonzero=True):
        output = network_output(network, batch)
        pretraining_losses(output, batch.targets[batch.targets != IGNORED], OBJECTIVE).total.backward()
    assert all(weight.grad.is_meta for weight in network.parameters())


@pytest.mark.parametrize("move", [on_device, prefetched])
def test_batches_arrive_in_order_and_errors_in_their_place(move):
    def batches():
        yield from ((torch.tensor([number]), str(number)) for number in range(4))
        raise ValueError("broken")

    seen = []
    with pytest.raises(ValueError, match="broken"):
        for rows, name in move(batches(), CPU):
            assert int(rows) == int(name)
            seen.append(name)
    assert seen == ["0", "1", "2", "3"]
    assert list(move(iter([]), CPU)) == []


def test_the_next_batch_is_fetched_while_one_is_worked_on():
    was_fetched, fetching = [threading.Event() for _ in range(3)], set()

    def batches():
        for number, event in enumerate(was_fetched):
            fetching.add(threading.current_thread())
            event.set()
            yield torch.tensor([number])

    found = prefetched(batches(), CPU)
    next(found)
    assert was_fetched[1].wait(60)
    assert not was_fetched[2].is_set()
    found.close()
    (thread,) = fetching
    assert thread is not threading.current_thread() and not thread.is_alive()
