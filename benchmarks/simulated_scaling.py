"""A run on many devices, simulated: step after step, with devices of unequal speed, transfers, and failures.

What a step does comes from `clover.planning`; here is added what shows on many devices only. A step takes the slowest
device's computation; the exchange of the embeddings and their gradients, for which all wait; the objective, of which
every device has its share; and what is left of the sum of the gradients when the backward pass of the last micro-batch,
behind which it runs, is over.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from clover.planning.devices import GIBIBYTE
from clover.planning.plan import Plan, Setting, make_plan

BACKWARD_SHARE = 2 / 3
"""Of a pass with gradients; the rest is forward."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What is assumed of machines and network."""

    latency: float = 10e-6
    """Seconds of one hop of a transfer."""
    spread: float = 0.02
    """Standard deviation of a device's time for the same work, as a share of it."""
    hours_between_failures: float = 50_700.0
    """Of one device: 419 unexpected interruptions in 54 days of 16,384 (Llama 3, arXiv 2407.21783, section 3.3.4)."""
    restart_minutes: float = 10.0
    """From a failure to the first step after it."""
    saving_seconds: float = 30.0
    """That training stands still while a state is written."""
    num_steps: int = 2000
    """Steps that are simulated of each kind."""


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """One number of devices; seconds are means over the steps of the run."""

    num_devices: int
    batch_size: int
    micro_batch_size: int
    compute: float
    """On a device of mean speed."""
    slowest: float
    """More, on the slowest."""
    gather: float
    objective: float
    reduce: float
    """Not hidden behind the backward pass."""
    step: float
    efficiency: float
    """Samples a second and device, over those of one device on which nothing is waited for, same micro-batches."""
    days: float
    days_with_failures: float
    num_failures: float
    """Expected in the run."""
    hours_between_savings: float
    decode_cores_per_device: float
    objective_gibibytes: float
    fits: bool


def simulate(setting: Setting, around: Surroundings, *, seed: int = 0) -> Simulated:
    """Simulate steps of both kinds, and the run that they make.

    Args:
        setting: The run.
        around: Machines and network.
        seed: Of the devices' speeds.
    """
    plan, generator = make_plan(setting), np.random.default_rng(seed)
    counts = setting.workload.samples(setting.batch_size)
    share = {name: count / sum(counts.values()) for name, count in counts.items()}
    parts = dict.fromkeys(("compute", "slowest", "gather", "objective", "reduce"), 0.0)
    for name in ("video", "image"):
        for part, seconds in _step(setting, plan, around, name, generator).items():
            parts[part] += share[name] * seconds
    step = sum(parts.values())
    days = plan.num_steps * step / 86_400
    failing, interval, num_failures = _with_failures(days, setting.num_devices, around)
    return Simulated(
        num_devices=setting.num_devices,
        batch_size=setting.batch_size,
        micro_batch_size=plan.micro_batch_size,
        **parts,
        step=step,
        efficiency=parts["compute"] / step,
        days=days,
        days_with_failures=failing,
        num_failures=num_failures,
        hours_between_savings=interval,
        decode_cores_per_device=plan.decode_cores * plan.days / days / setting.num_devices,
        objective_gibibytes=plan.memory.objective / GIBIBYTE,
        fits=plan.fits,
    )


def _step(
    setting: Setting, plan: Plan, around: Surroundings, name: str, generator: np.random.Generator
) -> dict[str, float]:
    """Mean seconds of the parts of a step."""
    compute = getattr(plan, f"{name}_step").compute_seconds
    count = setting.num_devices
    speeds = generator.normal(1.0, around.spread, (around.num_steps, count)).max(axis=1)
    operations = getattr(plan, name)
    last_pass = (
        compute * operations.training / operations.executed / -(-setting.batch_per_device // plan.micro_batch_size)
    )
    hops = math.ceil(math.log2(count)) if count > 1 else 0
    # gathers go round in a ring; sums go up and down a tree where the way is long (as collective libraries choose)
    gather = plan.traffic.embeddings / setting.bandwidth + 3 * (count - 1) * around.latency
    reduce = (plan.traffic.gradients + plan.traffic.weights) / setting.bandwidth + 2 * hops * around.latency
    left = np.maximum(0.0, reduce - BACKWARD_SHARE * last_pass * speeds)
    return {
        "compute": compute,
        "slowest": float(compute * (speeds.mean() - 1)) if count > 1 else 0.0,
        "gather": gather,
        "objective": plan.video_step.objective_seconds,
        "reduce": float(left.mean()),
    }


def _with_failures(days: float, num_devices: int, around: Surroundings) -> tuple[float, float, float]:
    """Days with saving and failures, hours between two savings, and expected failures.

    The best time between savings is Young's (1974): the square root of twice the time of one, times the time between
    failures. A failure costs half of that, and the restart.
    """
    between = around.hours_between_failures / num_devices
    interval = min(math.sqrt(2 * around.saving_seconds / 3600 * between), 24 * days)
    saving = around.saving_seconds / 3600 / interval
    lost = (interval / 2 + around.restart_minutes / 60) / between
    whole = days * (1 + saving) / (1 - lost)
    return whole, interval, 24 * whole / between


def with_devices(setting: Setting, num_devices: int, batch_size: int) -> Setting:
    """The same run on another number of devices."""
    return replace(setting, num_devices=num_devices, batch_size=batch_size, micro_batch_size=0)
