"""Memory, devices, traffic and the whole plan."""

import json
from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clover.cli import main
from clover.commands.plan import PlanOptions, setting_of
from clover.commands.plan_tables import duration
from clover.data.loader import Loader
from clover.data.order import Mixture
from clover.errors import ConfigError
from clover.objectives.pretraining import PretrainingObjectiveConfig, embedding_terms, weighted_sum
from clover.planning.devices import DEVICES, parse_devices
from clover.planning.objective import OBJECTIVES
from clover.planning.plan import make_plan
from clover.planning.workload import Workload
from saved_memory import SavedMemory


def plan_of(**options):
    return make_plan(setting_of(PlanOptions(recipe="webvid_cc3m", **options)))


@pytest.mark.parametrize("alignment", OBJECTIVES)
@pytest.mark.parametrize(("batch_size", "width"), [(128, 64), (384, 32)])
def test_objective_holds_what_autograd_counts(alignment, batch_size, width):
    config = PretrainingObjectiveConfig(alignment=alignment)
    with SavedMemory([]) as memory:
        made = {name: torch.randn(batch_size, width).requires_grad_() for name in config.compared}
        weighted_sum(embedding_terms(made, config)).total.backward()
    cost = replace(OBJECTIVES[alignment], working_per_pair=0.0)
    assert cost.peak_bytes(batch_size, width) == pytest.approx(memory.peak, rel=0.05)


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 4096), name=st.sampled_from(sorted(DEVICES)), sign=st.sampled_from(["x", " X ", "×", "*"]))
def test_devices_read_as_written(count, name, sign):
    assert parse_devices(f"{count}{sign}{name.lower()}") == (count, DEVICES[name])
    assert parse_devices(name) == (1, DEVICES[name])


def test_own_devices_need_both_figures_and_known_ones_take_either():
    number, own = parse_devices("3xMine", flops=4e14, memory_bytes=16e9)
    assert (number, own.name, own.flops, own.memory_bytes) == (3, "Mine", 4e14, 16e9)
    assert parse_devices("2x4090")[1] is DEVICES["RTX4090"]
    slower = parse_devices("H100", flops=5e14)[1]
    assert (slower.flops, slower.memory_bytes) == (5e14, DEVICES["H100"].memory_bytes)
    with pytest.raises(ConfigError, match="unknown device 'Mine'"):
        parse_devices("3xMine", flops=4e14)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no recipe given"),
        (["nothing"], "unknown recipe 'nothing'; choose one of shapes, shapes-from-nothing"),
        (["base-size", "--devices", "8xFoo"], "unknown device 'Foo'; known are A100-40"),
        (["base-size", "--devices", "0xH100"], "needs at least 1"),
        (["base-size", "--devices=-2xH100"], "needs at least 1"),
        (["base-size", "--devices", "8x"], "such as 8xH100"),
        (["base-size", "--devices", "two of them"], "such as 8xH100"),
        (["base-size", "--devices", "8xH100", "--batch-size", "4"], "does not give each of 8 devices a sample"),
        (["base-size", "--batch-size", "0"], "does not give each"),
        (["base-size", "--devices", "8xH100", "--micro-batch-size", "200"], "give 1 to 128"),
        (["base-size", "--micro-batch-size", "-1"], "micro_batch_size is -1"),
        (["base-size", "--utilisation", "0"], "utilisation is 0 %"),
        (["base-size", "--utilisation", "101"], "utilisation is 101 %"),
        (["base-size", "--memory-share", "-5"], "memory_share is -5 %"),
        (["base-size", "--machine-bandwidth", "0"], "machine_bandwidth is 0"),
        (["base-size", "--videos-per-core-second", "0"], "videos_per_core_second is 0"),
        (["base-size", "--video-megabytes", "-1"], "files of -1e+06 and 40000 bytes"),
        (["base-size", "--epochs", "0"], "more than 0 epochs"),
        (["base-size", "--videos", "-3"], "-3 videos"),
        (["base-size", "--videos", "0"], "trains nothing"),
        (["webvid_cc3m", "--videos", "1000"], "1000 videos do not fill a batch of 1024"),
        (["base-size", "--device-flops", "-1"], "give both above 0"),
        (["base-size", "--epochs", "nan"], "more than 0 epochs"),
        (["base-size", "--utilisation", "nan"], "utilisation is nan %"),
        (["base-size", "--device-memory", "nan"], "give both above 0"),
        (["base-size", "--parallel", "tp"], "tp"),
    ],
)
def test_mistakes_are_one_line(arguments, message, capsys):
    assert main(["plan", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_gradient_cache_begins_where_the_batch_does_not_fit():
    one, many = plan_of(devices="1xH200"), plan_of(devices="64xH200")
    assert one.fits and one.uses_gradient_cache and one.micro_batch_size < 1024
    assert many.fits and not many.uses_gradient_cache and many.micro_batch_size == 16
    assert one.executed_flops == pytest.approx(4 / 3 * one.training_flops, rel=1e-3)
    assert many.executed_flops == many.training_flops == one.training_flops
    assert one.traffic.total == 0
    assert one.video_step.compute_seconds == pytest.approx(64 * 4 / 3 * many.video_step.compute_seconds, rel=1e-3)
    assert one.video_step.objective_seconds == pytest.approx(64 * many.video_step.objective_seconds, rel=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(sorted(DEVICES)),
    batch_size=st.sampled_from([64, 1000, 4096, 20_000]),
    count=st.sampled_from([1, 3, 8, 64]),
    parallel=st.sampled_from(["ddp", "fsdp"]),
    checkpoints=st.booleans(),
)
def test_the_largest_micro_batch_is_the_largest(name, batch_size, count, parallel, checkpoints):
    options = {
        "devices": f"{count}x{name}",
        "batch_size": batch_size,
        "parallel": parallel,
        "checkpoints_activations": checkpoints,
    }
    plan = plan_of(**options)
    largest = plan.largest_micro_batch_size
    assert plan.fits == (largest > 0)
    if largest:
        assert plan_of(**options, micro_batch_size=largest).fits
    if largest < -(-batch_size // count):
        assert not plan_of(**options, micro_batch_size=largest + 1).fits


def test_what_needs_less_memory_is_less():
    plain = plan_of(devices="8xA100-40", micro_batch_size=16).memory
    sharded = plan_of(devices="8xA100-40", micro_batch_size=16, parallel="fsdp").memory
    again = plan_of(devices="8xA100-40", micro_batch_size=16, checkpoints_activations=True).memory
    assert sharded.optimizer == plain.optimizer / 8
    assert sharded.peak < plain.peak
    assert again.activations < 0.3 * plain.activations
    wide = plan_of(devices="8xA100-40", micro_batch_size=16, precision="float32").memory
    assert 1.5 * plain.activations < wide.activations < 2 * plain.activations


def test_traffic_counts_every_pass_of_a_sharded_network():
    copied = plan_of(devices="8xH100", micro_batch_size=32)
    sharded = plan_of(devices="8xH100", micro_batch_size=32, parallel="fsdp")
    weights = 4 * copied.num_weights * 7 / 8
    assert copied.traffic.gradients == pytest.approx(2 * weights)
    assert sharded.traffic.gradients == pytest.approx(4 * weights)
    assert sharded.traffic.weights == pytest.approx(3 * 4 * weights)
    assert copied.traffic.embeddings == sharded.traffic.embeddings == 3 * 7 / 8 * 6 * 1024 * 768 * 4


def test_rings_are_as_fast_as_their_slowest_link():
    assert setting_of(PlanOptions(recipe="base-size", devices="8xH100")).bandwidth == 450e9
    assert setting_of(PlanOptions(recipe="base-size", devices="16xH100")).bandwidth == 50e9
    assert setting_of(PlanOptions(recipe="base-size", devices="16xL40S", machine_bandwidth=400.0)).bandwidth == 32e9


def test_devices_share_the_objective():
    one, many = (plan_of(devices=f"{count}xH100", batch_size=32_768) for count in (1, 64))
    assert many.fits
    assert many.objective_flops == one.objective_flops // 64
    # one takes as many rows at a time as make the pairs of 4,096 samples; a 64th of 32,768 is four times as many
    assert one.memory.objective == many.memory.objective
    few = plan_of(devices="512xH100", batch_size=32_768)
    assert one.memory.objective - few.memory.objective == pytest.approx(21.5 * 4 * (4096**2 - 32_768**2 / 512))


def test_the_plan_takes_the_steps_of_the_run():
    """The images take longer, and the videos begin anew meanwhile."""
    plan = plan_of()
    assert plan.num_steps == 40 * 2 * (2_800_000 // 1024) == 218_720
    assert plan.videos_per_second == plan.images_per_second
    assert plan.days * 86_400 * plan.samples_per_second == pytest.approx(218_720 * 1024)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 400), st.integers(0, 400), st.floats(0.2, 4), st.integers(1, 40))
def test_steps_and_samples_are_those_that_the_loader_draws(num_videos, num_images, num_epochs, batch_size):
    workload = Workload(num_videos=num_videos, num_images=num_images, num_epochs=num_epochs)
    lengths = [count for count in (num_videos, num_images) if count]
    if not lengths or min(lengths) < batch_size:
        return
    items = Mixture(sources=tuple(map(range, lengths)))
    loader = Loader(items=items, make_batch=lambda items, _: items, batch_size=batch_size, seed=0)
    num_steps = workload.num_steps(batch_size)
    assert num_steps == max(1, round(num_epochs * loader.steps_per_epoch))
    drawn = Counter(loader.order.draw(step).source for step in range(num_steps))
    for place, name in enumerate(workload.sources):
        assert abs(drawn[place] * batch_size - workload.samples(batch_size)[name]) < batch_size


def test_packed_sources_take_the_cores_of_packed_sources(capsys):
    loose, packed = plan_of(devices="8xH100"), plan_of(devices="8xH100", packed=True)
    images = loose.images_per_second / 125
    assert loose.decode_cores == pytest.approx(loose.videos_per_second / 5.6 + images)
    assert packed.decode_cores == pytest.approx(loose.videos_per_second / 57.0 + images)
    assert plan_of(packed=True, videos_per_core_second=10.0, video_megabytes=3.0).decode_cores == pytest.approx(
        plan_of(videos_per_core_second=10.0).decode_cores
    )
    assert packed.storage_bytes < 0.4 * loose.storage_bytes
    for more, said in ([], "from files of their own"), (["--packed"], "from shards of clover data pack"):
        assert main(["plan", "webvid_cc3m", *more]) == 0
        shown = " ".join(capsys.readouterr().out.split())
        assert f"Decoding: {said}" in shown
        assert "the videos begin anew meanwhile and are read 44.8 times" in shown


def test_a_recipe_without_published_data_takes_its_own_steps():
    plan = make_plan(setting_of(PlanOptions(recipe="shapes")))
    assert plan.num_steps == make_plan(setting_of(PlanOptions(recipe="shapes", batch_size=128))).num_steps == 280
    assert plan.images_per_second == 0


@pytest.mark.parametrize("columns", ["80", "120"])
def test_tables_and_json_say_the_same(columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    arguments = ["plan", "webvid_cc3m", "--devices", "8xH100"]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert max(len(line) for line in shown.splitlines()) <= int(columns)
    assert main([*arguments, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)["plan"]
    for figure in ("864.5", "234.1", f"{plan['memory']['peak'] / 2**30:,.1f}", duration(plan["days"])):
        assert figure in shown
    assert "It fits" in shown


def test_what_does_not_fit_names_the_remedy(capsys):
    assert main(["plan", "webvid_cc3m", "--devices", "1xH200", "--batch-size", "1048576"]) == 0
    assert "not even one sample at a time: try a smaller --batch-size" in capsys.readouterr().out
    assert main(["plan", "webvid_cc3m", "--devices", "8xV100-16", "--micro-batch-size", "64"]) == 0
    assert "the largest micro-batch that fits is " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("days", "words"), [(412.3, "412 days"), (3.5678, "3.57 days"), (0.5, "12 hours"), (0.01, "14.4 minutes")]
)
def test_durations_read_well(days, words):
    assert duration(days) == words


def test_another_fusion_is_planned():
    plans = {kind: plan_of(fusion=kind) for kind in ("recipe", "concatenated", "cross_attention", "gated")}
    forward = {kind: made.video.forward["fusion"] for kind, made in plans.items()}
    assert forward["recipe"] == forward["concatenated"] > forward["cross_attention"] == forward["gated"]
    assert plans["gated"].memory.activations > plans["cross_attention"].memory.activations
    assert plans["gated"].num_weights - plans["cross_attention"].num_weights == 9
