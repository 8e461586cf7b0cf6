"""Accelerators by their public data sheets, and how many of which a run has."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from clover.errors import ConfigError

GIBIBYTE = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Device:
    """One accelerator."""

    name: str
    flops: float
    """Peak operations a second of matrix products in bfloat16 without sparsity (V100: in float16)."""
    wide_flops: float
    """Peak operations a second in float32 outside the matrix units, which the objective uses."""
    memory_bytes: float
    """Memory; data sheets write GB and mean these gibibytes."""
    link_bandwidth: float
    """Bytes a second that it sends to others in the same machine: half of what NVLink moves both ways, or PCIe."""
    source: str
    """Where the figures come from."""


def _device(name: str, teraflops: float, wide_teraflops: float, gibibytes: int, link: float, source: str) -> Device:
    return Device(
        name=name,
        flops=teraflops * 1e12,
        wide_flops=wide_teraflops * 1e12,
        memory_bytes=float(gibibytes * GIBIBYTE),
        link_bandwidth=link * 1e9,
        source=source,
    )


# NVIDIA's data sheets. Where one prints the rate with sparsity, this is half of it: H100 SXM 1,979 and PCIe 1,513,
# H200 1,979, B200 4,500 (of eight in one machine: 36 PFLOPS; 1,440 GB). The RTX 4090's rate is the one that
# accumulates in float32, as training does (Ada architecture white paper, appendix A).
_ROWS = (
    _device("A100-40", 312.0, 19.5, 40, 300.0, "NVIDIA A100 data sheet"),
    _device("A100-80", 312.0, 19.5, 80, 300.0, "NVIDIA A100 data sheet"),
    _device("B200", 2250.0, 75.0, 180, 900.0, "NVIDIA DGX B200 and HGX data sheets"),
    _device("H100", 989.0, 67.0, 80, 450.0, "NVIDIA H100 data sheet, SXM5"),
    _device("H100-PCIe", 756.0, 51.0, 80, 64.0, "NVIDIA H100 data sheet, PCIe"),
    _device("H200", 989.0, 67.0, 141, 450.0, "NVIDIA H200 data sheet, SXM"),
    _device("L40S", 362.0, 91.6, 48, 32.0, "NVIDIA L40S data sheet"),
    _device("RTX4090", 165.0, 82.6, 24, 32.0, "NVIDIA Ada GPU architecture white paper"),
    _device("V100-16", 125.0, 15.7, 16, 150.0, "NVIDIA V100 data sheet, SXM2; float16, it has no bfloat16"),
    _device("V100-32", 125.0, 15.7, 32, 150.0, "NVIDIA V100 data sheet, SXM2; float16, it has no bfloat16"),
)
DEVICES = {device.name: device for device in _ROWS}
DEVICES_PER_MACHINE = 8
"""Devices that reach each other without the network."""
_SHORT = {"A100": "A100-80", "H100-SXM": "H100", "4090": "RTX4090", "V100": "V100-32"}


def parse_devices(text: str, *, flops: float = 0.0, memory_bytes: float = 0.0) -> tuple[int, Device]:
    """Number and kind of devices from words such as ``8xH100`` or ``A100-40``.

    Args:
        text: A number, x and a name; the number may be left out. Upper and lower case are the same.
        flops: Peak operations a second, in place of the data sheet's or for a device that is not in the table.
        memory_bytes: Memory, likewise.

    Raises:
        ConfigError: it does not read so, there are no devices, or their figures are neither known nor given.
    """
    found = re.fullmatch(r"\s*(?:(-?\d+)\s*[x×*]\s*)?(\S+)\s*", text, re.IGNORECASE)
    if found is None:
        raise ConfigError(f"devices are {text!r}; write a number, x and a name, such as 8xH100")
    num_devices = int(found[1] or 1)
    if num_devices < 1:
        raise ConfigError(f"devices are {text!r}; a run needs at least 1, such as 1x{found[2]}")
    if not (0 <= flops < math.inf and 0 <= memory_bytes < math.inf):
        raise ConfigError(f"a device of {flops:g} operations a second and {memory_bytes:g} bytes: give both above 0")
    names = {name.lower(): name for name in DEVICES} | {short.lower(): name for short, name in _SHORT.items()}
    known = DEVICES.get(names.get(found[2].lower(), ""))
    if known is None and not re.search(r"[a-wyz]", found[2], re.IGNORECASE):
        raise ConfigError(f"devices are {text!r}; write a number, x and a name, such as 8xH100")
    if known is None and not (flops and memory_bytes):
        raise ConfigError(
            f"unknown device {found[2]!r}; known are {', '.join(DEVICES)}; "
            f"for another give --device-flops (a second) and --device-memory (bytes)"
        )
    if known is None:  # between an A100 and an H100; PCIe
        known = Device(
            name=found[2],
            flops=flops,
            wide_flops=flops / 16,
            memory_bytes=memory_bytes,
            link_bandwidth=32e9,
            source="given",
        )
    if not flops and not memory_bytes:
        return num_devices, known
    return num_devices, replace(
        known, flops=flops or known.flops, memory_bytes=memory_bytes or known.memory_bytes, source="given"
    )
