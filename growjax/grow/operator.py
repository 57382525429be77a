"""What an operator is, and what it may promise.

An operator is a pure function `(state, plan, *, streams, **options) -> TrainState`, from a source state to a full
training state of the target's shape. `streams` hang from the candidate's own root key; only `perturb`, `structure` and
`init` may be drawn from, at step 0. One that names `data` among its arguments is given windows to train on.

A part is a function `(state, source, plan, *, streams, **options) -> TrainState` that changes a candidate: operators
and parts are composed by `growjax.grow.registry.parse_operator`.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from growjax.config import OptimConfig
from growjax.errors import UserError
from growjax.grow.factors import law_factors
from growjax.grow.noise import CANCEL
from growjax.grow.plan import WidthPlan
from growjax.model.components import components
from growjax.train.state import TrainState

Check = Callable[[WidthPlan, OptimConfig, dict[str, Any]], None]
"""Raises `UserError` where an operator cannot follow a plan or its options, before anything is computed."""

Promise = Callable[[WidthPlan, dict[str, Any]], bool]
"""Whether the source's function is kept under a plan and options: logits over the source's vocabulary to rounding."""


Draws = Mapping[str, Callable[[WidthPlan, dict[str, Any]], list[tuple[list[str | int], dict[str, Any]]]]]
"""By stream, what an operator draws from it at step 0 under a plan and options: paths below the step's key, each with
a draw of `growjax.audit.draws` (as in `(["embedding", 0], normals(shape, dtype))` for a key `at_site(key,
"embedding")`)."""


class GrowthData(NamedTuple):
    """What an operator that trains is given."""

    windows: jax.Array
    """uint16 [N, T + 1]: training windows, on the device."""
    batch_size: int


def always(plan: WidthPlan, options: dict[str, Any]) -> bool:
    """The function is kept under every plan."""
    return True


def never(plan: WidthPlan, options: dict[str, Any]) -> bool:
    """The function is not kept."""
    return False


def where_clones_are_exact(plan: WidthPlan, options: dict[str, Any]) -> bool:
    """Kept, but for uneven copies of what the plan says must be copied evenly."""
    return plan.exact


def where_zeros_are_exact(plan: WidthPlan, options: dict[str, Any]) -> bool:
    """Kept, but for zeros in the residual stream under LayerNorm, which shift its mean."""
    return not (components(plan.source).norm.subtracts_mean and plan.maps["embed"].grown)


def unless_noise_shows(plan: WidthPlan, options: dict[str, Any]) -> bool:
    """Kept where clones are exact and the noise cancels."""
    return options["cancel"] != "none" and where_clones_are_exact(plan, options)


def check_nothing(plan: WidthPlan, optim: OptimConfig, options: dict[str, Any]) -> None:
    """Every plan and every option will do."""


def check_noise(plan: WidthPlan, optim: OptimConfig, options: dict[str, Any]) -> None:
    """A size that is one, and a way to cancel."""
    need(options["sigma"] >= 0, f"sigma is {options['sigma']}", "give a number of at least 0")
    cancel = options.get("cancel", "none")
    need(cancel in CANCEL, f"noise cannot cancel over {cancel!r}", f"choose one of {', '.join(CANCEL)}")


def check_law(plan: WidthPlan, optim: OptimConfig, options: dict[str, Any]) -> None:
    """The optimizer has a law under this plan."""
    law_factors(plan, optim)


def check_steps(option: str) -> Check:
    """That option counts steps."""

    def check(plan: WidthPlan, optim: OptimConfig, options: dict[str, Any]) -> None:
        need(options[option] >= 1, f"{option} is {options[option]}", "give at least 1 step")

    return check


def check_whole_multiples(plan: WidthPlan, optim: OptimConfig, options: dict[str, Any]) -> None:
    """Every axis grows by a whole multiple."""
    for axis_map in plan.maps.values():
        need(
            not axis_map.uneven or axis_map.axis == "vocab",
            f"it is defined for whole multiples, and {axis_map.axis} grows from {axis_map.old} to {axis_map.new}",
            f"grow it to {axis_map.old * -(-axis_map.new // axis_map.old)}, or choose exact_copy",
        )


_HIDDEN = ("streams", "data")
_BOOL = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class Operator(NamedTuple):
    """An operator or a part, and what `growjax operators` tells of it."""

    name: str
    fn: Callable[..., TrainState]
    family: str
    paper: str
    keeps: Promise
    check: Check = check_nothing
    draws: Draws | None = None
    """None for growjax's own, whose draws `growjax.audit.growth` declares, and for those that draw nothing."""

    @property
    def summary(self) -> str:
        """The docstring's first paragraph."""
        return (inspect.getdoc(self.fn) or "").split("\n\n")[0].replace("\n", " ")

    @property
    def options(self) -> dict[str, Any]:
        """Names and defaults of what can be set, as in `perturbed:sigma=0.05`."""
        found = inspect.signature(self.fn).parameters.items()
        return {name: p.default for name, p in found if p.kind is p.KEYWORD_ONLY and name not in _HIDDEN}

    @property
    def trains(self) -> bool:
        """Whether it must be given data."""
        return "data" in inspect.signature(self.fn).parameters

    @property
    def from_source(self) -> bool:
        """Whether what it makes owes anything to the source."""
        return self.family != "control"

    def read_options(self, text: str) -> dict[str, Any]:
        """`option=value,option=value` as values; raises `UserError` for what it does not take."""
        known, hints = self.options, typing.get_type_hints(self.fn)
        values: dict[str, Any] = {}
        for word in filter(None, text.split(",")):
            option, equals, value = word.partition("=")
            if option not in known or not equals:
                told = ", ".join(f"{k}={v}" for k, v in known.items()) or "none"
                raise UserError(f"operator {self.name} does not take {word!r}", f"its options are: {told}")
            kind = _plain(hints[option])
            try:
                values[option] = _BOOL[value.lower()] if kind is bool else kind(value)
            except (ValueError, KeyError):
                raise UserError(
                    f"operator {self.name}: {option}={value} is no {kind.__name__}",
                    f"write it like {option}={known[option]}",
                ) from None
        return values


def _plain(hint: Any) -> type:
    """The type to read a value as: of `float | None`, float."""
    if isinstance(hint, types.UnionType):
        hint = next(h for h in typing.get_args(hint) if h is not type(None))
    return hint


def need(holds: bool, fault: str, mend: str) -> None:
    """Raises `UserError` where something does not hold."""
    if not holds:
        raise UserError(fault, mend)
