"""Reading a summary and writing its numbers: missing values, orders of names, digits. No HTML structure, no drawing."""

from __future__ import annotations

import dataclasses
import html
import math
from collections.abc import Iterable

from growjax.schema import Fields

Row = Fields
"""Of a summary; which fields there are depends on its section, and on the measures registered."""

DASH = "–"
MINUS = "−"
CONTROLS = ("scratch", "unwidened")
REGIMES = ("deterministic", "stochastic")


def rows(summary: Row, section: str) -> list[Row]:
    """The rows of one section; a section that is missing is empty."""
    return list(summary.get(section) or [])


def number(value: object) -> float:
    """A float, NaN where there is no number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return math.nan
    return float(value)


def numbers(values: Iterable[object] | None) -> list[float]:
    """A list of floats, NaN where there is no number."""
    return [number(value) for value in values or []]


def mean(values: Iterable[object]) -> float:
    """The mean of the numbers among `values`, NaN where there are none."""
    present = [x for x in numbers(values) if math.isfinite(x)]
    return math.fsum(present) / len(present) if present else math.nan


def text(value: object) -> str:
    """Escaped text, a dash for nothing."""
    return DASH if value is None or value == "" else html.escape(str(value))


def fixed(value: object, places: int = 4, *, signed: bool = False) -> str:
    """A number with a fixed number of decimals."""
    x = number(value)
    if not math.isfinite(x):
        return DASH
    return f"{x:{'+' if signed else ''}.{places}f}".replace("-", MINUS)


def significant(value: object, digits: int = 3, *, signed: bool = False) -> str:
    """A number with a fixed number of significant digits, as a power of ten where it is very small or large."""
    x = number(value)
    if not math.isfinite(x):
        return DASH
    if x == 0:
        return "0"
    sign = "+" if signed and x > 0 else ""
    if 1e-3 <= abs(x) < 1e6:
        places = max(0, digits - 1 - math.floor(math.log10(abs(x))))
        return sign + f"{x:.{places}f}".replace("-", MINUS)
    mantissa, exponent = f"{x:.{digits - 1}e}".split("e")
    return sign + f"{mantissa}e{int(exponent)}".replace("-", MINUS)


def count(value: object) -> str:
    """A whole number with thousands separated."""
    x = number(value)
    return f"{round(x):,}".replace("-", MINUS) if math.isfinite(x) else DASH


def brief(value: object) -> str:
    """A count in three digits with its thousand, million or billion."""
    x = number(value)
    if not math.isfinite(x):
        return DASH
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(x) >= size:
            return f"{x / size:.3g} {unit}".replace("-", MINUS)
    return f"{x:.3g}".replace("-", MINUS)


def percent(value: object) -> str:
    """A share as a whole percentage."""
    x = number(value)
    return f"{100 * x:.0f} %" if math.isfinite(x) else DASH


def power(value: float, _position: object = None) -> str:
    """An axis label for a power of ten."""
    return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e") if value > 0 else "0"


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One competitor, with the place among its kind that gives it its colour, line and marker."""

    name: str
    control: bool
    place: int
    ranked: bool = True
    """Whether it is ranked among the others; one at another learning rate is not."""


@dataclasses.dataclass(frozen=True)
class Contents:
    """Who takes part: every list of names in the one order that the whole page uses."""

    candidates: list[Candidate]
    sources: list[str]
    regimes: list[str]
    lags: list[int]

    @property
    def operators(self) -> list[Candidate]:
        """The candidates that are ranked and no controls."""
        return [c for c in self.candidates if c.ranked and not c.control]

    def named(self, names: Iterable[str]) -> list[Candidate]:
        """The candidates among `names`, in the page's order."""
        wanted = set(names)
        return [c for c in self.candidates if c.name in wanted]

    def panels(self, found: list[Row]) -> list[tuple[str, str]]:
        """The pairs of source and regime that `found` has rows for, in the page's order."""
        present = {(r.get("source"), r.get("regime")) for r in found}
        return [(s, g) for s in self.sources for g in self.regimes if (s, g) in present]


def contents_of(summary: Row) -> Contents:
    """Collect all names of a summary; candidates by name, those that are not ranked behind the rest and controls last,
    regimes and sources as they are reported."""
    names: dict[str, bool] = {}
    sources = [str(r["name"]) for r in rows(summary, "sources")]
    regimes: set[str] = set()
    lags: set[int] = set()
    for section in ("ranking", "curves", "preservation", "probes", "pairs", "selectors"):
        for row in rows(summary, section):
            if "candidate" in row:
                name = row["candidate"]
                names[name] = names.get(name, False) or bool(row.get("control", name in CONTROLS))
            if row.get("source") not in (None, *sources):
                sources.append(row["source"])
            if row.get("regime"):
                regimes.add(row["regime"])
            if row.get("lag") is not None:
                lags.add(int(row["lag"]))
    ordered: list[Candidate] = []
    ranked = {row["candidate"] for row in rows(summary, "ranking")} or set(names)
    for control in (False, True):
        kind = sorted((name not in ranked, name) for name, is_control in names.items() if is_control is control)
        ordered += [Candidate(name, control, place, not rest) for place, (rest, name) in enumerate(kind)]
    known = [g for g in REGIMES if g in regimes]
    return Contents(ordered, sources, known + sorted(regimes - set(REGIMES)), sorted(lags))
