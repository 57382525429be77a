"""`select` on sources that no other study here saw, and what it would have cost to run everything.

    python -m experiments.select_unseen --corpus PATH --out artifacts/select-unseen.json [--keep FOLDER]
                                        [--work FOLDER] [--workers 2]

Two sources of the paper preset's sizes: one of another seed, made twice as wide, and one of yet another seed, made one
and a half times as wide. For each, `select` runs with a quarter of the full grid's steps (every operator that can
follow the plan, three replicates, to the horizon, and what an operator trains for before step 0); then that grid runs
as a study of the same source, which takes the race's candidates as they are. Regret is the chosen candidate's AUC at
the horizon less the best one's, in nats per token, over the grid's replicates, those that the race saw among them;
beside it that of the plain rules, which choose by what the selection saw. Who left before the race is in the grid too.
`--keep` takes the selections' receipts, tables and pages. The same command goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from growjax import runtime

runtime.pin()

from growjax.config import DataConfig, ModelConfig, OptimConfig  # noqa: E402
from growjax.configuration import option_words  # noqa: E402
from growjax.data.corpus import corpus_name  # noqa: E402
from growjax.files import write_text  # noqa: E402
from growjax.grow.plan import make_plan  # noqa: E402
from growjax.record.integrity import finished_receipt  # noqa: E402
from growjax.schema import Record  # noqa: E402
from growjax.select.runner import able_and_left_out, pool  # noqa: E402
from growjax.select.trust import grids  # noqa: E402
from growjax.study.facts import programs  # noqa: E402
from growjax.study.making import steps_in_all  # noqa: E402
from growjax.study.presets import presets  # noqa: E402
from growjax.study.ranking import mean  # noqa: E402
from growjax.study.spec import TargetWidths  # noqa: E402

PAPER = presets()["paper"]
HORIZON, REPLICATES, STEPS = 128, 3, 1000
SOURCES: dict[str, tuple[int, TargetWidths]] = {
    "another seed, doubled": (2, TargetWidths()),
    "another seed and another growth, 1.5 times": (3, TargetWidths(d_model=96, n_heads=6, n_kv_heads=6, d_ff=192)),
}
"""By name: a seed and the target's widths."""


def words(prefix: str, given: DataConfig | ModelConfig | OptimConfig | TargetWidths) -> list[str]:
    """All of a configuration as options of a command line, whatever a verb's own are."""
    fields = {f.name: getattr(given, f.name) for f in dataclasses.fields(given)}
    plain = {
        name: value for name, value in fields.items() if value not in (None, "", ()) and not isinstance(value, bool)
    }
    return option_words(prefix, plain)


def growjax(*given: object) -> Any:
    """What a verb prints as JSON."""
    command = [sys.executable, "-m", "growjax", *map(str, given), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=runtime.without_pins())
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr}")
    return json.loads(done.stdout)


def one(folder: Path, seed: int, to: TargetWidths, corpus: str, workers: int) -> Record:
    """A source trained, a selection, and the full grid."""
    data = PAPER.data.replace(corpus=corpus)
    common = [*words("data", data), "--workers", workers]
    growjax("train", "--out", folder / "source", "--seed", seed, "--steps", STEPS, *common,
            *words("model", PAPER.model), *words("optim", PAPER.optim))  # fmt: skip
    plan = make_plan(PAPER.model, to.of(PAPER.model))
    names = able_and_left_out(pool(), plan, PAPER.optim, seed=PAPER.study_seed)[0]
    full = len(names) * REPLICATES * HORIZON + steps_in_all(names)
    both = [*common, *words("to", to), "--operators", *names]
    lags = ["--horizon", HORIZON, "--budget", full // 4, "--seed", PAPER.study_seed]
    found = growjax("select", folder / "source", "--out", folder / "select", *lags, *both)
    grid_of = ["--preset", "paper", "--regimes", "stochastic", "--stochastic-replicates", REPLICATES,
               "--continuation-lag", HORIZON, "--long-lag", 0, "--no-match-flops", "--pool", "--family-regimes",
               "--rates", "--reuse", folder / "select"]  # fmt: skip
    growjax("study", "--source", folder / "source", "--out", folder / "grid", *grid_of, *both)
    receipts = {name: finished_receipt(folder / name) for name in ("source", "select", "grid")}
    for receipt in receipts.values():
        require_same(receipt["config"], data)
    (grid,) = grids(receipts["grid"])
    areas = grid.areas(HORIZON)
    assert set(areas) == set(names), set(names) ^ set(areas)
    best = min(areas, key=lambda candidate: areas[candidate])
    rules = {rule["rule"]: rule["candidates"] for rule in found["rules"]}
    chosen = {"select": [found["answer"]["chosen"]], **rules}
    return {
        "seed": seed,
        "to": plan.target.d_model,
        "roots": {name: receipt["root"] for name, receipt in receipts.items()},
        "cells": {name: Counter(cell["kind"] for cell in receipt["cells"]) for name, receipt in receipts.items()},
        "cells_in_both": len(
            set.intersection(*({cell["id"] for cell in receipts[n]["cells"]} for n in ("select", "grid")))
        ),
        "training_programs": {name: programs(receipt) for name, receipt in receipts.items()},
        "candidates": len(names),
        "budget": full // 4,
        "spent": found["answer"]["spent"],
        "full": full,
        **{name: found["answer"][name] for name in ("separated", "gap", "reach", "runner_up")},
        "left_out": found["left_out"],
        "best": best,
        "chosen": chosen,
        "regret": {rule: mean(areas[name] - areas[best] for name in taken) for rule, taken in chosen.items()},
        "auc": dict(sorted(areas.items(), key=lambda pair: pair[1])),
    }


def require_same(config: Record, data: DataConfig) -> None:
    """That a run is of the model and the stories that are meant; what a source brings with it is its tokenizer."""
    model = {name: value for name, value in config["model"].items() if name != "vocab_size"}
    found = {name: value for name, value in config["data"].items() if name != "tokenizer"}
    if (model, found) != (PAPER.model.to_dict(), data.replace(corpus=corpus_name(data.corpus)).to_dict()):
        raise SystemExit(f"a run is of another model or other stories: {model}, {found}")


def keep(run: Path, into: Path) -> None:
    """A run's receipt, tables, figures and its page as Markdown; no states."""
    into.mkdir(parents=True, exist_ok=True)
    for file in (run / "receipt.json", run / "report" / "selection.md"):
        shutil.copy(file, into / file.name)
    for folder in ("tables", "figures"):
        shutil.copytree(run / "report" / folder, into / folder, dirs_exist_ok=True)


def main() -> None:
    """Writes the document, and what is kept of the selections."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/select-unseen"))
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    rows: dict[str, Record] = {}
    for name, (seed, to) in SOURCES.items():
        folder = given.work / f"seed{seed}"
        rows[name] = one(folder, seed, to, given.corpus, given.workers)
        print(name, rows[name]["chosen"], {k: round(v, 5) for k, v in rows[name]["regret"].items()}, flush=True)
        document = {"horizon": HORIZON, "replicates": REPLICATES, "sources": rows}
        write_text(given.out, json.dumps(document, indent=1) + "\n")
        if given.keep:
            keep(folder / "select", given.keep / f"seed{seed}")


if __name__ == "__main__":
    main()
