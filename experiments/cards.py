"""GPUs that programs are compiled for without having one: what XLA must know of each.

The figures are the makers' own (data sheets of the H100 SXM and the H200) and what XLA reports on such a card.
"""

from __future__ import annotations

from typing import NamedTuple


class Card(NamedTuple):
    """What differs between the cards of one generation."""

    name: str
    memory: int
    """Bytes."""
    bandwidth: int
    """Bytes a second."""
    memory_clock: int
    """Kilohertz."""


CARDS = {
    "h100": Card("NVIDIA H100 80GB HBM3", 84_942_979_072, 3_352_320_000_000, 2_619_000),
    "h200": Card("NVIDIA H200 141GB HBM3e", 151_397_597_184, 4_800_000_000_000, 3_750_000),
}

_CLOCK, _MATRIX_CLOCK = 1.98, 1.8295201
_SCALAR_UNITS = {4: (64, 1), 8: (64, 1), 10: (128, 2), 11: (128, 1), 12: (64, 1), 16: (128, 2)}
"""By XLA's number of a dtype: units in a core, operations of each in a clock."""
_MATRIX_OPS = {10: 512, 11: 256, 12: 32, 16: 512}
"""Operations of a matrix unit in a clock; 1024 for every 8-bit dtype."""
_EIGHT_BITS = (2, 6, 19, 20, 23, 24, 25, 28, 29, 33, 35, 36)


def _rate(dtype: int, clock: float, units: int, operations: int) -> str:
    value = f"clock_rate_ghz: {clock} units_per_core: {units} ops_per_clock: {operations}"
    return f"rate_infos {{ key: {dtype} value {{ {value} }} }}"


def target(card: Card) -> str:
    """XLA's `GpuTargetConfigProto` of a card, as text."""
    scalar = " ".join(_rate(n, _CLOCK, *row) for n, row in _SCALAR_UNITS.items())
    matrix = {**dict.fromkeys(_EIGHT_BITS, 1024), **_MATRIX_OPS}
    units = " ".join(_rate(n, _CLOCK if n == 12 else _MATRIX_CLOCK, 4, matrix[n]) for n in sorted(matrix))
    described = f"132 cores, 1980000KHz clock, {card.memory_clock}KHz mem clock, 52428800B L2$"
    return f"""
gpu_device_info {{
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
  shared_memory_per_block: 49152 shared_memory_per_core: 233472 shared_memory_per_block_optin: 232448
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  thread_dim_limit_x: 1024 thread_dim_limit_y: 1024 thread_dim_limit_z: 64
  memory_bandwidth: {card.bandwidth} device_memory_size: {card.memory} l2_cache_size: 52428800
  clock_rate_ghz: {_CLOCK} device_address_bits: 64 pcie_bandwidth: 34359738368 ecc_enabled: true
  cuda_compute_capability {{ major: 9 feature_extension: ACCELERATED_FEATURES }}
  scalar_unit_description {{ {scalar} }}
  matrix_unit_description {{ {units} }}
  device_vendor: "NVIDIA Corporation" name: "{card.name}" platform_version: "Compute Capability 9.0a"
  model_str: "sm_9.0a with {card.memory}B RAM, {described}"
  driver_version: "13.0.0" runtime_version: "13.0.0" compile_time_toolkit_version: "13.0.0" dnn_version: "9.10.0"
  device_interconnect_info {{ active_links: 18 }}
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 10 patch: 0 }}
device_description_str: "{card.name}"
"""
