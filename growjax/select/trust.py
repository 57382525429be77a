"""How far the order at an early lag can be trusted at the horizon: measured on published studies, not guessed.

For every two warm starts of one source and regime, a study has the difference of their losses at any lag of its grid,
and of their AUC at its end. At each ratio lag / end the best predictor of the second is fitted: the area so far, and a
part of the present difference (the slope) for the rest. What it misses, as a root mean square over all pairs, is the
drift. `growjax/select/trust.json` holds both by regime and ratio, with the roots of the receipts they were taken from;
`python -m experiments.trust` makes it anew.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from growjax.measure.curves import auc
from growjax.record.receipt_types import Receipt
from growjax.schema import Record
from growjax.study.ranking import Table, mean
from growjax.study.spec import StudySpec

RATIOS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2)
"""Lag over end, of the table."""


class Grid(NamedTuple):
    """The mean loss curves of the warm starts of one source in one regime, replicates apart."""

    source: str
    regime: str
    steps: tuple[int, ...]
    curves: Mapping[str, Sequence[Sequence[float]]]
    """By candidate: one curve for each replicate."""

    def area(self, candidate: str, lag: int) -> float:
        """Mean AUC up to a lag."""
        count = self.steps.index(lag) + 1
        return mean(auc(self.steps[:count], curve[:count]) for curve in self.curves[candidate])


def grids(receipt: Receipt) -> list[Grid]:
    """The grids of a finished study: all its candidates but controls, as far as all of them went."""
    spec = StudySpec.from_dict(receipt["config"])
    table = Table(receipt["cells"])
    found = []
    sources = sorted({cell["source"] for cell in table.cells if cell["kind"] == "source" and cell["source"]})
    for source, regime in itertools.product(sources, spec.regimes):
        rows = {name: table.rows("continuation", source, regime, name) for name in spec.operators if name != "scratch"}
        curves = {
            name: [[math.inf if x is None else x for x in cell["metrics"]["eval_loss"]] for cell in cells]
            for name, cells in rows.items()
            if cells
        }
        if len(curves) > 1:
            count = min(len(curve) for several in curves.values() for curve in several)
            steps = tuple(range(0, count * spec.eval_every, spec.eval_every))
            cut = {name: [curve[:count] for curve in several] for name, several in curves.items()}
            found.append(Grid(source, regime, steps, cut))
    return found


def pairs(grid: Grid, ratio: float) -> list[tuple[float, float, float]]:
    """Of each two candidates: their difference at the evaluation that far along the grid, and those of the areas up to
    there and to the end, each times its share of the whole length."""
    end = grid.steps[-1]
    lag = max((step for step in grid.steps if 0 < step <= ratio * end), default=0)
    if not lag:
        return []
    at = grid.steps.index(lag)
    names = sorted(n for n, several in grid.curves.items() if all(math.isfinite(x) for c in several for x in c))
    now = {n: mean(curve[at] for curve in grid.curves[n]) * (1 - lag / end) for n in names}
    early = {n: grid.area(n, lag) * lag / end for n in names}
    late = {n: grid.area(n, end) for n in names}
    return [(now[b] - now[a], early[b] - early[a], late[b] - late[a]) for a, b in itertools.combinations(names, 2)]


def fitted(found: Sequence[tuple[float, float, float]]) -> tuple[float, float]:
    """(slope, drift): the part of a difference at the lag that is left, on average, until the end (least squares), and
    the root mean square of what that does not say of the difference in AUC."""
    slope = math.fsum(now * (late - early) for now, early, late in found) / math.fsum(now * now for now, *_ in found)
    rest = (late - early - slope * now for now, early, late in found)
    return slope, math.sqrt(math.fsum(x * x for x in rest) / len(found))


def measured(receipts: Iterable[Receipt]) -> Record:
    """The table: by regime and ratio the slope, the drift and the number of pairs behind them; and where it is from."""
    rows: dict[str, list[Record]] = {}
    given = list(receipts)
    every = [grid for receipt in given for grid in grids(receipt)]
    for regime in sorted({grid.regime for grid in every}):
        for ratio in RATIOS:
            found = [pair for grid in every if grid.regime == regime for pair in pairs(grid, ratio)]
            if found:
                slope, drift = fitted(found)
                row = {"ratio": ratio, "slope": slope, "drift": drift, "pairs": len(found)}
                rows.setdefault(regime, []).append(row)
    return {"roots": [receipt["root"] for receipt in given], "regimes": rows}


@cache
def published() -> Record:
    """The table that comes with growjax."""
    return json.loads((Path(__file__).parent / "trust.json").read_text())


class Outlook(NamedTuple):
    """What a lag says of the horizon."""

    slope: float
    """The part of a difference in loss at the lag that is left, on average, until the horizon."""
    drift: float
    """Standard deviation, in nats per token, of a difference in AUC at the horizon around what that predicts."""


def outlook(table: Record, regime: str, lag: int, horizon: int) -> Outlook:
    """Linear in the logarithm of lag / horizon between rows of the table; nothing is left open at the horizon. Below
    the least ratio that was measured it is that of the least: how much more the order changes from there is not known.
    A regime without rows takes the regime whose drift is largest."""
    if lag >= horizon:
        return Outlook(1.0, 0.0)
    regimes = table["regimes"]
    if regime not in regimes:
        return max((outlook(table, one, lag, horizon) for one in regimes), key=lambda found: found.drift)
    points = [(math.log(row["ratio"]), row["slope"], row["drift"]) for row in regimes[regime]] + [(0.0, 1.0, 0.0)]
    at = max(math.log(lag / horizon), points[0][0])
    for (a, slope, drift), (b, next_slope, next_drift) in itertools.pairwise(points):
        if a <= at <= b:
            part = (at - a) / (b - a)
            return Outlook(slope + (next_slope - slope) * part, drift + (next_drift - drift) * part)
    raise ValueError(f"the table of {regime} is not sorted")
