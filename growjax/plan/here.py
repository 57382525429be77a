"""A CPU as a chip: measured where it is asked for, as busy as it is, whatever else the machine has."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from growjax import runtime
from growjax.errors import UserError
from growjax.limits import host_memory
from growjax.mesh.cutting import gathered, make_mesh, repeated
from growjax.mesh.rules import MeshShape
from growjax.plan.chips import Chip

COPIED = 1 << 22
"""Float32 numbers that each device copies to measure memory: more than its cache holds."""

ROUNDS = 5

MOST = 1024
"""Tokens, and width, of the product that is measured; a larger one is taken to have its rate."""

Clock = Callable[[], float]


def cpu_chip(devices: int, *, tokens: int = 1024, width: int = 128, clock: Clock = time.perf_counter) -> Chip:
    """This machine's CPU cut into so many devices, which share its cores and its memory. Products are measured on
    [tokens, width] x [width, 4 width], both `MOST` at most, by all devices at once where jax has so many, else by one,
    whose rate is then shared. By `time.process_time` each device is taken to have a core for itself, however busy the
    machine is. Raises `UserError` where jax has no CPU."""
    there = _cpus()[:devices]
    share = 1.0 if len(there) == devices or clock is time.process_time else min(1.0, runtime.cores() / devices)
    tokens, width = min(tokens, MOST), min(width, MOST)
    rate, copied = product_rate(there, tokens, width, clock) * share, copy_rate(there, clock) * share
    rates = dict.fromkeys(("float32", "bfloat16"), rate) | {"float64": rate / 2}
    launch = launch_seconds(there, clock) if len(there) == devices else 0.0
    link, shared = copied / 2, host_memory()
    return Chip("cpu", shared / devices, copied, rates, link, devices, None, "measured here", launch, shared)


def _cpus() -> list[Any]:
    try:
        return jax.devices("cpu")
    except RuntimeError:
        raise UserError("jax has no CPU here, and one is to be measured", "add cpu to JAX_PLATFORMS") from None


def product_rate(devices: Sequence[Any], tokens: int, width: int, clock: Clock) -> float:
    """Floating-point operations a second of each device, float32, the best of a few rounds."""
    a, b = np.ones((tokens, width), np.float32), np.ones((width, 4 * width), np.float32)
    flops, product = 8 * tokens * width**2, jax.jit(jnp.matmul)
    return flops / _best(product, [jax.device_put((a, b), d) for d in devices], max(1, round(4e8 / flops)), clock)


def copy_rate(devices: Sequence[Any], clock: Clock) -> float:
    """Bytes that each device reads and writes in a second."""
    x = np.ones(COPIED, np.float32)
    return 8 * COPIED / _best(jax.jit(lambda x: x + 1), [(jax.device_put(x, d),) for d in devices], 1, clock)


def launch_seconds(devices: Sequence[Any], clock: Clock) -> float:
    """Of a program over all devices that hardly computes."""
    mesh = make_mesh(MeshShape(fsdp=len(devices)), devices)
    small = jax.sharding.PartitionSpec("fsdp")
    x = repeated(mesh, np.zeros(len(devices), np.float32), small)
    spent = _best(lambda x: gathered([x], mesh=mesh, cuts=(small,)), [(x,)], 10, clock)
    return spent / (len(devices) if clock is time.process_time else 1)


def _best(run: Callable[..., object], given: Sequence[tuple], times: int, clock: Clock) -> float:
    """Seconds of a device's run while all run what they are given, the least of a few rounds."""
    jax.block_until_ready([run(*one) for one in given])
    best = float("inf")
    for _ in range(ROUNDS):
        began = clock()
        jax.block_until_ready([run(*one) for _ in range(times) for one in given])
        best = min(best, (clock() - began) / times)
    return best / (len(given) if clock is time.process_time else 1)
