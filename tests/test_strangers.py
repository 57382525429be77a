"""Records as strangers may have written them: one line and an exit code, whatever stands in them."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Finished, with_new_checksums

from experiments.strangers import commands, records
from growjax import runtime
from growjax.cli import VERBS, main
from growjax.config import canonical_json
from growjax.draws import normals
from growjax.errors import CheckFailed, UserError
from growjax.proof import verify as verify_module
from growjax.record.checksums import with_checksum
from growjax.record.integrity import open_receipt, read_receipt
from growjax.record.rundir import RunDir
from growjax.record.store import read_info
from growjax.record.traces import read_trace

SMOKE = ROOT / "artifacts" / "smoke"
PUBLISHED = [*sorted((ROOT / "artifacts").glob("*/receipt.json")), ROOT / "artifacts" / "smoke-nvidia-h200.json"]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Any:
    """Runs a command here, without computing: `verify` is given the honest receipt as what comes out again."""
    monkeypatch.setattr(runtime, "environment", lambda: json.loads((SMOKE / "receipt.json").read_text())["environment"])
    monkeypatch.setattr(verify_module, "run_study", lambda spec, run, **_: shutil.copytree(SMOKE, run.path))
    monkeypatch.setattr("growjax.audit.check.make_context", never)
    monkeypatch.setattr("growjax.audit.check.prepare_tokens", never)
    monkeypatch.setattr("growjax.study.context.prepare_tokens", never)

    def run(*words: str) -> Finished:
        code = main(words)
        said = capfd.readouterr()
        return Finished(code, said.out, said.err)

    return run


def never(*_: object, **__: object) -> None:
    raise UserError("nothing is computed here", "look no further")


READ_BY: dict[str, Callable[[Path], tuple[str, ...]]] = {
    "report": lambda run: ("report", str(run)),
    "verify": lambda run: ("verify", str(run), "--cells", "3"),
    "diff": lambda run: ("diff", str(run), str(SMOKE)),
    "audit": lambda run: ("audit", str(run)),
    "against": lambda run: ("audit", str(run), "--against", str(SMOKE)),
    "cell": lambda run: ("audit", str(run), "--cell", "e" * 16, "--step", "3"),
    "widen": lambda run: ("widen", str(run), "--out", str(run.parent / "wide")),
    "export": lambda run: ("export", str(run), "--out", str(run.parent / "hf")),
}


def test_changed_records_are_reported_or_refused_in_a_line(smoke_run: Path, tmp_path: Path):
    """`python -m experiments.strangers` has 20,000 of them."""
    ends, faults = records.block(records.Box(tmp_path, smoke_run), 7, 50)
    assert not faults, faults
    assert {end.split()[-1] for end in ends} >= {"0", "1", "2"}


def test_changed_command_lines_end_in_a_line(smoke_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The same has 500 of these."""
    monkeypatch.chdir(tmp_path)
    ends, faults = commands.lines(smoke_run, tmp_path, 7, 40)
    assert not faults, faults
    assert len({end.split()[0] for end in ends} & set(VERBS)) >= 6


def test_an_output_that_takes_nothing(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    with contextlib.suppress(OSError), open("/dev/full", "w") as full:  # closing it fails as well
        monkeypatch.setattr("sys.stdout", full)
        assert main(["--help"]) == 2
    assert capfd.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.parent.name + path.stem)
def test_published_receipts_pass(path: Path):
    assert open_receipt(path)["cells"]


def other(edit: Callable[[Any], None], folder: Path) -> Path:
    receipt = json.loads((SMOKE / "receipt.json").read_text())
    edit(receipt)
    return with_new_checksums(receipt, folder)


def test_figures_whose_squares_are_no_numbers(command: Any, tmp_path: Path):
    def edit(receipt: Any) -> None:
        for cell in receipt["cells"]:
            if cell["kind"] == "probe":
                cell["metrics"]["kl_start"] = 1.7e308
                cell["exact"]["kl_start"] = (1.7e308).hex()

    for verb in ("report", "diff"):
        done = command(*READ_BY[verb](other(edit, tmp_path / verb)))
        assert done.code == 2 and "metrics.kl_start: a figure beyond 1e+100" in done.err, done.err


def test_what_never_was_a_record(command: Any, tmp_path: Path):
    """2 for what growjax never wrote, 1 for what is damaged."""
    never_was = {"text": b"years of work\n", "json": b"[]", "deep": b"[" * 100000, "zeros": bytes(100), "empty": b""}
    never_was["numbers"] = b"9" * 100000
    for name, content in never_was.items():
        (tmp_path / name).write_bytes(content)
        for verb in ("report", "verify", "diff"):
            done = command(*READ_BY[verb](tmp_path / name))
            assert done.code == 2 and done.err.count("\n") == 1, (name, verb, done.err)
    whole = (SMOKE / "receipt.json").read_bytes()
    (tmp_path / "cut").write_bytes(whole[: len(whole) // 2])
    assert command(*READ_BY["verify"](tmp_path / "cut")).code == 1
    os.mkfifo(tmp_path / "fifo")
    for special in (tmp_path / "fifo", Path("/dev/zero")):
        done = command(*READ_BY["verify"](special))
        assert done.code == 2 and "is no file" in done.err, done.err
    bomb = '{"cells":[' + "[]," * 9_000_000 + "[]]}"
    (tmp_path / "bomb").write_text(bomb)
    assert "values" in command(*READ_BY["verify"](tmp_path / "bomb")).err


def test_a_corpus_is_not_read_on_a_receipts_word(command: Any, tmp_path: Path):
    for corpus in ("hf:someone/stories", "/etc/passwd"):
        run = other(lambda r, corpus=corpus: r["config"]["data"].update(corpus=corpus), tmp_path / "run")
        done = command(*READ_BY["verify"](run))
        assert done.code == 2 and "--cor" in done.err and "--corpus" in done.err, done.err
        done = command(*READ_BY["audit"](run))
        assert done.code == 2 and "--corpus" in done.err, done.err


def test_a_report_is_written_into_its_run_alone(command: Any, tmp_path: Path):
    shutil.copytree(SMOKE, tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run" / "report").symlink_to(tmp_path / "elsewhere")
    done = command(*READ_BY["report"](tmp_path / "run"))
    assert done.code == 2 and "link" in done.err and not list((tmp_path / "elsewhere").iterdir())


def test_text_reaches_no_terminal_and_no_page_as_markup(command: Any, tmp_path: Path):
    """A corpus's name is the one free text that the page shows."""
    run = other(lambda r: r["config"].update(preset="<b>[red]x[/red]</b>"), tmp_path / "run")
    done = command(*READ_BY["report"](run))
    page = (run / "report" / "index.html").read_text()
    assert done.code == 0 and "<b>[red]" not in page and "&lt;b&gt;[red]" in page
    run = other(lambda r: r["config"].update(preset="\x1b]0;x\x07"), tmp_path / "escape")
    done = command(*READ_BY["report"](run))
    assert done.code == 2 and "control character" in done.err and "\x1b" not in done.err


@pytest.mark.parametrize(
    ("drawn", "steps"), [({"dtype": "int32"}, {}), ({"dtype": "bfloat16"}, {}), ({}, {"last": 2**31})]
)
def test_draws_that_cannot_be_derived(drawn: dict[str, str], steps: dict[str, int], command: Any, tmp_path: Path):
    """Refused where the record is read; none such can be declared."""
    cells = json.loads((SMOKE / "receipt.json").read_text())["cells"]
    number = next(n for n, c in enumerate(cells) if "perturb" in c["digests"].get("ledger", {}))

    def edit(receipt: Any) -> None:
        entry = receipt["cells"][number]["digests"]["ledger"]["perturb"]
        entry |= steps
        entry["sites"][0]["draw"] |= drawn

    done = command("audit", str(other(edit, tmp_path / "run")), "--cell", cells[number]["id"], "--step", "0")
    assert done.code == 2 and done.err.count("\n") == 1 and "none that growjax wrote" in done.err, done.err
    if drawn:
        with pytest.raises(UserError, match=f"no draw of distribution normal in {drawn['dtype']}"):
            normals((2,), drawn["dtype"])


def test_a_run_that_is_still_going(command: Any, tmp_path: Path):
    run = tmp_path / "run"
    run.mkdir()
    with (run / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for begun in (False, True):
            if begun:
                honest = read_receipt(SMOKE)
                gone = ("cells", "parts", "results", "root", "inputs", "programs")
                RunDir(run).write_receipt({k: v for k, v in honest.items() if k not in gone}, [])
            for verb, words in READ_BY.items():
                done = command(*words(run))
                assert done.code == 2 and done.err.count("\n") == 1 and "still going" in done.err, (verb, done.err)
    for verb in ("report", "verify", "audit", "widen", "export"):
        done = command(*READ_BY[verb](run))
        assert done.code == 2 and "not come to its end" in done.err, done.err
    assert command(*READ_BY["diff"](run)).code == 1


def test_a_candidate_that_diverged(command: Any, tmp_path: Path):
    """Figures that JSON has no word for: the candidate is ranked last and named, the others as before."""

    def edit(receipt: Any) -> None:
        for cell in receipt["cells"]:
            if cell["operator"] == "perturbed" and cell["kind"] in ("probe", "continuation"):
                for name in ("auc", "final_loss", "auc_after_start", "loss"):
                    if name in cell["metrics"]:
                        cell["metrics"][name], cell["exact"][name] = None, "nan"
                cell["metrics"]["eval_loss"][-1], cell["exact"]["eval_loss"][-1] = None, "nan"
                cell["metrics"]["eval_loss"][1], cell["exact"]["eval_loss"][1] = None, "nan"

    run = other(edit, tmp_path / "run")
    done = command("report", str(run), "--json")
    assert done.code == 0, done.err
    summary = json.loads(done.out)
    ranks = [r["rank"] for r in summary["ranking"] if r["candidate"] == "perturbed"]
    last = {r["rank"] for r in summary["ranking"] if r["rank"] is not None}
    assert set(ranks) == {max(last)} and any("perturbed" in note for note in summary["notes"])
    assert command(*READ_BY["report"](run)).code == 0


@pytest.mark.parametrize("kind", ["continuation", "unwidened"])
@pytest.mark.parametrize(("figure", "exactly"), [(None, "nan"), (None, None), (1.5, (1.5).hex())])
def test_a_figure_that_its_losses_do_not_give(kind: str, figure: Any, exactly: Any, command: Any, tmp_path: Path):
    """Though all losses are numbers; neither a mean nor a claim is taken of it."""

    def edit(receipt: Any) -> None:
        own = {"continuation": "perturbed", "unwidened": "unwidened"}[kind]
        cell = next(c for c in receipt["cells"] if (c["operator"], c["kind"]) == (own, "continuation"))
        cell["metrics"]["auc"], cell["exact"]["auc"] = figure, exactly

    run = other(edit, tmp_path / "run")
    for verb in ("report", "claims"):
        done = command(verb, str(run))
        assert done.code == 2 and done.err.count("\n") == 1 and "is not that of its losses" in done.err, done.err


def test_no_number_is_not_readable_as_none(command: Any, tmp_path: Path):
    """A figure that is there in full precision is there for people too."""

    def edit(receipt: Any) -> None:
        next(c for c in receipt["cells"] if c["kind"] == "continuation")["metrics"]["auc"] = None

    done = command("report", str(other(edit, tmp_path / "run")))
    assert done.code == 1 and "its readable and its exact figures differ" in done.err, done.err


def damaged(path: Path, edit: Callable[[Any], None]) -> None:
    record = json.loads(path.read_text())
    edit(record)
    body = {name: value for name, value in record.items() if name != "digest"}
    path.write_text(canonical_json(with_checksum(body)) + "\n")


STATES: dict[str, Callable[[Any], None]] = {
    "no leaves": lambda info: info["leaves"].clear(),
    "a leaf too many": lambda info: info["leaves"].update({"params/x": ["float32", [2**40], "0" * 64]}),
    "a huge moment": lambda info: info["leaves"].update({"opt_state/x": ["float32", [2**40], "0" * 64]}),
    "a leaf in a leaf": lambda info: info["leaves"].update({"step/x": ["int32", [], "0" * 64]}),
    "a dtype": lambda info: info["leaves"].update({"step": ["object", [], "0" * 64]}),
    "a shape": lambda info: info["leaves"].update({"step": ["int32", "wide", "0" * 64]}),
    "no configuration": lambda info: info.update(config=[]),
    "another width": lambda info: info["config"]["model"].update(d_model=32),
}


@pytest.mark.parametrize("name", STATES)
def test_states_as_strangers_describe_them(name: str, smoke_run: Path, tmp_path: Path, command: Any):
    source = next(c for c in read_receipt(smoke_run)["cells"] if c["kind"] == "source")
    folder = tmp_path / "state"
    shutil.copytree(smoke_run / "cells" / source["id"], folder)
    assert read_info(folder)["leaves"] and read_trace(folder / "metrics.jsonl")
    damaged(folder / "state.json", STATES[name])
    done = command("diff", str(folder), str(smoke_run / "cells" / source["id"]))
    assert done.code == 2 and done.err.count("\n") == 1 and done.err.isprintable is not None, done.err
    (folder / "metrics.jsonl").write_text('{"leaves":{"params":[1]}}\n')
    with pytest.raises(CheckFailed, match="is damaged"):
        read_trace(folder / "metrics.jsonl")
