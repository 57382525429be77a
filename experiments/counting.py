"""A study on a Ray cluster of two nodes, begun again as often as it is ended, and what happens to each of its units."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from experiments.nodes import Nodes, free_port

WAIT = 300.0
"""Seconds that anything may take that is waited for, but a whole study."""
WHOLE = 1200.0
"""Seconds that a whole study may take."""
MOST = 30
"""Folders that a study may be begun in."""

PATHS = {"PYTHONPATH": str(Path(__file__).parents[1])}

COUNTED = """
import json, sys
import growjax.cells.ray as own
from growjax.__main__ import entry

log, honest = sys.argv.pop(1), own._task

def say(kind, name):
    with open(log, "a") as file:
        file.write(json.dumps([kind, name]) + chr(10))

def _task(order, parcels):
    import ray
    say("on", ray.get_runtime_context().get_node_id())
    return honest(order, parcels)

class Counted(own.Ray):
    def start(self):
        say("begin", "")
        self.sent = set()
        super().start()

    def _send(self, name, order):
        say("sent", name)
        self.sent.add(name)
        super()._send(name, order)

    def next(self):
        found = super().next()
        if found.unit in self.sent:
            say("lost" if found.lost else "failed" if found.error else "stored", found.unit)
        return found

own._task, own.Ray = _task, Counted
sys.exit(entry())
"""
"""The command, with a line for each of its own beginnings, and for each unit that is sent to a worker, begun on a node,
stored, lost or failed. What is full already is not sent."""

Event = tuple[str, str]
"""(kind, name) of a line."""


def under_way(events: Sequence[Event]) -> set[str]:
    """Units that are with a worker at the end of the lines."""
    found: set[str] = set()
    for kind, name in events:
        if kind == "begin":
            found.clear()
        elif kind == "sent":
            found.add(name)
        elif kind in ("stored", "lost", "failed"):
            found.discard(name)
    return found


def sent_without_cause(events: Sequence[Event]) -> list[str]:
    """Units that were sent once more though nothing had interrupted them: neither was the unit lost, nor did the
    command end while a worker had it, after it was sent before."""
    wrong, seen, interrupted, held = [], set[str](), set[str](), set[str]()
    for kind, name in events:
        if kind == "begin":
            interrupted |= held
            held.clear()
        elif kind == "sent":
            if name in seen and name not in interrupted:
                wrong.append(name)
            seen.add(name)
            interrupted.discard(name)
            held.add(name)
        elif kind in ("stored", "lost", "failed"):
            (interrupted.add if kind == "lost" and name in held else interrupted.discard)(name)
            held.discard(name)
    return wrong


@contextlib.contextmanager
def started(words: Sequence[str], env: dict[str, str], said: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that does not outlive the block; what it writes on stderr goes to a file."""
    with said.open("ab") as file:
        process = subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL, stderr=file)
    try:
        yield process
    finally:
        ended(process, 10)


def ended(process: subprocess.Popen[bytes], within: float) -> int:
    """The exit code of a process that has so many seconds to end by itself, and some more once it is asked to."""
    for ask in (lambda: None, process.terminate, process.kill):
        ask()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(within if ask is not process.kill else None)
        within = 20
    raise AssertionError("a process that was killed has not ended")


@dataclasses.dataclass(frozen=True)
class Study:
    """Where it runs, and what it is."""

    work: Path
    words: tuple[str, ...]
    environment: dict[str, str]

    def command(self, out: str, *words: str, log: Path | None = None) -> list[str]:
        program = ["-m", "growjax"] if log is None else ["-c", COUNTED, str(log)]
        return [sys.executable, *program, "study", *self.words, "--out", str(self.work / out), "--json", *words]

    def receipt(self, out: str) -> dict[str, Any]:
        return json.loads((self.work / out / "receipt.json").read_text())

    def filled(self, out: str) -> int:
        return len(list((self.work / out).glob("cells/[!.]*/result.json")))

    def run(self, out: str, *words: str, env: dict[str, str] | None = None) -> dict[str, Any]:
        """One run to its end."""
        began, said = time.monotonic(), self.work / f"{out}.err"
        with started(self.command(out, *words), {**self.environment, **(env or {})}, said) as process:
            try:
                code = process.wait(WHOLE)
            except subprocess.TimeoutExpired:
                raise SystemExit(f"{out} has not ended in {WHOLE:.0f} s") from None
        seconds = round(time.monotonic() - began, 1)
        if code:
            raise SystemExit(f"{out} ended with {code}: {said.read_text(errors='replace')[-2000:]}")
        return {"root": self.receipt(out)["root"], "cells": self.filled(out), "seconds": seconds}


class Cluster:
    """Two nodes of one worker each."""

    def __init__(self, nodes: Nodes, env: dict[str, str]):
        self.nodes, self.env, self.port = nodes, {**PATHS, **env}, free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.words = ("--executor", "ray", "--address", self.address)
        self.begin()

    def begin(self) -> None:
        more = ["--num-cpus=1", "--include-dashboard=false", "--disable-usage-stats"]
        self.first = self.nodes.start(["start", "--head", f"--port={self.port}", *more], self.env)
        self.join()

    def join(self) -> None:
        words = ["start", f"--address={self.address}", "--num-cpus=1", "--disable-usage-stats"]
        self.second = self.nodes.start(words, self.env)


class Counting(contextlib.ExitStack):
    """A study on a cluster, gone on with as often as it is ended, and begun anew in another folder as often as it comes
    to its end too early. The command ends with the block."""

    def __init__(self, study: Study, cluster: Cluster, name: str):
        super().__init__()
        self.study, self.cluster, self.name = study, cluster, name
        self.outs: list[str] = []
        self.ends: list[int] = []
        self.kills: list[dict[str, int]] = []
        """What was there at each: full cells, and units with a worker."""
        self.missed = 0
        """Kills that took no unit."""

    def anew(self) -> None:
        """Begins in another folder."""
        self.outs.append(f"{self.name}-{len(self.outs)}")
        self.start()

    @property
    def out(self) -> str:
        return self.outs[-1]

    def start(self) -> None:
        """Begins, or goes on: until it has sent a unit, or ended."""
        before = self.count("sent")
        log = self.study.work / f"{self.out}.log"
        words = self.study.command(self.out, *self.cluster.words, log=log)
        own = {**self.study.environment, **self.cluster.nodes.client}
        self.head = self.enter_context(started(words, own, log.with_suffix(".err")))
        self.until("a unit that is sent", lambda: self.count("sent") > before)

    def until(self, what: str, done: Callable[[], bool], limit: float = WAIT) -> bool:
        """Waits until something is so; False where the command has ended before. Ends all where neither comes."""
        last = time.monotonic() + limit
        while self.head.poll() is None:
            if done():
                return True
            if time.monotonic() > last:
                raise SystemExit(f"{self.out}: {what} has not come in {limit:.0f} s")
            time.sleep(0.05)
        return done()

    def events(self, out: str | None = None) -> list[Event]:
        log = self.study.work / f"{out or self.out}.log"
        text = log.read_text() if log.exists() else ""
        return [(kind, name) for kind, name in map(json.loads, text[: text.rfind("\n") + 1].splitlines())]

    def count(self, kind: str) -> int:
        return sum(found == kind for found, _ in self.events())

    def moment(self, seconds: float, *, stored: int = 0, ready: Callable[[], object] = lambda: True) -> None:
        """Waits until so many more units are stored, so many seconds more, and then until a unit is under way and all
        is ready. A study that ends meanwhile begins anew."""
        while not self._comes(seconds, stored, ready):
            self.finish()
            if self.ends[-1] or len(self.outs) > MOST:
                raise SystemExit(f"{self.out} ended with {self.ends[-1]} before it was killed: {self.said()}")
            self.anew()

    def _comes(self, seconds: float, stored: int, ready: Callable[[], object]) -> bool:
        wanted = self.count("stored") + stored
        if not self.until(f"{stored} units more", lambda: self.count("stored") >= wanted):
            return False
        begins = time.monotonic() + seconds
        so = self.until("a moment", lambda: time.monotonic() > begins and bool(under_way(self.events()) and ready()))
        return so and self.head.poll() is None

    def kill(self, strike: Callable[[], object]) -> set[str]:
        """Kills, and returns the units that were with a worker then."""
        units = under_way(self.events())
        self.kills.append({"full cells": self.study.filled(self.out), "units under way": len(units)})
        strike()
        return units

    def kill_head(self) -> None:
        os.kill(self.head.pid, signal.SIGKILL)
        self.ends.append(ended(self.head, 10))

    def settle(self, units: set[str]) -> None:
        """Waits until each of these units has been stored."""
        self.until("what was lost", lambda: units <= {name for kind, name in self.events() if kind == "stored"})

    def finish(self, limit: float = WHOLE) -> None:
        """To the end of the command."""
        self.ends.append(ended(self.head, limit))

    def said(self) -> str:
        return (self.study.work / f"{self.out}.err").read_text(errors="replace")[-2000:]

    def result(self, expected: str, *, kills: int, ends: dict[int, int]) -> dict[str, Any]:
        """What came of it. `ends`: how often the command should have ended with another code than 0."""
        events = [self.events(out) for out in self.outs]
        sent = [Counter(name for kind, name in one if kind == "sent") for one in events]
        again = sum(count.total() - len(count) for count in sent)
        tasks = Counter(name for one in events for kind, name in one if kind == "on")
        roots = [None if self.ends[-1] else self.study.receipt(out)["root"] for out in self.outs]
        without_cause = [name for one in events for name in sent_without_cause(one)]
        found: dict[str, Any] = {
            "kills": self.kills, "missed": self.missed, "studies": len(self.outs), "ends": self.ends,
            "cells": [self.study.filled(out) for out in self.outs],
            "same_root": all(root == expected for root in roots), "units": sum(map(len, sent)),
            "sent_again": again, "sent_without_cause": without_cause,
            "lost": sum(kind == "lost" for one in events for kind, _ in one),
            "failed": sum(kind == "failed" for one in events for kind, _ in one),
            "units_by_node": sorted(tasks.values(), reverse=True),
        }  # fmt: skip
        found["holds"] = (
            found["same_root"]
            and len(self.kills) == kills
            and Counter(code for code in self.ends if code) == Counter(ends)
            and not without_cause
            and not found["failed"]
            and len(tasks) >= 2
        )
        if self.ends[-1]:
            found["said"] = self.said()
        return found
