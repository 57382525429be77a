"""Candidates whose loss leaves the numbers are results: marked, ranked last, kept; such a source stops the study."""

from __future__ import annotations

import json
import math
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import growjax, quick_programs
from growing import BASE, filled

from growjax.config import TrainConfig, canonical_json
from growjax.errors import UserError
from growjax.record.rundir import RunDir
from growjax.record.store import save_state
from growjax.report.page import write_report
from growjax.study.presets import presets
from growjax.study.runner import run_study
from growjax.study.summary import summarise
from growjax.study.traces import diverged_at
from growjax.train.loop import Trace

SMOKE = presets()["smoke"]
LOST = "perturbed:sigma=1e25,cancel=none"
SPEC = SMOKE.replace(source_steps=(10,), operators=("exact_copy", LOST, "scratch"), regimes=("stochastic",))


def test_a_candidate_that_diverges_is_ranked_last(tmp_path: Path):
    run = RunDir(tmp_path / "run")
    with quick_programs():
        receipt = run_study(SPEC, run)
        again = run_study(SPEC, run)
    assert again["root"] == receipt["root"]
    cells = {(c["operator"], c["kind"]): c["metrics"] for c in receipt["cells"]}
    assert cells[LOST, "probe"]["diverged"] == cells[LOST, "continuation"]["diverged"] == 0
    assert cells[LOST, "continuation"]["auc"] is None
    assert not any("diverged" in metrics for (name, _), metrics in cells.items() if name != LOST)
    summary = summarise(run.receipt())
    ranks = {r["candidate"]: r["rank"] for r in summary["ranking"] if r["lag"] == SPEC.continuation_lag}
    assert ranks == {"exact_copy": 1, "scratch": 2, LOST: 3, "unwidened": None}
    marked = {r["candidate"]: r["diverged"] for r in summary["ranking"] if "diverged" in r}
    assert marked == {LOST: "2 of 2 diverged, first at step 0"}
    write_report(tmp_path / "report", summary)  # pyright: ignore[reportArgumentType]
    assert "2 of 2 diverged, first at step 0" in (tmp_path / "report" / "index.html").read_text()
    assert json.loads(canonical_json(summary)) == summary


def test_a_source_that_diverges_says_at_which_step(tmp_path: Path):
    spec = SPEC.replace(optim=SPEC.optim.replace(learning_rate=1e38))
    with quick_programs(), pytest.raises(UserError, match=r"seed 0 diverged at step \d: its loss is no finite number"):
        run_study(spec, RunDir(tmp_path / "run"))


def test_the_step_is_the_first_of_any_loss():
    ones, none = np.ones(8), np.zeros((8, 1, 2), np.uint32)
    for step, evaluation, found in ((None, None, None), (3, None, 23), (None, 1, 24), (7, 1, 24), (2, 2, 22)):
        loss, evaluated = ones.copy(), ones[:3].copy()
        if step is not None:
            loss[step] = math.inf
        if evaluation is not None:
            evaluated[evaluation] = math.nan
        trace = Trace(*map(jnp.asarray, (loss, ones, none, evaluated, none)))
        assert diverged_at(trace, 20, 4) == found


def test_widen_names_the_leaf_that_is_not_finite(tmp_path: Path):
    state = filled(TrainConfig(model=BASE))
    lost = {**state.params, "embedding": state.params["embedding"].at[0, 0].set(jnp.nan)}
    (tmp_path / "state").mkdir()
    save_state(tmp_path / "state", state.replace(params=lost))
    done = growjax("widen", str(tmp_path / "state"), "--out", str(tmp_path / "wide"))
    assert done.code == 2 and "params/embedding holds values that are no finite numbers" in done.err
    assert not (tmp_path / "wide").exists()
