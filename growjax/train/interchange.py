"""Optax's states in and out: moments and counts of a chain of transformations, and of a training state.

What is found in a chain, however deep, is the state of `optax.scale_by_adam` (AdamW's and Adam's), `scale_by_lion`,
`trace` (SGD with momentum), or growjax's own (`growjax.train.state.optimizer`), and of `scale_by_schedule`.
"""

from __future__ import annotations

from typing import Any, TypeVar

import jax
import numpy as np
import optax

from growjax.errors import UserError, require
from growjax.train.optim import OptState
from growjax.train.state import TrainState

S = TypeVar("S")

_OF = {"adamw": optax.ScaleByAdamState, "lion": optax.ScaleByLionState, "sgd": optax.TraceState}
"""By optimizer: what Optax keeps its moments in. Muon has none: Optax cuts its parameters in two."""

_HELD = (*_OF.values(), OptState)
_SCHEDULE = optax.ScaleByScheduleState


def from_optax(opt_state: Any) -> dict[str, Any]:
    """What `make_state` takes of a state of Optax's: `mu`, and `nu`, `count` and `schedule_step` where they are there.

        state = make_state(config, params, **from_optax(opt_state))

    `opt_state` is what a transformation's `update` gave, of `optax.adamw`, `optax.chain` and the like. The moments of
    `optax.trace` are its sum of gradients; it has no count. Whether b1, b2, epsilon, decay and clipping are those of
    `config.optim` no state says. Raises `UserError` where there are no moments, or those of several optimizers, or
    schedules that stand at different steps.
    """
    own = _moments(opt_state)
    if isinstance(own, OptState):
        return own._asdict()
    schedules = {int(np.asarray(node.count)) for node in _nodes(opt_state) if isinstance(node, _SCHEDULE)}
    require(
        len(schedules) < 2,
        f"the schedules of the Optax state stand at steps {', '.join(map(str, sorted(schedules)))}",
        "give make_state mu, nu, count and schedule_step one by one",
    )
    given = {"mu": own.trace} if isinstance(own, optax.TraceState) else own._asdict()
    return given | ({"schedule_step": schedules.pop()} if schedules else {})


def to_optax(state: TrainState, opt_state: S) -> S:
    """`opt_state` with the moments and counts of a training state; what else stands in it stays as it is.

        opt_state = to_optax(wide, tx.init(wide.params))

    `opt_state` is one of `state.config.optim`'s optimizer, whatever the shapes of its moments: the one that the source
    was trained with, or a new one (which it must be where it holds more arrays of the parameters' shapes). Raises
    `UserError` where it has no such moments; where Optax's one count cannot hold counts that differ, as operators leave
    that start new entries anew; and where the state has factors (`lockstep`), which Optax's own transformations do not
    follow. growjax's own, `optimizer(state.config)`, takes all of that.
    """
    own, name = _moments(opt_state), state.config.optim.name
    new: Any = state.opt_state
    if not isinstance(own, OptState):
        own_way = "train with growjax.optimizer(state.config), whose update takes law=state.law"
        kind = _OF.get(name)
        require(kind is not None and isinstance(own, kind), f"{type(own).__name__} holds no moments of {name}", own_way)
        require(state.law is None, "the state has factors, which a chain of Optax's own does not follow", own_way)
        if isinstance(own, optax.TraceState):
            new = optax.TraceState(trace=new.mu)
        else:
            held = {"count": _one_count(new, own_way), "mu": new.mu, "nu": new.nu}
            new = type(own)(**{field: held[field] for field in own._fields})

    def one(node: Any) -> Any:
        if isinstance(node, _HELD):
            return new
        return node._replace(count=state.opt_state.schedule_step) if isinstance(node, _SCHEDULE) else node

    return jax.tree.map(one, opt_state, is_leaf=_known)


def _known(node: object) -> bool:
    return isinstance(node, (*_HELD, _SCHEDULE))


def _nodes(opt_state: Any) -> list[Any]:
    return jax.tree.leaves(opt_state, is_leaf=_known)


def _moments(opt_state: Any) -> Any:
    """The one state in it that holds moments."""
    found = [node for node in _nodes(opt_state) if isinstance(node, _HELD)]
    names = ", ".join(type(node).__name__ for node in found) or "none"
    require(
        len(found) == 1,
        f"an Optax state must hold the moments of one Adam, Lion or SGD with momentum, and this has {names}",
        "give the state of optax.adamw, optax.lion, optax.sgd(momentum=...) or a chain with one of them",
    )
    return found[0]


def _one_count(opt: OptState, own_way: str) -> jax.Array:
    counts = jax.tree.leaves(opt.count)
    numbers = np.unique(np.concatenate([np.ravel(count) for count in counts]))
    if len(numbers) > 1:
        raise UserError(
            f"entries of the state count from {numbers[0]} to {numbers[-1]} steps, and Optax has one count for all",
            own_way,
        )
    return counts[0] if counts[0].ndim == 0 else counts[0].ravel()[0]
