"""Time: steps on CPU devices beside the plan."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

from experiments.plan.shapes import TIMES
from growjax.config import ModelConfig, OptimConfig, TrainConfig
from growjax.schema import Record

RECORDED = Path(__file__).parents[2] / "artifacts" / "accelerator-nvidia-h200.json"


def recorded(devices: int) -> list[Record]:
    """The steps of an H200 that artifacts/accelerator-nvidia-h200.json holds, to which an accelerator's passes over
    memory are fitted."""
    from experiments.accelerator.bench import sizes
    from experiments.bench.setting import config
    from growjax.mesh.rules import MeshShape
    from growjax.plan.chips import CHIPS
    from growjax.plan.choice import kept_by
    from growjax.plan.growth import shapes_of
    from growjax.plan.memory import Batch
    from growjax.plan.roofline import step_seconds

    steps = json.loads(RECORDED.read_text())["stages"]["bench"]["rows"]
    rows, chip = [], CHIPS["h200"]
    for name, size in sizes(False).items():
        state, batch = shapes_of(config(size)), Batch(size.batch, size.length, 1)
        measured = steps[f"{name}, growjax"]["step_ms"] / 1e3
        plan = step_seconds(state, MeshShape(), batch, kept_by(state, batch, chip), chip)
        off = plan.total / measured - 1
        rows.append({"step": name, "measured": measured, "plan": plan.total, "off": off, "parts": plan._asdict()})
    return rows


def time_on(devices: int) -> list[Record]:
    """Steps on so many devices, each round beside a measurement of the rates."""
    return [_steps(width, mesh, devices) for count, width, mesh in TIMES if count == devices]


def _steps(width: int, mesh: tuple[int, int, int] | None, devices: int, rounds: int = 3, steps: int = 3) -> Record:
    import jax.numpy as jnp
    import numpy as np

    from growjax.mesh.cutting import make_mesh
    from growjax.mesh.rules import MeshShape
    from growjax.mesh.training import run_on_mesh
    from growjax.plan.choice import kept_by
    from growjax.plan.here import cpu_chip
    from growjax.plan.memory import Batch
    from growjax.plan.roofline import step_seconds
    from growjax.streams import Streams, root_key
    from growjax.train.loop import Feed, copy_state, run, run_keys
    from growjax.train.programs import Programs
    from growjax.train.state import init_state

    vocab, length, size = 512, width, 8
    model = ModelConfig(d_model=width, n_layers=2, n_heads=width // 32, n_kv_heads=width // 32, head_dim=32,
                        d_ff=3 * width, vocab_size=vocab, max_seq_len=length)  # fmt: skip
    rng = np.random.default_rng(0)
    feed = Feed(*(jnp.asarray(rng.integers(0, vocab, (*s, length + 1)), jnp.uint16) for s in ((64,), (1, 1))))
    live = run_keys(Streams(root_key(0)), ("order", "dropout"))
    state = init_state(TrainConfig(model, OptimConfig(warmup_steps=2)), key=Streams(root_key(0)).at("init", 0))
    shape, programs = MeshShape(*(mesh or ())), Programs()
    batch = Batch(size, length, 8 if mesh else 1)

    def took(count: int, clocks: tuple) -> list[float]:
        own, began = copy_state(state), [clock() for clock in clocks]
        if mesh is None:
            run(own, feed, live, batch_size=size, segments=1, segment_steps=count, max_steps=16, programs=programs)
        else:
            run_on_mesh(own, feed, live, mesh=make_mesh(shape), batch_size=size, shards=batch.shards, segments=1,
                        segment_steps=count)  # fmt: skip
        return [clock() - start for clock, start in zip(clocks, began, strict=True)]

    clocks = (time.process_time, time.perf_counter)
    took(1, clocks)
    found, chips = [], []
    for _ in range(rounds):
        chips.append(cpu_chip(devices, tokens=batch.windows * length, width=width, clock=time.process_time))
        few, many = took(1, clocks), took(1 + steps, clocks)
        found.append([(b - a) / steps for a, b in zip(few, many, strict=True)])
    best = dataclasses.replace(
        chips[0],
        rates={"float32": max(chip.rates["float32"] for chip in chips)},
        bandwidth=max(chip.bandwidth for chip in chips),
        link=max(chip.link for chip in chips),
        launch=min(chip.launch for chip in chips),
    )
    planned = step_seconds(state, shape, batch, kept_by(state, batch, best), best)
    measured = min(row[0] for row in found) / devices
    return {
        "devices": devices, "d_model": width, "mesh": mesh and shape._asdict(), "shards": batch.shards,
        "measured": measured, "plan": planned.total, "off": planned.total / measured - 1, "parts": planned._asdict(),
        "wall": min(row[1] for row in found), "rounds": [row[0] / devices for row in found],
        "rate": best.rates["float32"], "bandwidth": best.bandwidth, "launch": best.launch,
    }  # fmt: skip
