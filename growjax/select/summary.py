"""What a selection came to, from its receipt alone. Computes nothing anew."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence

from growjax.configuration import option_words
from growjax.errors import UserError
from growjax.record.cell_types import CandidateCell, RungCell
from growjax.record.receipt_types import Receipt
from growjax.select.race import Request, Verdict
from growjax.select.racing import check_ended, entrants, outlook_of, played
from growjax.select.rows import Left, OutlookRow, Rule, RungRow, SelectionSummary, Standing
from growjax.select.trust import measured_from, published
from growjax.study.facts import cost_rows, programs, run_facts, source_row
from growjax.study.making import making_rows, sentences, steps_of
from growjax.study.notes import of_given
from growjax.study.presets import presets
from growjax.study.ranking import comparable_curves, lowest, mean_curve
from growjax.study.receipt import cells_of, data_of, models, spec_of
from growjax.study.replicates import losses
from growjax.study.selection import Selection

PLAIN = ("least zero-step KL", "lowest probe loss", "exact copy")
"""The rules that a selection is compared with: what many would do without one."""


COUNTED = "The first request of the race counts them; lags, losses and AUC are by steps after that."
UNCOUNTED = "The race did not count them: this selection was run before races did."
"""Of the steps for which a candidate was trained before its step 0."""


def beyond(name: str) -> str:
    """Why an operator that trains was left out."""
    steps = steps_of(name)
    return f"the {steps} steps that it trains for before its step 0 are too much of the budget, unless it is named"


def selection_of(receipt: Receipt) -> Selection:
    """The specification of a selection's receipt. Raises `UserError` for another's."""
    spec = spec_of(receipt)
    if not isinstance(spec, Selection):
        raise UserError("this is the receipt of a study, and of no selection", "name a directory that select wrote")
    return spec


def summarise_selection(receipt: Receipt) -> SelectionSummary:
    """The summary of a selection that has ended. Raises `UserError` where a cell is missing."""
    spec = selection_of(receipt)
    check_ended(receipt, spec)
    data, (narrow, wide) = data_of(receipt), models(receipt)
    known = {cell["id"]: cell for cell in receipt["cells"]}
    verdict = played(spec, cells_of(receipt, spec), known, narrow).verdict
    candidates = {cell["operator"]: cell for cell in receipt["cells"] if cell["kind"] == "candidate"}
    rungs = _runs([cell for cell in receipt["cells"] if cell["kind"] == "rung"])
    chosen, left_out = verdict.order[0], entrants(spec, candidates, narrow)[1]
    source = next(c for c in receipt["cells"] if c["id"] == candidates[chosen]["parents"][0])
    assert source["kind"] == "given" or source["kind"] == "source"
    (regime,) = spec.all_regimes
    run = run_facts(receipt, spec, data, narrow, wide)
    making = making_rows(spec.candidates, spec, wide)
    curves = _curves(rungs)
    return {
        "title": f"Which wide start? {run['corpus']}, {narrow.d_model} to {wide.d_model}",
        "question": {
            "source": source["source"],
            "regime": regime,
            "horizon": spec.horizon,
            "budget": spec.budget,
            "candidates": len(verdict.order),
            "eval_every": spec.eval_every,
        },
        "answer": {
            "chosen": chosen,
            "cell": candidates[chosen]["id"],
            "state": candidates[chosen]["digests"]["state"],
            "runner_up": verdict.order[1] if len(verdict.order) > 1 else None,
            "gap": verdict.gap,
            "reach": verdict.reach,
            "separated": verdict.separated,
            "lag": verdict.lag,
            "replicates": verdict.replicates,
            "spent": verdict.spent,
        },
        "certain": _certain(verdict),
        "uncertain": _uncertain(spec, verdict),
        "standings": [
            _standing(name, verdict, candidates[name], rungs[name], spec, curves[name]) for name in verdict.order
        ],
        "left_out": [
            *(Left(candidate=name, why="it cannot follow the plan") for name in spec.left_out),
            *(Left(candidate=name, why=beyond(name)) for name in spec.left_out_by_budget),
            *(Left(candidate=one.candidate, why=one.why) for one in left_out),
        ],
        "rungs": [_rung(spec, request) for request in verdict.requests],
        "rules": _rules(spec, verdict, candidates, rungs),
        "outlooks": [OutlookRow(lag=lag, **outlook_of(spec, lag)._asdict()) for lag in spec.rungs],
        "measured_from": _measured_from(spec),
        "trust": list(spec.trust),
        "train_options": _train_options(spec),
        "run": run,
        "source": source_row(source, data),
        "cells": dict(sorted(Counter(cell["kind"] for cell in receipt["cells"]).items())),
        "cost": cost_rows(receipt, spec, narrow, wide),
        "making": making,
        "programs": programs(receipt),
        "notes": [*of_given(receipt), *sentences(making, COUNTED if spec.making else UNCOUNTED)],
    }


Runs = dict[int, RungCell]
"""By replicate: the rung that a candidate ended with."""


def _runs(cells: Sequence[RungCell]) -> dict[str, Runs]:
    found: dict[str, Runs] = {}
    for cell in sorted(cells, key=lambda cell: cell["lag"]):
        found.setdefault(cell["operator"], {})[cell["replicate"]] = cell
    return found


Curve = tuple[list[float], list[float], list[float]]
"""Mean, lowest and highest over replicates."""


def _curves(rungs: Mapping[str, Runs]) -> dict[str, Curve]:
    """By candidate, as far as all of its replicates went."""
    every = {n: [losses(runs[replicate]["metrics"]) for replicate in sorted(runs)] for n, runs in rungs.items()}
    together = {name: [curve[: min(map(len, own))] for curve in own] for name, own in every.items()}
    finite = {n: own for n, own in together.items() if all(math.isfinite(x) for curve in own for x in curve)}
    return {name: mean_curve(own) for name, own in together.items()} | comparable_curves(finite)


def _standing(
    name: str,
    verdict: Verdict,
    candidate: CandidateCell,
    runs: Runs,
    spec: Selection,
    curve: Curve,
) -> Standing:
    gone = {one.candidate: one for one in verdict.left}
    out, place = gone.get(name), verdict.order.index(name)
    behind = verdict.behind.get(name) if out is None else out.behind

    def plain(value: float) -> float | None:
        return value if math.isfinite(value) else None

    return {
        "candidate": name,
        "place": place + 1,
        "lag": max(cell["lag"] for cell in runs.values()),
        "replicates": len(runs),
        "behind": None if behind is None else plain(behind),
        "reach": verdict.reach if out is None else out.reach,
        "why": "chosen" if not place else out.why if out else "stayed",
        "kl": candidate["metrics"].get("kl"),
        "loss": candidate["metrics"].get("loss"),
        "curve": [(spec.eval_every * i, plain(loss)) for i, loss in enumerate(curve[0])],
        "low": [plain(loss) for loss in curve[1]],
        "high": [plain(loss) for loss in curve[2]],
    }


def _rung(spec: Selection, request: Request) -> RungRow:
    names = {name for name, _ in request.places}
    seen = outlook_of(spec, request.lag)
    return {
        "lag": request.lag,
        "candidates": len(names),
        "replicates": 1 + max(replicate for _, replicate in request.places),
        "steps": request.steps,
        "slope": seen.slope,
        "drift": seen.drift,
        "noise": seen.noise,
    }


def _rules(
    spec: Selection, verdict: Verdict, candidates: Mapping[str, CandidateCell], rungs: Mapping[str, Runs]
) -> list[Rule]:
    """What each plain rule would have taken among those that raced, by what the race has seen anyway."""
    names = sorted(verdict.order)
    kl = {name: candidates[name]["metrics"].get("kl") for name in names}
    at = spec.rungs[0] // spec.eval_every
    probe = {name: rungs[name][0]["metrics"]["eval_loss"][at] for name in names}

    def least(scores: Mapping[str, float | None]) -> tuple[str, ...]:
        known = {name: score for name, score in scores.items() if score is not None}
        return lowest(known) if known else ()

    copy = tuple(name for name in names if name == "exact_copy")
    return [
        {"rule": rule, "candidates": list(taken), "places": [verdict.order.index(name) + 1 for name in taken]}
        for rule, taken in zip(PLAIN, (least(kl), least(probe), copy), strict=True)
        if taken
    ]


def _train_options(spec: Selection) -> list[str]:
    """What the verb has to be given, whose own data are the quick study's."""
    own, given = presets()["quick"].data, spec.data
    fields = [f.name for f in dataclasses.fields(given) if f.name not in ("corpus", "tokenizer")]
    return option_words("data", {f: getattr(given, f) for f in fields if getattr(given, f) != getattr(own, f)})


def _measured_from(spec: Selection) -> int | None:
    """The least lag that the table was measured from; None where it is not the one that comes with growjax."""
    table = published()
    (regime,) = spec.all_regimes
    return measured_from(table, regime, spec.horizon) if list(spec.trust) == table["roots"] else None


def _certain(verdict: Verdict) -> list[str]:
    """What the race shows."""
    found = []
    for why, text in (
        ("separated", "were further behind than noise and drift reach"),
        ("diverged", "diverged"),
    ):
        names = [one.candidate for one in verdict.left if one.why == why]
        if names:
            found.append(f"{', '.join(names)} {text if len(names) > 1 else text.replace('were', 'was')}.")
    if verdict.separated:
        found.append(f"{verdict.order[0]} is ahead of every other candidate by more than that.")
    return found


def _uncertain(spec: Selection, verdict: Verdict) -> list[str]:
    """What it leaves open."""
    found = []
    if verdict.gap is not None and verdict.reach is not None and verdict.gap <= verdict.reach:
        found.append(
            f"{verdict.order[0]} is ahead of {verdict.order[1]} by {verdict.gap:.4f} nats per token, and noise and "
            f"drift reach {verdict.reach:.4f}: either may be the better one."
        )
    others = list(verdict.behind)[2:]
    if others:
        found.append(f"Not further behind than that: {', '.join(others)}.")
    short = [one.candidate for one in verdict.left if one.why == "budget"]
    if short:
        found.append(
            f"{', '.join(short)} left because the budget did not take all that stood any further, and not separated "
            "from the leader: any of these may be better than what was chosen."
        )
    least = _measured_from(spec)
    blind = [lag for lag in spec.rungs if least is not None and lag < least]
    if blind:
        found.append(
            f"Under lag {least} of {spec.horizon} nothing was measured: how far the order at "
            f"{', '.join(map(str, blind))} can be trusted is carried on from longer lags by a rule."
        )
    if verdict.lag < spec.horizon:
        found.append(
            f"The race ended at lag {verdict.lag} of {spec.horizon}. How the order changes from there is known from "
            "studies of small models alone."
        )
    if verdict.replicates == 1:
        found.append("Each candidate ran once: the noise between replicates is that of other studies.")
    return found
