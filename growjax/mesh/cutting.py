"""Cut arrays: a mesh of devices, the partition of a whole state, and the copies that cut arrays and make them whole.

Whatever moves between devices is copied. Nothing is added on the way, so that no move changes a bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from growjax.config import ModelConfig
from growjax.digests import piece_digests
from growjax.errors import UserError
from growjax.mesh.rules import AXES, MeshShape, cut_like, cut_of, names_of, require_divides
from growjax.model.axes import map_specs
from growjax.model.decoder import named_params, param_shapes, param_specs
from growjax.train.state import TrainState

STRIP = 2**22
"""Bytes of an array that are whole at a time where it is read from a mesh."""

Tree = TypeVar("Tree")
Cuts = tuple[P, ...]
"""The partition of every leaf of a tree, in the order of its leaves."""

NO_CUT = P()
ALL = P(AXES)
"""The first axis of an array over all devices, in the order of the virtual shards."""


def make_mesh(shape: MeshShape, devices: Sequence[Any] | None = None) -> Mesh:
    """The mesh over the first devices of all processes, or those given. Raises `UserError` where there are too few, or
    where a process would be left without one.

    >>> make_mesh(MeshShape(), jax.devices()[:1]).axis_names
    ('data', 'fsdp', 'tensor')
    """
    there = list(jax.devices() if devices is None else devices)
    if min(shape) < 1:
        raise UserError(f"a mesh of {shape} has no devices", "give every axis at least 1")
    if len(there) < shape.size:
        cores = f"; XLA_FLAGS=--xla_force_host_platform_device_count={shape.size} cuts a CPU into as many"
        raise UserError(
            f"a mesh of {shape} takes {shape.size} devices, and {len(there)} are there",
            "choose a smaller mesh" + (cores if there[0].platform == "cpu" and jax.process_count() == 1 else ""),
        )
    if devices is None and jax.process_count() > 1 and shape.size != len(there):
        raise UserError(
            f"a mesh of {shape} takes {shape.size} of the {len(there)} devices of {jax.process_count()} processes",
            "choose a mesh of all devices, or start fewer processes",
        )
    return Mesh(np.asarray(there[: shape.size]).reshape(shape), AXES)


def shape_of(mesh: Mesh) -> MeshShape:
    """Devices along each axis."""
    return MeshShape(*mesh.devices.shape)


def require_model(shape: MeshShape, model: ModelConfig) -> None:
    """Raises `UserError` where a mesh does not divide a model."""
    require_divides(shape, ((path, spec, leaf.shape) for path, spec, leaf in named_params(model)))


def param_cuts(model: ModelConfig, mesh: Mesh) -> Any:
    """The partition of every parameter, as a tree of the parameters' structure. Raises `UserError` where the mesh does
    not divide the model."""
    shape = shape_of(mesh)
    require_model(shape, model)
    specs, shapes = param_specs(model), param_shapes(model)
    return map_specs(lambda spec, leaf: P(*cut_of(names_of(spec), leaf.shape, shape)), specs, shapes)


def state_cuts(state: TrainState, mesh: Mesh) -> TrainState:
    """The partition of every leaf of a state (arrays or their shapes), as a state."""
    own = param_cuts(state.config.model, mesh)

    def like(tree: Any) -> Any:
        return jax.tree.map(lambda cut, leaf: P(*cut_like(tuple(cut), leaf.shape)), own, tree)

    opt, law = state.opt_state, state.law
    moved = opt._replace(mu=like(opt.mu), nu=like(opt.nu), count=like(opt.count), schedule_step=P())
    if law is not None:
        law = law._replace(**{name: like(tree) for name, tree in law._asdict().items() if tree is not None})
    return state.replace(params=own, opt_state=moved, step=P(), law=law)  # pyright: ignore[reportArgumentType]


def shardings(state: TrainState, mesh: Mesh) -> TrainState:
    """Where every leaf of a state (arrays or their shapes) lies on the mesh, as a state."""
    cuts = state_cuts(state, mesh)
    return jax.tree.map(lambda cut: NamedSharding(mesh, cut), cuts, is_leaf=_is_cut)


def place(tree: Tree, cuts: Tree, mesh: Mesh) -> Tree:
    """A tree whose leaves are whole, cut: every process gives its devices their pieces."""

    return jax.tree.map(lambda cut, leaf: repeated(mesh, leaf, cut), cuts, tree, is_leaf=_is_cut)


def placed(state: TrainState, mesh: Mesh) -> TrainState:
    """A state on the mesh; one that is there already stays as it is."""
    if all(mesh_of(leaf) == mesh for leaf in jax.tree.leaves(state)):
        return state
    return place(state, state_cuts(state, mesh), mesh)


def settled(state: TrainState, mesh: Mesh) -> TrainState:
    """A state some of whose arrays are whole, or cut in another way, with every array as the rules cut it."""

    def one(cut: P, leaf: jax.Array) -> jax.Array:
        there = leaf.sharding
        if not isinstance(there, NamedSharding) or there.mesh != mesh:
            return repeated(mesh, leaf, cut)
        return leaf if there.spec == cut else jax.device_put(leaf, NamedSharding(mesh, cut))

    return jax.tree.map(one, state_cuts(state, mesh), state, is_leaf=_is_cut)


def on_host(tree: Tree, mesh: Mesh) -> Tree:
    """The tree with whole leaves, NumPy's, in every process: leaf by leaf."""

    def one(leaf: jax.Array) -> np.ndarray:
        (whole,) = gathered([leaf], mesh=mesh, cuts=(cut_of_array(leaf),))
        return np.asarray(whole.addressable_data(0))

    return jax.tree.map(one, tree)


def mesh_of(leaf: object) -> Mesh | None:
    """The mesh on which an array lies cut; None where it is on no mesh."""
    sharding = getattr(leaf, "sharding", None)
    return sharding.mesh if isinstance(sharding, NamedSharding) and isinstance(sharding.mesh, Mesh) else None


def cut_of_array(leaf: jax.Array) -> P:
    """The partition of an array on a mesh."""
    assert isinstance(leaf.sharding, NamedSharding)
    return leaf.sharding.spec


def flat(cuts: object) -> Cuts:
    """The leaves of a tree of partitions."""
    return tuple(jax.tree.leaves(cuts, is_leaf=_is_cut))


def _is_cut(node: object) -> bool:
    return isinstance(node, P)


def local(array: jax.Array) -> list[jax.Array]:
    """What each device of this process holds of an array, in the mesh's order."""
    return [shard.data for shard in array.addressable_shards]


def repeated(mesh: Mesh, value: np.ndarray | jax.Array, cut: P = NO_CUT) -> jax.Array:
    """A value of every process, the same in each, on all devices: whole, or cut."""
    host = np.asarray(value)
    return jax.make_array_from_callback(host.shape, NamedSharding(mesh, cut), lambda index: host[index])


def whole(leaf: jax.Array, cut: P) -> jax.Array:
    """Inside a program over the mesh: a device's piece to the whole array."""
    for axis, over in enumerate(cut):
        if over is not None:
            leaf = jax.lax.all_gather(leaf, over, axis=axis, tiled=True)
    return leaf


def starts(leaf: jax.Array, cut: P) -> list[jax.Array | int]:
    """Inside a program over the mesh: where a device's piece begins in the whole array, axis by axis."""
    return [0 if over is None else jax.lax.axis_index(over) * size for over, size in zip(cut, leaf.shape, strict=True)]


def piece(leaf: jax.Array, cut: P, shape: MeshShape) -> jax.Array:
    """Inside a program over the mesh: the whole array to a device's piece."""
    for axis, over in enumerate(cut):
        if over is not None:
            size = leaf.shape[axis] // shape.along(over)
            leaf = jax.lax.dynamic_slice_in_dim(leaf, jax.lax.axis_index(over) * size, size, axis)
    return leaf


@partial(jax.jit, static_argnames=("mesh", "cuts"))
def gathered(leaves: list[jax.Array], *, mesh: Mesh, cuts: Cuts) -> list[jax.Array]:
    """Every array whole on every device."""
    made = jax.shard_map(
        lambda leaves: [whole(leaf, cut) for leaf, cut in zip(leaves, cuts, strict=True)],
        mesh=mesh,
        in_specs=(list(cuts),),
        out_specs=[P()] * len(cuts),
        check_vma=False,
    )
    return made(leaves)


def strips(leaf: jax.Array) -> Iterator[np.ndarray]:
    """uint8 [rows, bytes of a row]: the bytes of an array on a mesh in row-major order, little-endian, at most `STRIP`
    of them at a time. All processes of the mesh take strip after strip together; each is whole on every device."""
    mesh, shape, size = mesh_of(leaf), leaf.shape, leaf.dtype.itemsize
    assert mesh is not None
    cut = P(*cut_of_array(leaf), *[None] * (leaf.ndim - len(cut_of_array(leaf))))
    if not leaf.size or not any(cut):
        yield np.asarray(local(leaf)[0]).reshape(1, -1).view(np.uint8)
        return
    axis = next(i for i in range(leaf.ndim) if math.prod(shape[i + 1 :]) * size <= STRIP)
    own = shape[axis] // shape_of(mesh).along(cut[axis])
    rows = min(own, STRIP // (math.prod(shape[axis + 1 :]) * size))
    for before in np.ndindex(shape[:axis]):
        for begin in range(0, shape[axis], own):
            for row in range(0, own, rows):
                at = min(row, own - rows)  # the last strip of a piece may begin among the rows of the one before
                made = _strip(leaf, np.array([*before, begin + at], np.int32), mesh=mesh, cut=cut, rows=rows)
                yield np.asarray(local(made)[0])[row - at :]


@partial(jax.jit, static_argnames=("mesh", "cut", "rows"))
def _strip(leaf: jax.Array, at: jax.Array, *, mesh: Mesh, cut: P, rows: int) -> jax.Array:
    """uint8 [rows, bytes of a row], whole on every device: what stands at positions `at` of the first axes, with the
    next rows of the last of these, in whichever piece that is."""
    axes = at.shape[0]

    def one(leaf: jax.Array, at: jax.Array) -> jax.Array:
        inside = [at[axis] % leaf.shape[axis] for axis in range(axes)] + [jnp.int32(0)] * (leaf.ndim - axes)
        part = jax.lax.dynamic_slice(leaf, inside, [*[1] * (axes - 1), rows, *leaf.shape[axes:]])
        part = whole(jax.lax.bitcast_convert_type(part, jnp.uint8), P(*[None] * axes, *cut[axes:]))
        for axis, over in enumerate(cut[:axes]):
            if over is not None:  # all others add zeros to its bytes
                holds = jax.lax.axis_index(over) == at[axis] // leaf.shape[axis]
                part = jax.lax.psum(jnp.where(holds, part, jnp.uint8(0)), over)
        return part.reshape(rows, -1)

    return jax.shard_map(one, mesh=mesh, in_specs=(cut, P()), out_specs=P(), check_vma=False)(leaf, at)


def digests_of_pieces(leaves: Sequence[jax.Array], cuts: Cuts, shape: MeshShape) -> jax.Array:
    """Inside a program over the mesh: uint32[leaves, 2], `growjax.digests.leaf_digests` of the whole arrays."""
    rows, over = [], [tuple(axis for axis in cut if axis is not None) for cut in cuts]
    for number, (leaf, cut) in enumerate(zip(leaves, cuts, strict=True)):
        own = [size * shape.along(axis) for size, axis in zip(leaf.shape, cut, strict=True)]
        rows.append(piece_digests(leaf, number, own, starts(leaf, cut)))
    for axes in sorted({axes for axes in over if axes}):  # sums of integers, in any order
        chosen = [i for i, found in enumerate(over) if found == axes]
        for i, row in zip(chosen, jax.lax.psum(jnp.stack([rows[i] for i in chosen]), axes), strict=True):
            rows[i] = row
    return jnp.stack(rows)


@partial(jax.jit, static_argnames=("mesh", "cuts"))
def cut_digests(leaves: list[jax.Array], *, mesh: Mesh, cuts: Cuts) -> jax.Array:
    """uint32[leaves, 2]: `growjax.digests.leaf_digests`, however the arrays are cut."""
    made = jax.shard_map(
        lambda leaves: digests_of_pieces(leaves, cuts, shape_of(mesh)),
        mesh=mesh,
        in_specs=(list(cuts),),
        out_specs=P(),
        check_vma=False,
    )
    return made(leaves)


def bytes_of(tree: object) -> int:
    """Bytes that this process's devices hold of a tree's arrays."""
    return sum(math.prod(data.shape) * data.dtype.itemsize for x in jax.tree.leaves(tree) for data in local(x))
