"""What workers elsewhere hand back is checked before it is stored, and they are refused where they differ."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import quick_programs
from test_clusters import filled

from growjax.cells.executor import Delivery
from growjax.cells.remote import Answer, Files, Order, RemoteUnits, work
from growjax.errors import CheckFailed, UserError
from growjax.files import contents
from growjax.record.rundir import RunDir
from growjax.select.runner import planned, run_selection
from growjax.study import remote
from growjax.study.context import Context
from growjax.study.presets import presets
from growjax.study.selection import Selection
from growjax.study.sources import with_sources
from growjax.study.units import Filling


class Elsewhere(RemoteUnits):
    """Workers in this process, in a folder of their own; every answer comes twice, and late."""

    capacity = 2

    def __init__(self, filling: Filling, change: Any = lambda made: None):
        self.side = remote.StudyRemote(filling.context)
        super().__init__(self.side)
        self.orders: list[tuple[str, Order]] = []
        self.again: list[tuple[str, Answer]] = []
        self.asked: list[str] = []
        self.change = change

    def start(self) -> None: ...

    def _send(self, name: str, order: Order) -> None:
        self.asked.append(name)
        self.orders.append((name, order))

    def next(self) -> Delivery:
        if self._ended:
            return self._ended.pop()
        if len(self.again) > 1:
            return self._answered(*self.again.pop(0))
        name, order = self.orders.pop()
        answer = work(order, lambda name: contents(self.side.folder(name)))
        self.change(answer.made)
        self.again.append((name, answer))
        return self._answered(name, answer)

    def stop(self, *, failed: bool) -> None: ...


def test_what_comes_twice_is_stored_once_and_what_is_full_is_not_sent(tmp_path: Path):
    made: list[Elsewhere] = []

    def elsewhere(filling: Filling) -> Elsewhere:
        made.append(Elsewhere(filling))
        return made[-1]

    with quick_programs():
        first = filled(elsewhere, tmp_path)
        assert sorted(made[0].asked) == sorted(set(made[0].asked)) and made[0].again
        gone = next(name for name, cell in first.items() if cell["kind"] == "continuation")
        shutil.rmtree(tmp_path / "run" / "cells" / gone)
        assert filled(elsewhere, tmp_path) == first and [name.split()[1] for name in made[1].asked] == [gone]
        assert filled(lambda filling: pytest.fail("nothing is left to fill"), tmp_path) == first


def test_a_race_runs_elsewhere_too(smoke_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """One graph for each rung; a candidate's state is sent with each."""
    receipt = RunDir(smoke_run).receipt()
    source = smoke_run / "cells" / next(cell["id"] for cell in receipt["cells"] if cell["kind"] == "source")
    data = presets()["smoke"].data
    spec = Selection(operators=("exact_copy", "perturbed"), regimes=("stochastic",), budget=40, eval_every=4, data=data)
    spec, made = planned(with_sources(spec, [source]), horizon=16, first=4), []

    def elsewhere(filling: Filling) -> Elsewhere:
        made.append(Elsewhere(filling))
        return made[0]

    steps: list[int] = []
    honest = Context.train
    monkeypatch.setattr(Context, "train", lambda *a, **more: steps.append(more["steps"]) or honest(*a, **more))
    with quick_programs():
        here = run_selection(spec, RunDir(tmp_path / "here"))
        steps.clear()
        assert run_selection(spec, RunDir(tmp_path / "there"), executor=elsewhere) == here
    assert sum(steps) == here["answer"]["spent"]  # ends of rungs travel too, so that no step is taken twice
    assert not (tmp_path / "there" / "partial").exists()
    assert RunDir(tmp_path / "there").receipt()["root"] == RunDir(tmp_path / "here").receipt()["root"]
    assert any(name.startswith("race") for name in made[0].asked) and len(made[0].asked) == len(set(made[0].asked))


def _damaged(made: dict[str, Files]) -> None:
    for files in made.values():
        for name in files:
            if name.startswith("state/") and len(files[name]) > 1000:
                files[name] = files[name][:-9] + bytes(9)


def test_what_comes_back_otherwise_is_not_stored(tmp_path: Path):
    changes: dict[str, Any] = {
        "the checkpoint|is damaged": _damaged,
        "other cells than those of": lambda made: made.clear(),
        "is no path below a folder": lambda made: [files.update({"../x": b""}) for files in made.values()],
        "result.json is damaged": lambda made: [files.update({"result.json": b"{}"}) for files in made.values()],
    }
    run = tmp_path / "run"
    with quick_programs():
        for fault, change in changes.items():
            with pytest.raises(CheckFailed, match=fault):
                filled(lambda filling, change=change: Elsewhere(filling, change), tmp_path)
            assert len(list(run.glob("cells/*"))) == 1 and not (tmp_path / "x").exists()  # the tokens


def test_a_worker_says_what_is_not_the_runs():
    expected = dict(remote.surroundings())
    remote.require_same(expected)
    for part, value, fault in (
        ("environment", {**expected["environment"], "device_kind": "TPU"}, 'environment.device_kind was "TPU"'),
        ("pins", {**expected["pins"], "env": {}}, "pins.env."),
        ("source_code", {}, "source_code."),
        ("canaries", {**expected["canaries"], "products": "0"}, 'canaries.products was "0"'),
    ):
        with pytest.raises(UserError, match="is not in the run's environment") as caught:
            remote.require_same({**expected, part: value})
        assert fault in str(caught.value)


def test_an_order_sets_its_variables_before_it_is_read(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GROWJAX_A", "1")
    monkeypatch.setenv("GROWJAX_B", "1")
    answer = work(Order({"GROWJAX_A": "2", "GROWJAX_B": None}, (), b"no pickle"), dict)
    assert os.environ["GROWJAX_A"] == "2" and "GROWJAX_B" not in os.environ
    assert answer.made == {} and "UnpicklingError" in str(answer.error)
