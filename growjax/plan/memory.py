"""Bytes that one chip holds in training on a mesh (`growjax.mesh.training`), by kind and by phase.

Bytes of arrays are exact: they follow from shapes, dtypes and the rules by which arrays are cut. Activations are the
shapes that JAX keeps, temporaries an estimate (`growjax.plan.saved`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax

from growjax.mesh.rules import Cut, MeshShape, cut_like, cut_of, names_of, piece_shape
from growjax.model.axes import is_spec
from growjax.model.decoder import param_specs
from growjax.plan.saved import Saved
from growjax.train.directions import goes_by_entry
from growjax.train.state import TrainState

KINDS = (
    "parameters", "moments", "counts", "factors", "gathered parameters", "gradients", "batch", "activations",
    "temporaries",
)  # fmt: skip
"""What memory is for."""


class Leaf(NamedTuple):
    """One array of a state, and how it is cut."""

    kind: str
    whole: int
    """Bytes."""
    piece: int
    """Bytes of one chip's piece."""
    cut: Cut


class Phase(NamedTuple):
    """What a chip holds in one phase of a step."""

    name: str
    bytes: dict[str, int]
    """By kind."""

    @property
    def total(self) -> int:
        return sum(self.bytes.values())


class Batch(NamedTuple):
    """What a step is given."""

    size: int
    """Windows."""
    length: int
    """Tokens of a window."""
    shards: int
    """Virtual shards."""
    evaluated: int = 0
    """Windows of a held-out batch, which one device computes at once; 0: as many as a step's, as `train` has them."""

    @property
    def tokens(self) -> int:
        return self.size * self.length

    @property
    def windows(self) -> int:
        """Of one shard."""
        return self.size // self.shards

    @property
    def held_out(self) -> int:
        """Windows of a held-out batch."""
        return self.evaluated or self.size


def leaves(state: TrainState, mesh: MeshShape) -> Iterator[Leaf]:
    """The arrays of a state (arrays or their shapes), each parameter's and what goes with it."""
    specs = jax.tree.leaves(param_specs(state.config.model), is_leaf=is_spec)
    cuts = [cut_of(names_of(s), p.shape, mesh) for s, p in zip(specs, jax.tree.leaves(state.params), strict=True)]
    for kind, tree in trees_of(state):
        for cut, leaf in zip(cuts, tree, strict=True):
            own, size = cut_like(cut, leaf.shape), leaf.dtype.itemsize
            whole = size * math.prod(leaf.shape)
            yield Leaf(kind, whole, size * math.prod(piece_shape(own, leaf.shape, mesh)), own)
    for leaf in (state.step, state.opt_state.schedule_step):
        yield Leaf("counts", leaf.dtype.itemsize, leaf.dtype.itemsize, ())


def trees_of(state: TrainState) -> Iterator[tuple[str, list[Any]]]:
    """What goes with the parameters, by kind: a leaf for each of them, in their order."""
    opt, law = state.opt_state, state.law or ()
    trees = [("parameters", state.params), ("moments", opt.mu), ("moments", opt.nu), ("counts", opt.count)]
    for kind, tree in (*trees, *(("factors", tree) for tree in law if tree is not None)):
        yield kind, jax.tree.leaves(tree)


def held(rows: list[Leaf]) -> dict[str, int]:
    """Bytes of a chip's pieces of a state, by kind."""
    return {kind: sum(row.piece for row in rows if row.kind == kind) for kind in KINDS[:4]}


def by_entry(state: TrainState) -> bool:
    """Whether an optimizer updates pieces as it would the whole."""
    specs = jax.tree.leaves(param_specs(state.config.model), is_leaf=is_spec)
    return all(goes_by_entry(state.config.optim, spec) for spec in specs)


def phases(state: TrainState, mesh: MeshShape, batch: Batch, kept: Saved) -> list[Phase]:
    """What the chip that holds most has in each phase of a step, evaluations included.

    One chip without shards runs `growjax.train.loop`, where nothing is gathered. The tokens of the corpus lie beside
    this, 2 or 4 bytes for each.
    """
    rows = list(leaves(state, mesh))
    own = held(rows)
    params = [row for row in rows if row.kind == "parameters"]
    whole, largest = sum(row.whole for row in params), max(row.whole for row in params)
    tokens = 8 * batch.tokens
    found = {"batch": tokens, "activations": kept.activations, "temporaries": kept.temporaries}
    evaluated = {"temporaries": kept.evaluation}  # by the first chip, all windows, on parameters gathered whole
    if mesh.size == batch.shards == 1:
        return [
            Phase("gradients", own | {"gradients": whole} | found),
            Phase("evaluation", own | evaluated),
        ]
    each = batch.shards // mesh.size
    subtree = each & -each
    parts, sums = each // subtree, each // subtree - 1 + subtree.bit_length() - 1
    gathered = {"gathered parameters": whole}
    # a sum of two is a third beside them, and stacked rows are copies
    before = {"gradients": parts * whole, "batch": tokens}
    cut = {"gradients": sum(row.piece for row in params), "batch": tokens}
    made = [
        Phase("gathering", own | gathered | {"temporaries": _turned(params)}),
        Phase("gradients of a shard", own | gathered | {"gradients": (sums + 1) * whole} | found),
        Phase("adding two shards", own | gathered | {"gradients": (sums + 2) * whole * (sums > 0), "batch": tokens}),
        Phase("stacking", own | {"gradients": 2 * parts * whole * (parts > 1), "batch": tokens}),
        Phase("sum over the mesh", own | before | {"temporaries": _summed(params, mesh, parts) + cut["gradients"]}),
        Phase("norm", own | cut | {"temporaries": largest}),
        Phase("evaluation", own | gathered | evaluated),
    ]
    if by_entry(state):
        made.append(Phase("update", own | cut | {"temporaries": 2 * max(row.piece for row in params)}))
    else:
        every = sum(row.whole for row in rows)
        made.append(Phase("update", own | cut | {"temporaries": every + whole + largest}))
    return made


def peak(made: list[Phase]) -> Phase:
    """The phase in which most is held."""
    return max(made, key=lambda phase: phase.total)


def _turned(params: list[Leaf]) -> int:
    """What a gather works in: the largest leaf, whose pieces come one behind the other and are put in place."""
    return max((row.whole for row in params if row.piece < row.whole), default=0)


def _summed(params: list[Leaf], mesh: MeshShape, parts: int) -> int:
    """What a sum over the mesh works in, of the leaf that takes most: its rows laid out, all rows of a piece, and their
    sums."""
    rows = parts * mesh.size

    def one(row: Leaf) -> int:
        laid = parts * row.whole if row.piece < row.whole else 0
        return laid + rows * row.piece + (rows - 1) * row.piece * (mesh.data == 1)

    return max(map(one, params))
