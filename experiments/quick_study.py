"""The quick study, measured: time, memory, steps per second, and what a kill half-way changes (nothing).

    python -m experiments.quick_study --out artifacts/quick-study.json [--corpus PATH]

Runs `python -m growjax study` with a cold compilation cache, once to the end; then again, kills every process of it
with SIGKILL when half of its cells are full, and starts the same command once more. About five minutes on two cores
for each corpus. Exits with 1 where the resumed run differs from the unbroken one in any digest, metric or rank.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from growjax import runtime
from growjax.files import write_text
from growjax.schema import Record


def resident(group: int) -> int:
    """Bytes resident in all processes of a process group."""
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(process.name)) == group:
                total += int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
        except (OSError, ValueError):
            continue
    return total


def study(out: Path, corpus: str, cache: Path, *, until: int | None = None) -> dict[str, float]:
    """Runs the study; kills it once `until` cells are full. Returns seconds and peak bytes over all its processes."""
    words = [sys.executable, "-m", "growjax", "study", "--data.corpus", corpus, "--out", str(out)]
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    began, peak = time.monotonic(), 0
    process = subprocess.Popen(words, env=environment, start_new_session=True, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        peak = max(peak, resident(process.pid))
        if until is not None and full(out) >= until:
            os.killpg(process.pid, signal.SIGKILL)
        time.sleep(0.2)
    if until is None and process.returncode:
        raise SystemExit(f"the study ended with {process.returncode}")
    return {"seconds": round(time.monotonic() - began, 1), "peak_bytes": peak}


def full(out: Path) -> int:
    """Number of cells that are full."""
    return len(list((out / "cells").glob("[!.]*/result.json")))


def contents(receipt: Record) -> Record:
    """What two runs of one study must share."""
    return {cell["id"]: (cell["inputs"], cell["digests"], cell["metrics"]) for cell in receipt["cells"]}


def steps(receipt: Record) -> dict[str, int]:
    """Training steps that a run consists of, of the source model and of the target."""
    counted = {"source": 0, "target": 0}
    for cell in receipt["cells"]:
        if cell["kind"] == "continuation":
            counted["source" if cell["operator"] == "unwidened" else "target"] += cell["lag"]
    sources = [c["parameters"] for c in receipt["cells"] if c["kind"] == "source"]
    counted["source"] += sum(max(p["step"] for p in sources if p["seed"] == s) for s in {p["seed"] for p in sources})
    return counted


def measure(corpus: str) -> Record:
    """All figures of one corpus."""
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        whole = study(base / "whole", corpus, base / "cache")
        unbroken = json.loads((base / "whole" / "receipt.json").read_text())
        study(base / "broken", corpus, base / "cache", until=len(unbroken["cells"]) // 2)
        kept = full(base / "broken")
        study(base / "broken", corpus, base / "cache")
        resumed = json.loads((base / "broken" / "receipt.json").read_text())
        tables = [(base / name / "report" / "tables" / "ranking.csv").read_bytes() for name in ("whole", "broken")]
    counted, sources = steps(unbroken), [c for c in unbroken["cells"] if c["kind"] == "source"]
    data = next(c for c in unbroken["cells"] if c["kind"] == "data")["metrics"]
    return {
        "corpus": Path(corpus).name,
        "cells": len(unbroken["cells"]),
        **whole,
        "training_steps": counted,
        "steps_per_second": round(sum(counted.values()) / whole["seconds"], 2),
        "unigram_entropy": data["unigram_entropy"],
        "source_losses": {c["source"]: c["metrics"]["final_loss"] for c in sources},
        "root": unbroken["root"],
        "killed_with_full_cells": kept,
        "same_after_kill": contents(unbroken) == contents(resumed) and tables[0] == tables[1],
        "root_after_kill": resumed["root"],
        "environment": unbroken["environment"],
    }


def main() -> int:
    """Measures, prints and keeps the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("artifacts/quick-study.json"))
    parser.add_argument("--corpus", default="builtin")
    given = parser.parse_args()
    figures = {"cores": runtime.cores(), **measure(given.corpus)}
    write_text(given.out, json.dumps(figures, indent=2, sort_keys=True) + "\n")
    print(json.dumps({k: v for k, v in figures.items() if k != "environment"}, indent=2))
    return 0 if figures["same_after_kill"] else 1


if __name__ == "__main__":
    sys.exit(main())
