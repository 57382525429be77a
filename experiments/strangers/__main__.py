"""Records that strangers changed, and command lines that anyone may type: no traceback, one line, little memory,
nothing written elsewhere.

`python -m experiments.strangers` makes the smallest study, changes one of its records at a time (a receipt, a result, a
state's description or its bytes, a trace, tokens, a tokenizer, a partial record, what `widen` wrote), with checksums
that fit where a stranger could make them, and runs one command on it, in process. What a command would compute is left
out; what it checks before is not. Command lines of every verb are changed word by word. Exit code 1 where a command
ends in a traceback, with another code than 0 to 3 or in more than one line of error, writes elsewhere than it may, or
takes more than 500 MB above what its process had. Blocks of changes run in processes of their own and are kept in
--work, so that a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

BLOCK = 500
STUDY = [
    "--preset",
    "smoke",
    "--operators",
    "perturbed",
    "--source-steps",
    "10",
    "--regimes",
    "stochastic",
    "--stochastic-replicates",
    "1",
    "--crossed.order",
    "1",
    "--crossed.dropout",
    "1",
    "--crossed.perturb",
    "1",
]
MOST_MB = 500


def peak_mb() -> float:
    """Megabytes of memory that this process had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def one_block(kind: str, run: Path, seed: int, times: int) -> dict:
    """A block of changed records, or of changed command lines, in this process."""
    from growjax import runtime

    runtime.pin()
    runtime.start()
    from experiments.strangers.commands import lines
    from experiments.strangers.records import Box, block

    with tempfile.TemporaryDirectory() as folder:
        if kind == "commands":
            start = peak_mb()
            ends, faults = lines(run, Path(folder), seed, times)
        else:
            box = Box(Path(folder), run)
            os.chdir(folder)
            tempfile.tempdir = str(Path(folder) / "tmp")
            start = peak_mb()
            ends, faults = block(box, seed, times)
        os.chdir("/")
    return {"seed": seed, "calls": times, "ends": dict(ends), "faults": faults, "mb": round(peak_mb() - start)}


def blocks_of(kind: str, calls: int, seed: int, work: Path) -> dict:
    """So many changes, a block of them in each process; those that are done already are read."""
    blocks = []
    for number in range(-(-calls // BLOCK)):
        kept = work / f"{kind}-{seed + number}.json"
        if not kept.exists():
            words = [sys.executable, "-m", "experiments.strangers", "--work", str(work), "--block", kind]
            done = subprocess.run([*words, "--seed", str(seed + number)], check=True, capture_output=True, text=True)
            kept.write_text(done.stdout)
        blocks.append(json.loads(kept.read_text()))
        print(f"{(number + 1) * BLOCK} {kind}, {sum(len(b['faults']) for b in blocks)} faults", file=sys.stderr)
    ends: Counter[str] = Counter()
    for one in blocks:
        ends.update(one["ends"])
    return {
        "changed": sum(one["calls"] for one in blocks),
        "seeds": [one["seed"] for one in blocks],
        "faults": [fault for one in blocks for fault in one["faults"]],
        "most_mb_above_start": max(one["mb"] for one in blocks),
        "ends": dict(sorted(ends.items())),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=20000)
    parser.add_argument("--commands", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, required=True, help="folder of the study and of blocks that are done")
    parser.add_argument("--out", type=Path, default=Path("artifacts/strangers.json"))
    parser.add_argument("--block", help=argparse.SUPPRESS)
    given = parser.parse_args()
    run = given.work / "run"
    if given.block is not None:
        print(json.dumps(one_block(given.block, run.absolute(), given.seed, BLOCK)))
        return 0
    if not run.exists():
        study = [sys.executable, "-m", "growjax", "study", *STUDY, "--out", str(run)]
        subprocess.run(study, check=True, stdout=subprocess.DEVNULL)
    from growjax import runtime

    found = {
        "machine": runtime.environment(),
        **{kind: blocks_of(kind, getattr(given, kind), given.seed, given.work) for kind in ("commands", "records")},
    }
    given.out.write_text(json.dumps(found, indent=1) + "\n")
    bad = [
        one for one in (found["commands"], found["records"]) if one["faults"] or one["most_mb_above_start"] > MOST_MB
    ]
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
