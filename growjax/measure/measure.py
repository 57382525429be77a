"""What a measure is: one object that holds all that cells, tables, pages, rankings and selectors need of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

Where = Literal["zero_step", "probe", "continuation"]
"""Where a measure is taken: on a candidate before its first step, after its probe, after its continuation."""

PLACES: tuple[Where, ...] = get_args(Where)

CELLS: dict[str, str] = {"zero_step": "candidate", "probe": "probe", "continuation": "continuation"}
"""The kind of cell that holds the measures of each place."""

Direction = Literal["smaller", "larger", "none"]
"""Which value of a measure is better."""

READINGS: dict[str, str] = {
    "smaller": "lower is better",
    "larger": "higher is better",
    "none": "neither good nor bad",
}

Selects = Literal["smallest", "largest"]
"""Which value a selector takes."""

Form = Literal["significant", "fixed", "signed"]
"""How tables write a value: three significant digits, four decimals, or significant digits behind a sign."""


class Definition(NamedTuple):
    """A row among a page's definitions: plain text, with `x_i` and `x_{i+1}` for indices and backquotes for code."""

    title: str
    formula: str
    unit: str
    reading: str
    """What a high or a low value says."""


@dataclasses.dataclass(frozen=True)
class Measure:
    """A figure of a candidate.

    Args:
        name: its key among a cell's `metrics`, and its column in the tables.
        fn: a pure function of `MeasureInputs` (of `Curve`, where `of_curve`) to a float, or to None where the measure
            has no meaning.
        where: the place at which it is taken.
        title: a few words over its column.
        unit: as in "nats/token"; "none" for a plain number.
        direction: which value is better.
        definition: its formula in words, or a whole row of definitions that several measures share.
        selects: the value that a selector by this measure takes; None for no selector. A continuation's measure has
            none: the long continuation is what selectors are judged by.
        selector: the selector's name; place and title if not given.
        form: how tables write it.
        of_curve: whether it is a function of the curve alone, which the ranking applies at every lag.
        recorded: whether cells hold it. One that is not is worked out from the recorded curve.
        column: its column in the ranking; the name if not given.
    """

    name: str
    fn: Callable[..., float | None]
    where: Where
    title: str
    unit: str
    direction: Direction
    definition: str | Definition
    selects: Selects | None = None
    selector: str = ""
    form: Form = "significant"
    of_curve: bool = False
    recorded: bool = True
    column: str = ""

    def __post_init__(self) -> None:
        if not self.selector:
            object.__setattr__(self, "selector", f"{str(self.where).replace('_', '-')} {self.title}")
        if not self.column:
            object.__setattr__(self, "column", self.name)

    @property
    def described(self) -> Definition:
        """Its row among a page's definitions."""
        if isinstance(self.definition, Definition):
            return self.definition
        return Definition(self.title, self.definition, self.unit, READINGS[self.direction])

    def score(self, value: float) -> float:
        """What a selector minimises."""
        return -value if self.selects == "largest" else value
