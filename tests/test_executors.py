"""Who fills cells, in what order, how often and after which accidents, changes no bit; and little is lost."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import quick_programs
from filelock import FileLock

from growjax.cells.executor import Delivery
from growjax.cells.graph import Unit
from growjax.errors import UserError
from growjax.record.partial import Partial
from growjax.record.rundir import LOCK, RunDir
from growjax.schema import SCHEMA
from growjax.study.context import Context
from growjax.study.presets import presets
from growjax.study.runner import run_study
from growjax.study.spec import StudySpec
from growjax.study.units import Filling

TINY = presets()["smoke"].replace(source_steps=(10,), operators=("exact_copy",), stochastic_replicates=1)


class Unreliable:
    """Takes several units, fills the newest first, says so late and twice, and loses all that it has once."""

    capacity = 4

    def __init__(self, filling: Filling):
        self.filling = filling
        self.taken: list[tuple[Unit, Mapping[str, Any]]] = []
        self.said: list[Delivery] = []
        self.late: list[Delivery] = []
        self.asked: list[str] = []
        self.lost = False

    def start(self) -> None:
        self.context = self.filling.begin(*self.filling.arguments)

    def submit(self, unit: Unit, given: Mapping[str, Any]) -> None:
        self.asked.append(unit.name)
        self.taken.append((unit, given))

    def next(self) -> Delivery:
        if self.late and len(self.late) % 2:
            return self.late.pop()
        if len(self.taken) > 1 and not self.lost:
            self.said = [Delivery(unit.name, lost=True) for unit, _ in self.taken]
            self.taken, self.lost = [], True
            (self.filling.context.run.cells / f".{'0' * 32}.tmp").mkdir()  # what a killed worker was writing
        if self.said:
            return self.said.pop()
        unit, given = self.taken.pop()
        delivery = Delivery(unit.name, self.filling.fill(self.context, unit.argument, given))
        self.late += [delivery, delivery]
        return delivery

    def stop(self, *, failed: bool) -> None:
        self.taken = []


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The receipt of the tiny study, filled in this process."""
    with quick_programs():
        return run_study(TINY, RunDir(tmp_path_factory.mktemp("plain") / "run"))


def test_an_executor_of_ones_own_gives_the_same_root(plain: dict[str, Any], tmp_path: Path):
    made: list[Unreliable] = []

    def mine(filling: Filling) -> Unreliable:
        made.append(Unreliable(filling))
        return made[0]

    with quick_programs():
        receipt = run_study(TINY, RunDir(tmp_path / "run"), executor=mine)
    assert receipt["root"] == plain["root"] and made[0].lost
    assert not list((tmp_path / "run").rglob(".*.tmp"))
    assert len(made[0].asked) > len(set(made[0].asked)) >= 6


def test_a_worker_that_is_killed_is_replaced(smoke_run: Path, tmp_path: Path):
    """Every cell is the smoke run's, which has them all."""
    run, killed = RunDir(tmp_path / "run"), []

    def kill() -> None:
        while len(list(run.cells.glob("*/result.json"))) < 2:  # the tokens, and a source: processes are at work
            time.sleep(0.01)
        process = multiprocessing.active_children()[0]
        process.kill()
        killed.append(process.pid)

    thread = threading.Thread(target=kill)
    thread.start()
    cells = run_study(TINY, run, workers=2)["cells"]
    thread.join()
    assert killed and not multiprocessing.active_children()
    expected = {cell["id"]: cell for cell in RunDir(smoke_run).receipt()["cells"]}
    assert all(expected[cell["id"]] == cell for cell in cells) and len(cells) > 6


LONG = TINY.replace(source_steps=(40,), operators=(), regimes=())


def interrupted(spec: StudySpec, run: RunDir, monkeypatch: pytest.MonkeyPatch, *, after: int) -> None:
    """Ends a run once a source's state is kept at a step."""
    honest = Partial.save

    def save(self: Partial, step: int, done: Any) -> None:
        honest(self, step, done)
        if step == after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Partial, "save", save)
        run_study(spec, run)


def started(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps at which training starts from here on."""
    found: list[int] = []
    honest = Context.train

    def train(self: Context, *given: Any, start: int, **more: Any) -> Any:
        found.append(start)
        return honest(self, *given, start=start, **more)

    monkeypatch.setattr(Context, "train", train)
    return found


def test_a_source_goes_on_from_its_last_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """In its bits the same as one that was never interrupted, and as one whose kept state is damaged."""
    with quick_programs():
        whole = run_study(LONG, RunDir(tmp_path / "whole"))
        run = RunDir(tmp_path / "broken")
        interrupted(LONG, run, monkeypatch, after=30)
        assert [path.name for path in (run.path / "partial").glob("*/*")] == ["30"]
        steps = started(monkeypatch)
        assert run_study(LONG, run)["root"] == whole["root"] and steps == [30]
        assert not (run.path / "partial").exists()
        for damage in ("trace.npz", "partial.json", "state.json", "state"):
            run = RunDir(tmp_path / damage)
            interrupted(LONG, run, monkeypatch, after=20)
            place = next((run.path / "partial").glob("*/*")) / damage
            place.rename(place.with_name("gone")) if place.is_dir() else place.write_bytes(b'{"digest":"x"}')
            steps.clear()
            assert run_study(LONG, run)["root"] == whole["root"] and steps == [0, 10, 20, 30], damage


def test_one_process_at_a_time_fills_a_directory(tmp_path: Path):
    run = RunDir(tmp_path / "run")
    with quick_programs(), run.alone(), pytest.raises(UserError, match="another process is at work"):
        run_study(LONG, RunDir(run.path))
    assert not run.path.exists()  # nothing was begun


def test_a_run_takes_the_place_of_another(tmp_path: Path):
    run, spec = RunDir(tmp_path / "run"), TINY.replace(operators=(), regimes=())
    with quick_programs():
        before = run_study(spec.replace(study_seed=2), run)
        (run.cells / "more").mkdir()
        (run.path / "report").mkdir()
        after = run_study(spec, run, force=True)
        assert after["root"] == run_study(spec, RunDir(tmp_path / "anew"))["root"] != before["root"]
    assert sorted(path.name for path in run.path.iterdir()) == ["cells", "data", LOCK, "receipt.json"]
    assert {path.name for path in run.cells.iterdir()} == {cell["id"] for cell in after["cells"]}


def test_a_lock_that_is_taken_away_lets_no_two_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """One that enters as another leaves keeps a third out; one that opened the file before it went gets no lock."""
    run, entered = RunDir(tmp_path / "run"), []
    run.path.mkdir()

    class Followed(FileLock):
        """A lock that another process takes as soon as it is free."""

        def release(self, force: bool = False) -> None:
            super().release(force)
            if not entered:
                entered.append(FileLock(run.path / LOCK, timeout=0))
                entered[0].acquire()

    monkeypatch.setattr("growjax.record.rundir.FileLock", Followed)
    with run.alone():
        early = os.open(run.path / LOCK, os.O_RDWR)
    with pytest.raises(UserError, match="another process is at work"), run.alone():
        pass
    fcntl.flock(early, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert os.fstat(early).st_nlink == 0  # by which FileLock knows that it is no lock
    os.close(early)
    entered[0].release()


def test_more_of_the_same_is_gone_on_with(tmp_path: Path):
    """Cells that both studies have are kept; a run that would give them other bits is refused."""
    run, more = RunDir(tmp_path / "run"), TINY.replace(source_steps=(10, 20), operators=("exact_copy", "scratch"))
    with quick_programs():
        before = run_study(TINY, run)
        times = {cell["id"]: (run.cells / cell["id"]).stat().st_mtime_ns for cell in before["cells"]}
        after = run_study(more, run)
        assert times == {cell: (run.cells / cell).stat().st_mtime_ns for cell in times}
        assert after["results"] == run_study(more, RunDir(tmp_path / "anew"))["results"]
        assert {cell["id"] for cell in after["cells"]} > set(times)
        for other in (more.replace(continuation_lag=16), more.replace(study_seed=2), more.replace(regimes=())):
            with pytest.raises(UserError, match="another config"):
                run_study(other, run)
        assert run_study(more, run)["root"] == after["root"]


def test_what_ended_before_its_receipt_was_written_is_gone_on_with(tmp_path: Path):
    """A lock, a half-written receipt and an empty folder are no stranger's."""
    run = RunDir(tmp_path / "run")
    run.cells.mkdir(parents=True)
    for name in (LOCK, f".{'0' * 32}.tmp"):
        (run.path / name).write_text("")
    run.begin({"schema": SCHEMA})
    assert sorted(path.name for path in run.path.iterdir()) == ["cells", LOCK, "receipt.json"]
    (tmp_path / "other" / "cells").mkdir(parents=True)
    for name in ("cells/notes", ".notes.tmp"):
        (tmp_path / "other" / name).write_text("")
        with pytest.raises(UserError, match="is not empty and holds no run"):
            RunDir(tmp_path / "other").begin({"schema": SCHEMA})
        (tmp_path / "other" / name).unlink()
