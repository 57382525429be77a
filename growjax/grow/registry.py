"""All operators and parts by name, those of other packages included, and the text that composes them.

`NAME:option=value,...+PART:option=value,...`: an operator, then parts that change what it made. A package adds its own
by `register_operator`, or by an entry point of the group `growjax.operators` whose object is an `Operator`.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import inspect
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from growjax.config import OptimConfig
from growjax.errors import UserError
from growjax.grow.families import FAMILIES
from growjax.grow.operator import Check, Draws, GrowthData, Operator, Promise, check_nothing, never
from growjax.grow.parts import PARTS
from growjax.grow.plan import WidthPlan
from growjax.grow.published import PUBLISHED
from growjax.streams import Streams
from growjax.train.state import TrainState

_REGISTERED: dict[str, Operator] = {}


@lru_cache(maxsize=1)
def _installed() -> dict[str, Operator]:
    """Operators of installed packages. A broken one is told by name."""
    found = {}
    for entry in importlib.metadata.entry_points(group="growjax.operators"):
        try:
            operator = entry.load()
        except Exception as error:
            raise UserError(
                f"the entry point {entry.name} = {entry.value} cannot be loaded ({type(error).__name__}: {error})",
                "mend or uninstall the package that declares it",
            ) from None
        if not isinstance(operator, Operator) or operator.name != entry.name:
            raise UserError(
                f"the entry point {entry.name} = {entry.value} is no Operator of that name",
                "mend or uninstall the package that declares it",
            )
        found[entry.name] = operator
    return found


def _builtin() -> dict[str, Operator]:
    return {op.name: op for op in (*FAMILIES, *PUBLISHED)}


def operators() -> dict[str, Operator]:
    """All operators by name."""
    return {**_builtin(), **_installed(), **_REGISTERED}


def parts() -> dict[str, Operator]:
    """All parts by name."""
    return {part.name: part for part in PARTS}


def register_operator(
    name: str,
    fn: Callable[..., TrainState],
    *,
    family: str = "registered",
    paper: str = "unpublished",
    keeps: Promise = never,
    check: Check = check_nothing,
    draws: Draws | None = None,
) -> Operator:
    """Makes `fn(state, plan, *, streams, **options)` an operator of that name in this process.

    `keeps` says under which plans the function is kept, `draws` what it draws from which stream (see
    `growjax.grow.operator`): an audit names every draw that is not declared. Raises `UserError` for a name
    that is taken or cannot be written on a command line, or a function without a docstring or `streams`.
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
    _REGISTERED[name] = Operator(name, fn, family, paper, keeps, check, draws)
    return _REGISTERED[name]


def unregister_operator(name: str) -> None:
    """Takes back what `register_operator` made; nothing happens where there is no such operator."""
    _REGISTERED.pop(name, None)


@dataclasses.dataclass(frozen=True)
class Composition:
    """An operator with its options, and parts with theirs, in order."""

    text: str
    operator: Operator
    options: dict[str, Any]
    parts: tuple[tuple[Operator, dict[str, Any]], ...]

    def keeps(self, plan: WidthPlan) -> bool:
        """Whether the function is kept under a plan, by what each of them promises."""
        steps = ((self.operator, self.options), *self.parts)
        return all(op.keeps(plan, {**op.options, **options}) for op, options in steps)

    def check(self, plan: WidthPlan, optim: OptimConfig) -> None:
        """Raises `UserError` where this plan or these options will not do; computes nothing."""
        for op, options in ((self.operator, self.options), *self.parts):
            try:
                op.check(plan, optim, {**op.options, **options})
            except UserError as error:
                raise UserError(f"operator {op.name}: {error.fault}", error.mend) from None

    def apply(self, state: TrainState, plan: WidthPlan, *, streams: Streams, data: GrowthData | None) -> TrainState:
        """The candidate. Every part draws from streams of its own."""
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


def parse_operator(text: str) -> Composition:
    """What an operator's text means; raises `UserError`, with what there is, for what is not known."""
    first, *rest = re.split(r"\+(?=[A-Za-z_])", text)
    operator, options = _one(first, operators(), "operator")
    return Composition(text, operator, options, tuple(_one(word, parts(), "part") for word in rest))


def _one(text: str, known: dict[str, Operator], kind: str) -> tuple[Operator, dict[str, Any]]:
    name, _, words = text.partition(":")
    if name not in known:
        raise UserError(f"no {kind} is named {name!r}", f"choose one of {', '.join(known)}")
    return known[name], known[name].read_options(words)
