"""Axes have names and roles: what widening, the optimizer's law and sharding know of a parameter.

Every parameter is created with one `Dim` for each of its axes. `axis` is the logical name, which fixes the size and
the index map under growth; `role` says what the parameter does along it; a gauge names the scale by which values on
that axis are carried in a widened model (see `growjax.grow.law`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
from flax import struct
from flax.core import meta

Role = Literal["reads", "writes", "scales", "keeps"]
Init = Literal["normal", "ones", "zeros"]


class Dim(NamedTuple):
    """One axis of a parameter."""

    axis: str
    role: Role
    gauge: str
    """Of the values read or written; for `scales`, of the values that come out."""
    gauge_in: str = ""
    """For `scales`: of the values that come in."""


def reads(axis: str, gauge: str = "") -> Dim:
    """Contracted with the values on that axis."""
    return Dim(axis, "reads", gauge or axis)


def writes(axis: str, gauge: str = "") -> Dim:
    """Produces the values on that axis."""
    return Dim(axis, "writes", gauge or axis)


def scales(axis: str, gauge: str = "", gauge_in: str = "") -> Dim:
    """Multiplies each value on that axis, one by one."""
    return Dim(axis, "scales", gauge or axis, gauge_in or axis)


def keeps(axis: str) -> Dim:
    """Only indexes: token, position or layer number."""
    return Dim(axis, "keeps", "")


class ParamSpec(NamedTuple):
    """What a parameter is, apart from its values."""

    dims: tuple[Dim, ...]
    init: Init
    residual: bool
    """Whether it writes a block's output into the residual stream (drawn smaller at the start)."""

    @property
    def decayed(self) -> bool:
        """Weight decay is for what reads an axis or is looked up; gains and biases are left alone."""
        return any(d.role == "reads" or (d.role == "keeps" and d.axis != "layers") for d in self.dims)

    @property
    def is_matrix(self) -> bool:
        """Whether it maps one kind of values to another: what Muon orthogonalises."""
        return {"reads", "writes"} <= {d.role for d in self.dims}

    def positions(self, role: Role) -> tuple[int, ...]:
        """Which of its axes have that role."""
        return tuple(i for i, d in enumerate(self.dims) if d.role == role)


SpecTree: TypeAlias = "ParamSpec | Mapping[str, SpecTree]"
"""A tree of `ParamSpec`, of the parameters' own structure."""


class Named(struct.PyTreeNode, meta.AxisMetadata[jax.Array]):
    """The box in which the module hands over a parameter with its `ParamSpec`."""

    value: jax.Array
    spec: ParamSpec = struct.field(pytree_node=False)

    def unbox(self) -> jax.Array:
        return self.value

    def replace_boxed(self, val: Any) -> Named:
        return self.replace(value=val)

    def add_axis(self, index: int, params: dict[str, object]) -> Named:
        dims = self.spec.dims
        return self.replace(spec=self.spec._replace(dims=(*dims[:index], keeps("layers"), *dims[index:])))

    def remove_axis(self, index: int, params: dict[str, object]) -> Named:
        dims = self.spec.dims
        return self.replace(spec=self.spec._replace(dims=(*dims[:index], *dims[index + 1 :])))


def is_named(leaf: object) -> bool:
    """Whether a node is a boxed parameter."""
    return isinstance(leaf, Named)


def is_spec(leaf: object) -> bool:
    """Whether a node is a `ParamSpec`, for maps over trees of them."""
    return isinstance(leaf, ParamSpec)


def map_specs(fn: Callable[..., object], specs: SpecTree, *trees: object) -> Any:
    """`jax.tree.map` over a tree of `ParamSpec` and trees of the same structure."""
    return jax.tree.map(fn, specs, *trees, is_leaf=is_spec)
