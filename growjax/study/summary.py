"""Sums a receipt up: the plain data that tables, figures and the page are made of. Computes nothing anew."""

from __future__ import annotations

from growjax.config import ModelConfig
from growjax.grow.plan import make_plan
from growjax.grow.registry import parse_operator
from growjax.measure.curves import auc, tokens_saved
from growjax.measure.inputs import Curve
from growjax.measure.measure import CELLS, Measure
from growjax.measure.registry import measures, measures_at, value_of
from growjax.model.decoder import count_params, flops_per_token
from growjax.study.apart import told_apart
from growjax.study.attribution import attribute
from growjax.study.crossing import outcomes
from growjax.study.ranking import (
    Record,
    Table,
    best_pair,
    deviation,
    judge_selector,
    mean,
    mean_curve,
    rank_by_auc,
)
from growjax.study.spec import UNWIDENED, StudySpec


def models(receipt: Record) -> tuple[ModelConfig, ModelConfig]:
    """(source, target) of a run, with the vocabulary its tokenizer filled."""
    spec = StudySpec.from_dict(receipt["config"])
    vocab_size = next(c["metrics"]["vocab_size"] for c in receipt["cells"] if c["kind"] == "data")
    source = spec.train_config(vocab_size).model
    return source, make_plan(source, spec.to.of(source)).target


def summarise(receipt: Record) -> Record:
    """The summary of a run, from its receipt alone."""
    spec, table = StudySpec.from_dict(receipt["config"]), Table(receipt["cells"])
    source_model, target_model = models(receipt)
    data = next(c for c in receipt["cells"] if c["kind"] == "data")["metrics"]
    sources = [cell["source"] for cell in sorted(receipt["cells"], key=_source_order) if cell["kind"] == "source"]
    summary: Record = {
        "title": f"Which wide start? {spec.data.corpus}, {source_model.d_model} to {target_model.d_model}",
        "run": _run(receipt, spec, data, source_model, target_model),
        "sources": [_source(table, name, data) for name in sources],
        "preservation": [],
        "probes": [],
        "ranking": [],
        "pairs": [],
        "selectors": [],
        "curves": [],
        "attribution": [],
        "regimes_apart": [],
        "notes": _notes(spec),
    }
    pool = [UNWIDENED, *spec.operators]
    comparisons = max(1, len(sources) * len(spec.regimes) * 2)
    for source in sources:
        summary["preservation"] += _preservation(table, source, spec.operators)
        for regime in spec.regimes:
            for lag, metric in ((spec.probe_lag, "probe"), (spec.continuation_lag, "continuation")):
                rows = [_ranking_row(table, spec, source, regime, lag, metric, name) for name in pool]
                rank_by_auc(rows)
                summary["ranking"] += rows
                aucs = {n: _aucs(table, source, regime, n, metric) for n in spec.operators}
                pair = best_pair(aucs, comparisons, source=source, regime=regime, lag=lag)
                summary["pairs"] += [pair] if pair else []
            summary["probes"] += [_probe(table, source, regime, name) for name in spec.operators]
            summary["selectors"] += _selectors(table, spec, source, regime)
            flops = {False: flops_per_token(target_model, spec.data.seq_len),
                     True: flops_per_token(source_model, spec.data.seq_len)}  # fmt: skip
            summary["curves"] += [_curve(table, spec, source, regime, n, flops[n == UNWIDENED]) for n in pool]
        apart = told_apart(summary["ranking"], source, spec.continuation_lag)
        summary["regimes_apart"] += [apart] if apart else []
        if spec.crossed:
            found = {n: y for n, y in outcomes(receipt["cells"], spec, source).items() if not is_control(n)}
            summary["attribution"].append({"source": source, **attribute(found, seed=spec.study_seed)})
    return summary


def _source_order(cell: Record) -> tuple:
    parameters = cell["parameters"]
    return (parameters.get("seed", -1), parameters.get("step", -1))


def _run(receipt: Record, spec: StudySpec, data: Record, source: ModelConfig, target: ModelConfig) -> Record:
    def sizes(config: ModelConfig) -> Record:
        names = ("d_model", "n_layers", "n_heads", "n_kv_heads", "head_dim", "d_ff")
        values = {name: getattr(config, name) for name in names}
        return values | {"dialect": config.described, "parameters": count_params(config)}

    return {
        "preset": spec.preset,
        "corpus": spec.data.corpus,
        "corpus_digest": receipt["inputs"]["corpus_digest"],
        "tokens_train": data["tokens"]["train"],
        "tokens_validation": data["tokens"]["validation"],
        "vocab_size": data["vocab_size"],
        "unigram_entropy": data["unigram_entropy"],
        "source_model": sizes(source),
        "target_model": sizes(target),
        "optimizer": spec.optim.every_field(),
        "batch_size": spec.data.batch_size,
        "seq_len": spec.data.seq_len,
        "replicates": {regime: spec.replicates(regime) for regime in spec.regimes},
        "pinned": receipt["pins"]["pinned"],
        "environment": receipt["environment"],
        "root": receipt["root"],
        "cells": len(receipt["cells"]),
    }


def _source(table: Table, name: str, data: Record) -> Record:
    cell = next(c for c in table.cells if c["kind"] == "source" and c["source"] == name)
    metrics, parameters = cell["metrics"], cell["parameters"]
    return {
        "name": name,
        "seed": parameters["seed"],
        "step": parameters["step"],
        "validation_loss": metrics["final_loss"],
        "unigram_entropy": data["unigram_entropy"],
        "curve": [list(point) for point in zip(metrics["eval_steps"], metrics["eval_loss"], strict=True)],
    }


def _preservation(table: Table, source: str, operators: tuple[str, ...]) -> list[Record]:
    names = [m.name for m in measures_at("zero_step")]
    rows = []
    for name in operators:
        metrics = table.rows("candidate", source, None, name)[0]["metrics"]
        rows.append({"source": source, "candidate": name, **{key: metrics.get(key) for key in names}})
    return rows


def _aucs(table: Table, source: str, regime: str, name: str, kind: str) -> list[float]:
    if kind == "continuation":
        return table.values(kind, source, regime, name, "auc")
    cells = [row["metrics"] for row in table.rows("probe", source, regime, name)]
    return [auc(m["eval_steps"], m["eval_loss"]) for m in cells]


def family(name: str) -> str:
    """The paper's family of a candidate."""
    return "control" if name == UNWIDENED else parse_operator(name).operator.family


def is_control(name: str) -> bool:
    """Whether a candidate is there to be compared with, and no warm start."""
    return name == UNWIDENED or parse_operator(name).operator.control


def _shared(spec: StudySpec, metrics: Record, lag: int) -> tuple[list[int], list[float]]:
    """The part of a curve up to a lag."""
    n = metrics["eval_steps"].index(lag) + 1
    return metrics["eval_steps"][:n], metrics["eval_loss"][:n]


def _ranking_row(table: Table, spec: StudySpec, source: str, regime: str, lag: int, kind: str, name: str) -> Record:
    aucs = _aucs(table, source, regime, name, kind)
    cells = [row["metrics"] for row in table.rows(kind, source, regime, name)]
    row: Record = {
        "source": source,
        "regime": regime,
        "lag": lag,
        "candidate": name,
        "family": family(name),
        "control": is_control(name),
        "n": len(aucs),
        "auc_sd": deviation(aucs),
        "rank": None,
        "tokens_saved": None,
        "tokens_saved_more": False,
    }
    for measure in measures_at("continuation"):
        row[measure.column] = _mean_or_none(_in_ranking(measure, spec, cells, lag, kind))
    scratch = [row["metrics"] for row in table.rows(kind, source, regime, "scratch")]
    if scratch and name != "scratch":
        steps, own = _mean_shared(spec, cells, lag)
        _, control = _mean_shared(spec, scratch, lag)
        tokens = tokens_saved(steps, control, own, spec.data.batch_size * spec.data.seq_len)
        row["tokens_saved"], row["tokens_saved_more"] = tokens
    return row


def _in_ranking(measure: Measure, spec: StudySpec, cells: list[Record], lag: int, kind: str) -> list[float]:
    """A measure over replicates at a lag: one of the curve at every lag, any other where the continuation ended."""
    if measure.of_curve:
        curves = [_shared(spec, m, lag) for m in cells]
        values = [value_of(measure, Curve(tuple(steps), tuple(losses))) for steps, losses in curves]
    else:
        values = [m.get(measure.name) for m in cells] if kind == "continuation" else []
    return [v for v in values if v is not None]


def _mean_or_none(values: list[float]) -> float | None:
    return mean(values) if values else None


def _mean_shared(spec: StudySpec, cells: list[Record], lag: int) -> tuple[list[int], list[float]]:
    curves = [_shared(spec, m, lag) for m in cells]
    return curves[0][0], mean_curve([losses for _, losses in curves])[0]


def _probe(table: Table, source: str, regime: str, name: str) -> Record:
    names = [m.name for m in measures_at("probe") if m.recorded]
    values = {m: _mean_or_none(table.values("probe", source, regime, name, m)) for m in names}
    n = len(table.rows("probe", source, regime, name))
    return {"source": source, "regime": regime, "candidate": name, "n": n, **values}


def _selectors(table: Table, spec: StudySpec, source: str, regime: str) -> list[Record]:
    """Selectors over the candidates that come from the source; scratch is no warm start, so it is left out."""
    pool = [name for name in spec.operators if not is_control(name)]
    long = {name: mean(_aucs(table, source, regime, name, "continuation")) for name in pool}
    rows = []
    for measure in (m for m in measures() if m.selects):
        kind = CELLS[measure.where]
        where = regime if kind == "probe" else None
        scores = {}
        for name in pool:
            if measure.recorded:
                values = table.values(kind, source, where, name, measure.name)
            else:
                cells = [row["metrics"] for row in table.rows(kind, source, where, name)]
                values = _in_ranking(measure, spec, cells, spec.probe_lag, kind)
            if values:
                scores[name] = measure.score(mean(values))
        judged = judge_selector(measure.selector, scores, long)
        if judged is not None:
            rows.append({**judged, "source": source, "regime": regime})
    return rows


def _curve(table: Table, spec: StudySpec, source: str, regime: str, name: str, flops: float) -> Record:
    cells = [row["metrics"] for row in table.rows("continuation", source, regime, name)]
    steps = cells[0]["eval_steps"]
    middle, low, high = mean_curve([m["eval_loss"] for m in cells])
    tokens = [s * spec.data.batch_size * spec.data.seq_len for s in steps]
    return {
        "source": source,
        "regime": regime,
        "candidate": name,
        "control": is_control(name),
        "steps": steps,
        "tokens": tokens,
        "flops": [t * flops for t in tokens],
        "mean": middle,
        "low": low,
        "high": high,
    }


def _notes(spec: StudySpec) -> list[str]:
    notes = [
        "States of one seed at two steps are not independent: they are one run seen twice.",
        "A deterministic continuation repeated is one number; its replicates are fixed batch orders.",
    ]
    fewest = min(spec.replicates(regime) for regime in spec.regimes) if spec.regimes else 0
    if fewest < 8:
        notes.append(
            f"With {fewest} to {max(spec.replicates(r) for r in spec.regimes)} replicates the intervals are wide; "
            "a claim should rest on at least 8."
            if spec.regimes
            else "No regime was run."
        )
    return notes
