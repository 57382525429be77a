"""What `experiments.mesh` asks of a group of processes about large states: memory, and storing."""

from __future__ import annotations

import ctypes
import gc
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from growjax.config import ModelConfig, TrainConfig
from growjax.grow.plan import WidthPlan, default_target, make_plan
from growjax.grow.widen import widen
from growjax.mesh.cutting import bytes_of, local, make_mesh, shardings
from growjax.mesh.processes import first, together
from growjax.mesh.rules import MeshShape
from growjax.model.decoder import param_shapes
from growjax.record.store import load_state, save_state, state_digest
from growjax.schema import Record
from growjax.streams import root_key
from growjax.train.state import TrainState, fresh_state

CALLS = 4
"""Times that memory is measured."""


def filled(config: TrainConfig, mesh: Mesh) -> TrainState:
    """A state whose every array holds ones, cut."""

    def zeros(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        return np.zeros(leaf.shape, leaf.dtype)

    def one(leaf: jax.ShapeDtypeStruct, there: Any) -> jax.Array:
        def piece(index: Any) -> np.ndarray:
            shape = [len(range(*s.indices(n))) for s, n in zip(index, leaf.shape, strict=True)]
            return np.full(shape, 1, leaf.dtype)

        return jax.make_array_from_callback(leaf.shape, there, piece)

    shapes = jax.eval_shape(lambda: fresh_state(config, jax.tree.map(zeros, param_shapes(config.model))))
    return jax.tree.map(one, shapes, shardings(shapes, mesh))


def of_process(name: str) -> int:
    """Bytes that the kernel says of this process under a name."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def peak(work: Callable[[], TrainState]) -> tuple[int, TrainState]:
    """Bytes by which the resident size rose at its peak, and what came of it."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was freed goes back to the system
    before = of_process("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    made = jax.block_until_ready(work())
    return of_process("VmHWM") - before, made


def model() -> ModelConfig:
    """20 million parameters."""
    return ModelConfig(d_model=512, n_layers=5, n_heads=8, n_kv_heads=8, head_dim=64, d_ff=1408, vocab_size=8192)


def memory() -> list[Record]:
    """Widening a state, both moments included, piece by piece; and the same from one folder to another. A first call
    compiles, and its peak holds what that takes. Of the others the least peak counts: the allocator adds to each."""
    mesh, folder = make_mesh(MeshShape(fsdp=2, tensor=2)), Path("states")
    plan = make_plan(model(), default_target(model()))
    rows = []

    def row(what: str, call: int, rise: int, source: int, wide: TrainState) -> None:
        leaves = jax.tree.leaves(wide)
        rows.append({
            "what": what, "call": call, "peak": rise,
            "share of the source": source, "share of the target": bytes_of(wide),
            "one piece": max(sum(data.nbytes for data in local(leaf)) for leaf in leaves),
            "whole target": sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves),
        })  # fmt: skip

    def grown(plan: WidthPlan, source: TrainState) -> TrainState:
        return widen(source, plan, operator="exact_copy", key=root_key(1, "study"))

    source = filled(TrainConfig(model=model()), mesh)
    held = bytes_of(source)
    for number in range(CALLS):
        rise, wide = peak(partial(grown, plan, source))
        row("widened", number, rise, held, wide)
        del wide
    for name in ("source", *map(str, range(CALLS))):
        if first():
            (folder / name).mkdir(parents=True)
    together("folders are made")
    save_state(folder / "source", source)
    del source

    def stored(call: str) -> TrainState:
        wide = grown(plan, load_state(folder / "source", mesh=mesh))
        save_state(folder / call, wide)
        return wide

    for number in range(CALLS):
        rise, wide = peak(partial(stored, str(number)))
        row("loaded, widened, saved", number, rise, held, wide)
        del wide
    return rows


def restore() -> list[Record]:
    """A state that is saved on 8 devices, read on 8, 2 and 1."""
    folder = Path("restored")
    folder.mkdir()
    small = ModelConfig(d_model=64, n_layers=2, n_heads=4, n_kv_heads=4, d_ff=192, vocab_size=512)
    state = filled(TrainConfig(model=small), make_mesh(MeshShape(data=2, fsdp=2, tensor=2)))
    plan = make_plan(small, default_target(small))
    state = widen(state, plan, operator="asymmetric_reset", key=root_key(1, "study"))
    rows: list[Record] = [{"devices": 8, "mesh": [2, 2, 2], "digest": save_state(folder, state)}]
    for shape in (MeshShape(data=2, fsdp=2, tensor=2), MeshShape(fsdp=8), MeshShape(tensor=2), None):
        mesh = None if shape is None else make_mesh(shape, jax.devices()[: shape.size])
        there = load_state(folder, mesh=mesh)
        devices = len(there.params["embedding"].devices())
        rows.append({"devices": devices, "mesh": shape and list(shape), "digest": state_digest(there)})
    return rows
