"""The operators: each turns a source state and a plan into a candidate, a full training state of the target's shape.

An operator is a pure function `(state, plan, *, streams, **options) -> TrainState`, composed of the parts in
`growjax.grow.parts`. `streams` hang from the candidate's own root key; only `perturb`, `structure` and `init` may be
drawn from, at step 0.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from growjax.config import TrainConfig
from growjax.errors import UserError
from growjax.grow import parts
from growjax.grow.law import copy_factors, law_factors, times_factors
from growjax.grow.plan import WidthPlan
from growjax.grow.structured import structured_moments, structured_params
from growjax.streams import Streams
from growjax.train.state import TrainState, init_state


class Operator(NamedTuple):
    """An operator and what `growjax operators` tells of it."""

    name: str
    fn: Callable[..., TrainState]
    family: str
    paper: str

    @property
    def summary(self) -> str:
        return (inspect.getdoc(self.fn) or "").split("\n\n")[0].replace("\n", " ")

    @property
    def options(self) -> dict[str, Any]:
        """Names and defaults of what can be set, as in `perturbed:sigma=0.05`."""
        return {
            name: p.default
            for name, p in inspect.signature(self.fn).parameters.items()
            if p.kind is p.KEYWORD_ONLY and name != "streams"
        }


def _target_config(state: TrainState, plan: WidthPlan) -> TrainConfig:
    return state.config.replace(model=plan.target)


def _clone(state: TrainState, plan: WidthPlan) -> TrainState:
    """Weights, moments and counters by the law, with whatever factors the source's optimizer had."""
    carried = None if state.law is None else copy_factors(state.law, plan)
    return TrainState(
        params=parts.clone_params(state.params, plan),
        opt_state=parts.law_moments(state.opt_state, plan),
        step=state.step,
        law=carried,
        config=_target_config(state, plan),
    )


def exact_copy(state: TrainState, plan: WidthPlan, *, streams: Streams) -> TrainState:
    """Every unit cloned, moments by the law, counters and schedule carried: the function is kept.

    The optimizer's constants stay the target's own, so training leaves the narrow run from the first step on.
    """
    return _clone(state, plan)


def lockstep(state: TrainState, plan: WidthPlan, *, streams: Streams) -> TrainState:
    """The exact copy under the whole law: learning rates, decay, epsilon and clipping too.

    The wide run is then the narrow run, step after step (see `growjax.grow.law`).
    """
    new = _clone(state, plan)
    factors: Any = times_factors(new.law, law_factors(plan))
    return new.replace(law=factors)


def perturbed(
    state: TrainState, plan: WidthPlan, *, streams: Streams, sigma: float = 0.3, cancelling: bool = True
) -> TrainState:
    """The exact copy plus normal noise on what reads cloned axes, by default cancelling over the copies.

    `sigma` is relative to each parameter's root mean square. Cancelling noise keeps the function (up to rounding) and
    breaks the clones' symmetry (HyperCloning's noisy form, Samragh et al. 2024, arXiv 2409.12903, section 3.3).
    """
    if sigma < 0:
        raise UserError(f"perturbed: sigma is {sigma}", "give a number of at least 0")
    new = _clone(state, plan)
    noisy = parts.input_noise(new.params, plan, sigma, cancelling, key=streams.at("perturb", 0))
    return new.replace(params=noisy)


def asymmetric_reset(state: TrainState, plan: WidthPlan, *, streams: Streams) -> TrainState:
    """The exact copy whose moments and counts start anew in every entry with a new coordinate; the rest are carried.

    Three quarters of a matrix doubled both ways. Each such entry has an Adam count of its own.
    """
    new = _clone(state, plan)
    opt_state: Any = parts.restart_new_entries(new.opt_state, plan)
    return new.replace(opt_state=opt_state)


def structured(state: TrainState, plan: WidthPlan, *, streams: Streams) -> TrainState:
    """New units are orthogonal mixtures inside the subspace the source's weights span, read by nothing at first.

    The function is kept; no unit is a copy, so nothing holds new units together in training.
    """
    new = _clone(state, plan)
    params = structured_params(state.params, plan, key=streams.at("structure", 0))
    opt_state: Any = structured_moments(state.opt_state, plan)
    return new.replace(params=params, opt_state=opt_state)


def scratch(state: TrainState, plan: WidthPlan, *, streams: Streams) -> TrainState:
    """The target drawn afresh, optimizer and schedule at step 0: the control that owes the source nothing."""
    return init_state(_target_config(state, plan), key=streams.at("init", 0))


_PAPER = "arXiv 2604.04281"
_OPERATORS: dict[str, Operator] = {
    op.name: op
    for op in (
        Operator("exact_copy", exact_copy, "exact-copy symmetric", _PAPER),
        Operator("perturbed", perturbed, "perturbative", _PAPER),
        Operator("asymmetric_reset", asymmetric_reset, "asymmetric reset", _PAPER),
        Operator("structured", structured, "structured non-clone", _PAPER),
        Operator("lockstep", lockstep, "reference", "growjax"),
        Operator("scratch", scratch, "control", _PAPER),
    )
}


def operators() -> dict[str, Operator]:
    """All operators by name."""
    return dict(_OPERATORS)


def parse_operator(text: str) -> tuple[Operator, dict[str, Any]]:
    """`NAME` or `NAME:option=value,option=value` as an operator and its options; refuses what it does not know."""
    name, _, rest = text.partition(":")
    if name not in _OPERATORS:
        raise UserError(f"no operator is named {name!r}", f"choose one of {', '.join(_OPERATORS)}")
    operator = _OPERATORS[name]
    options: dict[str, Any] = {}
    for word in filter(None, rest.split(",")):
        option, equals, value = word.partition("=")
        if option not in operator.options or not equals:
            known = ", ".join(f"{k}={v}" for k, v in operator.options.items()) or "none"
            raise UserError(f"operator {name} does not take {word!r}", f"its options are: {known}")
        default = operator.options[option]
        try:
            options[option] = _BOOL[value.lower()] if isinstance(default, bool) else type(default)(value)
        except (ValueError, KeyError):
            raise UserError(
                f"operator {name}: {option}={value} is no {type(default).__name__}", f"write it like {option}={default}"
            ) from None
    return operator, options


_BOOL = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
