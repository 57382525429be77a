"""All operators and parts by name, those of other packages included, and the text that composes them.

`NAME:option=value,...+PART:option=value,...`: an operator, then parts that change what it made. A package adds its own
by `register_operator`, or by an entry point of the group `growjax.operators` whose object is an `Operator`.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import inspect
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple, TypeVar

from growjax.config import OptimConfig
from growjax.draws import Sites
from growjax.errors import UserError, require
from growjax.grow.building import cloned
from growjax.grow.leafwise import Leafwise
from growjax.grow.operator import (
    Check,
    Described,
    Draws,
    Follows,
    GrowthData,
    LearningFunction,
    Operator,
    OperatorFunction,
    Part,
    Promise,
    TrainingSteps,
    as_given,
    check_nothing,
    no_training,
    untouched,
)
from growjax.grow.operators.bert2bert import AKI
from growjax.grow.operators.families import OWN_OPERATORS
from growjax.grow.operators.hypercloning import HYPERCLONING, HYPERCLONING_NOISY
from growjax.grow.operators.lemon import LEMON
from growjax.grow.operators.ligo import LIGO
from growjax.grow.operators.mupscale import MUPSCALE
from growjax.grow.operators.net2net import NET2NET
from growjax.grow.operators.sparkling import SPARKLING
from growjax.grow.operators.staged import STAGED
from growjax.grow.operators.warmstarting import SHRINK_PERTURB
from growjax.grow.operators.zero_pad import ZERO_PAD
from growjax.grow.parts import PARTS
from growjax.grow.plan import Options, WidthPlan
from growjax.grow.promises import never
from growjax.provenance import provenance
from growjax.schema import Record
from growjax.streams import Streams
from growjax.train.state import TrainState
from growjax.values import shown

BUILTIN = (
    *OWN_OPERATORS, NET2NET, AKI, HYPERCLONING, HYPERCLONING_NOISY, LEMON, ZERO_PAD, SHRINK_PERTURB, MUPSCALE,
    STAGED, LIGO, SPARKLING,
)  # fmt: skip

_REGISTERED: dict[str, Operator] = {}


@lru_cache(maxsize=1)
def _installed() -> dict[str, Operator]:
    """Operators of installed packages. A broken one is reported by name."""
    found = {}
    for entry in importlib.metadata.entry_points(group="growjax.operators"):
        try:
            operator = entry.load()
        except Exception as error:
            raise UserError(
                f"the entry point {entry.name} = {entry.value} cannot be loaded ({type(error).__name__}: {error})",
                "fix or uninstall the package that declares it",
            ) from None
        if not isinstance(operator, Operator) or operator.name != entry.name:
            raise UserError(
                f"the entry point {entry.name} = {entry.value} is no Operator of that name",
                "fix or uninstall the package that declares it",
            )
        found[entry.name] = operator
    return found


def operators() -> dict[str, Operator]:
    """All operators by name."""
    return {**{op.name: op for op in BUILTIN}, **_installed(), **_REGISTERED}


def parts() -> dict[str, Part]:
    """All parts by name."""
    return {part.name: part for part in PARTS}


def register_operator(
    name: str,
    fn: OperatorFunction | LearningFunction,
    *,
    family: str = "registered",
    paper: str = "unpublished",
    keeps: Promise = never,
    check: Check = check_nothing,
    draws: Draws | None = None,
    control: bool = False,
    follows: Follows = as_given,
    clones: bool = True,
    training_steps: TrainingSteps = no_training,
) -> Operator:
    """Makes `fn(state, plan, *, streams, **options)` an operator of that name in this process.

    Args:
        name: letters, digits and underscores.
        fn: see `growjax.grow.operator.OperatorFunction`.
        family, paper: what tables say of it.
        keeps: under which plans and options the function is kept.
        check: raises `UserError` for what it cannot follow.
        draws: what it draws from which stream; an audit names every draw that is not declared.
        control: whether it is there to be compared with, and owes the source nothing.
        follows: the plan that it really follows, where that is not the one it is given.
        clones: whether new units are copies, as parts that go by copies ask.
        training_steps: for how many steps of the target it trains, by its options; budgets count them.

    Returns:
        The operator.

    Raises:
        UserError: for a name that is taken or cannot be written on a command line, or a function without a docstring
            or `streams`, or one that is given data and does not say how long it trains.

    Example:
        >>> from growjax.draws import normals
        >>> reported = {"perturb": lambda plan, options: [(["embedding", 0], normals((512, plan.target.d_model)))]}
        >>> register_operator("shifted", shifted, draws=reported)  # doctest: +SKIP
    """
    if not re.fullmatch(r"[A-Za-z_]\w*", name):
        raise UserError(f"{name!r} cannot name an operator", "use letters, digits and underscores")
    if name in operators() or name in parts():
        raise UserError(f"an operator is named {name!r} already", "choose another name")
    if not inspect.getdoc(fn) or "streams" not in inspect.signature(fn).parameters:
        raise UserError(
            f"operator {name}: the function needs a docstring and a keyword argument `streams`",
            "write (state, plan, *, streams) and say what it keeps",
        )
    _REGISTERED[name] = Operator(name, fn, family, paper, keeps, check, draws or {}, control, follows, clones,
                                 training_steps=training_steps)  # fmt: skip
    return _REGISTERED[name]


def unregister_operator(name: str) -> None:
    """Takes back what `register_operator` made; nothing happens where there is no such operator."""
    _REGISTERED.pop(name, None)


def described_operators(texts: Iterable[str]) -> list[Record]:
    """What a receipt says of the operators that are used and are not growjax's own, which its version defines."""
    used = {found.name: found for found in (parse_operator(text).operator for text in texts) if found not in BUILTIN}
    return [
        {"name": op.name, "family": op.family, "paper": op.paper, "control": op.control, "clones": op.clones,
         **provenance(op.fn, op.keeps, op.check, op.follows, *op.draws.values())}
        for _, op in sorted(used.items())
    ]  # fmt: skip


class Drawn(NamedTuple):
    """What an operator or a part draws at step 0 of one stream."""

    stream: str
    sites: Sites


@dataclasses.dataclass(frozen=True)
class Composition:
    """An operator with its options, and parts with theirs, in order."""

    text: str
    operator: Operator
    options: Options
    parts: tuple[tuple[Part, Options], ...]

    @property
    def _steps(self) -> list[tuple[Operator | Part, Options]]:
        """All of them, every option with its value."""
        return [(op, {**op.options, **options}) for op, options in ((self.operator, self.options), *self.parts)]

    @property
    def streams(self) -> set[str]:
        """The streams that may be drawn from, under some plan."""
        return {stream for op, _ in self._steps for stream in op.draws}

    def draws(self, plan: WidthPlan) -> list[tuple[int | None, Drawn]]:
        """What is drawn under a plan (its vocabulary grown already): with the number of the part that draws it, None
        for the operator itself."""
        found: list[tuple[int | None, Drawn]] = []
        for number, (op, options) in enumerate(self._steps):
            drawn = [Drawn(stream, sites(plan, options)) for stream, sites in op.draws.items()]
            found += [(number - 1 if number else None, one) for one in drawn if one.sites]
        return found

    @property
    def training_steps(self) -> int:
        """For how many steps of the target the operator trains before the candidate's step 0; parts train nothing."""
        return self.operator.training_steps({**self.operator.options, **self.options})

    def keeps(self, plan: WidthPlan) -> bool:
        """Whether the function is kept under a plan, by what each of them promises."""
        return all(op.keeps(plan, options) for op, options in self._steps)

    def follow(self, plan: WidthPlan, optim: OptimConfig, *, streams: Streams) -> WidthPlan:
        """The plan that is really followed, by which parts go and by which a candidate is measured.

        Raises `UserError` where plan, options, parts and optimizer will not do together. Widens nothing.
        """
        (operator, options), *parts = self._steps
        assert isinstance(operator, Operator)
        _checked(operator, plan, optim, options)
        own = operator.follows(plan, streams)
        for part, options in parts:
            assert isinstance(part, Part)
            if part.needs_clones(options) and not operator.clones:
                raise UserError(
                    f"{part.name} goes by which units are copies, and new units of {operator.name} are none",
                    f"leave out +{part.name}, or choose an operator that copies, such as exact_copy",
                )
            _checked(part, own, optim, options)
        return own

    @property
    def copies(self) -> bool:
        """Whether arrays are only copied, multiplied entry by entry and begun anew: what can be done to a piece."""
        return self.operator.leafwise is cloned and all(part.leafwise is untouched for part, _ in self.parts)

    def by_pieces(self, plan: WidthPlan) -> bool:
        """Whether a state that lies cut on a mesh is widened piece by piece; else every process widens the whole."""
        return self.copies and not plan.maps["vocab"].grown

    def leafwise(self, plan: WidthPlan, *, streams: Streams) -> Leafwise | None:
        """What `apply` does to parameters one by one, by the plan that is really followed; None where the operator
        says of none."""
        (operator, options), *parts = self._steps
        assert isinstance(operator, Operator)
        if operator.leafwise is None:
            return None
        made = operator.leafwise(plan, streams, options)
        for number, (part, options) in enumerate(parts):
            assert isinstance(part, Part)
            made = made.then(part.leafwise(plan, streams.part(number), options))
        return made

    def apply(self, state: TrainState, plan: WidthPlan, *, streams: Streams, data: GrowthData | None) -> TrainState:
        """The candidate, by the plan that is really followed. Every part draws from streams of its own."""
        given = dict(self.options)
        if self.operator.trains:
            if data is None:
                raise UserError(
                    f"operator {self.operator.name} trains, and has no tokens to train on", "name them with --tokens"
                )
            given["data"] = data
        new = self.operator.fn(state, plan, streams=streams, **given)
        for number, (part, options) in enumerate(self.parts):
            new = part.fn(new, state, plan, streams=streams.part(number), **options)
        return new


def _checked(op: Operator | Part, plan: WidthPlan, optim: OptimConfig, options: Options) -> None:
    try:
        op.check(plan, optim, options)
    except UserError as error:
        raise UserError(f"operator {op.name}: {error.fault}", error.hint) from None


Kind = TypeVar("Kind", bound=Described)


def parse_operator(text: str) -> Composition:
    """What an operator's text means; raises `UserError`, with what there is, for what is not known."""
    require(isinstance(text, str), f"an operator is a text, not {shown(text)}", "write it as in perturbed:sigma=0.1")
    first, *rest = re.split(r"\+(?=[A-Za-z_])", text)
    operator, options = _one(first, operators(), "operator")
    return Composition(text, operator, options, tuple(_one(word, parts(), "part") for word in rest))


def _one(text: str, known: dict[str, Kind], kind: str) -> tuple[Kind, Options]:
    name, _, words = text.partition(":")
    if name not in known:
        raise UserError(f"no {kind} is named {shown(name)!r}", f"choose one of {', '.join(known)}")
    return known[name], known[name].read_options(words)
