"""Studies that are ended from outside at random moments, and continued.

    python -m experiments.kills --out artifacts/kills.json [--kills 100] [--signals 40] [--work FOLDER]

One small study (7 cells, a source that keeps what it has half-way) runs to its end; then

- `--kills` times SIGKILL at a random moment, and then the same command again: to the first process of a study, to the
  whole process group of its continuation, and to a worker of the next, after which the study itself goes on to its
  end. The root, the page and the tables must then be the unbroken study's, and nothing half-written may be left. In one
  round of three a program that takes long to compile was taken out of the compilation cache, so that a compiler is at
  work. No process of a killed study may live for longer than 5 seconds.
- `--signals` times SIGINT or SIGTERM, to the first process or to the group (as a terminal does), half of them in the
  first half second of growjax: exit code 130 or 143 and one line, no orphan after 5 seconds. Each directory takes four,
  one after the other, and is then continued to its end, as above.

A study that ended before its moment came is no round, and is drawn again. The record is written after every round, and
the same command goes on with it. Exits with 1 where a round failed.
"""

from __future__ import annotations

import argparse
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
from collections.abc import Callable
from pathlib import Path

from growjax import runtime
from growjax.files import write_text
from growjax.interrupts import LINE
from growjax.schema import Record

WORDS = ("study", "--preset", "smoke", "--source-steps", "20", "--operators", "exact_copy", "--regimes", "stochastic",
         "--stochastic-replicates", "1", "--no-match-flops", "--json")  # fmt: skip
CELLS = 7
PATIENCE = 5.0
"""Seconds that orphans have."""
VICTIMS = ("head", "group", "worker")
CHAIN = 4
"""Signals that one directory takes before it is continued to its end."""

Round = Record


def members(session: int) -> list[int]:
    """The processes of a session that live."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(place.name)) == session and "Z" not in (place / "stat").read_text().split(")")[1][:3]:
                found.append(int(place.name))
        except OSError:
            continue
    return found


def empty_after(session: int) -> float | None:
    """Seconds until a session has no process; None where it still has after `PATIENCE`."""
    began = time.monotonic()
    while members(session):
        if time.monotonic() - began > PATIENCE:
            return None
        time.sleep(0.02)
    return round(time.monotonic() - began, 2)


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """Its workers: children that compute."""
    found = []
    for pid in members(process.pid):
        try:
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
        except OSError:
            continue
    return found


def runs_growjax(process: subprocess.Popen[str]) -> bool:
    """Whether a process has come to growjax's first lines, which take over SIGTERM."""
    try:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    except OSError:
        return False
    caught = [line.split()[1] for line in lines if line.startswith("SigCgt")]
    return bool(caught and int(caught[0], 16) >> (signal.SIGTERM - 1) & 1)


def stage(out: Path) -> str:
    """How far a study has come, by what it has written."""
    full = len(list((out / "cells").glob("[!.]*/result.json")))
    if any(out.glob(".*.tmp")) or any(out.glob("*/.*.tmp")) or any(out.glob("*/*/.*.tmp")):
        return "writing"
    if not (out / "receipt.json").exists():
        return "starting"
    if not (out / "data" / "tokens.json").exists():
        return "reading"
    if full < CELLS:
        return "filling"
    return "finishing" if not (out / "report" / "index.html").exists() else "ending"


class Experiment:
    """One folder, in which everything is made; the record of what was seen."""

    def __init__(self, work: Path, record: Path):
        self.work, self.record = work, record
        self.cache = work / "cache"
        self.rounds: list[Round] = json.loads(record.read_text())["rounds"] if record.exists() else []
        self.lasts: dict[int, list[float]] = {1: [], 2: []}
        """Seconds that whole studies took lately, by workers."""
        self.whole = work / "whole"
        for workers in (1, 2):
            shutil.rmtree(self.whole, ignore_errors=True)
            done = self.finish(self.whole, workers, self.cache)
            assert done[0] == 0, done[1]
        self.expected = self.contents(self.whole)

    def contents(self, out: Path) -> dict[str, bytes]:
        """What must be the same: the receipt, with its root, and the report."""
        names = [out / "receipt.json", *sorted(p for p in (out / "report").rglob("*") if p.is_file())]
        return {str(path.relative_to(out)): path.read_bytes() for path in names if path.exists()}

    def start(self, out: Path, workers: int, cache: Path) -> subprocess.Popen[str]:
        words = [sys.executable, "-m", "growjax", *WORDS, "--workers", str(workers), "--out", str(out)]
        environment = {**runtime.without_pins(), "XDG_CACHE_HOME": str(cache)}
        pipe = subprocess.PIPE
        return subprocess.Popen(
            words, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=pipe, text=True
        )

    def finish(self, out: Path, workers: int, cache: Path) -> tuple[int, str]:
        """Runs the command to its end."""
        began = time.monotonic()
        process = self.start(out, workers, cache)
        _, said = process.communicate()
        self.lasts[workers] = [*self.lasts[workers][-4:], time.monotonic() - began]
        return process.returncode, said

    def cold(self, rng: random.Random, folder: Path) -> Path:
        """A compilation cache without one of the programs that take longest."""
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.cache, folder, copy_function=os.link)
        largest = sorted(folder.rglob("jit__run-*"), key=lambda path: path.stat().st_size)
        for path in rng.sample(largest, min(1, len(largest))):
            path.unlink()
        return folder

    def moment(self, rng: random.Random, workers: int) -> float:
        known = sorted(self.lasts[workers] or [20.0])
        return rng.uniform(0, known[len(known) // 2])

    def faults(self, out: Path, code: int, said: str) -> list[str]:
        """What is wrong with a directory that was continued to its end; one with faults is kept."""
        found = [] if code == 0 else [f"exit code {code}: {said[-300:]}"]
        contents = self.contents(out)
        found += [f"{name} differs" for name in sorted({*contents, *self.expected})
                  if contents.get(name) != self.expected.get(name)]  # fmt: skip
        if any(out.rglob(".*.tmp")) or (out / "partial").exists():
            found.append("something half-written is left")
        if found:
            shutil.copytree(out, self.work / f"faulty-{time.time_ns()}")
        return found

    def killed(self, number: int) -> Round | None:
        """One SIGKILL; None where the study had ended before. The first process of a new directory's study, then the
        group of its continuation, then a worker of the next, which goes on to its end."""
        rng = random.Random(f"kill {number} {time.time_ns()}")
        victim, out = VICTIMS[number % 3], self.work / "killed" / "run"
        if victim == VICTIMS[0]:
            shutil.rmtree(out.parent, ignore_errors=True)
        workers = 2 if victim == "worker" else rng.choice((1, 1, 2))
        cold = rng.random() < 1 / 3
        cache = self.cold(rng, self.work / "cold") if cold else self.cache
        began = time.monotonic()
        process = self.start(out, workers, cache)
        time.sleep(self.moment(rng, workers))
        while victim == "worker" and process.poll() is None and not workers_of(process):
            time.sleep(0.01)
        at, where, there = time.monotonic() - began, stage(out), workers_of(process)
        if process.poll() is not None or (victim == "worker" and not there):
            _, said = process.communicate()
            faults = self.faults(out, process.returncode, said)
            shutil.rmtree(out.parent)  # it was no round, and the next starts anew
            return {"kind": "none", "faults": faults} if faults else None
        if victim == "worker":
            os.kill(rng.choice(there), signal.SIGKILL)
            _, said = process.communicate()
            gone, faults = empty_after(process.pid), self.faults(out, process.returncode, said)
        else:
            process.kill() if victim == "head" else os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            gone, (_, said), faults = empty_after(process.pid), process.communicate(), []
        faults += [] if gone is not None else ["an orphan after 5 s"]
        return {"kind": "SIGKILL", "victim": victim, "workers": workers, "cold": cold, "after": round(at, 2),
                "stage": where, "gone": gone, "said": said[-300:], "continued": victim == "worker",
                "faults": faults}  # fmt: skip

    def signalled(self, number: int) -> Round | None:
        """One signal; the fourth of a directory is followed by its continuation."""
        rng = random.Random(f"signal {number} {time.time_ns()}")
        out, which = self.work / f"signal{number // CHAIN}", (signal.SIGINT, signal.SIGTERM)[number % 2]
        group, early, workers = number // 2 % 2 == 1, rng.random() < 0.5, rng.choice((1, 2))
        if number % CHAIN == 0:
            shutil.rmtree(out, ignore_errors=True)
        process = self.start(out, workers, self.cache)
        while not runs_growjax(process) and process.poll() is None:
            time.sleep(0.001)
        began = time.monotonic()
        time.sleep(rng.uniform(0, 0.5) if early else self.moment(rng, workers))
        at, where = time.monotonic() - began, stage(out)
        if process.poll() is not None:
            process.communicate()
            shutil.rmtree(out)  # it starts anew
            return None
        (os.killpg if group else os.kill)(process.pid, which)
        _, said = process.communicate()
        gone = empty_after(process.pid)
        if process.returncode == 0:  # it was on its way out
            faults = self.faults(out, 0, said)
            shutil.rmtree(out)
            return {"kind": "none", "faults": faults} if faults else None
        faults = [] if gone is not None else ["an orphan after 5 s"]
        if (process.returncode, said) != (128 + which, f"{LINE}\n"):
            faults.append(f"exit code {process.returncode}: {said[-600:]}")
        if number % CHAIN == CHAIN - 1:
            faults += self.faults(out, *self.finish(out, workers, self.cache))
            shutil.rmtree(out, ignore_errors=True)
        return {"kind": which.name, "victim": "group" if group else "head", "workers": workers, "after": round(at, 2),
                "stage": where, "gone": gone, "continued": number % CHAIN == CHAIN - 1, "faults": faults}  # fmt: skip

    def run(self, kinds: tuple[str, ...], times: int, one: Callable[[int], Round | None]) -> None:
        """So many rounds of a kind, those on record included."""
        while (number := sum(row["kind"] in kinds for row in self.rounds)) < times:
            found = one(number)
            if found is not None:
                self.rounds.append(found)
                self.write()

    def write(self) -> None:
        kills = [row for row in self.rounds if row["kind"] == "SIGKILL"]
        signals = [row for row in self.rounds if row["kind"] != "SIGKILL"]
        gone = [row["gone"] for row in self.rounds if row["gone"] is not None]
        summary = {
            "kills": len(kills),
            "killed": Counter(row["victim"] for row in kills),
            "kills_by_stage": Counter(row["stage"] for row in kills),
            "kills_with_programs_to_compile": sum(row["cold"] for row in kills),
            "kills_without_fault": sum(not row["faults"] for row in kills),
            "directories_continued_after_kills": sum(row["continued"] for row in kills),
            "signals": Counter(row["kind"] for row in signals),
            "signals_by_stage": Counter(row["stage"] for row in signals),
            "signals_in_the_first_half_second": sum(row["after"] < 0.5 for row in signals),
            "signals_as_they_should": sum(not row["faults"] for row in signals),
            "directories_continued_after_signals": sum(row["continued"] for row in signals),
            "longest_until_no_process_was_left": max(gone, default=None),
            "root": json.loads(self.expected["receipt.json"])["root"],
            "environment": json.loads(self.expected["receipt.json"])["environment"],
        }
        write_text(self.record, json.dumps({**summary, "rounds": self.rounds}, indent=1, sort_keys=True) + "\n")


def exit_code(rows: list[Record], what: str) -> int:
    """1 where a row has faults; prints those that do."""
    failed = [row for row in rows if row["faults"]]
    print(f"{len(rows)} {what}, {len(failed)} of them with faults")
    for row in failed:
        print(json.dumps(row))
    return 1 if failed else 0


def main() -> int:
    """Runs the rounds that the record lacks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("artifacts/kills.json"))
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--signals", type=int, default=40)
    parser.add_argument("--work", type=Path, help="where studies run; a folder for temporary files if not given")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        experiment = Experiment(given.work or Path(folder), given.out)
        experiment.run(("SIGINT", "SIGTERM"), given.signals, experiment.signalled)
        experiment.run(("SIGKILL",), given.kills, experiment.killed)
    return exit_code(experiment.rounds, "rounds")


if __name__ == "__main__":
    sys.exit(main())
