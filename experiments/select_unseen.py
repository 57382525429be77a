"""`select` on sources that no published study saw, and what it would have cost to run everything.

    python -m experiments.select_unseen --corpus PATH --out artifacts/select-unseen.json [--work FOLDER] [--workers 2]

Two sources of the paper preset's sizes: one of another seed, made twice as wide, and one of yet another seed, made one
and a half times as wide. For each, `select` runs with a quarter of the full grid's steps; then the full grid runs (all
candidates, three replicates, to the horizon) as a study of the same source. Regret is the chosen candidate's AUC at the
horizon less the best one's, in nats per token, all replicates; beside it that of the plain rules, which choose by what
the selection saw. The same command goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from growjax import runtime

runtime.pin()

from growjax.files import write_text  # noqa: E402
from growjax.record.integrity import finished_receipt  # noqa: E402
from growjax.schema import Record  # noqa: E402
from growjax.select.runner import pool  # noqa: E402
from growjax.select.trust import grids  # noqa: E402
from growjax.study.presets import presets  # noqa: E402

PAPER = presets()["paper"]
HORIZON, REPLICATES, STEPS = 128, 3, 1000
SOURCES: dict[str, Record] = {
    "another seed, doubled": {"seed": 2, "to": {}},
    "another seed and another growth, 1.5 times": {
        "seed": 3,
        "to": {"d_model": 96, "n_heads": 6, "n_kv_heads": 6, "d_ff": 192},
    },
}


def words(prefix: str, fields: Record) -> list[str]:
    """Options of a command line."""
    return [str(w) for name, value in fields.items() for w in (f"--{prefix}.{name.replace('_', '-')}", value)]


def growjax(*given: object) -> Any:
    """What a verb prints as JSON."""
    command = [sys.executable, "-m", "growjax", *map(str, given)]
    done = subprocess.run(command, capture_output=True, text=True, env=runtime.without_pins())
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr}")
    return done.stdout


def one(name: str, source: Record, work: Path, corpus: str, workers: int) -> Record:
    """A source trained, a selection, and the full grid."""
    folder = work / name.replace(" ", "-").replace(",", "")
    data = words("data", {**PAPER.data.to_dict(), "corpus": corpus})
    model, optim = words("model", PAPER.model.to_dict()), words("optim", PAPER.optim.to_dict())
    growjax("train", "--out", folder / "source", "--seed", source["seed"], "--steps", STEPS, "--workers", workers,
            *model, *optim, *data)  # fmt: skip
    to = words("to", source["to"])
    common = [*data, *to, "--workers", workers, "--json"]
    full = len(pool()) * REPLICATES * HORIZON
    lags = ["--horizon", HORIZON, "--budget", full // 4]
    found = json.loads(growjax("select", folder / "source", "--out", folder / "select", *lags, *common))
    names = [row["candidate"] for row in found["standings"]]
    grid_of = ["--preset", "paper", "--regimes", "stochastic", "--stochastic-replicates", REPLICATES,
               "--continuation-lag", HORIZON, "--long-lag", 0, "--no-match-flops", "--pool", "--family-regimes",
               "--rates"]  # fmt: skip
    growjax("study", "--source", folder / "source", "--out", folder / "grid", "--operators", *names, *grid_of, *common)
    (grid,) = grids(finished_receipt(folder / "grid"))
    areas = grid.areas(HORIZON)
    best = min(areas, key=lambda candidate: areas[candidate])
    chosen = {"select": found["answer"]["chosen"], **{rule["rule"]: rule["candidate"] for rule in found["rules"]}}
    return {
        "source": name,
        "root_of_selection": finished_receipt(folder / "select")["root"],
        "root_of_grid": finished_receipt(folder / "grid")["root"],
        "budget": full // 4,
        "spent": found["answer"]["spent"],
        "full": full,
        "separated": found["answer"]["separated"],
        "gap": found["answer"]["gap"],
        "reach": found["answer"]["reach"],
        "runner_up": found["answer"]["runner_up"],
        "best": best,
        "chosen": chosen,
        "regret": {rule: areas[candidate] - areas[best] for rule, candidate in chosen.items()},
        "auc": dict(sorted(areas.items(), key=lambda pair: pair[1])),
    }


def main() -> None:
    """Writes the document, and the selections' receipts and pages beside it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/select-unseen"))
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    rows = []
    for name, source in SOURCES.items():
        rows.append(one(name, source, given.work, given.corpus, given.workers))
        print(name, rows[-1]["chosen"], {k: round(v, 5) for k, v in rows[-1]["regret"].items()}, flush=True)
        write_text(
            given.out, json.dumps({"horizon": HORIZON, "replicates": REPLICATES, "sources": rows}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
