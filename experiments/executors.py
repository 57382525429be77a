"""One study on every executor, and on Ray while workers, nodes and the command itself are killed.

    python -m experiments.executors --out FILE [--preset smoke] [--small] [--kills 10] [--work FOLDER]

The study runs in one process, in two, on a Ray cluster of two nodes with one worker each (on this machine's loopback),
and as jobs of submitit's executor for this machine: the roots must be one. Then on Ray:

- `workers`: `--kills` times, at random moments, SIGKILL to a worker that fills a unit;
- `node`: the second node is killed twice, and started again each time;
- `command`: the command is killed twice while cells are filled, and started again;
- `cluster`: Ray's first node is killed, which ends the command; both start again.

Each must come to the same root. Every unit that is sent to a worker is counted: only what a kill interrupted may be
sent again. Exits with 1 where one is otherwise.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from experiments.nodes import Nodes, free_port
from growjax import runtime
from growjax.files import write_text

MOMENT = (0.5, 6.0)
"""Seconds between kills, at least and at most."""

SMALL = ("--source-steps", "10", "--operators", "exact_copy", "perturbed", "--stochastic-replicates", "1")

PATHS = {"PYTHONPATH": str(Path(__file__).parents[1])}

COUNTED = """
import json, sys
from growjax.__main__ import entry
from growjax.cells.ray import Ray

class Counted(Ray):
    def _send(self, name, order):
        print(json.dumps(["sent", name]), file=log, flush=True)
        super()._send(name, order)

    def next(self):
        found = super().next()
        print(json.dumps(["lost" if found.lost else "stored", found.unit]), file=log, flush=True)
        return found

log = open(sys.argv.pop(1), "a")
from growjax.cells import ray
ray.Ray = Counted
sys.exit(entry())
"""
"""The command, with a line for each unit that is sent to a worker, stored, or lost."""


@dataclasses.dataclass(frozen=True)
class Study:
    """Where it runs, and what it is."""

    work: Path
    words: tuple[str, ...]
    environment: dict[str, str]

    def command(self, out: str, *words: str, log: Path | None = None) -> list[str]:
        program = ["-m", "growjax"] if log is None else ["-c", COUNTED, str(log)]
        return [sys.executable, *program, "study", *self.words, "--out", str(self.work / out), "--json", *words]

    def root(self, out: str) -> str:
        return json.loads((self.work / out / "receipt.json").read_text())["root"]

    def filled(self, out: str) -> int:
        return len(list((self.work / out).glob("cells/[!.]*/result.json")))

    def run(self, out: str, *words: str) -> dict[str, Any]:
        began = time.monotonic()
        subprocess.run(self.command(out, *words), env=self.environment, check=True, stdout=subprocess.DEVNULL)
        return {"root": self.root(out), "cells": self.filled(out), "seconds": round(time.monotonic() - began, 1)}


class Cluster:
    """Two nodes of one worker each."""

    def __init__(self, nodes: Nodes):
        self.nodes, self.port = nodes, free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.words = ("--executor", "ray", "--address", self.address)
        self.begin()

    def begin(self) -> None:
        more = ["--num-cpus=1", "--include-dashboard=false", "--disable-usage-stats"]
        self.first = self.nodes.start(["start", "--head", f"--port={self.port}", *more], PATHS)
        self.join()

    def join(self) -> None:
        words = ["start", f"--address={self.address}", "--num-cpus=1", "--disable-usage-stats"]
        self.second = self.nodes.start(words, PATHS)


class Counting:
    """A study on a cluster, gone on with as often as it is ended; what happened to each unit."""

    def __init__(self, study: Study, cluster: Cluster, out: str):
        self.study, self.cluster, self.out = study, cluster, out
        self.log = study.work / f"{out}.log"
        self.kills = 0
        self.start()

    def start(self) -> None:
        words = self.study.command(self.out, *self.cluster.words, log=self.log)
        self.head = subprocess.Popen(
            words, env=self.study.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        self.wait(lambda: bool(self.lines("sent")))

    def wait(self, done: Callable[[], bool]) -> bool:
        """Until something is so; False where the command has ended before."""
        while self.head.poll() is None:
            if done():
                return True
            time.sleep(0.02)
        return done()

    def lines(self, *kinds: str) -> list[str]:
        text = self.log.read_text() if self.log.exists() else ""
        return [name for kind, name in map(json.loads, text.splitlines()) if kind in kinds and name]

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        self.kills += 1

    def pause(self, moments: random.Random) -> bool:
        until = time.monotonic() + moments.uniform(*MOMENT)
        return self.wait(lambda: time.monotonic() > until) and self.head.poll() is None

    def finish(self, expected: str) -> dict[str, Any]:
        """The command to its end, again where a kill has ended it."""
        said = self.head.communicate()[1]
        ends = [self.head.returncode]
        while ends[-1] and len(ends) < 4:
            self.start()
            said = self.head.communicate()[1]
            ends.append(self.head.returncode)
        sent, stored = Counter(self.lines("sent")), set(self.lines("stored"))
        again = sum(sent.values()) - len(sent)
        root = self.study.root(self.out) if not ends[-1] else said
        found = {"kills": self.kills, "units": len(sent), "sent": sum(sent.values()), "sent_again": again,
                 "lost": len(self.lines("lost")), "cells": self.study.filled(self.out), "same_root": root == expected,
                 "sent_after_stored": sorted(self.after_stored()), "ends": ends}  # fmt: skip
        found["holds"] = root == expected and not found["sent_after_stored"] and again <= 2 * self.kills
        found["holds"] &= stored >= set(sent)
        return found

    def after_stored(self) -> set[str]:
        """Units that were computed though they were there already."""
        stored, found = set(), set()
        for line in self.log.read_text().splitlines():
            kind, name = json.loads(line)
            if kind == "sent" and name in stored:
                found.add(name)
            if kind == "stored":
                stored.add(name)
        return found


def workers(run: Counting, moments: random.Random, kills: int) -> None:
    while run.kills < kills and run.pause(moments):
        for pid in run.cluster.nodes.at_work()[:1]:
            run.kill(pid)


def node(run: Counting, moments: random.Random, kills: int) -> None:
    for _ in range(2):
        if run.pause(moments):
            run.cluster.nodes.kill(run.cluster.second)
            run.kills += 1
            time.sleep(moments.uniform(*MOMENT))
            run.cluster.join()


def command(run: Counting, moments: random.Random, kills: int) -> None:
    for _ in range(2):
        if run.pause(moments):
            run.kill(run.head.pid)
            run.head.communicate()
            run.start()


def cluster(run: Counting, moments: random.Random, kills: int) -> None:
    if run.pause(moments):
        run.cluster.nodes.kill(run.cluster.first)
        run.cluster.nodes.kill(run.cluster.second)
        run.kills += 1
        run.head.wait()
        run.cluster.begin()


ROUNDS = (workers, node, command, cluster)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--preset", default="smoke")
    parser.add_argument("--small", action="store_true", help="one checkpoint and two candidates of the study")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--skip", nargs="*", default=[], help="executors and rounds that are left out")
    given = parser.parse_args(argv)
    work = given.work or Path(tempfile.mkdtemp())
    moments = random.Random(given.seed)
    record: dict[str, Any] = {
        "preset": given.preset,
        "small": given.small,
        "cores": runtime.cores(),
        "executors": {},
        "rounds": {},
    }

    def note(part: str, name: str, value: dict[str, Any]) -> None:
        record[part][name] = value
        print(name, json.dumps(value), flush=True)
        write_text(given.out, json.dumps(record, indent=1, sort_keys=True) + "\n")

    with Nodes() as nodes:
        there = Cluster(nodes)
        own = {**runtime.without_pins(), **PATHS, **nodes.client}
        study = Study(work.absolute(), ("--preset", given.preset, *(SMALL if given.small else ())), own)
        for name, words in {
            "one process": ("--workers", "1"),
            "two processes": ("--workers", "2"),
            "ray, two nodes": there.words,
            "submitit, local": ("--executor", "slurm", "--cluster", "local", "--workers", "2"),
        }.items():
            if name not in given.skip:
                note("executors", name, study.run(name.replace(", ", "-").replace(" ", "-"), *words))
        roots = {value["root"] for value in record["executors"].values()}
        for disturb in ROUNDS:
            if disturb.__name__ not in given.skip:
                run = Counting(study, there, disturb.__name__)
                disturb(run, moments, given.kills)
                note("rounds", disturb.__name__, run.finish(min(roots)))
    if given.work is None:
        shutil.rmtree(work)
    record["holds"] = len(roots) == 1 and all(value["holds"] for value in record["rounds"].values())
    write_text(given.out, json.dumps(record, indent=1, sort_keys=True) + "\n")
    return 0 if record["holds"] else 1


if __name__ == "__main__":
    sys.exit(main())
