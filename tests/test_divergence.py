"""Candidates whose loss leaves the numbers are results: marked, ranked last, kept; such a source stops the study."""

from __future__ import annotations

import contextlib
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import growjax, quick_programs, with_new_checksums
from growing import BASE, filled

from growjax.audit.check import audit
from growjax.cli import main
from growjax.cli.tables import print_study
from growjax.config import TrainConfig
from growjax.errors import UserError
from growjax.grow.operators.families import asymmetric_reset
from growjax.grow.plan import WidthPlan
from growjax.grow.registry import register_operator, unregister_operator
from growjax.measure.registry import measures
from growjax.proof.diff import diff
from growjax.proof.verify import verify
from growjax.record.checksums import exact, readable
from growjax.record.rundir import RunDir
from growjax.record.store import save_state
from growjax.report.page import write_report
from growjax.streams import Streams
from growjax.study.presets import presets
from growjax.study.ranking import judge_selector, rank_by_auc
from growjax.study.rows import Ranked, Summary
from growjax.study.runner import run_study
from growjax.study.summary import summarise
from growjax.study.traces import diverged_at
from growjax.train.loop import Trace
from growjax.train.state import TrainState

SMOKE = presets()["smoke"]
LOST = "perturbed:sigma=1e25,cancel=none"
SPEC = SMOKE.replace(source_steps=(10,), operators=("exact_copy", LOST, "scratch"), regimes=("stochastic",))


def late(state: TrainState, plan: WidthPlan, *, streams: Streams, steps: int = 9) -> TrainState:
    """A unit that nothing reads and that has no gradient, which Adam's correction divides by 0 after some steps."""
    new = asymmetric_reset(state, plan, streams=streams)
    unit = {"w_up": (..., 0), "w_gate": (..., 0), "w_down": (..., 0, slice(None))}

    def with_unit(tree: Any, value: float) -> Any:
        return {**tree, "blocks": {name: leaf.at[unit[name]].set(value) if name in unit else leaf
                                   for name, leaf in tree["blocks"].items()}}  # fmt: skip

    mu, nu, count = (
        with_unit(getattr(new.opt_state, name), n) for name, n in (("mu", 0), ("nu", 0), ("count", -steps))
    )
    return new.replace(params=with_unit(new.params, 0), opt_state=new.opt_state._replace(mu=mu, nu=nu, count=count))


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A study of six candidates, two of which diverge, by command; and what it said."""
    run, said = tmp_path_factory.mktemp("six") / "run", io.StringIO()
    register_operator("late", late)
    pool = ("exact_copy", "perturbed", "asymmetric_reset", "scratch", LOST, "late")
    words = ["study", "--preset", "smoke", "--source-steps", "10", "--regimes", "stochastic", "--operators", *pool,
             "--workers", "1", "--out", str(run), "--json"]  # fmt: skip
    with quick_programs():
        with contextlib.redirect_stdout(said):
            assert main(words) == 0
        first, _ = said.getvalue(), said.truncate(0)
        said.seek(0)
        with contextlib.redirect_stdout(said):
            assert main(words) == 0
        assert said.getvalue() == first  # all of it is there already
        yield run, json.loads(first, parse_constant=pytest.fail)
    unregister_operator("late")


def test_candidates_that_diverge_are_ranked_last(six: tuple[Path, dict[str, Any]]):
    run, summary = six
    rows = [row for row in summary["ranking"] if row["lag"] == SMOKE.continuation_lag]
    ranks = {row["candidate"]: row["rank"] for row in rows}
    assert sorted(ranks[name] for name in ("exact_copy", "perturbed", "asymmetric_reset", "scratch")) == [1, 2, 3, 4]
    assert (ranks[LOST], ranks["late"], ranks["unwidened"]) == (5, 5, None)
    marks = {row["candidate"]: (row["n"], row["auc_mean"], row["diverged"]) for row in rows if "diverged" in row}
    assert marks == {
        name: (0, None, f"2 of 2 diverged, first at step {step}") for name, step in ((LOST, 0), ("late", 9))
    }
    early = {row["candidate"] for row in summary["ranking"] if row["lag"] == SMOKE.probe_lag and "diverged" in row}
    assert early == {LOST}
    assert {len(summary["selectors"])} == {len([m for m in measures() if m.selects])}
    chosen = {row["selector"]: row["regret"] for row in summary["selectors"]}
    assert summary["notes"][-1] == f"Diverged, and therefore ranked last: late, {LOST}."
    assert all(regret is None or regret >= 0 for regret in chosen.values())
    page = (run / "report" / "index.html").read_text()
    tables = {path.name: path.read_text() for path in (run / "report" / "tables").iterdir()}
    for step in (0, 9):
        assert f"2 of 2 diverged, first at step {step}" in page
        assert f"2 of 2 diverged, first at step {step}" in tables["ranking.csv"]
    assert "nan" not in "".join(tables.values()) and "inf" not in "".join(tables.values())


def test_runs_with_candidates_that_diverge_are_checked_like_any(six: tuple[Path, dict[str, Any]], tmp_path: Path):
    run, _ = six
    cells = [c for c in RunDir(run).receipt()["cells"] if c["kind"] == "continuation" and "diverged" in c["metrics"]]
    chosen = [next(c["id"] for c in cells if c["operator"] == name) for name in (LOST, "late")]
    verdict = verify(run, tmp_path / "again", cells=tuple(chosen))
    assert verdict.outcome == "identical" and verdict.checked >= 7
    assert diff(run, tmp_path / "again").difference is None
    result = audit(RunDir(run), inject="none")
    assert result["holds"], result["faults"]


def edited(run: Path, out: Path, *changes: tuple[str, str, int, int]) -> Summary:
    """The summary of a run, had replicates of some kind and candidate diverged at a step."""
    receipt = json.loads((run / "receipt.json").read_text())
    for kind, name, replicate, step in changes:
        for cell in receipt["cells"]:
            at = (cell["kind"], cell["operator"], cell["regime"], cell["replicate"])
            if at == (kind, name, "stochastic", replicate):
                lost = [loss if at < step else math.nan for at, loss in zip(
                    cell["metrics"]["eval_steps"], cell["metrics"]["eval_loss"], strict=True)]  # fmt: skip
                figures = {
                    key: math.nan if isinstance(value, float) else value for key, value in cell["metrics"].items()
                }
                figures |= {"eval_loss": lost, "diverged": step}
                cell |= {"metrics": readable(figures), "exact": exact(figures)}
    return summarise(RunDir(with_new_checksums(receipt, out)).receipt())  # pyright: ignore[reportArgumentType]


def test_means_are_over_the_replicates_that_are_left(smoke_run: Path, tmp_path: Path):
    before = summarise(RunDir(smoke_run).receipt())  # pyright: ignore[reportArgumentType]
    found = edited(smoke_run, tmp_path / "run", ("continuation", "perturbed", 1, 9))
    kept = {c["source"]: c["metrics"] for c in RunDir(smoke_run).receipt()["cells"] if c["kind"] == "continuation"
            and (c["operator"], c["regime"], c["replicate"]) == ("perturbed", "stochastic", 0)}  # fmt: skip
    rows = {row["source"]: row for row in found["ranking"] if (row["candidate"], row["regime"], row["lag"]) == (
            "perturbed", "stochastic", SMOKE.continuation_lag)}  # fmt: skip
    assert set(rows) == set(kept) and len(kept) == 2
    for source, row in rows.items():
        assert (row["n"], row["rank"], row["auc_sd"], row["tokens_saved"]) == (1, len(SMOKE.operators), None, None)
        assert row["auc_mean"] == kept[source]["auc"] and row["final_mean"] == kept[source]["eval_loss"][-1]
        assert (row.get("n_diverged"), row.get("diverged")) == (1, "1 of 2 diverged, first at step 9")
    for curve in found["curves"]:
        if (curve["candidate"], curve["regime"]) == ("perturbed", "stochastic"):
            assert curve["mean"] == kept[curve["source"]]["eval_loss"] == curve["low"] == curve["high"]
    for pair in found["pairs"]:
        if (pair["regime"], pair["lag"]) == ("stochastic", SMOKE.continuation_lag):
            assert "perturbed" not in (pair["best"], pair["second"])
    others = [[row for row in s["ranking"] if row["regime"] == "deterministic"] for s in (before, found)]
    assert others[0] == others[1]
    write_report(tmp_path / "report", found)  # pyright: ignore[reportArgumentType]
    assert "<small>1 of 2 diverged, first at step 9</small>" in (tmp_path / "report" / "index.html").read_text()
    print_study(tmp_path, found)


def test_candidates_come_in_the_order_of_how_many_replicates_diverged():
    rows: list[Ranked] = [{"candidate": "a", "auc_mean": 3.0, "rank": None},
                          {"candidate": "b", "auc_mean": 1.0, "rank": None, "n_diverged": 1},
                          {"candidate": "c", "auc_mean": math.inf, "rank": None, "n_diverged": 2},
                          {"candidate": "d", "auc_mean": 2.0, "rank": None, "n_diverged": 1},
                          {"candidate": "e", "auc_mean": 4.0, "rank": None}]  # fmt: skip
    rank_by_auc(rows)
    assert [row["rank"] for row in rows] == [1, 3, 5, 4, 2]


def test_a_selector_that_chooses_what_diverges_has_no_finite_regret():
    scores, aucs = {"a": 0.1, "b": 0.2, "c": 0.3}, {"a": 1.0, "b": 3.0, "c": 4.0}
    judged = judge_selector("x", scores, aucs, {"a": 1})
    assert judged is not None and judged["regret"] == math.inf and not judged["top1"]
    assert judged["tau"] == judge_selector("x", scores, {**aucs, "a": 9.0})["tau"]  # pyright: ignore[reportOptionalSubscript]
    right = judge_selector("x", {**scores, "a": math.inf}, {**aucs, "a": math.inf}, {"a": 2})
    assert right is not None and (right["tau"], right["top1"], right["regret"]) == (1.0, True, 0.0)


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
