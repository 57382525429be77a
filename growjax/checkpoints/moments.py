"""Adam's moments as a checkpoint lays out its tensors: both ways between them and a state.

A moment of a tensor lies as the tensor does: whatever is done to a weight's axes on the way in and out is done to its
moments. Where a weight is multiplied by f on the way out, its gradient is divided by f, and so are its moments.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict

from growjax.checkpoints.family import Family
from growjax.checkpoints.layout import Place, in_order, leaves, put_together, taken_apart
from growjax.config import ModelConfig
from growjax.digests import named_leaves
from growjax.errors import UserError
from growjax.model.decoder import Params
from growjax.schema import Fields
from growjax.train.state import TrainState

_LEAVE = "leave the moments behind with --moments none"


class Moments(NamedTuple):
    """What AdamW keeps of every parameter of a checkpoint, by the tensor's name."""

    exp_avg: dict[str, np.ndarray]
    exp_avg_sq: dict[str, np.ndarray]
    step: dict[str, int]
    """Updates behind the moments, by which Adam corrects their bias."""


def tensors_of(family: Family, model: ModelConfig) -> dict[str, Place]:
    """The parameters that torch trains, in its order: a tied head is none of them."""
    return {place.name: place for place in in_order(family.tensors, family.order, model)}


def decayed(family: Family, model: ModelConfig) -> set[str]:
    """Names of the tensors that `Trainer` decays, and growjax too: all but gains and biases."""
    known = leaves(model)
    found = tensors_of(family, model)
    return {name for name, place in found.items() if known[place.row.parameters[0]].spec.decayed}


def with_moments(state: TrainState, moments: Moments, family: Family) -> TrainState:
    """The state with these moments, in its own dtype; step and schedule as they were. Raises `UserError` with the name
    of the first tensor whose moments do not fit."""
    model = state.config.model
    known = leaves(model)
    trees = [{path: np.empty(leaf.shape, model.param_dtype) for path, leaf in known.items()} for _ in range(2)]
    steps: dict[str, set[int]] = {path: set() for path in known}
    for name, place in tensors_of(family, model).items():
        parts = [known[path] for path in place.row.parameters]
        for tree, values in zip(trees, (moments.exp_avg, moments.exp_avg_sq), strict=True):
            value = _checked(name, values, place, positive=values is moments.exp_avg_sq)
            for path, piece in zip(place.row.parameters, taken_apart(value, parts, place.row.layout), strict=True):
                tree[path][... if place.layer is None else place.layer] = piece
        for path in place.row.parameters:
            steps[path].add(moments.step[name])
    uneven = next((path for path, found in steps.items() if len(found) > 1), None)
    if uneven:
        raise UserError(f"layers of {uneven} have moments of {sorted(steps[uneven])} steps", _LEAVE)
    mu, nu = (unflatten_dict({path: jnp.asarray(value) for path, value in tree.items()}, sep="/") for tree in trees)
    count = unflatten_dict({path: jnp.asarray(found.pop(), jnp.int32) for path, found in steps.items()}, sep="/")
    return state.replace(opt_state=state.opt_state._replace(mu=mu, nu=nu, count=count))


def _checked(name: str, values: Fields, place: Place, *, positive: bool) -> np.ndarray:
    if name not in values:
        raise UserError(f"there are no moments of {name}", _LEAVE)
    value = values[name]
    if tuple(value.shape) != place.shape:
        raise UserError(f"the moments of {name} have shape {list(value.shape)}, not {list(place.shape)}", _LEAVE)
    value = np.asarray(value).astype(np.float32)
    if not np.isfinite(value).all() or (positive and (value < 0).any()):
        described = "squares of gradients" if positive else "numbers"
        raise UserError(f"the moments of {name} hold values that are no {described}", _LEAVE)
    return value


def hindrance(state: TrainState) -> str:
    """Why no checkpoint has a place for a state's moments; empty where it has."""
    if state.config.optim.name != "adamw":
        return f"a checkpoint's moments are AdamW's, and {state.config.optim.name} trains this state"
    counted = next((path for path, value in named_leaves(state.opt_state.count) if value.ndim), None)
    if counted:
        return f"{counted} has a count for each of its entries, and a checkpoint's moments have one for each tensor"
    return ""


def moments_of(state: TrainState, family: Family, written: Params) -> Moments:
    """The moments of a state that AdamW trains, by a checkpoint's names, float32. `written` is a tree of scalars: by
    what each parameter is multiplied as it is written (`growjax.checkpoints.folds`). Raises `UserError` where no
    checkpoint has a place for them."""
    if hindrance(state):
        raise UserError(hindrance(state), _LEAVE)
    model, opt, count = state.config.model, state.opt_state, dict(named_leaves(state.opt_state.count))
    found = tensors_of(family, model)
    step: dict[str, int] = {}
    for name, place in found.items():
        counts = {int(count[path]) for path in place.row.parameters}
        if len(counts) > 1:
            raise UserError(f"{name} has moments of {sorted(counts)} steps", _LEAVE)
        step[name] = counts.pop()
    return Moments(
        lay_out(found, model, jax.tree.map(lambda m, f: m / f, opt.mu, written)),
        lay_out(found, model, jax.tree.map(lambda v, f: v / f**2, opt.nu, written)),
        step,
    )


def lay_out(found: Mapping[str, Place], model: ModelConfig, tree: Params) -> dict[str, np.ndarray]:
    """Tensors of a checkpoint, by name, from a tree of the parameters' structure and shapes."""
    known = leaves(model)
    values = {path: np.asarray(jax.device_get(leaf)) for path, leaf in named_leaves(tree)}

    def one(place: Place) -> np.ndarray:
        held = [values[path] for path in place.row.parameters]
        layer = held if place.layer is None else [value[place.layer] for value in held]
        return put_together(layer, [known[path] for path in place.row.parameters], place.row.layout)

    return {name: one(place) for name, place in found.items()}


def no_folds(model: ModelConfig) -> Params:
    """`written` where nothing is multiplied."""
    return unflatten_dict({path: jnp.ones((), model.param_dtype) for path in leaves(model)}, sep="/")


def seen(state: TrainState) -> bool:
    """Whether the optimizer has seen anything."""
    counts: Iterable[jax.Array] = jax.tree.leaves(state.opt_state.count)
    return any(bool(np.any(np.asarray(c))) for c in counts)
