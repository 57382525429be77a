"""What widening a state costs on a mesh, and what a selection among candidates costs.

Bytes of states are exact: of a source what is stored, of a target what its operator makes of that. Seconds are
estimates: bytes over the shares of a chip's figures (`growjax.plan.roofline`).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from growjax.config import TrainConfig
from growjax.errors import UserError
from growjax.grow.operator import GrowthData
from growjax.grow.plan import WidthPlan
from growjax.grow.registry import parse_operator
from growjax.grow.vocab import grow_vocab
from growjax.mesh.copying import handed_on, rounds
from growjax.mesh.cutting import require_model
from growjax.mesh.rules import MeshAxis, MeshShape, cut_like, cut_of, names_of, piece_shape
from growjax.model.axes import is_spec
from growjax.model.decoder import param_shapes, param_specs
from growjax.plan.chips import Chip
from growjax.plan.memory import leaves, trees_of
from growjax.plan.roofline import axis_link, shares_of
from growjax.select.race import ladder, require_budget
from growjax.streams import Streams, root_key
from growjax.train.state import TrainState, fresh_state


class Widening(NamedTuple):
    """What it takes to make a wide start."""

    mesh: MeshShape
    """Where: on the mesh of the training where `widen` works piece by piece there, else on one chip."""
    read: int
    """Bytes of the source's state."""
    written: int
    """Bytes of the target's state."""
    moved: int
    """Bytes that each chip receives from others: every old piece goes round (`growjax.mesh.copying`)."""
    seconds: float
    peak: int
    """Bytes that a chip holds: its pieces of both states, and of the largest array the piece that goes by."""


class Selection(NamedTuple):
    """What a race among candidates takes at most."""

    candidates: int
    rungs: tuple[int, ...]
    steps: int
    """Training steps of the target, all candidates together."""
    side_by_side: int
    """Candidates that train at a time."""
    seconds: float
    chip_hours: float
    disk: int
    """Bytes: the source, a wide start of each candidate, and the state in which each ended the first rung, all of them
    taken to be as large as the planned target."""


def shapes_of(config: TrainConfig) -> TrainState:
    """The shapes of a state at step 0, of any size: no array is made."""
    return jax.eval_shape(
        lambda: fresh_state(config, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), param_shapes(config.model)))
    )


def target_shapes(source: TrainState, plan: WidthPlan, *, operator: str) -> TrainState:
    """The shapes of what `widen` makes of a source (arrays or their shapes), counts and factors included. The operator
    is traced and computes nothing; one that trains is given the shapes of windows. Raises `UserError` where `widen`
    would before anything is computed, and for an operator that must see values."""
    made, streams = parse_operator(operator), Streams(root_key(1, "study"))
    own = made.follow(plan, source.config.optim, streams=streams)

    def widened(state: TrainState, windows: jax.Array) -> TrainState:
        return made.apply(*grow_vocab(state, own), streams=streams, data=GrowthData(windows, 1))

    try:
        return jax.eval_shape(widened, source, jax.ShapeDtypeStruct((2, 3), jnp.uint16))
    except jax.errors.JAXTypeError:
        raise UserError(
            f"operator {made.operator.name} looks at values, and a plan has none",
            "plan with exact_copy, whose state has no further counts or factors",
        ) from None


def place_of(source: TrainState, plan: WidthPlan, mesh: MeshShape, *, operator: str) -> MeshShape:
    """Where a state is widened that is to be trained on a mesh."""
    try:
        require_model(mesh, source.config.model)
    except UserError:
        return MeshShape()
    return mesh if parse_operator(operator).by_pieces(plan) else MeshShape()


def sent_round(source: TrainState, plan: WidthPlan, mesh: MeshShape) -> dict[MeshAxis, int]:
    """Bytes that each chip receives along the axes of a mesh while a source is copied piece by piece."""
    found: dict[MeshAxis, int] = {}
    specs = jax.tree.leaves(param_specs(plan.source), is_leaf=is_spec)
    for _, tree in trees_of(source):
        for spec, param, leaf in zip(specs, jax.tree.leaves(source.params), tree, strict=True):
            if not leaf.shape:
                continue
            names = names_of(spec)
            grows = [size > 1 and plan.maps[name].grown for size, name in zip(leaf.shape, names, strict=True)]
            wide = [plan.maps[n].new if g else size for n, g, size in zip(names, grows, leaf.shape, strict=True)]
            old = cut_like(cut_of(names, param.shape, mesh), leaf.shape)
            new = cut_like(cut_of(names, [plan.maps[name].new for name in names], mesh), wide)
            piece = leaf.dtype.itemsize * math.prod(piece_shape(old, leaf.shape, mesh))
            for over, times in handed_on(rounds(old, new, grows), mesh).items():
                found[over] = found.get(over, 0) + piece * times
    return found


def widening(source: TrainState, target: TrainState, plan: WidthPlan, mesh: MeshShape, chip: Chip) -> Widening:
    """Of a state on a mesh (`place_of`)."""
    old, new, shares = list(leaves(source, mesh)), list(leaves(target, mesh)), shares_of(chip)
    sent = sent_round(source, plan, mesh)
    moved, held, made = sum(sent.values()), sum(row.piece for row in old), sum(row.piece for row in new)
    seconds = sum(size / (shares.link * axis_link(mesh, over, chip)) for over, size in sent.items())
    seconds += (held + made + moved) / (shares.memory * chip.bandwidth)
    read, written = sum(row.whole for row in old), sum(row.whole for row in new)
    return Widening(mesh, read, written, moved, seconds, held + made + max(row.piece for row in old))


def selecting(
    source: TrainState, target: TrainState, *, candidates: int, budget: int, horizon: int, first: int, every: int,
    chips: int, each: int, step: float, making: int = 0,
) -> Selection:  # fmt: skip
    """A race within a budget of training steps, each taking `step` seconds on `each` of the `chips`; `making` of them
    make the candidates. Raises `UserError` for a budget that does not take every candidate to the first rung."""
    rungs = ladder(horizon, every, first)
    require_budget(budget, candidates, rungs, making)
    beside = max(1, min(chips // each, candidates))
    seconds = math.ceil(budget / beside) * step
    one = MeshShape()
    states = [sum(row.whole for row in leaves(state, one)) for state in (source, target)]
    disk = states[0] + 2 * candidates * states[1]
    return Selection(candidates, rungs, budget, beside, seconds, budget * step * each / 3600, disk)
