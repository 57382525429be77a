"""A state against its own configuration, leaf by leaf, where it enters: what comes from outside may be anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from growjax.config import TrainConfig
from growjax.digests import named_leaves
from growjax.domains import COUNT
from growjax.errors import UserError, require
from growjax.model.axes import map_specs
from growjax.model.decoder import Params, param_shapes, param_specs
from growjax.train.directions import keeps_nu
from growjax.train.optim import LawFactors, OptState
from growjax.train.state import TrainState, fresh_state
from growjax.values import taken

Shape = tuple[int, ...]
Fits = Callable[[Shape, Shape], bool]
"""(a leaf's shape, its parameter's): whether it will do."""


def check_state(state: TrainState) -> None:
    """Raises `UserError` where a leaf is missing, is one too many, or has another shape or dtype than `state.config`
    gives it. Looks at no value; works on traced states too.

    Parameters and moments have the shapes and the dtype of the model's parameters (no second moments where the
    optimizer keeps none), counts are int32 for a leaf or for each of its entries, and factors broadcast.
    """
    model, optim, opt = state.config.model, state.config.optim, state.opt_state
    specs, shapes = param_specs(model), param_shapes(model)
    none = jax.ShapeDtypeStruct((), np.dtype(model.param_dtype))
    second = map_specs(lambda s, x: x if keeps_nu(optim, s) else none, specs, shapes)
    own, whole = np.dtype(model.param_dtype), np.dtype("int32")
    _check("params", state.params, shapes, own, _equal)
    _check("opt_state/mu", opt.mu, shapes, own, _equal)
    _check("opt_state/nu", opt.nu, second, own, _equal)
    _check("opt_state/count", opt.count, shapes, whole, lambda found, p: found in ((), p))
    for name, leaf in {"opt_state/schedule_step": opt.schedule_step, "step": state.step}.items():
        _check(name, leaf, none, whole, _equal)
    for name, tree in state.law._asdict().items() if state.law is not None else ():
        if tree is not None or name not in LawFactors._field_defaults:
            _check(f"law/{name}", tree, shapes, whole if name == "warm" else own, _broadcasts)
    if state.law is not None and state.law.ratio is not None and state.law.warm is None:
        raise UserError("law/ratio is given without law/warm", "say too over how many steps each rate rises")


def make_state(
    config: TrainConfig,
    params: Params,
    *,
    mu: Params | None = None,
    nu: Params | None = None,
    count: Any = None,
    step: int | None = None,
    schedule_step: int | None = None,
    law: LawFactors | None = None,
) -> TrainState:
    """A state from parameters of one's own, and from what a training left beside them.

    `params` are nested dicts of arrays (NumPy's too), with the names, shapes and dtypes of `growjax/README.md`. `mu`
    and `nu`, the moments, are trees like them (a scalar 0 in place of each `nu` that the optimizer does not keep; no
    `nu` at all under Lion and SGD); zeros if not given. `count` is how many gradients the moments have seen: a number,
    or a tree of int32, a scalar or an array for each leaf; if not given, `step`, or 0 without moments. `step` is how
    many steps are behind the parameters: if not given, `count`, or `schedule_step`, or 0. `schedule_step` is how far
    the learning-rate schedule has gone: if not given, `step`. `law` are factors of an earlier growth.

    Raises `UserError`, with the first leaf, where one is missing, is one too many, has another shape or dtype than
    `config` gives it, or holds a value that is no finite number, or, of `nu` and `count`, a negative one; and where
    only one of two moments is given:

        state = make_state(TrainConfig(model=model), params)
        state = make_state(config, params, **from_optax(opt_state))  # growjax.train.interchange
    """
    dtype = np.dtype(config.model.param_dtype)
    _check("params", params, param_shapes(config.model), dtype, _equal)
    fresh = fresh_state(config, jax.tree.map(jnp.asarray, params))
    both = config.optim.name in ("adamw", "muon")
    if both and (mu is None) != (nu is None):
        given, other = ("nu", "mu") if mu is None else ("mu", "nu")
        raise UserError(f"{given} is given without {other}", f"{config.optim.name} goes by both: give {other} too")
    by_leaf = isinstance(count, Mapping)
    whole = None if count is None or by_leaf else taken(COUNT, count, "count")
    if step is None:
        step = next((n for n in (whole, schedule_step) if n is not None), 0)
    numbers = {"step": step, "schedule_step": step if schedule_step is None else schedule_step}
    steps = {name: jnp.asarray(taken(COUNT, number, name), jnp.int32) for name, number in numbers.items()}
    if not by_leaf:
        one = (steps["step"] if mu is not None else 0) if whole is None else whole
        count = jax.tree.map(lambda _: jnp.asarray(one, jnp.int32), fresh.params)
    opt = OptState(
        mu=fresh.opt_state.mu if mu is None else mu,
        nu=fresh.opt_state.nu if nu is None else nu,
        count=count,
        schedule_step=steps["schedule_step"],
    )
    state = fresh.replace(opt_state=opt, step=steps["step"], law=law)
    check_state(state)  # as it was given: an array of NumPy's may be float64 where jax would make it float32
    state = jax.tree.map(jnp.asarray, state)
    check_finite(state)
    for name in ("nu", "count"):
        for path, leaf in _leaves(f"opt_state/{name}", getattr(state.opt_state, name)).items():
            require(bool((leaf >= 0).all()), f"{path} holds negative values", "give what a training left")
    return state


def check_finite(state: TrainState) -> None:
    """Raises `UserError` for the first leaf with a value that is no finite number, as a diverged training leaves."""
    for part, tree in {"params": state.params, "opt_state": state.opt_state._asdict()}.items():
        for path, leaf in _leaves(part, tree).items():
            cut = len(leaf.devices()) > 1  # every device looks at its own piece
            if not (bool(jnp.isfinite(leaf).all()) if cut else np.isfinite(np.asarray(leaf)).all()):
                raise UserError(f"{path} holds values that are no finite numbers", "widen a state that did not diverge")


def _equal(found: Shape, parameter: Shape) -> bool:
    return found == parameter


def _broadcasts(found: Shape, parameter: Shape) -> bool:
    return len(found) == len(parameter) and all(n in (1, m) for n, m in zip(found, parameter, strict=True))


def _leaves(name: str, tree: object) -> dict[str, jax.Array]:
    return {f"{name}/{path}" if path else name: leaf for path, leaf in named_leaves(tree)}


def _check(name: str, tree: object, like: object, dtype: np.dtype, fits: Fits) -> None:
    leaves, wanted = _leaves(name, tree), _leaves(name, like)
    for path in [*wanted, *leaves]:
        if path not in leaves or path not in wanted:
            fault = "is missing from the state" if path in wanted else "is no leaf of its configuration"
            raise UserError(f"{path} {fault}", "give the state the leaves of its configuration")
        leaf, expected = leaves[path], wanted[path].shape
        if isinstance(leaf, jax.Array) and not isinstance(leaf, Tracer) and leaf.is_deleted():
            raise UserError(
                f"{path} was given away to a step that used it up", "keep a copy of a state that is donated"
            )
        found = np.shape(leaf)
        if not fits(found, expected) or getattr(leaf, "dtype", None) != dtype:
            described = f"{getattr(leaf, 'dtype', type(leaf).__name__)} {list(found)}"
            raise UserError(
                f"{path} is {described}, where its configuration has {dtype} {list(expected)}",
                "give arrays of that shape and dtype, or another configuration",
            )
