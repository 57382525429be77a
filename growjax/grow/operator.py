"""What an operator is, what a part is, and what they say of themselves.

An operator makes a candidate of a source state (`OperatorFunction`), a part changes a candidate (`PartFunction`); they
are composed by `growjax.grow.registry.parse_operator`.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax

from growjax.config import OptimConfig
from growjax.draws import Sites
from growjax.errors import UserError, require
from growjax.grow.leafwise import Leafwise
from growjax.grow.options import check_options, hints_of, read_option
from growjax.grow.plan import Options, WidthPlan
from growjax.streams import Streams
from growjax.train.state import TrainState
from growjax.values import shown

Check = Callable[[WidthPlan, OptimConfig, Options], None]
"""Raises `UserError` where an operator cannot follow a plan or its options, before anything is computed."""

Promise = Callable[[WidthPlan, Options], bool]
"""Whether the source's function is kept under a plan and options: logits over the source's vocabulary to rounding."""

Draws = Mapping[str, Callable[[WidthPlan, Options], Sites]]
"""By stream, what is drawn from it at step 0 under a plan and options, as sites of `growjax.draws`."""

Follows = Callable[[WidthPlan, Streams], WidthPlan]
"""The plan that an operator really follows, of the one it is given: the same source and widths, perhaps other copies.
What it draws from the streams is among the operator's `draws`."""


ByLeaf = Callable[[WidthPlan, Streams, Options], Leafwise]
"""What an operator or a part does to parameters one by one, the same bits; with the plan that it follows, the streams
that it is given and all options."""


TrainingSteps = Callable[[Options], int]
"""For how many steps of the target an operator trains, each of one batch of its `GrowthData`, before the candidate's
step 0."""


class GrowthData(NamedTuple):
    """What an operator that trains is given."""

    windows: jax.Array
    """uint16 or uint32 [N, T + 1]: training windows, on the device."""
    batch_size: int


class OperatorFunction(Protocol):
    """Makes a candidate: a pure function from a source state to a full training state of the target's shape.

    Options are further keyword arguments, each with a default of type bool, int, float or str (or None besides).
    Numbers are finite; what else they must be an annotation says (`Annotated[float, Real(0.0, 1.0)]`, with a domain of
    `growjax.domains`), and `Literal` says which words a text may be. It may draw from the streams `perturb`,
    `structure` and `init`, at step 0 alone, and its `Operator` says what (`draws`).

    Args:
        state: the source, its vocabulary grown already. Its arrays are the caller's: read them, donate none.
        plan: `plan.source` is the source's model, `plan.target` the candidate's; maps of every axis. It is what the
            operator's `follows` made of the caller's plan.
        streams: below the candidate's own root key.

    Returns:
        The candidate: parameters and moments of `plan.target`'s shapes in its `param_dtype`, counts, schedule step,
        step, and the optimizer's factors or None.

    Raises:
        UserError: where it cannot be done; better reported by the operator's `check`, which runs before anything else.

    Example:
        >>> from growjax.grow.building import clone
        >>> def halved(state, plan, *, streams, by: float = 0.5):
        ...     "The exact copy at a part of its size."
        ...     new = clone(state, plan)
        ...     return new.replace(params=jax.tree.map(lambda p: p * by, new.params))
        >>> Operator("halved", halved, "registered", "unpublished", lambda plan, options: options["by"] == 1).options
        {'by': 0.5}
    """

    def __call__(self, state: TrainState, plan: WidthPlan, *, streams: Streams) -> TrainState: ...


class LearningFunction(Protocol):
    """An `OperatorFunction` that trains, and so is given tokens as well. Its `Operator` says for how many steps
    (`training_steps`), which budgets count.

    Args:
        state, plan, streams: as for an `OperatorFunction`.
        data: the training windows and the batch size.

    Returns:
        The candidate.

    Raises:
        UserError: where it cannot be done.

    Example:
        `growjax.grow.operators.ligo.ligo`.
    """

    def __call__(self, state: TrainState, plan: WidthPlan, *, streams: Streams, data: GrowthData) -> TrainState: ...


class PartFunction(Protocol):
    """Changes a candidate, with the source at hand. Options, draws and errors are as for an `OperatorFunction`.

    Args:
        state: the candidate so far.
        source: the state that it was made of, its vocabulary grown already.
        plan: the plan that the operator followed.
        streams: the part's own, below the candidate's root key.

    Returns:
        The candidate, changed.

    Raises:
        UserError: where it cannot be done; better reported by the part's `check`.

    Example:
        `growjax.grow.parts.reset`.
    """

    def __call__(self, state: TrainState, source: TrainState, plan: WidthPlan, *, streams: Streams) -> TrainState: ...


def as_given(plan: WidthPlan, streams: Streams) -> WidthPlan:
    """The plan is followed as it is."""
    return plan


def no_training(options: Options) -> int:
    """Nothing is trained."""
    return 0


def untouched(plan: WidthPlan, streams: Streams, options: Options) -> Leafwise:
    """Parameters stay as they are."""
    return Leafwise()


def never_needed(options: Options) -> bool:
    """A part that does not ask what the operator copied."""
    return False


def check_nothing(plan: WidthPlan, optim: OptimConfig, options: Options) -> None:
    """Every plan and every option will do."""


_HIDDEN = ("streams", "data")


class Described:
    """What operators and parts say of themselves by their function's signature and docstring."""

    name: str
    fn: Any

    @property
    def summary(self) -> str:
        """The docstring's first paragraph."""
        return (inspect.getdoc(self.fn) or "").split("\n\n")[0].replace("\n", " ")

    @property
    def options(self) -> Options:
        """Names and defaults of what can be set, as in `perturbed:sigma=0.05`."""
        found = inspect.signature(self.fn).parameters.items()
        return {name: p.default for name, p in found if p.kind is p.KEYWORD_ONLY and name not in _HIDDEN}

    @property
    def trains(self) -> bool:
        """Whether it must be given data."""
        return "data" in inspect.signature(self.fn).parameters

    def __post_init__(self) -> None:
        check_options(self.name, self.fn, self.options)

    def read_options(self, text: str) -> Options:
        """`option=value,option=value` as values; raises `UserError` for what it does not take."""
        known = self.options
        hints, values = hints_of(self.fn, known), Options()
        for word in filter(None, text.split(",")):
            option, equals, value = word.partition("=")
            if option not in known or not equals:
                described = ", ".join(f"{k}={v}" for k, v in known.items()) or "none"
                raise UserError(f"operator {self.name} does not take {shown(word)!r}", f"its options are: {described}")
            if option in values:
                raise UserError(f"operator {self.name}: {option} stands twice", "give it once")
            values[option] = read_option(f"operator {self.name}: {option}", hints[option], value)
        return values


@dataclasses.dataclass(frozen=True, eq=False)
class Operator(Described):
    """An operator: its function, and what `growjax operators`, studies and audits know of it."""

    name: str
    fn: OperatorFunction | LearningFunction
    family: str
    """A few words for tables."""
    paper: str
    keeps: Promise
    check: Check = check_nothing
    draws: Draws = dataclasses.field(default_factory=dict)
    control: bool = False
    """Whether it is there to be compared with, and owes the source nothing: no warm start, and never selected."""
    follows: Follows = as_given
    clones: bool = True
    """Whether new units are copies of old ones as the law has them (see `growjax.grow.law`). Parts that go by copies
    are refused where they are not."""
    leafwise: ByLeaf | None = None
    """None where parameters cannot be had one by one."""
    training_steps: TrainingSteps = no_training

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            not self.trains or self.training_steps is not no_training,
            f"operator {self.name} trains, and does not say for how many steps",
            "give training_steps, a function of its options",
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Part(Described):
    """A part, for compositions."""

    name: str
    fn: PartFunction
    paper: str
    keeps: Promise
    check: Check = check_nothing
    draws: Draws = dataclasses.field(default_factory=dict)
    needs_clones: Callable[[Options], bool] = never_needed
    """Whether, under these options, it goes by which units are copies of which."""
    leafwise: ByLeaf = untouched
