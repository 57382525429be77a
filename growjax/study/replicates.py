"""A candidate's replicates in one comparison: their curves and figures. One whose loss left the numbers is counted, and
left out of every mean."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, cast

from growjax.measure.curves import auc
from growjax.measure.inputs import Curve
from growjax.measure.measure import Measure
from growjax.measure.registry import value_of
from growjax.record.cell_types import CurveMetrics
from growjax.study.ranking import mean

Kind = Literal["probe", "continuation", "extension"]


def diverged_step(metrics: CurveMetrics) -> int | None:
    """The step at which a loss was first no finite number; None where all are."""
    marked = cast(int | None, metrics.get("diverged"))
    unmarked = (step for step, loss in zip(metrics["eval_steps"], metrics["eval_loss"], strict=True) if loss is None)
    return next(unmarked, None) if marked is None else marked


def survivors(cells: Sequence[CurveMetrics]) -> list[CurveMetrics]:
    """Those that did not diverge."""
    return [metrics for metrics in cells if diverged_step(metrics) is None]


def described_loss(cells: Sequence[CurveMetrics]) -> dict[str, int | str]:
    """What a row says of replicates that diverged, as a number and in words; nothing where none did."""
    steps = [step for metrics in cells if (step := diverged_step(metrics)) is not None]
    if not steps:
        return {}
    return {"n_diverged": len(steps), "diverged": f"{len(steps)} of {len(cells)} diverged, first at step {min(steps)}"}


def losses(metrics: CurveMetrics) -> list[float]:
    """The losses of a curve, infinite where they are no numbers."""
    return [math.inf if loss is None else loss for loss in metrics["eval_loss"]]


def aucs(cells: Sequence[CurveMetrics], kind: Kind) -> list[float]:
    """The AUC of each. That of a continuation was recorded: its curve may go on beyond what it is of."""
    if kind != "probe":
        return [cast(float, metrics.get("auc")) for metrics in cells]
    return [auc(metrics["eval_steps"], losses(metrics)) for metrics in cells]


def shared(metrics: CurveMetrics, lag: int) -> tuple[list[int], list[float]]:
    """The part of a curve up to a lag."""
    n = metrics["eval_steps"].index(lag) + 1
    return metrics["eval_steps"][:n], losses(metrics)[:n]


def values_at(measure: Measure, cells: Sequence[CurveMetrics], lag: int, kind: Kind) -> list[float]:
    """A measure over replicates at a lag: one of the curve at every lag, any other where the continuation ended."""
    if measure.of_curve:
        values = [at_lag(measure, metrics, lag) for metrics in cells]
        return [value for value in values if value is not None]
    return recorded(measure.name, cells) if kind != "probe" else []


def at_lag(measure: Measure, metrics: CurveMetrics, lag: int) -> float | None:
    """A measure of one curve up to a lag; None of any other measure, or where it has no meaning."""
    steps, found = shared(metrics, lag)
    return value_of(measure, Curve(tuple(steps), tuple(found))) if measure.of_curve else None


def recorded(name: str, cells: Sequence[Mapping[str, object]]) -> list[float]:
    """A recorded figure of each; those in which it has no meaning are left out."""
    values = (cast(float | None, metrics.get(name)) for metrics in cells)
    return [value for value in values if value is not None]


def mean_or_none(values: list[float]) -> float | None:
    """The mean; None where there is nothing to take it of."""
    return mean(values) if values else None
