"""What a study measured, by source, regime, lag and candidate: what claims are decided on, and selectors replayed on.

From the cells of a receipt alone. Nothing here decides anything.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

from growjax.measure.curves import auc
from growjax.measure.measure import Measure
from growjax.measure.registry import measures
from growjax.record.cell_types import CellRecord
from growjax.record.receipt_types import Receipt
from growjax.study.ranking import Table
from growjax.study.replicates import losses
from growjax.study.selectors import scores_of, shared_scores
from growjax.study.spec import PAPER_OPERATORS, StudySpec
from growjax.study.summary import is_control

Outcome = tuple[str, str, int, str]
"""(source, regime, lag, candidate)"""

GIVEN = "given"
"""In place of a seed, of every state that was not trained here or goes on from one: a receipt does not say whether two
of them come from one training, so they are no independent units."""

Score = tuple[str, str, str, str]
"""(selector, source, regime, candidate)"""


@dataclasses.dataclass(frozen=True)
class Evidence:
    """Outcomes and the scores of cheap selectors."""

    seeds: dict[str, int | str]
    """By source state: its seed, or `GIVEN`. States of one are one run seen twice."""
    regimes: tuple[str, ...]
    """Those in which every candidate goes on."""
    lags: tuple[int, ...]
    """The probe's, the continuation's, and the long one where there is one."""
    families: tuple[str, ...]
    pool: tuple[str, ...]
    """Every warm start that is ranked, the families included."""
    aucs: dict[Outcome, tuple[float, ...]]
    """AUC of the validation loss [replicates], nats per token, lower is better; infinite where it diverged. A regime's
    replicates are the same randomness for every candidate."""
    selectors: tuple[str, ...]
    """Names of every registered measure that selects."""
    zero_step: tuple[str, ...]
    """Those that are taken before the first step."""
    scores: dict[Score, tuple[float | None, ...]]
    """What a selector minimises, replicate by replicate (one value before the first step): infinite where that run
    diverged, None where the measure has no meaning."""
    rates: dict[float, dict[str, str]] = dataclasses.field(default_factory=dict)
    """By multiple of the learning rate: the candidate that each family is there."""

    def at_rate(self, rate: float) -> dict[str, str]:
        """By each of the paper's families: its candidate at a multiple of the learning rate, run or not."""
        at = self.rates.get(rate, {}) if rate != 1 else {}
        return {
            name: at.get(name, name if rate == 1 else f"{name} at {rate:g} times the rate") for name in PAPER_OPERATORS
        }

    def outcomes(self, source: str, regime: str, lag: int, names: Iterable[str]) -> dict[str, tuple[float, ...]]:
        """AUCs of those candidates that have any there, over the replicates that all of these have."""
        found = {name: self.aucs[key] for name in names if (key := (source, regime, lag, name)) in self.aucs}
        n = min(map(len, found.values()), default=0)
        return {name: values[:n] for name, values in found.items()}

    def chosen(self, selector: str, source: str, regime: str, names: Sequence[str]) -> dict[str, float] | None:
        """A selector's scores of these candidates, means over the replicates that all of these have; None where one of
        them has none. A run that diverged is left out, as long as another of the candidate did not."""
        seen = {name: self.scores.get((selector, source, regime, name), ()) for name in names}
        scores = shared_scores(seen)
        return scores if scores and len(scores) == len(seen) else None


def evidence_of(receipt: Receipt, spec: StudySpec) -> Evidence:
    """The evidence in a whole receipt."""
    pool = tuple(name for name in spec.pool_of_all if not is_control(name))
    lags = (spec.probe_lag, spec.continuation_lag, *([spec.long_lag] if spec.long_lag else []))
    rates: dict[float, dict[str, str]] = {}
    for name, (family, rate) in spec.at_rates.items():
        rates.setdefault(rate, {})[family] = name
    asked = [m for m in measures() if m.selects]
    names = {*pool, *spec.at_rates}
    return Evidence(
        seeds=seeds_of(receipt["cells"]),
        regimes=spec.regimes,
        lags=lags,
        families=spec.families,
        pool=pool,
        aucs=_aucs(receipt["cells"], names),
        selectors=tuple(m.selector for m in asked),
        zero_step=tuple(m.selector for m in asked if m.where == "zero_step"),
        scores=_scores(receipt["cells"], spec, names, asked),
        rates=rates,
    )


def seeds_of(cells: Sequence[CellRecord]) -> dict[str, int | str]:
    """By source state: the seed of the training that it is of, or `GIVEN`."""
    known = {cell["id"]: cell for cell in cells}
    found: dict[str, int | str] = {}
    for cell in cells:
        if cell["kind"] == "candidate":
            root = known[cell["parents"][0]]
            while root["kind"] == "source" and (parent := known[root["parents"][0]])["kind"] != "data":
                root = parent
            found[cell["source"]] = root["parameters"]["seed"] if root["kind"] == "source" else GIVEN
    return dict(sorted(found.items()))


def _aucs(cells: Iterable[CellRecord], names: set[str]) -> dict[Outcome, tuple[float, ...]]:
    found: dict[Outcome, dict[int, float]] = {}
    for cell in cells:
        if not (cell["kind"] == "probe" or cell["kind"] == "continuation" or cell["kind"] == "extension"):
            continue
        if cell["operator"] not in names:
            continue
        metrics, end = cell["metrics"], cell["metrics"]["eval_steps"].index(cell["lag"]) + 1
        curve = losses(metrics)[:end]
        area = auc(metrics["eval_steps"][:end], curve) if all(map(math.isfinite, curve)) else math.inf
        outcome = (cell["source"], cell["regime"], cell["lag"], cell["operator"])
        found.setdefault(outcome, {})[cell["replicate"]] = area
    return {outcome: tuple(own[k] for k in sorted(own)) for outcome, own in found.items()}


def _scores(
    cells: Sequence[CellRecord], spec: StudySpec, names: set[str], asked: Sequence[Measure]
) -> dict[Score, tuple[float | None, ...]]:
    table = Table(cells)
    found: dict[Score, tuple[float | None, ...]] = {}
    places = [
        (source, regime, name) for source in seeds_of(cells) for regime in spec.all_regimes for name in sorted(names)
    ]
    for source, regime, name in places:
        for measure in asked if table.rows("probe", source, regime, name) else ():
            found[measure.selector, source, regime, name] = scores_of(table, spec, source, regime, name, measure)
    return found
