"""How arrays are cut over a mesh: one table of rules, from the names of axes to the axes of the mesh.

Everything follows from a parameter's named axes, its shape and the mesh. Moments are cut like their parameters, and so
are counts and factors along the axes that they have. Nothing here computes, and nothing asks for a device.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple, get_args

from growjax.errors import UserError
from growjax.model.axes import ParamSpec

MeshAxis = Literal["data", "fsdp", "tensor"]

AXES: tuple[MeshAxis, ...] = get_args(MeshAxis)
"""The axes of a mesh, the slowest first. Every device computes virtual shards of a batch; arrays are cut over `fsdp`
and `tensor`, and repeated over `data`."""

RULES: tuple[tuple[str, MeshAxis], ...] = (
    ("mlp", "tensor"),
    ("vocab", "tensor"),
    ("heads", "tensor"),
    ("kv_heads", "tensor"),
    ("embed", "fsdp"),
    ("position", "tensor"),
    ("head_dim", "tensor"),
    ("mlp", "fsdp"),
    ("vocab", "fsdp"),
    ("heads", "fsdp"),
    ("kv_heads", "fsdp"),
    ("position", "fsdp"),
    ("head_dim", "fsdp"),
    ("layers", "fsdp"),
    ("embed", "tensor"),
    ("layers", "tensor"),
)
"""(axis of a parameter, axis of the mesh), in order: a pair counts where the size divides, and where neither the
parameter's axis nor the mesh's is taken by a pair before it."""

Cut = tuple[MeshAxis | None, ...]
"""For each axis of an array the axis of the mesh over which it is cut; None where it is whole."""


class MeshShape(NamedTuple):
    """Devices along each axis of a mesh."""

    data: int = 1
    fsdp: int = 1
    tensor: int = 1

    @property
    def size(self) -> int:
        """Devices in all."""
        return self.data * self.fsdp * self.tensor

    @property
    def pieces(self) -> int:
        """Into how many pieces a parameter is cut that every axis cuts."""
        return self.fsdp * self.tensor

    def along(self, axis: MeshAxis | None) -> int:
        """Devices along an axis; 1 for None."""
        return 1 if axis is None else getattr(self, axis)

    def __str__(self) -> str:
        return " x ".join(f"{name} {getattr(self, name)}" for name in AXES)


def cut_of(axes: Sequence[str], shape: Sequence[int], mesh: MeshShape) -> Cut:
    """How a parameter with axes of these names and sizes is cut.

    >>> cut_of(("layers", "embed", "mlp"), (2, 64, 192), MeshShape(data=2, fsdp=2, tensor=2))
    (None, 'fsdp', 'tensor')
    """
    found: dict[int, MeshAxis] = {}
    for name, over in RULES:
        devices = mesh.along(over)
        if devices == 1 or over in found.values():
            continue
        for i, (axis, size) in enumerate(zip(axes, shape, strict=True)):
            if axis == name and i not in found and size and size % devices == 0:
                found[i] = over
                break
    return tuple(found.get(i) for i in range(len(axes)))


def names_of(spec: ParamSpec) -> tuple[str, ...]:
    """Names of a parameter's axes."""
    return tuple(dim.axis for dim in spec.dims)


def cut_like(cut: Cut, shape: Sequence[int]) -> Cut:
    """How an array is cut that goes with a parameter of that cut: a moment, a count or a factor, which has size 1 where
    one number stands for all positions, or no axes where one stands for all entries."""
    if not shape:
        return ()
    return tuple(None if size == 1 else over for over, size in zip(cut, shape, strict=True))


def piece_shape(cut: Cut, shape: Sequence[int], mesh: MeshShape) -> tuple[int, ...]:
    """The shape of one device's piece."""
    return tuple(size // mesh.along(over) for over, size in zip(cut, shape, strict=True))


def pieces_of(cut: Cut, mesh: MeshShape) -> int:
    """How many different pieces an array is cut into."""
    return math.prod(mesh.along(over) for over in cut)


def require_divides(mesh: MeshShape, parameters: Iterable[tuple[str, ParamSpec, Sequence[int]]]) -> None:
    """Raises `UserError` where a mesh leaves a matrix or a table uncut along `fsdp` or `tensor`: what takes memory must
    be cut by every device. Vectors may stay whole. `parameters`: (path, spec, shape)."""
    for path, spec, shape in parameters:
        if sum(dim.axis != "layers" for dim in spec.dims) < 2 or not spec.decayed:
            continue
        cut = cut_of(names_of(spec), shape, mesh)
        for over in AXES[1:]:
            if mesh.along(over) > 1 and over not in cut:
                sizes = ", ".join(f"{dim.axis} {size}" for dim, size in zip(spec.dims, shape, strict=True))
                raise UserError(
                    f"a mesh of {mesh} does not divide {path} ({sizes})",
                    f"choose another {over}, of which one of these sizes is a multiple",
                )


def require_shards(mesh: MeshShape, shards: int) -> None:
    """Raises `UserError` where the devices of a mesh cannot have equally many virtual shards of a batch."""
    if shards % mesh.size:
        raise UserError(
            f"{shards} virtual shards of a batch do not divide over the {mesh.size} devices of a mesh of {mesh}",
            f"choose --shards among the multiples of {mesh.size}",
        )


def meshes(devices: int) -> Iterator[MeshShape]:
    """Every mesh of so many devices, `data` the largest first."""
    sizes = [n for n in range(devices, 0, -1) if devices % n == 0]
    for data, fsdp in itertools.product(sizes, sizes):
        if devices % (data * fsdp) == 0:
            yield MeshShape(data, fsdp, devices // (data * fsdp))


def dividing(devices: int, parameters: Sequence[tuple[str, ParamSpec, Sequence[int]]]) -> list[MeshShape]:
    """The meshes of so many devices that the rules allow for these parameters."""
    found = []
    for mesh in meshes(devices):
        try:
            require_divides(mesh, parameters)
        except UserError:
            continue
        found.append(mesh)
    return found
