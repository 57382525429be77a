"""LiGO: the linear growth map, learned on the corpus (Wang et al. 2023, arXiv 2303.00980)."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from growjax.config import TrainConfig
from growjax.data.batches import batch_at, window_ids
from growjax.draws import Sites, normals
from growjax.grow.building import clone, fresh
from growjax.grow.copying import without
from growjax.grow.law import leaf_law
from growjax.grow.operator import GrowthData, Operator
from growjax.grow.options import Amount, Rate, Steps
from growjax.grow.plan import Options, WidthPlan
from growjax.grow.promises import never
from growjax.model.axes import Dim, ParamSpec, map_specs
from growjax.model.decoder import Params, param_specs
from growjax.streams import Streams, at_site
from growjax.train.state import TrainState, loss_fn

Maps = dict[str, jax.Array]
"""By axis, role and gauge: a matrix [new, old]."""

ORDER = 7
"""Number of the fixed batch order that the map is learned in, that of a deterministic replicate of this number: fewer
replicates go on in other orders."""


def _name(dim: Dim) -> str:
    return f"{dim.axis} {dim.role} {dim.gauge}"


def clone_maps(plan: WidthPlan) -> Maps:
    """The maps of the exact copy."""
    maps, dims = {}, set()
    map_specs(lambda spec: dims.update(spec.dims), param_specs(plan.source))
    for dim in sorted(dims):
        axis_map = plan.maps[dim.axis]
        if dim.role != "keeps" and axis_map.grown:
            alone = without(plan, tuple(axis for axis in plan.maps if axis != dim.axis))
            s = leaf_law(ParamSpec((dim,), "normal", False), alone).s
            matrix = np.zeros((axis_map.new, axis_map.old))
            matrix[np.arange(axis_map.new), axis_map.index] = s
            maps[_name(dim)] = jnp.asarray(matrix, plan.target.param_dtype)
    return maps


def noisy_maps(maps: Maps, sigma: float, *, key: jax.Array) -> Maps:
    """With normal noise of `sigma` times each map's root mean square; every map is a site of its own."""

    def one(name: str, matrix: jax.Array) -> jax.Array:
        size = sigma * jnp.sqrt(jnp.mean(jnp.square(matrix)))
        return matrix + size * jax.random.normal(at_site(key, name), matrix.shape, matrix.dtype)

    return {name: one(name, matrix) for name, matrix in maps.items()}


def mapped_params(maps: Maps, params: Params, plan: WidthPlan) -> Params:
    """W' = B W A^T for every parameter: along each grown axis, the map of its axis and role."""

    def one(spec: ParamSpec, leaf: jax.Array) -> jax.Array:
        for position, dim in enumerate(spec.dims):
            if _name(dim) in maps:
                leaf = jnp.moveaxis(jnp.tensordot(maps[_name(dim)], leaf, axes=(1, position)), 0, position)
        return leaf

    return map_specs(one, param_specs(plan.source), params)


@partial(jax.jit, static_argnames=("config", "plan", "batch_size", "steps", "learning_rate"))
def _learn(
    maps: Maps,
    params: Params,
    windows: jax.Array,
    *,
    config: TrainConfig,
    plan: WidthPlan,
    batch_size: int,
    steps: int,
    learning_rate: float,
) -> Maps:
    tx = optax.adam(learning_rate)

    def loss(maps: Maps, batch: tuple[jax.Array, jax.Array]) -> jax.Array:
        return loss_fn(mapped_params(maps, params, plan), config, batch, dropout_key=None)

    def step(i: jax.Array, carry: tuple[Maps, optax.OptState]) -> tuple[Maps, optax.OptState]:
        maps, opt_state = carry
        ids = window_ids(i, batch_size, windows.shape[0], order=min(ORDER, windows.shape[0] - 1))
        updates, opt_state = tx.update(jax.grad(loss)(maps, batch_at(windows, ids)), opt_state)
        return optax.apply_updates(maps, updates), opt_state  # pyright: ignore[reportReturnType]

    return jax.lax.fori_loop(0, steps, step, (maps, tx.init(maps)))[0]


def learned_growth(
    state: TrainState, plan: WidthPlan, maps: Maps, data: GrowthData, *, steps: int, learning_rate: float
) -> Params:
    """The wide parameters under maps learned for `steps` steps of Adam.

    Only the maps are learned; the narrow weights stay as they are. Nothing is drawn: the batches are those of a fixed
    order of LiGO's own, and there is no dropout.
    """
    config = state.config.replace(model=plan.target)
    maps = _learn(
        maps,
        state.params,
        data.windows,
        config=config,
        plan=plan,
        batch_size=data.batch_size,
        steps=steps,
        learning_rate=learning_rate,
    )
    return mapped_params(maps, state.params, plan)


def ligo(
    state: TrainState,
    plan: WidthPlan,
    *,
    streams: Streams,
    data: GrowthData,
    steps: Steps = 100,
    learning_rate: Rate = 1e-3,
    sigma: Amount = 0.02,
) -> TrainState:
    """A linear map from narrow to wide weights, learned on the corpus for some steps; the function is not kept.

    Wang et al. 2023, section 3: for each axis a matrix for what writes it and one for what reads it, so for every
    parameter a Kronecker-factored pair, trained by Adam on the wide model's loss (without dropout, in a batch order of
    its own). The maps start as clones plus noise of `sigma` times their root mean square, without which clones would
    stay clones.

    Our maps are whole, [new, old], one for each axis, role and gauge, shared by all layers and matrices, and mix heads
    only whole. In the published code only new rows are learned (W becomes [W; B W]), they mix single features, and
    each layer has maps of its own: for each matrix, or tied, with one for the residual stream.
    """
    maps = noisy_maps(clone_maps(plan), sigma, key=streams.at("perturb", 0))
    params = learned_growth(state, plan, maps, data, steps=steps, learning_rate=learning_rate)
    return fresh(clone(state, plan), params)


def _maps_drawn(plan: WidthPlan, options: Options) -> Sites:
    return [([name, 0], normals(m.shape, m.dtype.name)) for name, m in clone_maps(plan).items()]


LIGO = Operator(
    "ligo", ligo, "published", "arXiv 2303.00980", never, draws={"perturb": _maps_drawn}, clones=False,
    training_steps=lambda options: options["steps"],
)  # fmt: skip
