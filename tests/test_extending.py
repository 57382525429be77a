"""A study that is asked for more goes on in its directory, whatever more it is and wherever it was interrupted."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from conftest import growjax, quick_programs

from growjax.errors import UserError
from growjax.record.rundir import RunDir
from growjax.study.growing import extends
from growjax.study.presets import presets
from growjax.study.runner import run_study
from growjax.study.spec import StudySpec

TINY = presets()["smoke"].replace(source_steps=(10,), operators=("exact_copy",), stochastic_replicates=1)
ASKED: dict[str, Any] = {
    "source_steps": (10, 20),
    "source_seeds": (0, 3),
    "operators": ("scratch", "exact_copy"),
    "regimes": ("stochastic", "order", "deterministic"),
    "stochastic_replicates": 2,
    "deterministic_replicates": 2,
}


def test_what_may_be_asked_for_in_addition():
    for name, value in ASKED.items():
        assert extends(TINY.replace(**{name: value}), TINY) and extends(TINY, TINY.replace(**{name: value}))
    assert extends(TINY.replace(**ASKED), TINY)
    for name, value in {"probe_lag": 8, "continuation_lag": 16, "study_seed": 2, "shards": 2, "regimes": ()}.items():
        assert not extends(TINY.replace(**{name: value}), TINY)
    other = TINY.replace(source_steps=(25, 50), source_eval_every=25)  # no study has the steps of one, evaluated so
    assert not extends(other, TINY) and not extends(TINY, other)
    alone = TINY.replace(source_steps=(10, 20), operators=(), regimes=())
    assert extends(alone.replace(source_steps=(10, 20, 30)), alone)
    with pytest.raises(
        UserError, match="would have 30 steps and 4 evaluations, and not 10 and 2: every program would be"
    ):
        extends(alone.replace(source_steps=(10, 20, 50)), alone)


def test_programs_are_sized_for_the_longest_run_of_all():
    """The unwidened control goes further than any candidate where FLOPs are matched: a long lag below it is no other
    program."""
    quick = presets()["quick"]
    assert quick.match_flops and extends(quick.replace(long_lag=256), quick)
    with pytest.raises(UserError, match="every program would be another"):
        extends(quick.replace(long_lag=1024), quick)


def interrupted(spec: StudySpec, run: RunDir, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends a study once it has written so many cells."""
    honest, written = RunDir.write, []

    def write(self: RunDir, *given: Any, **more: Any) -> Any:
        written.append(honest(self, *given, **more))
        if len(written) == after:
            raise KeyboardInterrupt
        return written[-1]

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(RunDir, "write", write)
        run_study(spec, run)


@pytest.mark.slow
def test_any_combination_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """One thing more, and several at once, after an end in the middle: the results of a run made anew; no cell that was
    there is computed again."""
    asked = [{name: value} for name, value in ASKED.items()]
    rng = random.Random(0)
    asked += [{name: ASKED[name] for name in rng.sample(sorted(ASKED), 3)} for _ in range(3)] + [ASKED]
    with quick_programs():
        for number, more in enumerate(asked):
            run, spec = RunDir(tmp_path / str(number)), TINY.replace(**more)
            interrupted(TINY, run, 3, monkeypatch) if number % 2 else run_study(TINY, run)
            interrupted(spec, run, 2, monkeypatch)
            times = {path: path.stat().st_mtime_ns for path in run.cells.iterdir()}
            found = run_study(spec, run)
            assert found["results"] == run_study(spec, RunDir(tmp_path / "anew" / str(number)))["results"], more
            assert times == {path: path.stat().st_mtime_ns for path in times}
            assert run_study(TINY, run)["config"] == TINY.to_dict()  # and back


def test_a_corrected_command_after_a_bad_corpus(tmp_path: Path):
    """What is refused for its corpus leaves nothing; more may be asked for along with another corpus."""
    stories, out = tmp_path / "stories.txt", tmp_path / "run"
    words = ("study", "--preset", "smoke", "--out", str(out), "--json", "--data.corpus", str(stories))
    for text in (None, "", "one story"):
        if text is not None:
            stories.write_text(text)
        done = growjax(*words)
        assert done.code == 2 and done.err.count("\n") == 1 and "stories.txt" in done.err, done.err
        assert not out.exists()
