"""Rows of the bits contract compare what they name: real kills, separate runs, a study that shows what it does."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from growjax.errors import CheckFailed
from growjax.proof import bench as bench_module
from growjax.proof import doctor
from growjax.proof.bench import TRIES, Bench

ROWS = {row.name: row for row in doctor.ROWS}

FAKE = """
import os, pathlib, shutil, sys, time
module, *words = sys.argv[1:]
if module != "growjax":
    own = os.environ.get("XDG_CACHE_HOME", "").endswith("cache") and os.environ.get("JAX_COMPILATION_CACHE_DIR")
    print('[{"cache": "%s"}]' % (own or ""))
    sys.exit()
out = pathlib.Path(words[words.index("--out") + 1])
begun = out.with_suffix(".begun")
begun.open("a").write("x")
if out.name == "killed" and len(begun.read_text()) <= int(os.environ.get("SLOW", "0")):
    time.sleep(5)
if "FORCE_COLOR" in os.environ:
    print(os.environ["SHOWN"], file=sys.stderr)
out.mkdir(exist_ok=True)
shutil.copy(os.environ["RECEIPT"], out / "receipt.json")
"""
"""Studies that are there at once, but that so many of those to be killed take five seconds; reference runs that say
which cache for compiled programs they would use in place of the one they were given."""


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    (tmp_path / "fake.py").write_text(FAKE)
    monkeypatch.setenv("RECEIPT", str(ROOT / "artifacts" / "smoke" / "receipt.json"))
    return Bench(tmp_path, program=(sys.executable, "-S", str(tmp_path / "fake.py")))


@pytest.mark.parametrize("slow", [0, 1, 2])
def test_a_kill_counts_where_a_study_was_still_there(slow: int, bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SLOW", str(slow))
    monkeypatch.setattr(
        bench_module.random, "Random", lambda seed: types.SimpleNamespace(uniform=lambda low, high: 0.5)
    )
    result = doctor._examine(bench, ROWS["B2"], {})
    kills = [f"killed {slow} times and continued"] if slow else []
    assert result.compared == ["an unbroken study again", *kills]
    assert result.verdict == ("holds" if slow == 2 else "fails"), result
    assert slow == 2 or (result.failed or "").startswith(f"{slow} of 2 kills")
    started = len((bench.folder / "killed.begun").read_text())
    assert started == (3 if slow == 2 else TRIES * 2)


def test_a_study_that_shows_nothing_proves_nothing_of_progress(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    for shown, verdict in (("Compiling jit(run)", "fails"), ("Compiling jit(run), 100 %", "holds")):
        monkeypatch.setenv("SHOWN", shown)
        result = doctor._examine(bench, ROWS["B9"], {"cache": ""})
        assert result.verdict == verdict, result
    assert result.compared[-1] == "logging and progress"


def test_an_empty_cache_is_used_whatever_the_user_has(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "the user's own")
    result = doctor._examine(bench, ROWS["B7"], {"cache": ""})
    assert result.verdict == "holds" and result.compared[-1] == "an empty compilation cache", result


GROUP = """
import json, sys, time
number = json.loads(sys.argv[2])["processes"][2]
print("the fault" if number else "waits", file=sys.stderr, flush=True)
time.sleep(0 if number else 60)
sys.exit(3)
"""


def test_of_a_group_the_first_that_fails_is_named(tmp_path: Path):
    """While others wait for it; and those that do not come to an end."""
    group = Bench(tmp_path, program=(sys.executable, "-S", "-c", GROUP))
    with pytest.raises(CheckFailed, match="a group: process 1 ended with 3: the fault"):
        group.each_of_processes("a group", "module", {}, 2, 2, logs=tmp_path)
    assert (tmp_path / "a group, process 1 of 2.err").read_text() == "the fault\n"
    waiting = Bench(tmp_path, program=(sys.executable, "-S", "-c", "import time; time.sleep(60)"))
    with pytest.raises(CheckFailed, match=r"a group: not ended after 0 s: process 0, 1 of 2"):
        waiting.each_of_processes("a group", "module", {}, 2, 2, limit=0.1)


def test_no_run_is_compared_with_itself():
    """On devices, of a CPU and real ones."""

    def run(*_: Any, **__: Any) -> list[dict[str, Any]]:
        return [{}]

    fake: Any = types.SimpleNamespace(reference_run=run, processes_run=lambda *_, **__: {}, thorough=False)
    for row in (ROWS["B5"], doctor.rows_here("gpu", 4)[4]):
        assert row.compare is not None
        compared = list(row.compare(fake, {}))
        assert len(compared) >= 3 and all(one is not other for _, one, other in compared), compared
