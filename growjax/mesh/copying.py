"""Copies of cut arrays along the maps of a plan: every device makes its own piece, and no array is ever whole.

The old pieces go round the devices, and each takes from the one that it holds what its own positions copy. At any time
a device has its old piece, its new piece and the piece that goes by.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from growjax.mesh.cutting import cut_of_array, mesh_of, piece, shape_of
from growjax.mesh.rules import Cut, MeshAxis, MeshShape, cut_like, cut_of, names_of
from growjax.model.axes import ParamSpec

Indices = tuple[jax.Array | None, ...]
"""For each axis int32 [new]: which old position each new one copies; None where the axis stays as it is."""


def moving(old: Cut, new: Cut, grows: Sequence[bool]) -> list[bool]:
    """Axes along which a device's new piece may copy what stands elsewhere: those that grow, or are cut otherwise."""
    return [grown or before != after for before, after, grown in zip(old, new, grows, strict=True)]


def rounds(old: Cut, new: Cut, grows: Sequence[bool]) -> list[MeshAxis]:
    """The axes of a mesh along which old pieces go round, the outermost first."""
    return [over for over, moves in zip(old, moving(old, new, grows), strict=True) if moves and over is not None]


def handed_on(axes: Sequence[MeshAxis], shape: MeshShape) -> dict[MeshAxis, int]:
    """How often a device hands on what it holds along each of the axes: along an inner one once more for every step
    along those around it."""
    return {axis: math.prod(map(shape.along, axes[: number + 1])) for number, axis in enumerate(axes)}


def copy_cut(
    leaf: jax.Array, spec: ParamSpec, index: Sequence[np.ndarray | None], wide: Sequence[int], times: jax.Array | None
) -> jax.Array:
    """`growjax.grow.copying.copy_leaf` of a cut array that goes with a parameter: new position j copies `index[j]`
    along each axis, times a factor that broadcasts, cut by the rules. `wide`: the new parameter's shape."""
    mesh = mesh_of(leaf)
    assert mesh is not None
    shape = shape_of(mesh)
    new = [size if i is None else len(i) for size, i in zip(leaf.shape, index, strict=True)]
    target = P(*cut_like(cut_of(names_of(spec), wide, shape), new))
    own = tuple(None if i is None else jnp.asarray(i, jnp.int32) for i in index)
    return _copied(leaf, own, times, mesh=mesh, source=cut_of_array(leaf), target=target)


@partial(jax.jit, static_argnames=("mesh", "source", "target"))
def _copied(leaf: jax.Array, index: Indices, times: jax.Array | None, *, mesh: Mesh, source: P, target: P) -> jax.Array:
    shape, ndim = shape_of(mesh), leaf.ndim
    old = tuple(source) + (None,) * (ndim - len(source))
    wide = [size if i is None else len(i) for size, i in zip(leaf.shape, index, strict=True)]
    grows = [i is not None for i in index]
    moves = moving(old, tuple(target), grows)

    def local(leaf: jax.Array, index: Indices, times: jax.Array | None) -> jax.Array:
        wanted = []
        for axis, size in enumerate(wide):
            positions, over = index[axis], target[axis]
            positions = jnp.arange(size, dtype=jnp.int32) if positions is None else positions
            wanted.append(piece(positions, P(over), shape))

        def take(part: jax.Array, out: jax.Array, at: Mapping[str, jax.Array]) -> jax.Array:
            """With what `out` copies of the old piece that stands at `at` along the mesh."""
            held = jnp.ones((1,) * ndim, bool)
            for axis in (axis for axis in range(ndim) if moves[axis]):
                size, over = part.shape[axis], old[axis]
                inside = wanted[axis] - (at[over] * size if over else 0)
                held = held & ((inside >= 0) & (inside < size)).reshape([-1 if i == axis else 1 for i in range(ndim)])
                part = jnp.take(part, jnp.clip(inside, 0, size - 1), axis=axis)
            return jnp.where(held, part, out)

        def round_(axes: Sequence[MeshAxis], out: jax.Array, part: jax.Array, at: Mapping[str, jax.Array]) -> tuple:
            """`handed_on` says how often it hands a piece on."""
            if not axes:
                return take(part, out, at), part
            axis, *rest = axes
            devices = shape.along(axis)

            def one(number: jax.Array, carry: tuple) -> tuple:
                where = (jax.lax.axis_index(axis) + number) % devices
                out, part = round_(rest, carry[0], carry[1], {**at, axis: where})
                return out, jax.lax.ppermute(part, axis, [(i, (i - 1) % devices) for i in range(devices)])

            return jax.lax.fori_loop(0, devices, one, (out, part))

        empty = jnp.zeros([size // shape.along(over) for size, over in zip(wide, target, strict=True)], leaf.dtype)
        out = round_(rounds(old, tuple(target), grows), empty, leaf, {})[0]
        if times is None:
            return out
        return out * piece(times, P(*cut_like(tuple(target), times.shape)), shape)

    made = jax.shard_map(local, mesh=mesh, in_specs=(source, P(), P()), out_specs=target, check_vma=False)
    return made(leaf, index, times)
