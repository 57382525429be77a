"""What `select` would have chosen on finished studies, at any budget, beside plain rules: regret against the full grid.

    python -m experiments.select_replay RECEIPT [RECEIPT ...] --out artifacts/select-replay.json

Each source and regime of each receipt is a race of its own, over the very curves that the study recorded, with the
table of trust taken from the other receipts alone. The horizon is the study's longest lag. Regret is the chosen
candidate's AUC there less the best one's, in nats per token, with all the study's replicates. Plain rules: least
zero-step KL, lowest loss after a probe (which costs every candidate its probe), always the exact copy, and successive
halving (as many rounds as halvings, the same steps in each, the better half by AUC stays, one replicate).
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path

from growjax import runtime

runtime.pin()

from growjax.files import write_text  # noqa: E402
from growjax.measure.curves import auc  # noqa: E402
from growjax.record.integrity import read_receipt  # noqa: E402
from growjax.record.receipt_types import Receipt  # noqa: E402
from growjax.schema import Record  # noqa: E402
from growjax.select.race import Rules, Verdict, ladder, least_budget, race  # noqa: E402
from growjax.select.trust import Grid, grids, measured, outlook  # noqa: E402
from growjax.study.ranking import Table, mean  # noqa: E402
from growjax.study.replicates import recorded  # noqa: E402

FIRST = 16
"""The first rung, in steps, where a study's grid has it."""

PARTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
"""Budgets, as parts of the full grid's steps."""


def raced(grid: Grid, budget: int, table: Record) -> Verdict:
    """The race over a recorded grid."""
    every, horizon = grid.steps[1], grid.steps[-1]
    most = min(len(several) for several in grid.curves.values())
    rules = Rules(horizon, budget, ladder(horizon, every, FIRST), every, most)
    running = race(sorted(grid.curves), rules, lambda lag: outlook(table, grid.regime, lag, horizon))
    request = next(running)
    try:
        while True:
            request = running.send({(name, r): grid.curves[name][r] for name, r in request.places})
    except StopIteration as stop:
        return stop.value


def halved(grid: Grid, budget: int) -> str:
    """Plain successive halving on one replicate: who is left."""
    standing, every, reached = sorted(grid.curves), grid.steps[1], 0
    rounds = max(1, math.ceil(math.log2(len(standing))))
    for _ in range(rounds):
        reached = min(grid.steps[-1], reached + budget // rounds // len(standing) // every * every)
        if not reached:
            break
        count = grid.steps.index(reached) + 1
        scores = {name: auc(grid.steps[:count], grid.curves[name][0][:count]) for name in standing}
        standing = sorted(standing, key=lambda name: (scores[name], name))[: (len(standing) + 1) // 2]
    return standing[0]


def least(scores: dict[str, float]) -> str:
    """The candidate with the least score; ties by name."""
    return min(sorted(scores), key=lambda name: scores[name])


def plain(grid: Grid, table: Table, budget: int) -> dict[str, str]:
    """What each plain rule takes."""
    names = sorted(grid.curves)
    kl = {
        name: recorded("kl", [cell["metrics"] for cell in table.rows("candidate", grid.source, None, name)])
        for name in names
    }
    chosen = {"exact copy": "exact_copy"} if "exact_copy" in names else {}
    if all(kl.values()):
        chosen["least zero-step KL"] = least({name: values[0] for name, values in kl.items()})
    if FIRST in grid.steps and budget >= len(names) * FIRST:
        at = grid.steps.index(FIRST)
        chosen["lowest probe loss"] = least({name: grid.curves[name][0][at] for name in names})
    return chosen | {"successive halving": halved(grid, budget)}


def replay(receipt: Receipt, trust: Record) -> list[Record]:
    """One row for each source, regime and budget."""
    table, rows = Table(receipt["cells"]), []
    for grid in grids(receipt):
        horizon, names = grid.steps[-1], sorted(grid.curves)
        full = sum(len(several) for several in grid.curves.values()) * horizon
        areas = grid.areas(horizon)
        best = min(areas.values())
        first = ladder(horizon, grid.steps[1], FIRST)
        for part in PARTS:
            budget = int(part * full)
            if budget < least_budget(names, first):
                continue
            verdict = raced(grid, budget, trust)
            chosen = {"select": verdict.order[0], **plain(grid, table, budget)}
            row: Record = {"source": grid.source, "regime": grid.regime, "part": part, "budget": budget, "full": full}
            row |= {"spent": verdict.spent, "separated": verdict.separated, "candidates": len(names)}
            row |= {"chosen": chosen, "regret": {rule: areas[name] - best for rule, name in chosen.items()}}
            rows.append(row)
    return rows


def summed(rows: Sequence[Record]) -> list[Record]:
    """Mean regret over sources and regimes, by budget and rule."""
    found = []
    for part in sorted({row["part"] for row in rows}):
        of_part = [row for row in rows if row["part"] == part]
        rules = dict.fromkeys(rule for row in of_part for rule in row["regret"])
        regret = {rule: mean(row["regret"][rule] for row in of_part if rule in row["regret"]) for rule in rules}
        found.append({"part": part, "races": len(of_part), "regret": regret})
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
        others = [one for one in receipts if one is not receipt] or [receipt]
        rows = replay(receipt, measured(others))
        found = {"study": receipt["root"], "preset": receipt["config"].get("preset", "quick")}
        studies.append({**found, "trust": [one["root"] for one in others], "mean": summed(rows), "races": rows})
        for row in studies[-1]["mean"]:
            print(
                found["preset"], f"{row['part']:.4f}", row["races"], {k: round(v, 5) for k, v in row["regret"].items()}
            )
    if given.out:
        write_text(given.out, json.dumps({"studies": studies}, indent=1) + "\n")


if __name__ == "__main__":
    main()
