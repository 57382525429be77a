"""The whole road: a study by command, resumed, repeated, reported."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, Shown, growjax, quick_programs

from growjax.config import json_digest
from growjax.grow.registry import operators
from growjax.record.rundir import RunDir
from growjax.record.store import load_state
from growjax.study.presets import presets
from growjax.study.runner import run_study
from growjax.study.spec import PAPER_OPERATORS, UNWIDENED, StudySpec, TargetWidths


def fields(receipt: dict) -> dict:
    """What must be the same of two runs: everything but where and under which Python they ran."""
    return {cell["id"]: (cell["inputs"], cell["digests"], cell["metrics"]) for cell in receipt["cells"]}


def test_a_run_holds_what_a_study_promises(smoke_run: Path):
    receipt = RunDir(smoke_run).receipt()
    assert set(receipt) >= {"schema", "environment", "pins", "config", "inputs", "programs", "cells", "root"}
    assert receipt["pins"]["pinned"] and receipt["programs"]["run"]
    body = {k: v for k, v in receipt.items() if k != "root"}
    assert receipt["root"] == json_digest(body)
    seen = {(c["kind"], c["operator"], c["regime"]) for c in receipt["cells"]}
    for operator in (*PAPER_OPERATORS, "scratch", UNWIDENED):
        for regime in ("deterministic", "stochastic"):
            assert ("probe", operator, regime) in seen and ("continuation", operator, regime) in seen
    page = (smoke_run / "report" / "index.html").read_text()
    assert all(operator in page for operator in (*PAPER_OPERATORS, "scratch", UNWIDENED))
    assert list((smoke_run / "report" / "figures").glob("*.svg")) and list(
        (smoke_run / "report" / "tables").glob("*.csv")
    )
    assert not list((smoke_run / "cells").rglob(".*.tmp"))


SMALL = presets()["smoke"].replace(source_steps=(10,), stochastic_replicates=1)
"""A study like the smoke run, from one source."""


def cells_of(spec: StudySpec, out: Path) -> list[dict]:
    run_study(spec, RunDir(out))
    return RunDir(out).receipt()["cells"]


EVERY = (*operators(), "exact_copy+noise+law:clip=no")
FEW = ("ligo:steps=2", "exact_copy+noise+law:clip=no")
"""One that trains; parts, with factors of the law in the state."""


def check_all_take_part(cells: list[dict], pool: tuple[str, ...]) -> None:
    losses = {c["operator"]: c["metrics"]["final_loss"] for c in cells if c["kind"] == "continuation"}
    assert set(losses) == {*pool, UNWIDENED}
    assert all(np.isfinite(loss) for loss in losses.values()) and len(set(losses.values())) == len(losses)


def test_operators_of_every_kind_take_part_in_a_study(tmp_path: Path):
    spec = SMALL.replace(regimes=("stochastic",), operators=FEW)
    check_all_take_part(cells_of(spec, tmp_path / "run"), FEW)


@pytest.mark.slow
def test_every_operator_takes_part_in_a_study(tmp_path: Path):
    """With tokens added, and dropout alone random."""
    model = SMALL.model.replace(n_layers=2)  # aki looks at the next layer
    spec = SMALL.replace(regimes=("dropout",), operators=EVERY, model=model, to=TargetWidths(vocab_size=320))
    with quick_programs():
        check_all_take_part(cells_of(spec, tmp_path / "run"), EVERY)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lion", "muon", "sgd"])
def test_another_optimizer_carries_a_study(name: str, tmp_path: Path):
    optim = SMALL.optim.replace(name=name)
    spec = SMALL.replace(regimes=("deterministic",), operators=("lockstep",), optim=optim)
    with quick_programs():
        cells = cells_of(spec, tmp_path / "run")
    found = [c["metrics"]["kl_continued"] for c in cells if c["kind"] == "probe" and c["operator"] == "lockstep"]
    assert len(found) == 1 and found[0] < 1e-9  # float32 rounding: the wide run is the narrow run


def test_json_is_one_document(smoke_run: Path, shown: Shown):
    document = shown.said("study")
    assert shown.folder / document["directory"] == smoke_run and document["ranking"] and document["selectors"]


def test_again_computes_nothing_anew(smoke_run: Path, shown: Shown):
    before = {p: p.stat().st_mtime_ns for p in (smoke_run / "cells").rglob("*")}
    receipt = (smoke_run / "receipt.json").read_bytes()
    done = growjax("study", "--preset", "smoke", "--out", "runs/smoke", "--json", cwd=shown.folder)
    assert done.code == 0, done.err
    assert {p: p.stat().st_mtime_ns for p in (smoke_run / "cells").rglob("*")} == before
    assert (smoke_run / "receipt.json").read_bytes() == receipt
    assert done.out == shown.text("study")


def test_report_is_rebuilt_from_the_receipt_alone(smoke_run: Path, tmp_path: Path):
    shutil.copy(smoke_run / "receipt.json", tmp_path)
    done = growjax("report", str(tmp_path))
    assert done.code == 0, done.err
    for made in (tmp_path / "report").rglob("*.*"):
        assert made.read_bytes() == (smoke_run / made.relative_to(tmp_path)).read_bytes()


def test_killed_and_started_again_ends_the_same(smoke_run: Path, tmp_path: Path):
    """SIGKILL half-way; other company as well, with fewer candidates. More: row B2."""
    out = tmp_path / "killed"
    words = [sys.executable, "-m", "growjax", "study", "--preset", "smoke", "--operators", "exact_copy", "perturbed",
             "--workers", "1", "--out", str(out), "--json"]  # fmt: skip
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and len(list((out / "cells").glob("[!.]*"))) < 21:  # of 43
        time.sleep(0.02)
    assert process.poll() is None, "it ended before it could be killed"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    full = {p.name: (p / "result.json").stat().st_mtime_ns for p in (out / "cells").glob("[!.]*")}
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all((out / "cells" / name / "result.json").stat().st_mtime_ns == at for name, at in full.items())
    unbroken, resumed = fields(RunDir(smoke_run).receipt()), fields(RunDir(out).receipt())
    assert len(resumed) == 43 and all(unbroken[name] == cell for name, cell in resumed.items())
    assert not list(out.rglob(".*.tmp"))


def test_another_process_from_another_place_gives_the_same_bits(smoke_run: Path, tmp_path: Path):
    """A source from the start: other directory, hash seed and time zone. More, such as no cache: row B7."""
    surroundings = {"PYTHONHASHSEED": "7", "TZ": "Asia/Kathmandu"}
    source = next(c for c in RunDir(smoke_run).receipt()["cells"] if c["kind"] == "source")
    words = ("--cells", source["id"], "--workers", "1", "--json")
    done = growjax("verify", str(smoke_run), *words, cwd=tmp_path, env=surroundings)
    assert done.code == 0 and json.loads(done.out)["outcome"] == "identical", done.err


def test_the_same_study_has_the_same_root(smoke_run: Path, tmp_path: Path):
    """The receipt depends on the cells alone: put together from full cells in another directory it is the same."""
    (tmp_path / "run").mkdir()
    for part in ("cells", "data", "receipt.json"):
        (shutil.copytree if part != "receipt.json" else shutil.copy)(smoke_run / part, tmp_path / "run" / part)
    done = growjax("study", "--preset", "smoke", "--out", str(tmp_path / "run"), "--json")
    assert done.code == 0 and RunDir(tmp_path / "run").receipt()["root"] == RunDir(smoke_run).receipt()["root"]


def test_continuations_share_their_keys_and_differ_in_nothing_else(smoke_run: Path):
    cells = RunDir(smoke_run).receipt()["cells"]
    for cell in cells:
        if cell["kind"] == "probe":
            same = [c for c in cells if c["kind"] == "probe" and c["regime"] == cell["regime"]]
            twin = next(c for c in same if c["replicate"] == cell["replicate"] and c["source"] == cell["source"])
            assert twin["parameters"] == cell["parameters"]


def test_exact_copy_in_the_deterministic_regime_never_leaves_the_clones(smoke_run: Path):
    for cell in RunDir(smoke_run).receipt()["cells"]:
        if cell["operator"] == "exact_copy" and cell["kind"] == "continuation":
            assert cell["metrics"]["clones_identical"] == (cell["regime"] == "deterministic")
        if cell["operator"] == "exact_copy" and cell["kind"] == "probe" and cell["regime"] == "deterministic":
            assert cell["metrics"]["escape_weights"] == cell["metrics"]["escape_activations"] == 0.0
        if cell["operator"] == UNWIDENED and cell["kind"] == "probe":
            assert cell["metrics"]["kl_continued"] == 0.0


def test_stored_states_are_what_their_cells_say(smoke_run: Path):
    receipt = RunDir(smoke_run).receipt()
    for cell in receipt["cells"]:
        if cell["kind"] in ("source", "candidate"):
            state = load_state(smoke_run / "cells" / cell["id"])
            assert (
                json.loads((smoke_run / "cells" / cell["id"] / "state.json").read_text())["state"]
                == cell["digests"]["state"]
            )
            assert int(state.step) == (0 if cell["operator"] == "scratch" else int(cell["source"].partition("step")[2]))


def test_widen_by_command(shown: Shown):
    described = shown.said("widen")
    # nats per token; only float32 rounding is left
    # nats: only float32 rounding is left
    assert abs(described["zero_step"]["kl"]) < 1e-9 and described["stored"] == described["zero_step"]
    assert described["after"]["parameters"] > described["before"]["parameters"]
    assert load_state(shown.folder / described["directory"]).config.model.d_model == 72


def test_train_makes_the_state_that_a_study_makes(smoke_run: Path, tmp_path: Path):
    """Of the same options, by command."""
    spec = presets()["smoke"]
    words = [f"--{part}.{name.replace('_', '-')}={value}" for part, config, names in (
        ("model", spec.model, ("d_model", "n_layers", "n_heads", "n_kv_heads", "head_dim", "d_ff")),
        ("optim", spec.optim, ("warmup_steps", "total_steps")),
        ("data", spec.data, ("stories", "vocab_size", "seq_len", "batch_size", "eval_batches")),
    ) for name in names for value in [getattr(config, name)]]  # fmt: skip
    run = tmp_path / "train"
    trained = growjax("train", "--out", str(run), "--steps", "10", "20", "--eval-every", "10", *words, "--json")
    assert trained.code == 0, trained.err
    mine = {c["source"]: c["digests"]["state"] for c in RunDir(run).receipt()["cells"] if c["kind"] == "source"}
    theirs = {c["source"]: c["digests"]["state"] for c in RunDir(smoke_run).receipt()["cells"] if c["kind"] == "source"}
    assert mine == theirs


def test_a_study_is_data():
    for name, spec in presets().items():
        assert StudySpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec and spec.preset == name
        assert all(operator in operators() for operator in spec.operators)


def test_real_text_gives_a_source_worth_growing(tmp_path: Path):
    """A short training on stories of a file beats the unigram entropy of its tokens."""
    from growjax.data.grammar import stories

    path = tmp_path / "stories.jsonl"
    path.write_text("".join(json.dumps({"text": s}) + "\n" for s in stories(600, seed=5)))
    done = growjax("train", "--out", str(tmp_path / "run"), "--steps", "150", "--data.corpus", str(path), "--json",
                   "--data.batch-size", "8", "--model.d-model", "32", "--model.n-heads", "2", "--model.n-kv-heads", "2",
                   "--model.d-ff", "64", "--data.eval-batches", "2")  # fmt: skip
    assert done.code == 0, done.err
    source = json.loads(done.out)["sources"][0]
    assert source["validation_loss"] < source["unigram_entropy"] - 1.0
    assert np.isfinite(source["validation_loss"])


@pytest.mark.parametrize("words", [["--help"], [], ["study", "--help"], ["widen", "--help"]])
def test_help(words: list[str]):
    done = growjax(*words)
    assert done.code == 0 and "usage:" in done.out and done.err == ""
