"""Records as strangers may have written them: one line and an exit code, whatever stands in them."""

from __future__ import annotations

import copy
import fcntl
import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Finished, with_new_checksums

from growjax import runtime
from growjax.cli import main
from growjax.config import canonical_json
from growjax.errors import CheckFailed, UserError
from growjax.proof import verify as verify_module
from growjax.record.checksums import with_checksum
from growjax.record.integrity import open_receipt, read_receipt
from growjax.record.rundir import RunDir
from growjax.record.store import read_info
from growjax.record.traces import read_trace

SMOKE = ROOT / "artifacts" / "smoke"
PUBLISHED = [*sorted((ROOT / "artifacts").glob("*/receipt.json")), ROOT / "artifacts" / "smoke-nvidia-h200.json"]

VALUES: list[Any] = [
    None, True, False, -1, 0, 1, 7, 2**31, 2**63, 10**30, 0.5, -0.0, 1e300, "", "x", "../../etc", "/etc/passwd",
    "hf:a/b", "os:system", "\x1b[31mred\x1b[0m", "[bold red]x[/]", "[/]", "<script>alert(1)</script>", "a\nb", "\ud800",
    "0" * 64, "nan", "0x1p99999", "A" * 5000, [], [1], [[]], [None] * 3, {}, {"a": 1}, {"x": {"y": [1, {"z": None}]}},
    "perturbed:sigma=1", "deterministic", [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[0]]]]]]]]]]]]]]]]]]]]]]]]]]]]]],
]  # fmt: skip


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Where every value of a tree stands."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def change(record: Any, rng: random.Random) -> tuple:
    """Changes one place of a record: another value, gone, twice, moved by one, or under another name."""
    top, path = record, rng.choice([(name,) for name in record])
    if isinstance(record.get("cells"), list) and record["cells"] and rng.random() < 0.6:
        top = rng.choice(record["cells"])
        path = ("kind",) if not isinstance(top, dict) or "kind" in top else ("id",)
        if not isinstance(top, dict):
            return path
    if top is not record or rng.random() < 0.7:
        path = rng.choice(list(places({k: v for k, v in top.items() if k not in ("cells", "source_code")})) or [path])
    node = top
    for step in path[:-1]:
        node = node[step]
    last, kind = path[-1], rng.randrange(6)
    old = node[last]
    if kind == 0:
        del node[last]
    elif kind == 1 and isinstance(old, list) and old:
        old.append(copy.deepcopy(rng.choice(old)))
    elif kind == 2 and isinstance(old, int | float) and not isinstance(old, bool):
        node[last] = rng.choice([old + 1, -old, old * 2, old * 10**6, float(old)])
    elif kind == 3 and isinstance(node, dict):
        node[rng.choice(["", "a", "x" * 400, "\x1b[2J", "[red]"])] = node.pop(last)
    elif kind == 4 and isinstance(old, str):
        node[last] = rng.choice([old[:-1], old + old, old.upper(), f"{old}\x07", f"[{old}]"])
    else:
        node[last] = copy.deepcopy(rng.choice(VALUES))
    return path


def write(receipt: Any, folder: Path, *, checksum: bool) -> None:
    """A receipt's text, with checksums that fit where they can be made."""
    folder.mkdir(parents=True, exist_ok=True)
    if checksum:
        try:
            with_new_checksums(receipt, folder)
            return
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError):
            pass  # no receipt any more: written as it is
    (folder / "receipt.json").write_text(json.dumps(receipt, sort_keys=True, separators=(",", ":")) + "\n")


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


VERBS: dict[str, Callable[[Path], tuple[str, ...]]] = {
    "report": lambda run: ("report", str(run)),
    "verify": lambda run: ("verify", str(run), "--cells", "3"),
    "diff": lambda run: ("diff", str(run), str(SMOKE)),
    "audit": lambda run: ("audit", str(run)),
    "against": lambda run: ("audit", str(run), "--against", str(SMOKE)),
    "cell": lambda run: ("audit", str(run), "--cell", "e" * 16, "--step", "3"),
}


def well_behaved(done: Finished, described: object) -> None:
    """No traceback (it would have been raised here), a known exit code, one printable line of error."""
    assert done.code in (0, 1, 2, 3), described
    assert "Traceback" not in done.err, (described, done.err)
    lines = [line for line in done.err.split("\n") if line]
    assert len(lines) <= 1 and all(line.isprintable() for line in lines), (described, done.err)
    assert all(c.isprintable() or c in "\n\t" for c in done.out), (described, done.out)


def storm(command: Any, folder: Path, seed: int, times: int, verbs: list[str]) -> Counter:
    """So many receipts, each with one to three changes, each through a verb."""
    rng, seen = random.Random(seed), Counter()
    honest = json.loads((SMOKE / "receipt.json").read_text())
    for number in range(times):
        receipt = copy.deepcopy(honest)
        described = [change(receipt, rng) for _ in range(rng.choice((1, 1, 1, 2, 3)))]
        verb = verbs[number % len(verbs)]
        run = folder / "run"
        shutil.rmtree(run, ignore_errors=True)
        write(receipt, run, checksum=rng.random() < 0.9)
        try:
            done = command(*VERBS[verb](run))
        except Exception as error:
            raise AssertionError(f"seed {seed}, number {number}, {verb}: {described}") from error
        well_behaved(done, (seed, number, verb, described))
        seen[verb, done.code] += 1
        assert {p.name for p in folder.iterdir()} <= {"run"}, (number, described)
        assert {p.name for p in run.iterdir()} <= {"receipt.json", "report"}, (number, described)
    return seen


def test_changed_receipts_are_told_in_a_line(command: Any, tmp_path: Path):
    seen = storm(command, tmp_path, 1, 200, ["verify", "diff", "audit", "against", "cell"])
    assert {code for _, code in seen} >= {0, 1, 2}


def test_changed_receipts_are_reported_or_refused(command: Any, tmp_path: Path):
    assert sum(storm(command, tmp_path, 2, 20, ["report"]).values()) == 20


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_twenty_thousand_changed_receipts(seed: int, command: Any, tmp_path: Path):
    assert sum(storm(command, tmp_path, 100 + seed, 1000, list(VERBS)).values()) == 1000


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.parent.name + path.stem)
def test_published_receipts_pass(path: Path):
    assert open_receipt(path)["cells"]


def other(edit: Callable[[Any], None], folder: Path) -> Path:
    receipt = json.loads((SMOKE / "receipt.json").read_text())
    edit(receipt)
    return with_new_checksums(receipt, folder)


def test_what_never_was_a_record(command: Any, tmp_path: Path):
    """2 for what growjax never wrote, 1 for what is damaged."""
    never_was = {"text": b"years of work\n", "json": b"[]", "deep": b"[" * 100000, "zeros": bytes(100), "empty": b""}
    never_was["numbers"] = b"9" * 100000
    for name, content in never_was.items():
        (tmp_path / name).write_bytes(content)
        for verb in ("report", "verify", "diff"):
            done = command(*VERBS[verb](tmp_path / name))
            assert done.code == 2 and done.err.count("\n") == 1, (name, verb, done.err)
    whole = (SMOKE / "receipt.json").read_bytes()
    (tmp_path / "cut").write_bytes(whole[: len(whole) // 2])
    assert command(*VERBS["verify"](tmp_path / "cut")).code == 1
    os.mkfifo(tmp_path / "fifo")
    for special in (tmp_path / "fifo", Path("/dev/zero")):
        done = command(*VERBS["verify"](special))
        assert done.code == 2 and "is no file" in done.err, done.err
    bomb = '{"cells":[' + "[]," * 9_000_000 + "[]]}"
    (tmp_path / "bomb").write_text(bomb)
    assert "values" in command(*VERBS["verify"](tmp_path / "bomb")).err


def test_a_corpus_is_not_read_on_a_receipts_word(command: Any, tmp_path: Path):
    for corpus in ("hf:someone/stories", "/etc/passwd"):
        run = other(lambda r, corpus=corpus: r["config"]["data"].update(corpus=corpus), tmp_path / "run")
        done = command(*VERBS["verify"](run))
        assert done.code == 2 and "--cor" in done.err and "--corpus" in done.err, done.err
        done = command(*VERBS["audit"](run))
        assert done.code == 2 and "--corpus" in done.err, done.err


def test_a_report_is_written_into_its_run_alone(command: Any, tmp_path: Path):
    shutil.copytree(SMOKE, tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run" / "report").symlink_to(tmp_path / "elsewhere")
    done = command(*VERBS["report"](tmp_path / "run"))
    assert done.code == 2 and "link" in done.err and not list((tmp_path / "elsewhere").iterdir())


def test_text_reaches_no_terminal_and_no_page_as_markup(command: Any, tmp_path: Path):
    """A corpus's name is the one free text that the page shows."""
    run = other(lambda r: r["config"].update(preset="<b>[red]x[/red]</b>"), tmp_path / "run")
    done = command(*VERBS["report"](run))
    page = (run / "report" / "index.html").read_text()
    assert done.code == 0 and "<b>[red]" not in page and "&lt;b&gt;[red]" in page
    run = other(lambda r: r["config"].update(preset="\x1b]0;x\x07"), tmp_path / "escape")
    done = command(*VERBS["report"](run))
    assert done.code == 2 and "control character" in done.err and "\x1b" not in done.err


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
            for verb, words in VERBS.items():
                done = command(*words(run))
                assert done.code == 2 and done.err.count("\n") == 1 and "still going" in done.err, (verb, done.err)
    for verb in ("report", "verify", "audit"):
        done = command(*VERBS[verb](run))
        assert done.code == 2 and "not come to its end" in done.err, done.err
    assert command(*VERBS["diff"](run)).code == 1


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
    assert command(*VERBS["report"](run)).code == 0


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
