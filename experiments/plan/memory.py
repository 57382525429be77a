"""Memory: what the compiler says of the programs of a step, beside the plan."""

from __future__ import annotations

from functools import partial
from typing import Any

from experiments.plan.shapes import CARD_SHAPES, SHAPES
from growjax.config import TrainConfig
from growjax.schema import Record


def shard_program(config: TrainConfig, windows: int, length: int, sharding: Any = None) -> tuple[int, int]:
    """Bytes of a virtual shard's program by the compiler, arguments and results included, and by the plan."""
    import jax
    import jax.numpy as jnp

    from growjax.model.decoder import count_params, param_shapes
    from growjax.plan.saved import saved
    from growjax.streams import root_key
    from growjax.train.shards import shard_gradients

    number, batch = jax.ShapeDtypeStruct((), jnp.int32), (jax.ShapeDtypeStruct((windows, length), jnp.int32),) * 2
    key = jax.eval_shape(lambda: root_key(0)) if config.model.dropout else None
    arguments = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        (param_shapes(config.model), batch, key, number, number),
    )
    compiled = shard_gradients.lower(*arguments, config=config, shards=1).compile()
    kept = saved(config, windows, length, cpu=sharding is None)
    planned = 2 * 4 * count_params(config.model) + 8 * windows * length + kept.activations + kept.temporaries
    return _used(compiled), planned


def _rows(count: int, sharding: Any, leaf: Any) -> Any:
    import jax

    return jax.ShapeDtypeStruct((count, *leaf.shape), leaf.dtype, sharding=sharding)


def _used(compiled: Any) -> int:
    found = compiled.memory_analysis()
    used = found.temp_size_in_bytes + found.argument_size_in_bytes + found.output_size_in_bytes
    return used - found.alias_size_in_bytes


def cpu(devices: int) -> list[Record]:
    """What a chip holds at most, by the programs' analysis with what lies beside them, and by the plan."""
    import jax
    import jax.numpy as jnp
    from jax.sharding import NamedSharding
    from jax.sharding import PartitionSpec as P

    from growjax.mesh import cutting, training
    from growjax.mesh.rules import MeshShape
    from growjax.plan.growth import shapes_of
    from growjax.plan.memory import Batch, held, leaves, phases
    from growjax.plan.saved import saved

    rows = []
    for name, (model, windows, length) in SHAPES.items():
        config, shape = TrainConfig(model), MeshShape(2, 2, 2)
        state, mesh = shapes_of(config), cutting.make_mesh(shape)
        placed = jax.tree.map(
            lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), state, cutting.shardings(state, mesh)
        )
        cuts = cutting.flat(cutting.state_cuts(state, mesh))
        params = jax.tree.leaves(placed.params)
        own = cuts[: len(params)]
        alone, everywhere = NamedSharding(mesh, P()), NamedSharding(mesh, cutting.ALL)
        scalar = jax.ShapeDtypeStruct((), jnp.float32, sharding=alone)
        part = jax.tree.map(partial(_rows, devices, everywhere), (scalar, placed.params))
        batch = Batch(devices * windows, length, devices)
        plan = {m.name: m for m in phases(state, shape, batch, saved(config, windows, length, cpu=True))}
        resident = sum(held(list(leaves(state, shape))).values())
        tokens = 8 * batch.tokens
        one, _ = shard_program(config, windows, length)
        lowered = training._reduced.lower(part, mesh=mesh, cuts=own, shards=devices)
        updated = training._updated.lower(placed, scalar, placed.params, scalar, mesh=mesh, cuts=cuts)
        programs = {
            "gathering": resident + _used(cutting.gathered.lower(params, mesh=mesh, cuts=own).compile())
            - plan["norm"].bytes["parameters"],
            "gradients of a shard": resident + one + tokens - 8 * windows * length,
            "sum over the mesh": resident + tokens + _used(lowered.compile()),
            "update": tokens + _used(updated.compile()),
        }  # fmt: skip
        by_phase = {
            key: {"measured": used, "plan": plan[key].total, "off": plan[key].total / used - 1}
            for key, used in programs.items()
        }
        top = {"measured": max(programs.values()), "plan": max(plan[key].total for key in programs)}
        rows.append({"shape": name, "mesh": shape._asdict(), "phases": by_phase, **top})
    return rows


def card(devices: int) -> list[Record]:
    """A virtual shard's program for an H100."""
    from experiments.compile_for_card import _card_sharding

    sharding, rows = _card_sharding("h100"), []
    for name, (model, windows, length) in CARD_SHAPES.items():
        measured, planned = shard_program(TrainConfig(model), windows, length, sharding)
        rows.append({"shape": name, "measured": measured, "plan": planned, "off": planned / measured - 1})
    return rows
