"""The loop with a toy: bad steps, requests to stop, states that are kept, damaged or another run's."""

import json
import os
import signal
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from clover.errors import CheckpointError, ConfigError, TrainingError
from clover.objectives.pretraining import Losses
from clover.training.checkpoint import KeepConfig, TrainingStates, best_state, saved_states
from clover.training.health import Health, HealthConfig
from clover.training.interruption import InterruptedRunError
from clover.training.logbook import Logbook
from clover.training.loop import Occasional, Training
from clover.training.optimizer import Optimizer, OptimizerConfig


@dataclass
class Batch:
    value: float
    names: tuple[str, ...]


def batches(values):
    names = [tuple(f"video{step}-{place}.mp4" for place in range(6)) for step in range(len(values))]
    made = zip(values, names, strict=True)
    return [value if isinstance(value, Batch) else Batch(value, each) for value, each in made]


def toy_run(
    folder,
    values,
    *,
    health=None,
    keep=None,
    occasional=(),
    save_every=0,
    run="{}",
    resume=False,
    during=lambda step: None,
    saves_at_the_end=False,
    skipped=None,
):
    """Weights after the run, and its log; a batch's value is the loss' factor, and may stand for it."""
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    optimizer = Optimizer(layer, OptimizerConfig(learning_rate=0.1), num_steps=100)
    states = TrainingStates(
        folder=folder / "states",
        run=run,
        module=layer,
        optimizer=optimizer,
        health=Health(health or HealthConfig()),
        keep=keep or KeepConfig(),
        evaluated=tuple(name for task in occasional for name in task.figures),
    )

    def gradients(batch, step):
        during(step)
        loss = layer(torch.rand(4, 3)).square().sum() * batch.value
        loss.backward()
        return Losses(terms={"toy": loss.detach()}, total=loss.detach())

    first_step = states.restore() if resume else 0
    with Logbook(folder, total_steps=len(values), batch_size=4, first_step=first_step, quiet=True) as logbook:
        training = Training(
            gradients=gradients,
            optimizer=optimizer,
            logbook=logbook,
            states=states,
            save_every=save_every,
            occasional=occasional,
            skipped=skipped,
            stage="toy",
        )
        training.run(batches(values)[first_step:], first_step=first_step)
    if saves_at_the_end:
        states.save(len(values))
    return {name: value.clone() for name, value in layer.state_dict().items()}


def rows(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def same(ours, theirs):
    return all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_bad_step_stops_and_names_its_samples(tmp_path):
    with pytest.raises(TrainingError, match=r"step 2: the loss is nan; its samples: video2-0.mp4, .* and 2 more in"):
        toy_run(tmp_path, [1.0, 1.0, float("nan"), 1.0])
    listed = json.loads((tmp_path / "bad_steps.jsonl").read_text())
    assert listed["step"] == 2 and len(listed["samples"]) == 6
    assert [row["step"] for row in rows(tmp_path)] == [0, 1, 2]


def test_a_bad_step_is_left_out_and_changes_nothing(tmp_path):
    skipping = HealthConfig(bad_step="skip")
    before = []
    toy_run(tmp_path / "a", [1.0, 1.0], health=skipping)
    keeping = Occasional(every=1, run=before.append)
    weights = toy_run(tmp_path / "b", [1.0, 1.0, float("inf")], health=skipping, occasional=[keeping])
    assert before == [1, 2, 3]
    assert same(weights, toy_run(tmp_path / "c", [1.0, 1.0]))
    assert rows(tmp_path / "b")[2]["problem"] == "the loss is inf"
    with pytest.raises(TrainingError, match="3 steps one after the other were bad"):
        toy_run(tmp_path / "d", [1.0] + [float("nan")] * 9, health=HealthConfig(bad_step="skip", most_skipped=3))


def test_a_spike_is_bad_where_spikes_are_minded(tmp_path):
    values = [1.0] * 12 + [1e6] + [1.0] * 2
    toy_run(tmp_path / "a", values)
    with pytest.raises(TrainingError, match=r"step 12: the gradient has norm .* times the usual"):
        toy_run(tmp_path / "b", values, health=HealthConfig(spike=50.0))
    toy_run(tmp_path / "c", values, health=HealthConfig(spike=50.0, bad_step="skip"))
    assert "norm" in rows(tmp_path / "c")[12]["problem"]


@given(st.lists(st.floats(0.1, 10.0), max_size=80), st.integers(0, 5))
def test_health_is_restored_as_it_was(norms, num_skipped):
    health, other = Health(HealthConfig(spike=3.0), num_skipped=num_skipped), Health(HealthConfig(spike=3.0))
    health.norms.extend(norms)
    other.restore(health.state())
    assert (other.num_skipped, list(other.norms)) == (num_skipped, list(health.norms))


@pytest.mark.parametrize("wrong", [{"spike": 0.5}, {"most_skipped": 0}])
def test_wrong_policies_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        HealthConfig(**wrong)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_it_saves_first_and_goes_on_to_the_same(tmp_path, number):
    """What is due after the step at work is done when the run goes on; a cluster and torchrun may both ask."""
    values, done = [1.0] * 6, {"whole": [], "stopped": []}
    due = {name: [Occasional(every=3, run=each.append)] for name, each in done.items()}
    whole = toy_run(tmp_path / "whole", values, occasional=due["whole"])
    before = signal.getsignal(number)

    def ask(step):
        for _ in range(2 if number == signal.SIGTERM else 1):
            if step == 2:
                os.kill(os.getpid(), number)

    with pytest.raises(InterruptedRunError, match="state after 3 steps") as stopped:
        toy_run(tmp_path / "stopped", values, occasional=due["stopped"], during=ask)
    assert stopped.value.exit_status == 128 + number
    assert signal.getsignal(number) is before
    assert done["stopped"] == []
    assert same(toy_run(tmp_path / "stopped", values, occasional=due["stopped"], resume=True), whole)
    assert done["stopped"] == done["whole"] == [3, 6]
    plain = [
        [{name: value for name, value in row.items() if not name.startswith("time_")} for row in rows(tmp_path / name)]
        for name in ("whole", "stopped")
    ]
    assert plain[0] == plain[1]


def test_a_second_ctrl_c_ends_at_once(tmp_path):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell has them ignored

    def ask(step):
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)  # to this very thread: two that another one takes late would be one

    try:
        with pytest.raises(KeyboardInterrupt):
            toy_run(tmp_path, [1.0] * 3, during=ask)
    finally:
        signal.signal(signal.SIGINT, before)
    assert saved_states(tmp_path / "states") == []


def test_a_state_is_not_written_twice(tmp_path):
    """Its means would be lost, and, killed in between, the state."""
    toy_run(tmp_path, [1.0] * 4, save_every=2, keep=KeepConfig(last=1, best_by="toy"), saves_at_the_end=True)
    states = saved_states(tmp_path / "states")
    assert "step-00000004" in [path.name for path in states]
    assert all("toy" in json.loads((path / "state.json").read_text())["means"] for path in states)
    assert not list((tmp_path / "states").glob(".*"))


def test_the_last_and_the_best_states_are_kept(tmp_path):
    values = [3.0, 3.0, 1.0, 1.0, 1e-3, 1e-3, 5.0, 5.0, 4.0, 4.0, 3.0, 3.0]
    toy_run(tmp_path, values, save_every=2, keep=KeepConfig(last=2, best_by="toy"))
    states = tmp_path / "states"
    assert [path.name for path in saved_states(states)] == ["step-00000006", "step-00000010", "step-00000012"]
    assert best_state(states, "toy").name == "step-00000006"
    with pytest.raises(ConfigError, match="a step logs toy, total"):
        toy_run(tmp_path / "other", values, keep=KeepConfig(best_by="accuracy"))


def test_the_best_by_an_evaluation_is_kept_also_where_the_run_was_stopped_before_it(tmp_path):
    """Every evaluated state is saved; the highest recall and the lowest of anything else is best."""
    scores = {2: 10.0, 4: 30.0, 6: 20.0, 8: 30.0}

    def ask(step):
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    for name, best in (("some_recall", 4), ("some_rank", 2)):
        task = Occasional(every=2, run=lambda done, name=name: {name: scores[done]}, figures=(name,))
        settings = {"occasional": [task], "keep": KeepConfig(last=1, best_by=name)}
        with pytest.raises(InterruptedRunError):
            toy_run(tmp_path / name, [1.0] * 9, during=ask, **settings)
        assert best_state(tmp_path / name / "states", name).name == "step-00000002"
        toy_run(tmp_path / name, [1.0] * 9, resume=True, **settings)
        states = tmp_path / name / "states"
        assert best_state(states, name).name == f"step-{best:08d}"
        assert {path.name for path in saved_states(states)} == {f"step-{best:08d}", "step-00000008"}
        assert [row["num_steps"] for row in rows(tmp_path / name) if "num_steps" in row] == [2, 4, 6, 8]


def test_a_damaged_state_is_passed_over(tmp_path, capsys):
    values = [1.0] * 6
    whole = toy_run(tmp_path / "whole", values)
    toy_run(tmp_path / "run", values, save_every=2, keep=KeepConfig(last=3))
    for path in saved_states(tmp_path / "run" / "states")[1:]:
        part = path / "part-00000.safetensors"
        data = bytearray(part.read_bytes())
        data[-3] ^= 1
        part.write_bytes(data)
    assert same(toy_run(tmp_path / "run", values, resume=True), whole)
    assert "step-00000006 is not a whole training state" in capsys.readouterr().err
    for path in saved_states(tmp_path / "run" / "states"):
        (path / "part-00000.safetensors").unlink()
    with pytest.raises(CheckpointError, match="missing or damaged"):
        toy_run(tmp_path / "run", values, resume=True)


def test_another_runs_state_is_refused(tmp_path):
    toy_run(tmp_path, [1.0] * 2, save_every=2, run='{"settings": {"seed": 0}}')
    with pytest.raises(CheckpointError, match="seed: 0 there, 1 here"):
        toy_run(tmp_path, [1.0] * 4, run='{"settings": {"seed": 1}}', resume=True)
