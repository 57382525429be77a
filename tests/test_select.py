"""Selections: a race over real cells, within its budget, that goes on where it was interrupted."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, growjax
from selections import OPEN, RACING, asked, smoke_source

from growjax import runtime
from growjax.audit.check import audit
from growjax.cells.executor import InProcess
from growjax.cli import main
from growjax.errors import NotComparable, UserError
from growjax.proof.verify import verify
from growjax.record.integrity import finished_receipt
from growjax.record.rundir import RunDir
from growjax.record.store import load_state, state_digest
from growjax.select.racing import entrants
from growjax.select.runner import planned, pool, run_selection
from growjax.select.summary import summarise_selection
from growjax.study import fill
from growjax.study.context import Context
from growjax.study.presets import presets
from growjax.study.receipt import spec_of
from growjax.study.reuse import reuse
from growjax.study.runner import run_study
from growjax.study.selection import Selection, read_spec
from growjax.study.sources import find_state, with_sources
from growjax.study.units import Filling

pytestmark = pytest.mark.usefixtures("quickly")  # compared with what this process computed itself
SMOKE = presets()["smoke"]


@pytest.fixture(scope="module")
def source(smoke_run: Path) -> Path:
    return smoke_source(smoke_run)


class Counted:
    """Counts the training steps of the target that this process takes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.steps = 0
        honest = Context.train

        def train(ctx: Context, state: Any, live: Any, **more: Any) -> Any:
            if state.config.model.d_model == ctx.plan.target.d_model:
                self.steps += more["steps"]
            return honest(ctx, state, live, **more)

        monkeypatch.setattr(Context, "train", train)


@pytest.fixture(scope="module")
def selected(quickly: None, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A selection that has ended, of 60 steps."""
    out = tmp_path_factory.mktemp("selected") / "run"
    with pytest.MonkeyPatch.context() as patch:
        counted = Counted(patch)
        summary = run_selection(asked(source), RunDir(out))
    assert counted.steps == summary["answer"]["spent"] <= 60  # each step once, and no more than were allowed
    return out


def test_a_selection_ends_with_a_state_to_train_on(selected: Path, source: Path):
    summary = summarise_selection(finished_receipt(selected))
    answer, standings = summary["answer"], summary["standings"]
    assert standings[0]["candidate"] == answer["chosen"]
    assert {row["candidate"] for row in standings} == {*RACING} - {"hypercloning"}
    assert summary["left_out"] == [{"candidate": "hypercloning", "why": "its state is that of aki"}]
    assert sum(row["steps"] for row in summary["rungs"]) == answer["spent"] > 40
    assert not answer["separated"] and any("either may be the better one" in s for s in summary["uncertain"])
    chosen = find_state(selected)
    assert chosen == selected / "chosen" and state_digest(load_state(chosen)) == answer["state"]
    assert {row["rule"]: row["candidates"] for row in summary["rules"]}["exact copy"] == ["exact_copy"]
    probe = {r["candidate"]: dict(r["curve"])[4] for r in standings if r["replicates"] == 1}
    assert len(probe) > 1 and summary["cells"]["rung"] == len(list((selected / "cells").glob("*"))) - 7
    assert not (selected / "partial").exists()


def test_its_receipt_verifies_and_every_draw_is_accounted_for(selected: Path, tmp_path: Path):
    receipt = finished_receipt(selected)
    longest = max((c for c in receipt["cells"] if c["kind"] == "rung"), key=lambda c: c["lag"])
    assert longest["lag"] > 8
    found = verify(selected, tmp_path / "again", cells=(longest["id"],))
    assert found.outcome == "identical" and found.checked >= 5 and not found.notes
    done = audit(RunDir(selected))
    assert done["holds"], done["faults"]
    assert any(c["kind"] == "rung" for c in receipt["cells"] if c["id"] in done["injected"])


class Killed(Exception):
    """A process that ended."""


class Dying(InProcess):
    """Ends after so many units."""

    def __init__(self, filling: Filling, units: int):
        super().__init__(filling.begin(*filling.arguments), filling.fill)
        self.left = units

    def next(self) -> Any:
        if not self.left:
            raise Killed
        self.left -= 1
        return super().next()


def test_it_goes_on_where_it_ended(selected: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Ended after every third unit or so, and with a state that is no longer kept, it comes to the same root, and takes
    no step twice but those whose state is lost."""
    counted, spec, run = Counted(monkeypatch), asked(source), RunDir(tmp_path / "run")
    from growjax.select.racing import race_phases

    for units in (1, 7, 3, 4):
        with pytest.raises(Killed):
            run_study(spec, run, phases=race_phases, executor=lambda filling, n=units: Dying(filling, n))
    before = counted.steps
    kept = sorted((run.path / "partial").iterdir())
    assert kept and before
    summary = run_selection(spec, run)
    honest = finished_receipt(selected)
    assert finished_receipt(run.path)["root"] == honest["root"]
    assert counted.steps == summary["answer"]["spent"]
    run_selection(spec, run)
    assert counted.steps == summary["answer"]["spent"] and finished_receipt(run.path)["root"] == honest["root"]


def test_candidates_made_of_other_stories_are_none(selected: Path, tmp_path: Path):
    """Their ids are the same where a corpus has changed and its name has not."""
    receipt = finished_receipt(selected)
    recipes: Any = [SimpleNamespace(id=c["id"], kind=c["kind"]) for c in receipt["cells"]]
    head: Any = receipt
    with pytest.raises(NotComparable, match=r"not comparable: inputs\.tokens was"):
        reuse(RunDir(tmp_path), selected, head, "0" * 64, recipes)
    assert not list(tmp_path.iterdir())
    assert reuse(RunDir(tmp_path), selected, head, receipt["inputs"]["tokens"], recipes) == 6
    assert reuse(RunDir(tmp_path / "other"), selected, head, "0" * 64, recipes[:0]) == 0


def test_a_larger_budget_goes_on(selected: Path, source: Path, tmp_path: Path):
    """What lies there is taken as it is; the verdict is that of a run with this budget from the start."""
    shutil.copytree(selected, tmp_path / "run")
    more = run_selection(asked(source, 90), RunDir(tmp_path / "run"))
    plain = run_selection(asked(source, 90), RunDir(tmp_path / "plain"))
    assert more == plain and more["answer"]["spent"] > 60


def test_candidates_of_another_run_are_not_made_again(
    selected: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A study of the same source takes the selection's candidates, and a selection those of the study; the receipts are
    those of runs that made them."""
    made = []
    honest = fill.widen
    monkeypatch.setattr(fill, "widen", lambda *a, **more: made.append(more["operator"]) or honest(*a, **more))
    both = ("exact_copy", "net2net")
    spec = with_sources(SMOKE.replace(operators=both, regimes=("deterministic",), data=SMOKE.data), [source])
    study = run_study(spec, RunDir(tmp_path / "study"), others=[selected])
    assert made == ["net2net"]
    assert run_study(spec, RunDir(tmp_path / "plain"))["root"] == study["root"]
    made.clear()
    run_selection(asked(source), RunDir(tmp_path / "run"), others=[selected, tmp_path / "study"])
    assert not made and finished_receipt(tmp_path / "run")["root"] == finished_receipt(selected)["root"]
    with pytest.raises(UserError, match="holds no states"):
        run_selection(asked(source), RunDir(tmp_path / "again"), others=[selected / "receipt.json"])


MODEL = SMOKE.model.replace(vocab_size=300)


def test_who_races_is_known_at_step_0():
    def cell(loss: float | None, state: str, config: str = "c") -> dict[str, Any]:
        return {"metrics": {"loss": loss}, "digests": {"state": state, "config": config}}

    spec = Selection(operators=("a", "b", "c", "d", "e"), regimes=("stochastic",))
    cells = {"a": cell(1.0, "x"), "b": cell(1.0, "x"), "c": cell(1.0, "x", "other"), "d": cell(None, "y"),
             "e": cell(float(np.log(300)), "z")}  # fmt: skip
    names, excluded = entrants(spec, cells, MODEL)
    assert names == ["a", "c"] and [one.candidate for one in excluded] == ["b", "d", "e"]
    assert excluded[0].why == "its state is that of a"
    with pytest.raises(UserError, match="no candidate is left"):
        entrants(spec.replace(operators=("d",)), cells, MODEL)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"budget": 19}, "give at least 20"),
        ({"operators": ("exact_copy", "ligo"), "budget": 107}, "give at least 108, 100 of which make them"),
        ({"horizon": 30}, "choose multiples of --eval-every"),
        ({"first": 6}, "choose multiples of --eval-every"),
        ({"operators": ("exact_copy", "exact_cpoy")}, "no operator is named 'exact_cpoy'"),
        ({"operators": ("hypercloning",), "to": SMOKE.to.replace(d_model=24)}, "no operator can follow the plan"),
    ],
)
def test_what_cannot_be_raced_is_refused(changes: dict[str, Any], fault: str, source: Path):
    lags = {"horizon": changes.pop("horizon", 32), "first": changes.pop("first", 4)}
    spec = Selection(operators=RACING, regimes=("stochastic",), budget=60, eval_every=4, data=SMOKE.data)
    with pytest.raises(UserError, match=fault):
        planned(with_sources(spec, [source]).replace(**changes), table=OPEN, **lags)


def test_who_cannot_follow_the_plan_is_left_out(source: Path):
    spec = asked(source, to=SMOKE.to.replace(d_model=24))
    assert "hypercloning" in spec.left_out and "exact_copy" in spec.operators
    assert read_spec(json.loads(json.dumps(spec.to_dict()))) == spec
    assert "scratch" not in pool() and set(pool()) > {"exact_copy", "lemon", "sparkling"}


def test_other_verbs_know_what_a_selection_is(selected: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for words in (["claims", str(selected)], ["merge", str(selected), str(selected), "--out", str(tmp_path / "m")]):
        assert main(words) == 2 and "selection" in capsys.readouterr().err
    assert main(["report", str(selected), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["answer"]["chosen"]


def test_a_receipt_without_a_rung_of_its_race_is_refused(selected: Path):
    receipt = finished_receipt(selected)
    last = max(receipt["cells"], key=lambda c: c["lag"] or 0)
    broken: Any = {**receipt, "cells": [c for c in receipt["cells"] if c["id"] != last["id"]]}
    assert isinstance(spec_of(broken), Selection)
    with pytest.raises(UserError, match="which is not there"):
        summarise_selection(broken)


DATA = [
    word for name, value in SMOKE.data.to_dict().items() for word in (f"--data.{name.replace('_', '-')}", str(value))
]


def words(source: Path, out: Path) -> list[str]:
    """The command of a small selection, by published trust."""
    lags = {"--horizon": 64, "--first": 4, "--eval-every": 4, "--budget": 120, "--workers": 1}
    given = [str(word) for pair in lags.items() for word in pair]
    return ["select", str(source), "--out", str(out), *DATA, *given, "--operators", *RACING, "--json"]


def test_the_command(source: Path, tmp_path: Path):
    done = growjax(*words(source, tmp_path / "run"))
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["question"]["budget"] == 120 >= found["answer"]["spent"] and found["trust"]
    assert (tmp_path / "run" / "report" / "selection.json").exists()
    went_on = growjax("train", "--from", str(tmp_path / "run"), "--out", str(tmp_path / "on"), "--steps", "8",
                      "--eval-every", "8", "--workers", "1", *DATA)  # fmt: skip
    assert went_on.code == 0, went_on.err
    parent = next(c for c in finished_receipt(tmp_path / "on")["cells"] if c["kind"] == "given")
    assert parent["parameters"]["state"] == found["answer"]["state"]


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_the_same(source: Path, tmp_path: Path):
    """Five SIGKILLs, each at a random moment of what is left; then to its end. The root is that of a run in one go."""
    began = time.monotonic()
    straight = growjax(*words(source, tmp_path / "straight"))
    assert straight.code == 0, straight.err
    whole, rng, killed = time.monotonic() - began, np.random.default_rng(0), 0
    command = [sys.executable, "-m", "growjax", *words(source, tmp_path / "run")]
    env = {**runtime.without_pins(), "PYTHONPATH": str(ROOT)}
    while killed < 5:
        process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=ROOT)
        time.sleep(float(rng.uniform(0.2, 0.8)) * whole)
        if process.poll() is not None:  # it had gone on so often that it came to its end
            shutil.rmtree(tmp_path / "run")
            continue
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        killed += 1
    done = growjax(*words(source, tmp_path / "run"))
    assert done.code == 0, done.err
    roots = [finished_receipt(tmp_path / name)["root"] for name in ("straight", "run")]
    assert roots[0] == roots[1] and json.loads(done.out)["answer"] == json.loads(straight.out)["answer"]
