"""Units are handed out in the order of what waits for them, and what executors deliver is checked."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from growjax.cells import processes, ray
from growjax.cells.executor import AGAIN, Delivery, InProcess, Running
from growjax.cells.graph import Graph, Unit
from growjax.cells.processes import Processes
from growjax.cells.scheduler import TRIES, fill
from growjax.errors import CheckFailed, UserError


def unit(name: str, needs: tuple[str, ...] = (), **more: Any) -> Unit:
    return Unit(name, "kind", (name,), needs, more.pop("cost", 1.0), name, **more)


def records(context: Any, name: str, given: Mapping[str, Any]) -> list[dict[str, Any]]:
    context.append(name)
    return [{"id": name, "given": sorted(given)}]


def test_units_come_in_the_order_of_what_waits_for_them():
    """The longest way first; what fills a full cell is left out, and so is what is only worth an idle worker."""
    order: list[str] = []
    units = [unit("short"), unit("long", cost=5.0), unit("child", ("long", "base")), unit("leaf", ("child",)),
             unit("if idle", optional=True, cost=99.0)]  # fmt: skip
    found: dict[str, Any] = {"base": {"id": "base"}}
    again = Unit("another", "kind", ("short",), (), 1.0, "short")
    use = fill(Graph([*units, again], full=found), Running(InProcess(order, records)), found)
    assert order == ["long", "child", "leaf", "short"] and found["leaf"]["given"] == ["child"]
    assert use.workers == 1 and 0 < use.busy <= 1


def test_a_graph_that_cannot_be_filled_is_refused():
    for units, text in (
        ([unit("a"), unit("a")], "two units are named a"),
        ([unit("a", ("b",))], "needs cell b, which nothing fills"),
        ([unit("a", ("b",)), unit("b", ("a",))], "circle: a, b"),
    ):
        with pytest.raises(ValueError, match=text):
            Graph(units)


class Scripted(InProcess):
    """Delivers what it is given."""

    def __init__(self, *deliveries: Delivery):
        super().__init__([], records)
        self.deliveries = list(deliveries)

    def next(self) -> Delivery:
        return self.deliveries.pop(0)


def test_what_an_executor_delivers_is_checked():
    whole, other = Delivery("a", [{"id": "a", "x": 1}]), Delivery("a", [{"id": "a", "x": 2}])
    graph = Graph([unit("a"), unit("b", ("a",))])
    for deliveries, error, text in (
        ((Delivery("a", [{"id": "c"}]),), CheckFailed, "other cells than those of a"),
        ((Delivery("a", []),), CheckFailed, "other cells than those of a"),
        ((whole, other), CheckFailed, "cell a twice, and not the same"),
        ((Delivery("a", error=KeyError("what failed")),), KeyError, "what failed"),
        ((Delivery("a", lost=True),) * TRIES, UserError, "killed from outside"),
    ):
        with pytest.raises(error, match=text):
            fill(graph, Running(Scripted(*deliveries)), {})


def test_accidents_over_a_long_time_do_not_end_the_whole():
    """Three losses of one unit do, if nothing else was finished in between."""
    lost, whole = Delivery("a", lost=True), [Delivery(name, [{"id": name}]) for name in "abc"]
    graph, found = Graph([unit(name) for name in "abc"]), dict[str, Any]()

    class Wide(Scripted):
        capacity = 3

    fill(graph, Running(Wide(lost, lost, whole[1], lost, lost, whole[2], lost, lost, whole[0])), found)
    assert set(found) == set("abc")
    with pytest.raises(UserError, match="killed from outside"):
        fill(graph, Running(Wide(lost, whole[1], lost, lost, lost, whole[2], whole[0])), {})


def test_what_comes_late_from_a_graph_that_is_full_is_checked_too():
    """It may come twice, be lost or have come to nothing; a unit that was only for an idle worker may still run."""
    first, second = Graph([unit("a"), Unit("idle", "kind", (), (), 0.0, "idle", optional=True)]), Graph([unit("b")])
    whole, last = Delivery("a", [{"id": "a", "x": 1}]), Delivery("b", [{"id": "b"}])
    for late in (whole, Delivery("a", lost=True), Delivery("idle"), Delivery("idle", lost=True)):
        executor = Growing(AGAIN, whole, late, last)
        running, found = Running(executor), dict[str, Any]()
        fill(first, running, found)
        assert list(running.under_way) == ["idle"]
        fill(second, running, found)
        assert found == {"a": whole.records[0], "b": {"id": "b"}}
        assert [name for name, _ in executor.handed] == ["a", "idle", "b"]
    for late, error, text in (
        (Delivery("a", [{"id": "a", "x": 2}]), CheckFailed, "cell a twice, and not the same"),
        (Delivery("idle", error=KeyError("what failed")), KeyError, "what failed"),
    ):
        running, found = Running(Growing(AGAIN, whole, late, last)), dict[str, Any]()
        fill(first, running, found)
        with pytest.raises(error, match=text):
            fill(second, running, found)


def idle_until_the_last(folder: Path, name: str, given: Mapping[str, Any]) -> list[dict[str, Any]]:
    if name == "idle":
        while not (folder / "d").exists():
            time.sleep(0.01)
        return []
    (folder / name).touch()
    return [{"id": name}]


def killed_once(folder: Path, name: str, given: Mapping[str, Any]) -> list[dict[str, Any]]:
    if not (folder / name).exists():
        (folder / name).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return [{"id": name}]


def test_every_unit_may_lose_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """More ends of processes than are borne in a row."""
    monkeypatch.setattr(processes, "LOSSES", 1)
    found: dict[str, Any] = {}
    with Running(Processes([0], Path, (tmp_path,), killed_once)) as running:
        fill(Graph([unit("a"), unit("b")]), running, found)
    assert set(found) == set("ab")


def test_processes_go_on_with_a_graph_while_one_still_compiles(tmp_path: Path):
    idle = Unit("idle", "kind", (), (), 0.0, "idle", optional=True)
    found: dict[str, Any] = {}
    with Running(Processes([0, 0], Path, (tmp_path,), idle_until_the_last)) as running:
        fill(Graph([unit("a"), idle]), running, found)
        assert list(running.under_way) == ["idle"]
        fill(Graph([unit("b"), unit("c", ("b",)), unit("d", ("c",))]), running, found)
    assert set(found) == set("abcd")


class Growing(Scripted):
    """Has room for one unit until it has said once that there is room for two."""

    def __init__(self, *deliveries: Delivery):
        super().__init__(*deliveries)
        self.capacity, self.handed = 1, []

    def submit(self, unit: Unit, given: Mapping[str, Any]) -> None:
        self.handed.append((unit.name, len(self.deliveries)))

    def next(self) -> Delivery:
        self.capacity = 2
        return super().next()


def test_capacity_that_grows_is_used_while_units_are_under_way():
    executor = Growing(AGAIN, Delivery("a", [{"id": "a"}]), Delivery("b", [{"id": "b"}]))
    fill(Graph([unit("a"), unit("b")]), Running(executor), {})
    assert executor.handed == [("a", 3), ("b", 2)]


class QuickRay:
    """A Ray cluster that a node joins after the first unit; a unit has ended whenever one looks."""

    def __init__(self) -> None:
        self.there = 1

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": {"CPU": 1.0}}] * self.there

    def wait(self, units: list[str], timeout: float) -> tuple[list[str], list[str]]:
        self.there = 2
        return units[:1], units[1:]


def test_a_node_that_joins_is_used_though_units_end_at_once(monkeypatch: pytest.MonkeyPatch):
    cluster, side = QuickRay(), Any
    monkeypatch.setattr(ray, "library", lambda: cluster)
    monkeypatch.setattr(ray, "POLL", 0.0)
    monkeypatch.setattr(ray.Ray, "_require_first_node", lambda self: None)
    monkeypatch.setattr(ray.Ray, "_read", lambda self, unit: Delivery(self._units.pop(unit)))
    executor = ray.Ray(side)  # pyright: ignore[reportArgumentType]
    executor._ray, executor._units = cluster, {"a": "a", "b": "b"}
    assert [executor.next(), executor.next()] == [Delivery("a"), AGAIN] and executor.capacity == 2
