"""Sums a receipt up: the plain data that tables, figures and the page are made of. Computes nothing anew."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np

from growjax.grow.registry import parse_operator
from growjax.measure.curves import tokens_saved
from growjax.measure.registry import measures_at
from growjax.model.decoder import flops_per_token
from growjax.record.cell_types import CurveMetrics, GivenCell, SourceCell
from growjax.record.checksums import readable
from growjax.record.receipt_types import Receipt
from growjax.schema import Record
from growjax.study.attribution import attribute
from growjax.study.crossing import outcomes
from growjax.study.factorial import SQUARE, Corners, factorial
from growjax.study.facts import cost_rows, programs, run_facts, source_row
from growjax.study.making import making_rows, sentences, steps_of
from growjax.study.notes import of_given, of_study
from growjax.study.ranking import (
    Table,
    adjusted_means,
    best_pair,
    comparable_curves,
    deviation,
    mean,
    mean_curve,
    rank_by_auc,
)
from growjax.study.rates import rate_rows
from growjax.study.receipt import check_whole, data_of, models, spec_of
from growjax.study.replicates import (
    Kind,
    aucs,
    described_loss,
    losses,
    mean_or_none,
    recorded,
    shared,
    survivors,
    values_at,
)
from growjax.study.rows import CurveRow, Measured, RankingRow, Summary
from growjax.study.selectors import selectors
from growjax.study.spec import UNWIDENED, StudySpec

NOT_COUNTED = "Lags, losses and AUC are by steps after that; tokens saved and what it took count it."
"""Of what a candidate was trained for before its step 0."""


def summarise(receipt: Receipt) -> Summary:
    """The summary of a run, from its receipt alone. Raises `UserError` where a cell of the run is missing.

    Means are over the replicates that did not diverge; a candidate of which one did is ranked after those of which
    none did. What is not finite is None in the summary.
    """
    spec, table = spec_of(receipt), Table(receipt["cells"])
    check_whole(receipt, spec)
    source_model, target_model = models(receipt)
    data = data_of(receipt)
    as_it_is = bool(spec.source) and 0 in spec.source_steps
    states = [c for c in receipt["cells"] if c["kind"] == "source" or (as_it_is and c["kind"] == "given")]
    states.sort(key=_place)
    sources = [cell["source"] for cell in states]
    run = run_facts(receipt, spec, data, source_model, target_model)
    making = making_rows(spec.candidates, spec, target_model)
    summary: Summary = {
        "title": f"Which wide start? {run['corpus']}, {source_model.d_model} to {target_model.d_model}",
        "run": run,
        "sources": [source_row(cell, data) for cell in states],
        "preservation": [],
        "probes": [],
        "ranking": [],
        "pairs": [],
        "family_pairs": [],
        "selectors": [],
        "curves": [],
        "attribution": [],
        "regimes_factorial": [],
        "long": [],
        "rates": [],
        "cost": cost_rows(receipt, spec, source_model, target_model),
        "making": making,
        "programs": programs(receipt),
        "notes": [*of_study(spec), *of_given(receipt), *sentences(making, NOT_COUNTED)],
    }
    uncrossed: set[str] = set()
    rankings = 2 * len(spec.all_regimes) + (len(spec.regimes) if spec.long_lag else 0)
    comparisons = max(1, len(sources) * rankings)
    beyond = sum(not is_control(name) for name in spec.pool_of_all) > len(spec.families) > 1
    of_families = max(1, len(sources) * 2 * len(spec.all_regimes))
    for source in sources:
        summary["preservation"] += _preservation(table, source, spec.candidates)
        for regime in spec.all_regimes:
            ranked = spec.ranked(regime)
            pool = [UNWIDENED, *ranked]
            lags: list[tuple[int, Kind]] = [(spec.probe_lag, "probe"), (spec.continuation_lag, "continuation")]
            if spec.long_lag and regime in spec.regimes:
                lags.append((spec.long_lag, "extension"))
            for lag, metric in lags:
                here = [n for n in pool if metric != "extension" or table.rows(metric, source, regime, n)]
                rows = [_ranking_row(table, spec, source, regime, lag, metric, name) for name in here]
                whole = [r["candidate"] for r in rows if r["candidate"] != UNWIDENED and "n_diverged" not in r]
                found = {n: aucs(_cells(table, metric, source, regime, n), metric) for n in whole}
                plain = cast("list[Record]", rows)
                adjust(plain, "auc_mean", found)
                for measure in (m for m in measures_at("continuation") if m.of_curve):
                    of = {n: values_at(measure, _cells(table, metric, source, regime, n), lag, metric) for n in whole}
                    adjust(plain, measure.column, {n: own for n, own in of.items() if len(own) == len(found[n])})
                rank_by_auc(rows)
                summary["long" if metric == "extension" else "ranking"] += rows
                pair = best_pair(found, comparisons, source=source, regime=regime, lag=lag)
                summary["pairs"] += [pair] if pair else []
                if beyond and metric != "extension":
                    own = {name: found[name] for name in spec.families if name in found}
                    pair = best_pair(own, of_families, source=source, regime=regime, lag=lag)
                    summary["family_pairs"] += [pair] if pair else []
            summary["probes"] += [_probe(table, source, regime, name) for name in ranked]
            if spec.rates and regime in spec.regimes:
                at = {n: _cells(table, "continuation", source, regime, n) for n in (*spec.families, *spec.at_rates)}
                summary["rates"] += rate_rows(at, spec, source=source, regime=regime)
            warm = [name for name in ranked if not is_control(name)]
            summary["selectors"] += selectors(table, spec, source, regime, warm)
            flops = {False: flops_per_token(target_model, spec.data.seq_len),
                     True: flops_per_token(source_model, spec.data.seq_len)}  # fmt: skip
            summary["curves"] += _curves(table, spec, source, regime, {n: flops[n == UNWIDENED] for n in pool})
        apart = factorial(_corners(table, spec, source), source, spec.continuation_lag)
        summary["regimes_factorial"] += [apart] if apart else []
        if spec.crossed:
            crossed = {n: y for n, y in outcomes(receipt["cells"], spec, source).items() if not is_control(n)}
            finite = {n: y for n, y in crossed.items() if bool(np.isfinite(y).all())}
            if finite:
                summary["attribution"].append({"source": source, **attribute(finite, seed=spec.study_seed)})
            uncrossed |= crossed.keys() - finite.keys()
    lost = {row["candidate"] for row in summary["ranking"] if "n_diverged" in row and row["rank"] is not None}
    summary["notes"] += [f"Diverged, and therefore ranked last: {', '.join(sorted(lost))}."] if lost else []
    if uncrossed:
        names = ", ".join(sorted(uncrossed))
        summary["notes"].append(f"Left out of what decides who wins, since a cell of it diverged: {names}.")
    return cast(Summary, readable(summary))


def _place(cell: SourceCell | GivenCell) -> tuple[str, int, int]:
    """Where a source state stands in tables: those of one given source together, then by seed and step."""
    given = cell["source"].rpartition("seed")[0] if cell["kind"] == "source" else f"{cell['source'].partition('-')[0]}-"
    return given, cell["parameters"].get("seed", -1), cell["parameters"]["step"]


def _corners(table: Table, spec: StudySpec, source: str) -> Corners:
    """The AUCs of the warm starts of which no replicate diverged, in the regimes that make the 2 x 2."""
    found: dict[str, dict[str, list[float]]] = {}
    for corner, regime in SQUARE.items():
        for name in spec.ranked(regime) if regime in spec.all_regimes else ():
            cells = _cells(table, "continuation", source, regime, name)
            if cells and not is_control(name) and len(survivors(cells)) == len(cells):
                found.setdefault(corner, {})[name] = aucs(cells, "continuation")
    return found


def _preservation(table: Table, source: str, operators: tuple[str, ...]) -> list[Measured]:
    names = [m.name for m in measures_at("zero_step")]
    rows = []
    for name in operators:
        metrics = table.rows("candidate", source, None, name)[0]["metrics"]
        rows.append({"source": source, "candidate": name, **{key: metrics.get(key) for key in names}})
    return rows


def family(name: str) -> str:
    """The paper's family of a candidate."""
    return "control" if name == UNWIDENED else parse_operator(name).operator.family


def is_control(name: str) -> bool:
    """Whether a candidate is there to be compared with, and no warm start."""
    return name == UNWIDENED or parse_operator(name).operator.control


def _cells(table: Table, kind: Kind, source: str, regime: str, name: str) -> list[CurveMetrics]:
    return [row["metrics"] for row in table.rows(kind, source, regime, name)]


def _ranking_row(
    table: Table, spec: StudySpec, source: str, regime: str, lag: int, kind: Kind, name: str
) -> RankingRow:
    cells = _cells(table, kind, source, regime, name)
    kept = survivors(cells)
    found = aucs(kept, kind)
    row: RankingRow = {
        "source": source,
        "regime": regime,
        "lag": lag,
        "candidate": name,
        "family": family(name),
        "control": is_control(name),
        "n": len(kept),
        "auc_mean": mean(found) if found else math.inf,
        "auc_sd": deviation(found),
        "final_mean": None,
        "rank": None,
        "tokens_saved": None,
        "tokens_saved_more": False,
    }
    measured = {m.column: mean_or_none(values_at(m, kept, lag, kind)) for m in measures_at("continuation") if kept}
    row = cast(RankingRow, {**row, **measured, **described_loss(cells)})
    scratch = _cells(table, kind, source, regime, "scratch")
    if scratch and name != "scratch" and len(kept) == len(cells) and len(survivors(scratch)) == len(scratch):
        n = min(len(cells), len(scratch))  # replicates that both have
        steps, own = _mean_shared(cells[:n], lag)
        _, control = _mean_shared(scratch[:n], lag)
        each, before = spec.data.batch_size * spec.data.seq_len, steps_of(name)
        tokens = tokens_saved(steps, control, own, each, before=before)
        row["tokens_saved"], row["tokens_saved_more"] = tokens
    return row


def _mean_shared(cells: Sequence[CurveMetrics], lag: int) -> tuple[list[int], list[float]]:
    curves = [shared(m, lag) for m in cells]
    return curves[0][0], mean_curve([found for _, found in curves])[0]


def adjust(rows: Sequence[Record], column: str, values: Mapping[str, list[float]]) -> None:
    """Puts mean losses into a column, as if all candidates had as many replicates, so that rows of a table compare.
    `values` are by candidate, of those that have a value in every replicate; other rows keep what they hold. Of losses
    alone: what a replicate adds to one candidate it adds to another, and to no KL, which may be 0."""
    middle = adjusted_means({name: own for name, own in values.items() if own})
    for row in rows:
        if row["candidate"] in middle:
            row[column] = middle[row["candidate"]]


def _probe(table: Table, source: str, regime: str, name: str) -> Measured:
    cells = _cells(table, "probe", source, regime, name)
    kept = survivors(cells)
    values = {m.name: mean_or_none(recorded(m.name, kept)) for m in measures_at("probe") if m.recorded}
    row = {"source": source, "regime": regime, "candidate": name, "n": len(kept)}
    return {**row, **values, **described_loss(cells)}


def _curves(table: Table, spec: StudySpec, source: str, regime: str, flops: Mapping[str, float]) -> list[CurveRow]:
    """Over the replicates that did not diverge; over all, as far as all are finite, where every one did."""
    cells = {name: _cells(table, "continuation", source, regime, name) for name in flops}
    kept = {name: survivors(own) for name, own in cells.items()}
    whole = {n: [losses(m) for m in own] for n, own in cells.items() if n != UNWIDENED and len(kept[n]) == len(own)}
    drawn = comparable_curves(whole)
    tokens = spec.data.batch_size * spec.data.seq_len
    rows: list[CurveRow] = []
    for name, own in cells.items():
        middle, low, high = drawn.get(name) or mean_curve([losses(m) for m in kept[name] or own])
        steps = own[0]["eval_steps"]
        rows.append({
            "source": source,
            "regime": regime,
            "candidate": name,
            "control": is_control(name),
            "steps": steps,
            "tokens": [s * tokens for s in steps],
            "flops": [s * tokens * flops[name] for s in steps],
            "n": len(kept[name]),
            "mean": middle,
            "low": low,
            "high": high,
        })  # fmt: skip
    return rows
