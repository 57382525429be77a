"""Walks a graph: hands ready units to an executor, the most urgent first, until every cell is full."""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple

from growjax.cells.executor import KILLED, Delivery, Running
from growjax.cells.graph import Graph, Unit
from growjax.errors import CheckFailed, UserError
from growjax.schema import Record

TRIES = 3
"""How often a unit may be lost, with no other finished in between, before that ends the whole: many units that are lost
now and then are accidents, one that is lost each time is not."""


class Use(NamedTuple):
    """How well the workers were used. Of no result a part."""

    workers: int
    seconds: float
    """From the first unit handed out to the last that ended."""
    busy: float
    """Share of all workers' time in which they had a unit."""


def fill(
    graph: Graph,
    running: Running,
    records: dict[str, Record],
    *,
    accept: Callable[[Record], None] = lambda record: None,
    done: Callable[[Unit], None] = lambda unit: None,
) -> Use:
    """Fills every cell of a graph once, and puts its record into `records` by its id.

    `records` holds those of the cells that are full at the beginning. `accept` looks at each record that an executor
    delivers and raises where it is not what it should be. `done` is given each unit that has ended. Raises the error
    of the first unit that fails, `CheckFailed` where a unit's records are not those of its cells, or come twice and are
    not the same.
    """
    return _Walk(graph, running, records, accept, done).run()


class _Walk:
    def __init__(
        self,
        graph: Graph,
        running: Running,
        records: dict[str, Record],
        accept: Callable[[Record], None],
        done: Callable[[Unit], None],
    ):
        self.graph, self.running, self.records, self.accept, self.done = graph, running, records, accept, done
        self.waits = {name: len(before) for name, before in graph.before.items()}
        self.losses = Counter[str]()
        """Of each unit, since another was finished."""
        self.ended: set[str] = set()
        self.left = sum(not unit.optional for unit in graph.units.values())
        self.ready: list[tuple[bool, float, str]] = []
        for name, count in self.waits.items():
            if not count:
                self._ready(name)

    def run(self) -> Use:
        began = last = time.monotonic()
        busy = 0.0
        while self.left:
            while self.ready and self.running.has_room:
                self._submit(heapq.heappop(self.ready)[2])
            delivery, since = self.running.next()
            if since is not None:
                last = time.monotonic()
                busy += last - since
            self._take(delivery, expected=since is not None)
        seconds, workers = last - began, self.running.capacity
        return Use(workers, seconds, busy / (seconds * workers) if seconds else 1.0)

    def _ready(self, name: str) -> None:
        heapq.heappush(self.ready, (self.graph.units[name].optional, -self.graph.urgency[name], name))

    def _submit(self, name: str) -> None:
        unit = self.graph.units[name]
        self.running.submit(unit, {cell: self.records[cell] for cell in unit.needs})

    def _take(self, delivery: Delivery, *, expected: bool) -> None:
        name = delivery.unit
        if delivery.error is not None:
            raise delivery.error
        if delivery.lost:
            if not expected or name in self.ended or name not in self.graph.units:
                return
            self.losses[name] += 1
            if self.losses[name] >= TRIES:
                raise UserError(*KILLED)
            self._ready(name)
            return
        found = {record["id"]: record for record in delivery.records}
        unit = self.graph.units.get(name)
        if unit is None:  # of a graph that was filled before
            self._check_known(found)
            return
        if set(found) != set(unit.fills):
            raise CheckFailed(f"an executor delivered other cells than those of {unit.name}")
        self._check_known(found)
        if name in self.ended:
            return
        for record in delivery.records:
            self.accept(record)
            self.records[record["id"]] = record
        self.ended.add(name)
        self.losses.clear()
        self.left -= not unit.optional
        for other in self.graph.after[name]:
            self.waits[other] -= 1
            if not self.waits[other]:
                self._ready(other)
        self.done(unit)

    def _check_known(self, found: Mapping[str, Record]) -> None:
        """Raises `CheckFailed` where a cell was delivered before, and otherwise."""
        for cell, record in found.items():
            if self.records.get(cell, record) != record:
                raise CheckFailed(f"an executor delivered cell {cell} twice, and not the same")
