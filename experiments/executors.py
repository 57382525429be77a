"""One study on every executor, and on Ray while workers, nodes and the command itself are killed; what Ray costs.

    python -m experiments.executors --out artifacts/executors.json [--parts executors rounds overhead] [--small]

`executors`: the smoke study in one process, in two, on a Ray cluster of two nodes with one worker each (on this
machine's loopback), and as jobs of submitit's executor for this machine. The roots must be one, and both nodes must
have filled units. `rounds`: on such a cluster, each with the same root,

- `workers`: `--kills` times, at random moments, SIGKILL to a worker drawn at random that fills a unit;
- `node`: the second node is killed twice amid a unit, and started again each time;
- `command`: the command is killed twice amid units, once some are full, and started again;
- `cluster`: both nodes are killed, which ends the command; all start again.

Every unit that is sent to a worker is counted: only one that was lost, or that a worker had as the command ended, may
be sent again. A study that ends before its kills begins anew in another folder. `overhead`: the quick study with
`--workers 2` and on two such nodes, in turns; nodes run in Ray's turns only, and the programs are compiled beforehand
for both. Ray must take less than a tenth more.

A throw-away run comes first in each part, so that no run compiles alone for all others. About a quarter of an hour on
two idle cores for the first two parts, and as much for the third; what was found is written at once, and the file keeps
what it holds of other parts. Exits with 1 where something is otherwise.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from experiments.counting import PATHS, Cluster, Counting, Study
from experiments.nodes import Nodes
from growjax import runtime
from growjax.files import write_text

SMALL = ("--source-steps", "10", "--operators", "exact_copy", "perturbed", "--stochastic-replicates", "1")
HERE = ("--workers", "2")
MOST = 1.1
"""How much longer than in processes a study may take on Ray."""

Expected = tuple[int, dict[int, int]]
"""How many kills there should have been, and how often the command ended with another code than 0."""
Round = Callable[[Counting, random.Random, int], Expected]
"""Of a study under way, random moments and the number of kills that is asked for."""


def workers(run: Counting, moments: random.Random, kills: int) -> Expected:
    while len(run.kills) < kills:
        run.moment(moments.uniform(0.5, 6), ready=run.cluster.nodes.at_work)
        before, pids = run.count("lost"), run.cluster.nodes.at_work()
        if not pids:
            continue
        run.settle(run.kill(partial(end, moments.choice(pids))))
        if run.count("lost") == before:  # it had just ended its unit
            run.kills.pop()
            run.missed += 1
    return kills, {}


def end(pid: int) -> None:
    """SIGKILL to a process, if it is there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def node(run: Counting, moments: random.Random, kills: int) -> Expected:
    nodes = run.cluster.nodes
    for _ in range(2):
        run.moment(moments.uniform(0, 3), stored=4, ready=lambda: nodes.at_work(run.cluster.second))
        run.kill(lambda: nodes.kill(run.cluster.second))
        time.sleep(moments.uniform(0.5, 6))
        run.cluster.join()
    return 2, {}


def command(run: Counting, moments: random.Random, kills: int) -> Expected:
    for _ in range(2):
        run.moment(moments.uniform(0, 3), stored=4)
        run.kill(run.kill_head)
        run.start()
    return 2, {-signal.SIGKILL: 2}


def cluster(run: Counting, moments: random.Random, kills: int) -> Expected:
    nodes = run.cluster.nodes
    run.moment(moments.uniform(0, 3), stored=4)
    run.kill(lambda: [nodes.kill(one) for one in (run.cluster.first, run.cluster.second)])
    run.finish(180)
    run.cluster.begin()
    run.start()
    return 1, {2: 1}


def undisturbed(run: Counting, moments: random.Random, kills: int) -> Expected:
    return 0, {}


ROUNDS: tuple[Round, ...] = (workers, node, command, cluster)


@dataclasses.dataclass(frozen=True)
class Bench:
    """Where studies run, and what is kept of them."""

    work: Path
    cache: Path
    small: bool
    kills: int
    moments: random.Random
    note: Callable[[str, str, Any], None]
    """Of (part, name, value)."""

    def study(self, preset: str) -> tuple[Study, dict[str, Any]]:
        """A study whose programs are compiled, and a run of it."""
        words = ("--preset", preset, *(SMALL if self.small else ()))
        cache = {"XDG_CACHE_HOME": str(self.cache)}
        study = Study(self.work, words, {**runtime.without_pins(), **PATHS, **cache})
        name = f"{preset}-throw-away"
        found = study.run(name, *HERE) | {part: study.receipt(name)[part] for part in ("environment", "pins")}
        return study, found

    @contextlib.contextmanager
    def cluster(self, study: Study) -> Iterator[Cluster]:
        with Nodes() as nodes:
            yield Cluster(nodes, {"XDG_CACHE_HOME": study.environment["XDG_CACHE_HOME"]})

    def round(self, study: Study, there: Cluster, disturb: Round, root: str) -> dict[str, Any]:
        began = time.monotonic()
        with Counting(study, there, f"ray-{disturb.__name__}") as run:
            run.anew()
            kills, ends = disturb(run, self.moments, self.kills)
            run.finish()
            return run.result(root, kills=kills, ends=ends) | {"seconds": round(time.monotonic() - began, 1)}


def executors(bench: Bench, skip: Sequence[str]) -> bool:
    study, first = bench.study("smoke")
    bench.note("executors", "throw-away", first)
    roots = {first["root"]}
    for name, words in {
        "one process": ("--workers", "1"),
        "two processes": HERE,
        "submitit, local": ("--executor", "slurm", "--cluster", "local", "--workers", "2"),
    }.items():
        if name not in skip:
            found = study.run(name.replace(", ", "-").replace(" ", "-"), *words)
            roots.add(found["root"])
            bench.note("executors", name, found)
    held = len(roots) == 1
    if "ray" not in skip:
        with bench.cluster(study) as there:
            found = bench.round(study, there, undisturbed, first["root"])
            bench.note("executors", "ray, two nodes", found)
            held &= found["holds"] and len(found["units_by_node"]) == 2
    return held


def rounds(bench: Bench, skip: Sequence[str]) -> bool:
    study, first = bench.study("smoke")
    bench.note("rounds", "throw-away", first)
    held = True
    for disturb in ROUNDS:
        if disturb.__name__ not in skip:
            with bench.cluster(study) as there:
                found = bench.round(study, there, disturb, first["root"])
            bench.note("rounds", disturb.__name__, found)
            held &= found["holds"]
    return held


def overhead(bench: Bench, skip: Sequence[str]) -> bool:
    study, first = bench.study("quick")
    bench.note("overhead", "throw-away", first)
    turns: dict[str, list[Any]] = {"two processes": [], "ray, two nodes": []}
    for turn in ("1", "2"):
        turns["two processes"].append(study.run(f"processes-{turn}", *HERE))
        with bench.cluster(study) as there:
            turns["ray, two nodes"].append(study.run(f"ray-{turn}", *there.words, env=there.nodes.client))
        for name, found in turns.items():
            bench.note("overhead", name, found)
    here, on_ray = (sum(found["seconds"] for found in turn) for turn in turns.values())
    bench.note("overhead", "ray to processes", round(on_ray / here, 3))
    roots = {found["root"] for turn in turns.values() for found in turn}
    return roots == {first["root"]} and on_ray <= MOST * here


PARTS = {"executors": executors, "rounds": rounds, "overhead": overhead}


def stopped(*_: object) -> None:
    sys.exit(128 + signal.SIGTERM)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--small", action="store_true", help="one checkpoint and two candidates of the studies")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="a new folder for the runs, which stays")
    parser.add_argument("--skip", nargs="*", default=[], help="executors and rounds that are left out")
    given = parser.parse_args(argv)
    if given.work is not None and given.work.exists() and any(given.work.iterdir()):
        parser.error(f"{given.work} holds something already: name a new folder")
    signal.signal(signal.SIGTERM, stopped)  # so that processes and nodes end with their blocks
    record: dict[str, Any] = json.loads(given.out.read_text()) if given.out.exists() else {}

    def note(part: str, name: str, value: Any) -> None:
        record[part][name] = value
        write_text(given.out, json.dumps(record, indent=1, sort_keys=True) + "\n")
        print(part, name, json.dumps(value), flush=True)

    with contextlib.ExitStack() as kept:
        base = (given.work or Path(kept.enter_context(tempfile.TemporaryDirectory()))).absolute()
        for part in dict.fromkeys(given.parts):
            (base / part).mkdir(parents=True)
            record[part] = {"small": given.small, "cores": runtime.cores()}
            bench = Bench(base / part, base / "cache", given.small, given.kills, random.Random(given.seed), note)
            note(part, "holds", PARTS[part](bench, given.skip))
    return 0 if all(record[part]["holds"] for part in given.parts) else 1


if __name__ == "__main__":
    sys.exit(main())
