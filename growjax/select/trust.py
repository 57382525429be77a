"""How far the order at an early lag can be trusted at the horizon: measured on published studies, not guessed.

For every two warm starts of one source and regime, a study has the difference of their losses at any lag of its grid,
and of their AUC at its end. At each ratio lag / end the best predictor of the second is fitted: the area so far, and a
part of the present difference (the slope) for the rest. What it misses, as a root mean square over all pairs, is the
drift; how far it varies over replicates is the noise. `growjax/select/trust.json` holds all three by regime and ratio,
with the roots of the receipts they were taken from; `python -m experiments.trust` makes it anew.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from growjax.config import canonical_json
from growjax.errors import require
from growjax.grow.registry import parse_operator
from growjax.measure.curves import auc
from growjax.record.receipt_types import Receipt
from growjax.schema import Record
from growjax.study.evidence import seeds_of
from growjax.study.ranking import Table, adjusted_means, mean
from growjax.study.replicates import losses
from growjax.study.spec import StudySpec

RATIOS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2)
"""Lag over end, of the table."""


REFERENCE = "lockstep"
"""No start of a race unless it is named, and in no grid: under the whole law the wide run is the source's own."""


class Grid(NamedTuple):
    """The loss curves of the warm starts of one source in one regime, replicates apart."""

    training: str
    """What the source comes from: seed, model, optimizer and data. Sources of one training are no independent ones."""
    source: str
    regime: str
    steps: tuple[int, ...]
    curves: Mapping[str, Sequence[Sequence[float]]]
    """By candidate: one curve for each replicate."""

    def areas(self, lag: int) -> dict[str, float]:
        """Mean AUC up to a lag, by candidate; of those with fewer replicates as if they had all."""
        count = self.steps.index(lag) + 1
        return adjusted_means(
            {name: [auc(self.steps[:count], c[:count]) for c in several] for name, several in self.curves.items()}
        )


def grids(receipt: Receipt) -> list[Grid]:
    """The grids of a finished study: all its candidates but controls and `REFERENCE`, as far as all of them went."""
    spec = StudySpec.from_dict(receipt["config"])
    table, seeds = Table(receipt["cells"]), seeds_of(receipt["cells"])
    same = canonical_json([part.to_dict() for part in (spec.model, spec.optim, spec.data)])
    found = []
    chosen = {name: parse_operator(name).operator for name in spec.pool_of_all}
    names = [name for name, operator in chosen.items() if not operator.control and operator.name != REFERENCE]
    for source, regime in itertools.product(seeds, spec.regimes):
        rows = {name: table.rows("continuation", source, regime, name) for name in names}
        curves = {name: [losses(cell["metrics"]) for cell in cells] for name, cells in rows.items() if cells}
        if len(curves) > 1:
            count = min(len(curve) for several in curves.values() for curve in several)
            steps = tuple(range(0, count * spec.eval_every, spec.eval_every))
            cut = {name: [curve[:count] for curve in several] for name, several in curves.items()}
            found.append(Grid(f"seed {seeds[source]} of {same}", source, regime, steps, cut))
    return found


class Difference(NamedTuple):
    """Of two candidates, the second less the first, one value for each replicate; in nats per token."""

    now: tuple[float, ...]
    """Of the losses at the lag, times the part of the length that is still to come."""
    early: tuple[float, ...]
    """Of the areas up to the lag, times the part of the length that they cover."""
    late: tuple[float, ...]
    """Of the areas up to the end."""


def differences(grid: Grid, ratio: float) -> list[Difference]:
    """Those of each two candidates, at a lag that far along the grid; none where it is shorter than an evaluation."""
    end = grid.steps[-1]
    lag = max((step for step in grid.steps if 0 < step <= ratio * end), default=0)
    if not lag:
        return []
    at, part = grid.steps.index(lag), lag / end
    upto = grid.steps[: at + 1]
    found: dict[str, list[tuple[float, float, float]]] = {}
    for name, several in sorted(grid.curves.items()):
        if all(math.isfinite(x) for curve in several for x in curve):
            found[name] = [(c[at] * (1 - part), auc(upto, c[: at + 1]) * part, auc(grid.steps, c)) for c in several]
    made = []
    for one, other in itertools.combinations(found.values(), 2):
        both_have = zip(one, other, strict=False)
        by_replicate = [[y - x for x, y in zip(*both, strict=True)] for both in both_have]
        made.append(Difference(*zip(*by_replicate, strict=True)))
    return made


def fitted(found: Sequence[Difference]) -> tuple[float, float, float]:
    """(slope, drift, noise): the part of a difference at the lag that is left, on average, until the end (least
    squares); the root mean square of what that does not say of the difference in AUC, with all replicates; and the
    standard deviation of what it says from one replicate to another (0 where there is one)."""
    means = [tuple(mean(values) for values in one) for one in found]
    slope = math.fsum(now * (late - early) for now, early, late in means) / math.fsum(now * now for now, *_ in means)
    rest = math.fsum((late - early - slope * now) ** 2 for now, early, late in means)
    said = [[early + slope * now for now, early in zip(one.now, one.early, strict=True)] for one in found]
    freedom = sum(len(values) - 1 for values in said)
    spread = math.fsum((value - mean(values)) ** 2 for values in said for value in values)
    return slope, math.sqrt(rest / len(found)), math.sqrt(spread / freedom) if freedom else 0.0


class Outlook(NamedTuple):
    """What a lag says of the horizon."""

    slope: float
    """The part of a difference in loss at the lag that is left, on average, until the horizon."""
    drift: float
    """Standard deviation, in nats per token, of a difference in AUC at the horizon around what that predicts."""
    noise: float
    """Standard deviation of that prediction from one replicate to another."""


def measured(receipts: Iterable[Receipt], *, without: str | None = None) -> Record:
    """The table: by regime and ratio an outlook and the number of pairs behind it; and where it is from. `without` a
    training (`Grid.training`), its sources are left out. Raises `UserError` where nothing is left to measure."""
    rows: dict[str, list[Record]] = {}
    given = list(receipts)
    every = [grid for receipt in given for grid in grids(receipt) if grid.training != without]
    require(bool(every), "no study of another training is given", "give the receipt of one with other seeds")
    for regime in sorted({grid.regime for grid in every}):
        for ratio in RATIOS:
            found = [pair for grid in every if grid.regime == regime for pair in differences(grid, ratio)]
            if found:
                numbers = dict(zip(Outlook._fields, fitted(found), strict=True))
                rows.setdefault(regime, []).append({"ratio": ratio, **numbers, "pairs": len(found)})
    return {"roots": [receipt["root"] for receipt in given], "regimes": rows}


@cache
def published() -> Record:
    """The table that comes with growjax."""
    return json.loads((Path(__file__).parent / "trust.json").read_text())


def outlook(table: Record, regime: str, lag: int, horizon: int) -> Outlook:
    """Linear in the logarithm of lag / horizon between rows of the table; at the horizon only noise is left.

    Below the least ratio nothing was measured. Slope and noise are there those of the least, and the drift grows from
    there, for each halving of the lag, by the most that it grew by from any row to the one before: so that candidates
    leave the later, the less is known. A regime without rows takes the regime whose drift is largest.
    """
    regimes = table["regimes"]
    if regime not in regimes:
        return max((outlook(table, one, lag, horizon) for one in regimes), key=lambda found: found.drift)
    points = [(math.log(row["ratio"]), *(row[name] for name in Outlook._fields)) for row in regimes[regime]]
    points.append((0.0, 1.0, 0.0, points[-1][-1]))
    log = math.log(lag / horizon)
    at = min(max(log, points[0][0]), 0.0)
    low, high = next((a, b) for a, b in itertools.pairwise(points) if a[0] <= at <= b[0])
    part = (at - low[0]) / (high[0] - low[0])
    found = Outlook(*(x + (y - x) * part for x, y in zip(low[1:], high[1:], strict=True)))
    if log >= at:
        return found
    steepest = max(max(0.0, (a[2] - b[2]) / (b[0] - a[0])) for a, b in itertools.pairwise(points))
    return found._replace(drift=found.drift + steepest * (at - log))


def measured_from(table: Record, regime: str, horizon: int) -> int:
    """The least lag, in steps, of which the table knows anything; of a regime without rows that of all the others."""
    regimes = table["regimes"]
    known = [regimes[regime]] if regime in regimes else list(regimes.values())
    return max(math.ceil(found[0]["ratio"] * horizon) for found in known)
