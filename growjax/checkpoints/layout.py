"""How a checkpoint lays out a parameter of the decoder: a table's row, and both ways through it.

A row names a tensor of a checkpoint and the parameters that it holds. What becomes of each axis follows from the roles
of the parameter's own axes: those it reads are the tensor's inputs, all others its outputs, each kind as one axis.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np

from growjax.config import ModelConfig
from growjax.digests import named_leaves
from growjax.model.axes import ParamSpec, map_specs
from growjax.model.decoder import param_shapes, param_specs

Layout = Literal["linear", "by_head", "conv1d", "plain"]
"""`linear`: [outputs, inputs], as torch's Linear has it. `by_head`: the same, and parameters lie one after another
within each head. `conv1d`: [inputs, outputs]. `plain`: the decoder's own axes. Where nothing is read (biases, gains)
the first three are [outputs]."""


class Tensor(NamedTuple):
    """A row of a family's table."""

    name: str
    """In the checkpoint; `{}` stands for the layer's number."""
    parameters: tuple[str, ...]
    """What it holds, by the decoder's names; more than one lie one after another along the outputs."""
    layout: Layout = "linear"
    less_one: bool = False
    """Whether it is w, where the parameter is 1 + w."""

    def held(self, stored: np.ndarray) -> np.ndarray:
        """The values that the decoder holds, in float32."""
        return stored + np.float32(1) if self.less_one else stored

    def stored(self, held: np.ndarray) -> np.ndarray:
        """The inverse, before it is rounded to the dtype to store."""
        return held - np.float32(1) if self.less_one else held


class Leaf(NamedTuple):
    """A parameter of a decoder: what it is, and its shape (layers first, where it has them)."""

    spec: ParamSpec
    shape: tuple[int, ...]

    @property
    def stacked(self) -> bool:
        """Whether its first axis is that of the layers."""
        return self.spec.dims[0].axis == "layers"

    @property
    def heads(self) -> int:
        """How many heads it makes queries, keys or values for."""
        return next(n for d, n in zip(self.spec.dims, self.shape, strict=True) if d.axis in ("heads", "kv_heads"))

    @property
    def sides(self) -> tuple[int, int]:
        """(inputs, outputs) of one layer; inputs are 0 where nothing is read."""
        own = list(zip(self.spec.dims, self.shape, strict=True))[self.stacked :]
        read = [n for dim, n in own if dim.role == "reads"]
        return math.prod(read) if read else 0, math.prod(n for dim, n in own if dim.role != "reads")


class Place(NamedTuple):
    """One tensor of a checkpoint of a given configuration."""

    name: str
    row: Tensor
    layer: int | None
    shape: tuple[int, ...]


def leaves(config: ModelConfig) -> dict[str, Leaf]:
    """Every parameter of a decoder by its path, as in `blocks/wq`."""
    made = map_specs(lambda spec, shape: _Box(Leaf(spec, shape.shape)), param_specs(config), param_shapes(config))
    return {path: box.leaf for path, box in named_leaves(made)}


class _Box:
    """Hides a `Leaf` from jax, which would take the tuple apart."""

    def __init__(self, leaf: Leaf):
        self.leaf = leaf


def stored_shape(parts: list[Leaf], layout: Layout) -> tuple[int, ...]:
    """The shape of the tensor that holds one layer of these parameters."""
    if layout == "plain":
        return parts[0].shape[parts[0].stacked :]
    inputs, outputs = parts[0].sides[0], sum(part.sides[1] for part in parts)
    if not inputs:
        return (outputs,)
    return (inputs, outputs) if layout == "conv1d" else (outputs, inputs)


def places(table: tuple[Tensor, ...], config: ModelConfig) -> Iterator[Place]:
    """Every tensor of a checkpoint of that decoder, in the table's order; rows of parameters that it lacks are left
    out."""
    known = leaves(config)
    for row in table:
        if not all(name in known for name in row.parameters):
            continue
        parts = [known[name] for name in row.parameters]
        shape = stored_shape(parts, row.layout)
        if parts[0].stacked:
            yield from (Place(row.name.format(n), row, n, shape) for n in range(config.n_layers))
        else:
            yield Place(row.name, row, None, shape)


def in_order(table: tuple[Tensor, ...], order: tuple[str, ...], config: ModelConfig) -> list[Place]:
    """`places` as the stock class lists its parameters: rows by the first of `order` that is in their names, and those
    of a block layer by layer."""
    ranked = sorted(table, key=lambda row: next(n for n, part in enumerate(order) if part in row.name))
    runs = itertools.groupby(places(tuple(ranked), config), key=lambda place: place.layer is not None)
    return [place for _, run in runs for place in sorted(run, key=lambda place: place.layer or 0)]


def taken_apart(tensor: np.ndarray, parts: list[Leaf], layout: Layout) -> list[np.ndarray]:
    """One layer of each parameter, from the tensor that holds them."""
    if layout == "plain":
        return [tensor]
    flat = tensor if layout == "conv1d" else tensor.T
    if layout == "by_head":
        heads = parts[0].heads
        pieces = np.split(flat.reshape(*flat.shape[:-1], heads, -1), len(parts), axis=-1)
        return [piece.reshape(part.shape[part.stacked :]) for piece, part in zip(pieces, parts, strict=True)]
    ends = np.cumsum([part.sides[1] for part in parts])[:-1]
    return [
        piece.reshape(part.shape[part.stacked :])
        for piece, part in zip(np.split(flat, ends, axis=-1), parts, strict=True)
    ]


def put_together(values: list[np.ndarray], parts: list[Leaf], layout: Layout) -> np.ndarray:
    """The inverse of `taken_apart`."""
    if layout == "plain":
        return values[0]
    flat = [v.reshape([n for n in part.sides if n]) for v, part in zip(values, parts, strict=True)]
    if layout == "by_head":
        by_head = [v.reshape(*v.shape[:-1], parts[0].heads, -1) for v in flat]
        whole = np.concatenate(by_head, axis=-1).reshape(*flat[0].shape[:-1], -1)
    else:
        whole = flat[0] if len(flat) == 1 else np.concatenate(flat, axis=-1)
    return whole if layout == "conv1d" else np.ascontiguousarray(whole.T)
