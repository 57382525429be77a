"""What `select` would have chosen on finished studies, at any budget, beside plain rules: regret against the full grid.

    python -m experiments.select_replay RECEIPT [RECEIPT ...] --out artifacts/select-replay.json

Each source and regime of each receipt is a race of its own, over the very curves that the study recorded and among the
candidates that `select` takes if none are named. The table of trust is measured anew for each training (a seed under
one configuration), on the sources of all others in these receipts: it is not the one that comes with growjax, which
knows these studies. The horizon is as far as all candidates of a study went. Regret is the chosen candidate's AUC there
less the best one's, in nats per token, over all the study's replicates, those that the race saw among them: so every
rule's regret is a little smaller than it would be on other ones. Steps for which an operator trains before step 0 count
in the full grid and in every budget; a budget that does not take them leaves that operator out, as `select` does where
nobody named it. Plain rules, among the same candidates and each within the same budget:

- exact copy: always;
- least zero-step KL: a draw among those that differ by rounding, and its mean regret;
- lowest probe loss: after 16 steps;
- equal shares: all candidates equally far, then equally often, and the least AUC;
- successive halving: as many rounds as halvings, the same steps in each, the better half by AUC stays. Who has reached
  the horizon runs once more.

A rule stands at no budget that it cannot follow.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path

from growjax import runtime

runtime.pin()

from growjax.errors import UserError  # noqa: E402
from growjax.files import write_text  # noqa: E402
from growjax.measure.curves import auc  # noqa: E402
from growjax.record.integrity import read_receipt  # noqa: E402
from growjax.record.receipt_types import Receipt  # noqa: E402
from growjax.schema import Record  # noqa: E402
from growjax.select.race import Rules, Verdict, ladder, least_budget, race  # noqa: E402
from growjax.select.runner import affordable  # noqa: E402
from growjax.select.trust import Grid, grids, measured, outlook  # noqa: E402
from growjax.study.making import steps_in_all  # noqa: E402
from growjax.study.ranking import Table, lowest, mean  # noqa: E402
from growjax.study.replicates import recorded  # noqa: E402

FIRST = 16
"""The first rung, in steps, where a study's grid has it."""

PARTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
"""Budgets, as parts of the full grid's steps."""


def raced(grid: Grid, budget: int, table: Record, making: int = 0) -> Verdict:
    """The race over a recorded grid, whose candidates were made in so many steps."""
    every, horizon = grid.steps[1], grid.steps[-1]
    rules = Rules(horizon, budget, ladder(horizon, every, FIRST), every, replicates(grid), making)
    running = race(sorted(grid.curves), rules, lambda lag: outlook(table, grid.regime, lag, horizon))
    request = next(running)
    try:
        while True:
            request = running.send({(name, r): grid.curves[name][r] for name, r in request.places})
    except StopIteration as stop:
        return stop.value


def replicates(grid: Grid) -> int:
    """Those that every candidate has."""
    return min(len(several) for several in grid.curves.values())


def after(grid: Grid, names: Sequence[str], steps: int) -> dict[str, float]:
    """Mean AUC of candidates that ran as many steps each: once up to a lag, and as often as that goes up to the
    horizon. None of any where that is less than an evaluation."""
    every, horizon = grid.steps[1], grid.steps[-1]
    lag, times = min(horizon, steps // every * every), min(replicates(grid), max(1, steps // horizon))
    count = lag // every + 1
    return {n: mean(auc(grid.steps[:count], c[:count]) for c in grid.curves[n][:times]) for n in names if lag}


def halved(grid: Grid, budget: int) -> tuple[str, ...]:
    """Plain successive halving: who is left; nobody where the first round is shorter than an evaluation."""
    standing, steps = tuple(sorted(grid.curves)), 0
    rounds = max(1, math.ceil(math.log2(len(standing))))
    for _ in range(rounds):
        steps += budget // rounds // len(standing)
        scores = after(grid, standing, steps)
        if not scores:
            return ()
        standing = tuple(sorted(scores, key=lambda name: (scores[name], name))[: (len(standing) + 1) // 2])
    return standing


def plain(grid: Grid, table: Table, budget: int) -> dict[str, tuple[str, ...]]:
    """What each plain rule takes, with a budget for what comes after step 0: a draw where it is more than one."""
    names = sorted(grid.curves)
    kl = {
        name: recorded("kl", [cell["metrics"] for cell in table.rows("candidate", grid.source, None, name)])
        for name in names
    }
    chosen = {
        "exact copy": tuple(name for name in names if name == "exact_copy"),
        "successive halving": halved(grid, budget),
    }
    if all(kl.values()):
        chosen["least zero-step KL"] = lowest({name: values[0] for name, values in kl.items()})
    if FIRST in grid.steps and budget >= len(names) * FIRST:
        at = grid.steps.index(FIRST)
        chosen["lowest probe loss"] = lowest({name: grid.curves[name][0][at] for name in names})
    equal = after(grid, names, budget // len(names))
    chosen["equal shares"] = lowest(equal) if equal else ()
    return {rule: taken for rule, taken in chosen.items() if taken}


def replay(receipt: Receipt, receipts: Sequence[Receipt]) -> list[Record]:
    """One row for each source, regime and budget."""
    table, rows = Table(receipt["cells"]), []
    for grid in grids(receipt):
        trust = measured(receipts, without=grid.training)
        horizon = grid.steps[-1]
        full = sum(len(several) for several in grid.curves.values()) * horizon + steps_in_all(grid.curves)
        areas = grid.areas(horizon)
        best = min(areas.values())
        first = ladder(horizon, grid.steps[1], FIRST)
        for part in PARTS:
            budget = int(part * full)
            names, beyond, making = affordable(sorted(grid.curves), first, budget)
            if budget < least_budget(len(names), first, making):
                continue
            taken = grid._replace(curves={name: grid.curves[name] for name in names})
            verdict = raced(taken, budget, trust, making)
            chosen = {"select": (verdict.order[0],), **plain(taken, table, budget - making)}
            row: Record = {"source": grid.source, "regime": grid.regime, "part": part, "budget": budget, "full": full}
            row |= {"spent": verdict.spent, "separated": verdict.separated, "candidates": len(names)}
            row |= {"making": making, "left_out": list(beyond)}
            regret = {rule: mean(areas[name] - best for name in found) for rule, found in chosen.items()}
            rows.append({**row, "chosen": {rule: list(found) for rule, found in chosen.items()}, "regret": regret})
    return rows


def summed(rows: Sequence[Record]) -> list[Record]:
    """Mean regret over sources and regimes, by budget and rule; of the plain ones those that stand in every race."""
    found = []
    for part in sorted({row["part"] for row in rows}):
        of_part = [row for row in rows if row["part"] == part]
        rules = [rule for rule in of_part[0]["regret"] if all(rule in row["regret"] for row in of_part)]
        regret = {rule: mean(row["regret"][rule] for row in of_part) for rule in rules}
        best = min(value for rule, value in regret.items() if rule != "select")
        found.append({"part": part, "races": len(of_part), "regret": regret, "least of plain rules": best})
    return found


def main() -> None:
    """Writes the document, and prints the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("receipts", nargs="+", type=Path)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    receipts: list[Receipt] = [read_receipt(path) for path in given.receipts]  # pyright: ignore[reportAssignmentType]
    studies = []
    for receipt in receipts:
        try:
            rows = replay(receipt, receipts)
        except UserError as error:
            raise SystemExit(str(error)) from None
        found = {"study": receipt["root"], "preset": receipt["config"].get("preset", "quick")}
        studies.append({**found, "mean": summed(rows), "races": rows})
        for row in studies[-1]["mean"]:
            print(
                found["preset"], f"{row['part']:.4f}", row["races"], {k: round(v, 5) for k, v in row["regret"].items()}
            )
    if given.out:
        write_text(given.out, json.dumps({"studies": studies}, indent=1) + "\n")


if __name__ == "__main__":
    main()
