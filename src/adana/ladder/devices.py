"""The devices that a plan can be made for: peak speed and memory, with their sources.

Speeds are dense bf16 tensor-core peaks with fp32 accumulation. NVIDIA's data sheets of 2022 and
later print the figure "with sparsity", which is twice that:

* H100 SXM: "H100 Tensor Core GPU" data sheet, 1,979 TFLOPS with sparsity, 80 GB.
* H200 SXM: "H200 Tensor Core GPU" data sheet, 1,979 TFLOPS with sparsity, 141 GB.
* A100 80GB: "A100 80GB" data sheet, 312 TFLOPS dense, 80 GB.
* L40S: "L40S" data sheet, 362.05 TFLOPS dense (733 with sparsity), 48 GB.
* RTX 4090: "Ada GPU architecture" white paper, appendix A, 165.2 TFLOPS dense, 24 GB.

Memory is the data sheet's, in GB of 10^9 bytes; a little more is there, and the driver takes a
little.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from adana.nn import measure_matmul_peak


@dataclass(frozen=True)
class Device:
    """What a plan needs to know about a device."""

    name: str
    """In words."""
    peak: float
    """Matrix products in FLOP/s, dense, in the precision a training uses there."""
    memory: float
    """Bytes."""
    bf16: bool = True
    """Whether a training there runs under bf16 autocast; else all is float32."""
    measured: bool = False
    """Whether the peak was measured here, not read off a data sheet."""


DEVICES = {
    "h100": Device("NVIDIA H100 SXM", 989.5e12, 80e9),
    "h200": Device("NVIDIA H200 SXM", 989.5e12, 141e9),
    "a100": Device("NVIDIA A100 80GB", 312e12, 80e9),
    "l40s": Device("NVIDIA L40S", 362.05e12, 48e9),
    "rtx4090": Device("NVIDIA RTX 4090", 165.2e12, 24e9),
}
"""Devices by the name on the command line."""
THIS = "this"
"""The name that stands for the machine at hand, which is measured."""


def find_device(name: str) -> Device:
    """Return the device called `name`; "this" measures the machine at hand, in under a second.

    Raises:
        ValueError: there is none; the message lists the known.
    """
    if name == THIS:
        return measure_this()
    if name not in DEVICES:
        raise ValueError(
            f"unknown device {name!r}, expected one of {', '.join(DEVICES)}, or {THIS} to measure "
            "the machine at hand; in Python any adana.ladder.Device(name, peak, memory)"
        )
    return DEVICES[name]


def measure_this() -> Device:
    """Measure this machine: its GPU in bf16 if there is one, else its CPU in float32."""
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory
        peak = measure_matmul_peak("cuda", torch.bfloat16)
        return Device(torch.cuda.get_device_name(0), peak, float(memory), measured=True)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    peak = measure_matmul_peak("cpu", torch.float32)
    name = f"this CPU ({torch.get_num_threads()} threads, float32)"
    return Device(name, peak, float(memory), bf16=False, measured=True)
