"""How fast growjax is beside its peers on the same cores, and how near the machine's own limits.

    python -m venv /tmp/peers && /tmp/peers/bin/pip install torch numpy
    python -m experiments.bench --torch /tmp/peers/bin/python --out artifacts/bench-MACHINE.json [--rounds 5]

PyTorch lives in an environment of its own, so that it changes nothing in growjax's. Every row is measured in turns
(each peer once a round, all workers compiled and waiting before the first), and a ratio is the median over rounds of
the peer's time over growjax's in the same round: above 1 growjax is faster. Rows:

- a training step side by side: two processes of one thread each, at several sizes, against PyTorch (eager, compiled)
  and plain Flax under the same pins; the losses of five steps without dropout are compared first;
- one training over both cores: growjax over two virtual shards, PyTorch with two threads; and what a step of
  growjax's is made of there, each part measured alone;
- a continuation of 128 steps with evaluations; a pool of 8 candidates in both regimes, process start and compilation
  included, against one process that makes a jitted step for every candidate; a pool with fewer candidates and cores;
- cold starts, memory, and the share of this machine's own matrix-product rate;
- widening, pins and digests, the ledger of draws: by `experiments.widen_bench`, `pins_cost` and `ledger_cost`, which
  can also be run alone.

Figures go to the JSON file, and as a table to the file of the same name that ends in `.md`. About 45 minutes on two
quiet cores; `--rows` measures some of the rows again and keeps the others.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from experiments.bench.rows import continuation, module, pool, pool_sizes, row, starts
from experiments.bench.setting import Figures, Size
from experiments.bench.table import table
from experiments.bench.workers import Peers
from growjax import runtime
from growjax.files import write_text
from growjax.schema import Record

SIZES = {"128": Size(128), "256": Size(256), "64": Size(64), "128, 8 layers": Size(128, layers=8)}
STEPS = 12
"""In one turn: enough that what a call costs (fresh memory above all) weighs little."""


def main() -> int:
    """Measures, prints and keeps the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--torch", required=True, help="a Python that has torch and numpy")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", nargs="*", default=None, help="only rows whose names begin so")
    given = parser.parse_args()
    figures: Figures = json.loads(given.out.read_text()) if given.out.exists() and given.rows else {"rows": {}}
    sides = ["growjax", "plain Flax, same pins", "PyTorch eager", "PyTorch compiled"]
    shards = ["growjax, 2 shards", "PyTorch eager, 2 threads", "PyTorch compiled, 2 threads"]
    count = str(given.rounds)
    with tempfile.TemporaryDirectory() as folder:
        peers = Peers(given.torch, Path(folder))
        rows: Record = {"starts": lambda: starts(given.rounds)}
        for name, size in SIZES.items():
            rows[f"step side by side, {name}"] = lambda s=size: row(peers, s, sides, 2, given.rounds, STEPS)
        for name in ("128", "256"):
            rows[f"step on both cores, {name}"] = lambda s=SIZES[name]: row(peers, s, shards, 1, given.rounds, STEPS)
        rows["continuation"] = lambda: continuation(peers, given.rounds)
        rows["pool"] = lambda: pool(peers, given.rounds)
        rows["sizes of a pool"] = lambda: pool_sizes(peers, given.rounds)
        rows["widening"] = lambda: module("widen_bench", "--rounds", count)
        rows["pins and digests"] = lambda: module("pins_cost", "--rounds", count)
        rows["ledger"] = lambda: module("ledger_cost")
        for name, measure in rows.items():
            if given.rows and not name.startswith(tuple(given.rows)):
                continue
            figures["rows"][name] = measure()
            _keep(figures, given)
            print(table({**figures, "rows": {name: figures["rows"][name]}}), flush=True)
    return 0


def _keep(figures: Figures, given: argparse.Namespace) -> None:
    version = [given.torch, "-c", "import torch; print(torch.__version__)"]
    torch = subprocess.run(version, capture_output=True, text=True, check=True).stdout.strip()
    runtime.start()
    environment = {**runtime.environment(), "torch": torch}
    figures |= {
        "rounds": given.rounds,
        "cores": runtime.cores(),
        "load": os.getloadavg()[0],
        "environment": environment,
    }
    write_text(given.out, json.dumps(figures, indent=2, sort_keys=True) + "\n")
    write_text(given.out.with_suffix(".md"), table(figures))


if __name__ == "__main__":
    sys.exit(main())
