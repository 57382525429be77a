"""Runs a growjax module with a fault in one row's mechanism: `python planted.py ROW MODULE [ARGUMENTS]`."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys

from growjax import runtime


def keys_of_the_process() -> None:
    """B1: a stream's key is drawn from the system instead of from its name."""
    from growjax import streams

    streams.name_tag = lambda name: int.from_bytes(os.urandom(4), "little")  # pyright: ignore[reportAttributeAccessIssue]


def a_resumed_run_counts_anew() -> None:
    """B2: a process that finds cells already full has its batches from one step later."""
    from growjax.study.context import Context

    honest = Context.train

    def planted(ctx: Context, state, live, *, start: int, steps: int, every: int):
        resumed = _begun[0]
        return honest(ctx, state, live, start=start + resumed, steps=steps, every=every)

    Context.train = planted


def keys_of_the_pool() -> None:
    """B3: a candidate's randomness depends on how many stand beside it."""
    from growjax.study.context import Context

    honest = Context.keys_of
    Context.keys_of = lambda self, live, replicate, exchanged: honest(  # pyright: ignore[reportAttributeAccessIssue]
        self, live, replicate + len(self.spec.operators), exchanged
    )


def a_pool_of_all_cores() -> None:
    """B4: the pins of one thread, and of products that add in one order on any number of them, are gone."""
    for name in ("NPROC", "PJRT_NPROC"):
        runtime.ENV_PINS.pop(name)
    runtime.XLA_PINS["--xla_cpu_experimental_ynn_fusion_type"] = ""


def a_sum_in_the_order_of_devices() -> None:
    """B5: gradients are summed device by device."""
    import jax

    from growjax.train import shards

    def by_device(parts):
        each = max(1, len(parts) // jax.device_count())
        sums = [sum_of(parts[i : i + each]) for i in range(0, len(parts), each)]
        return sum_of(sums)

    def sum_of(parts):
        total = parts[0]
        for part in parts[1:]:
            total = jax.tree.map(lambda a, b: a + b, total, part)
        return total

    shards.tree_sum = by_device


def a_sum_in_the_order_of_processes() -> None:
    """B5, over processes: each sums the gradients of its own shards one after the other."""
    from functools import reduce

    from growjax.mesh import training

    training._subtrees = lambda parts, size: [reduce(training._added, parts)]


def a_store_of_half_the_bits() -> None:
    """B6: what is stored is rounded to bfloat16, honestly digested afterwards."""
    import jax
    import jax.numpy as jnp

    from growjax.record import store

    honest = store.save_state

    def rounded(directory, state):
        half = jax.tree.map(lambda x: x.astype(jnp.bfloat16).astype(x.dtype), state.params)
        return honest(directory, state.replace(params=half))

    store.save_state = rounded


def names_by_hash() -> None:
    """B7: a stream's number is Python's own hash of its name."""
    from growjax import streams

    streams.name_tag = lambda name: hash(name) & 0xFFFFFFFF  # pyright: ignore[reportAttributeAccessIssue]


def a_worker_without_its_pin() -> None:
    """B8: workers shift every seed; here nobody does."""
    if multiprocessing.parent_process() is not None:
        os.environ["JAX_RANDOM_SEED_OFFSET"] = "1"
    honest = runtime.carried
    runtime.carried = lambda: {**honest(), "JAX_RANDOM_SEED_OFFSET": "1"}


def evaluations_use_up_keys() -> None:
    """B9: every evaluation moves the dropout stream on by one step: a key is drawn twice, or left out."""
    from growjax.train import loop

    honest = loop.run

    def planted(*arguments, segments: int, **options):
        return honest(*arguments, segments=segments, **{**options, "start": options.get("start", 0) + segments})

    loop.run = planted


PLANTS = {
    "B1": keys_of_the_process,
    "B2": a_resumed_run_counts_anew,
    "B3": keys_of_the_pool,
    "B4": a_pool_of_all_cores,
    "B5": a_sum_in_the_order_of_devices,
    "B5-processes": a_sum_in_the_order_of_processes,
    "B6": a_store_of_half_the_bits,
    "B7": names_by_hash,
    "B8": a_worker_without_its_pin,
    "B9": evaluations_use_up_keys,
}

_begun = [0]


def plant(row: str, begun: int) -> None:
    """In this process; its workers learn of it by the environment."""
    os.environ["PLANTED"] = f"{row} {begun}"
    _begun[0] = begun
    if row != "B4":
        runtime.pin()
    PLANTS[row]()


if __name__ == "__mp_main__":  # a worker
    plant(os.environ["PLANTED"].split()[0], int(os.environ["PLANTED"].split()[1]))

if __name__ == "__main__":
    row, module, *arguments = sys.argv[1:]
    cells = os.path.join(arguments[arguments.index("--out") + 1], "cells") if "--out" in arguments else ""
    plant(row, int(os.path.isdir(cells) and len(os.listdir(cells)) > 2))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__")
