"""Sources that were not trained here: going on with any state, and studies of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, Shown, quick_programs, with_tokenizer
from test_checkpoints import STORIES

from growjax.audit.check import audit
from growjax.checkpoints import load
from growjax.cli import main
from growjax.cli.measuring import own_tokens
from growjax.errors import UserError
from growjax.grow.plan import default_target, make_plan
from growjax.grow.widen import widen
from growjax.proof.diff import diff
from growjax.proof.verify import verify
from growjax.record.cell_types import GivenCell
from growjax.record.integrity import finished_receipt
from growjax.record.partial import Partial
from growjax.record.rundir import RunDir
from growjax.record.store import load_state, save_state, state_digest
from growjax.report.page import write_report
from growjax.streams import root_key
from growjax.study.presets import presets
from growjax.study.runner import run_study
from growjax.study.sources import open_source, with_sources
from growjax.study.spec import StudySpec
from growjax.study.summary import summarise

SMOKE = presets()["smoke"]
TOKENIZER = ROOT / "tests" / "tokenizer.json"


@pytest.fixture(scope="module")
def source(smoke_run: Path) -> Path:
    """The source state of the smoke run at step 10."""
    cells = RunDir(smoke_run).receipt()["cells"]
    return smoke_run / "cells" / next(c["id"] for c in cells if c["source"] == "seed0-step10" and c["kind"] == "source")


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    """A tiny Hugging Face folder with a tokenizer."""
    return with_tokenizer("llama", tmp_path / "llama")


def going_on(*paths: Path, **changes: Any) -> StudySpec:
    """`train --from`, as a specification."""
    spec = with_sources(SMOKE.replace(preset="train", operators=(), regimes=()), paths)
    return spec.replace(source_steps=(10,), source_eval_every=10, **changes)


def last(run: Path) -> dict[str, Any]:
    cells = [c for c in RunDir(run).receipt()["cells"] if c["kind"] == "source"]
    return max(cells, key=lambda c: c["parameters"]["step"])


def test_going_on_is_training_on(smoke_run: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Ten steps more on the same stories, killed after five, are steps 11 to 20 of one training, bit for bit."""
    straight = last(smoke_run)

    class Killed(Exception):
        pass

    def save(*_: object) -> None:
        honest(*_)  # pyright: ignore[reportCallIssue]
        raise Killed

    honest = Partial.save
    monkeypatch.setattr(Partial, "save", save)
    spec = going_on(source).replace(source_eval_every=5)
    with pytest.raises(Killed):
        run_study(spec, RunDir(tmp_path / "run"))
    monkeypatch.undo()
    receipt = run_study(spec, RunDir(tmp_path / "run"))
    cell = last(tmp_path / "run")
    assert cell["source"].endswith("-seed0-step20") and cell["digests"]["state"] == straight["digests"]["state"]
    assert cell["digests"]["params_at"] == straight["digests"]["params_at"]
    (given,) = given_cells(receipt)
    digest = state_digest(load_state(source))
    assert given["parameters"]["state"] == digest and given["parameters"]["step"] == 10
    assert not given["metrics"]["zero_moments"] and receipt["config"]["source"] == [f"{digest}@10"]
    assert receipt["inputs"]["sources"][digest]["path"] == str(source)


def test_a_widened_state_goes_on_under_its_law(source: Path, tmp_path: Path):
    """The factors of `lockstep` travel with the state: the wide run is the narrow run, under another schedule too."""
    state = load_state(source)
    plan = make_plan(state.config.model, default_target(state.config.model))
    folders = {"narrow": source, "lockstep": tmp_path / "lockstep"}
    folders["lockstep"].mkdir()
    save_state(folders["lockstep"], widen(state, plan, operator="lockstep", key=root_key(1, "study")))
    shutil.copy(source.parent.parent / "data" / "tokenizer.json", folders["lockstep"])
    losses: dict[str, Any] = {}
    with quick_programs():
        for name, folder in folders.items():
            spec = going_on(folder)
            optim = spec.optim.replace(learning_rate=2e-2, total_steps=400, clip_norm=0.3)
            spec = spec.replace(model=spec.model.replace(dropout=0.0), optim=optim, source_eval_every=5)
            run_study(spec, RunDir(tmp_path / "runs" / name))
            losses[name] = np.array(last(tmp_path / "runs" / name)["metrics"]["eval_loss"])
    assert np.abs(losses["lockstep"] - losses["narrow"]).max() < 2e-6  # float32 rounding over ten steps
    assert np.abs(np.diff(losses["narrow"])).max() > 1e-2
    gone_on = load_state(tmp_path / "runs" / "lockstep" / "cells" / last(tmp_path / "runs" / "lockstep")["id"])
    assert gone_on.law is not None and int(gone_on.step) == 20 and gone_on.config.optim.total_steps == 400


REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "another width": (("--model.d-model", "32"), "model.d_model is 32"),
    "windows beyond the positions": (("--data.seq-len", "33"), "33, and the source llama has 32 positions"),
    "steps off the grid": (("--steps", "7"), "source_steps"),
    "another tokenizer": (("--data.tokenizer", "other.json"), "is not that of the source llama"),
    "no tokenizer": (("--data.tokenizer", "llama/config.json"), "is no tokenizer"),
    "nothing there": (("--from", "nowhere"), "nowhere holds no state"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_go_on(
    name: str, llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.json").write_bytes(TOKENIZER.read_bytes() + b"\n")
    words, described = REFUSED[name]
    start = () if "--from" in words else ("--from", "llama")
    assert main(["train", *start, "--out", "run", *words]) == 2
    said = capfd.readouterr().err
    assert described in said and said.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_what_does_not_fit_together(source: Path, llama: Path, tmp_path: Path):
    with pytest.raises(UserError, match="those of one study have one"):
        run_study(going_on(source, llama), RunDir(tmp_path / "run"))
    with pytest.raises(UserError, match=r"names .* twice"):
        run_study(going_on(source, source), RunDir(tmp_path / "run"))
    spec = going_on(source)
    with pytest.raises(UserError, match=r"moments of .* are adamw's"):
        run_study(spec.replace(optim=spec.optim.replace(name="sgd")), RunDir(tmp_path / "run"))
    (llama / "tokenizer.json").unlink()
    with pytest.raises(UserError, match="no tokenizer lies beside the source"):
        run_study(going_on(llama), RunDir(tmp_path / "run"))
    large = json.loads(TOKENIZER.read_text())
    large["model"]["vocab"]["é"] = 64
    (llama / "tokenizer.json").write_text(json.dumps(large))
    with pytest.raises(UserError, match="has the id 64"):
        open_source(llama)
    (llama / "tokenizer.json").rename(tmp_path / "tokenizer.json")
    with pytest.raises(UserError, match="has 65 ids, and the model's vocabulary is 64"):
        spec = going_on(llama)
        data = spec.data.replace(tokenizer=str(tmp_path / "tokenizer.json"))
        run_study(spec.replace(data=data), RunDir(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_an_imported_source_takes_any_optimizer(llama: Path):
    from growjax.study.sources import as_given

    found = open_source(llama)
    optim = found.state.config.optim.replace(name="sgd")
    state = as_given(found, found.state.config.replace(optim=optim))
    assert found.fresh and found.given.step == 0 and state.config.optim.name == "sgd"
    assert not any(np.any(leaf) for leaf in state.opt_state.mu.values() if not isinstance(leaf, dict))


def given_cells(receipt: Any) -> list[GivenCell]:
    return [c for c in receipt["cells"] if c["kind"] == "given"]


REAL = STORIES.is_dir()
"""Whether the real checkpoint lies beside the project; else a tiny one stands in, and the test's id says so."""


@pytest.mark.parametrize("name", ["stories260k" if REAL else "llama"])
def test_a_study_of_a_checkpoint(name: str, llama: Path, tmp_path: Path, shown: Shown):
    """Rankings, page, receipt, audit, diff and verify, as of sources that were trained here. Few steps of one operator;
    a fuller run of the real one is in artifacts/stories260k."""
    corpus = str(STORIES.parent / "tinystories" / "validation.jsonl") if REAL else "builtin"
    if REAL:
        llama = Path(shutil.copytree(STORIES, tmp_path / name))
    spec = with_sources(SMOKE.replace(operators=("exact_copy",), regimes=("deterministic",)), [llama])
    data = spec.data.replace(corpus=corpus, stories=150, seq_len=32, batch_size=2, eval_batches=2)
    spec = spec.replace(data=data, probe_lag=1, continuation_lag=2, eval_every=1, deterministic_replicates=1,
                        match_flops=False, optim=spec.optim.replace(learning_rate=1e-4))  # fmt: skip
    run = tmp_path / "run"
    with quick_programs():
        receipt = run_study(spec, RunDir(run))
        (given,) = given_cells(receipt)
        digest = state_digest(load(llama)[0])
        assert given["parameters"]["state"] == digest and given["metrics"]["zero_moments"]
        hint = receipt["inputs"]["sources"][digest]
        assert hint["path"] == str(llama) and hint["model_type"] == "llama" and "zero" in hint["moments"]
        assert str(llama) not in json.dumps(receipt["config"]) and str(llama) not in json.dumps(receipt["cells"])

        summary = summarise(finished_receipt(run))
        ranked = {r["candidate"]: r["rank"] for r in summary["ranking"] if r["lag"] == 2}
        assert ranked == {"exact_copy": 1, "unwidened": None} and summary["sources"][0]["step"] == 0
        write_report(run / "report", summary)
        if REAL:
            assert 1.2 < summary["sources"][0]["validation_loss"] < 2.2  # nats per token, of windows cut at 32
            assert summary["preservation"][0]["kl"] < 1e-9  # float32 rounding
        page = (run / "report" / "index.html").read_text()
        assert "was not trained here" in page and digest in page and given["source"] in page

        result = audit(RunDir(run), inject="none")
        assert result["holds"], result["faults"]
        assert diff(run, run).difference is None
        wide = next(c["id"] for c in receipt["cells"] if c["kind"] == "candidate")
        assert verify(run, tmp_path / "again", cells=(wide,), corpus=corpus).outcome == "identical"
        receipt_alone = run / "receipt.json"
        with pytest.raises(UserError, match=f"source of digest {digest[:12]}.*--source"):
            verify(receipt_alone, tmp_path / "no", cells=(given["id"],), corpus=corpus)
        with pytest.raises(UserError, match="none of the study's sources"):
            verify(receipt_alone, tmp_path / "no", cells=(given["id"],), corpus=corpus, sources=[last_state(shown)])
        moved = llama.rename(tmp_path / "moved")
        found = verify(receipt_alone, tmp_path / "elsewhere", cells=(given["id"],), corpus=corpus, sources=[moved])
        assert found.outcome == "identical" and found.checked == 2

        before = {path: path.stat().st_mtime_ns for path in (run / "cells").rglob("*")}
        again = run_study(spec.replace(source=(str(moved),), data=spec.data.replace(
            tokenizer=str(moved / "tokenizer.json"))), RunDir(run))  # fmt: skip
        assert again["results"] == receipt["results"]
        assert {path: path.stat().st_mtime_ns for path in (run / "cells").rglob("*")} == before


def last_state(shown: Shown) -> Path:
    """A state that is another's source."""
    run = shown.folder / shown.said("study")["directory"]
    return run / "cells" / last(run)["id"]


def test_tokens_and_tokenizer_go_along(source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    """Where moments are left out too; and a state that came from a checkpoint has tokens of its own once it was trained
    here."""
    assert main(["widen", str(source), "--moments", "none", "--out", str(tmp_path / "wide")]) == 0
    assert open_source(tmp_path / "wide").tokenizer == tmp_path / "wide" / "tokenizer.json"
    found = own_tokens(source, None, 300, needed=False)
    assert found is not None and found.directory.parent == source.parent.parent
    alone = shutil.copytree(source, tmp_path / "alone")
    assert own_tokens(alone, None, 300, needed=False) is None
    with pytest.raises(UserError):
        own_tokens(alone, None, 300, needed=True)


def test_a_candidate_whose_logits_are_no_numbers_is_refused(
    source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    words = ("widen", str(source), "--operator", "perturbed:sigma=1e25,cancel=none", "--out", str(tmp_path / "wide"))
    assert main(words) == 2 and not (tmp_path / "wide").exists()
    assert "the logits of what perturbed:sigma=1e25,cancel=none makes are no finite numbers" in capfd.readouterr().err
