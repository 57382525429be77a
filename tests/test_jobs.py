"""SLURM jobs, without SLURM: its commands are played by scripts, and jobs do what needs no jax."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import elsewhere
import pytest
import submitit
from conftest import ROOT

from growjax.cells.executor import Delivery, Running
from growjax.cells.graph import Graph
from growjax.cells.scheduler import fill
from growjax.cells.slurm import Slurm
from growjax.errors import UserError
from growjax.schema import Record

SBATCH = """
import os, pathlib, re, subprocess, sys
text = pathlib.Path(sys.argv[1]).read_text()
array = re.search(r"#SBATCH --array=0-(\\d+)", text)
here = pathlib.Path(__file__).parent
number = str(len(list(here.glob("job-*"))))
(here / f"job-{number}").write_text(text)
for task in range(int(array[1]) + 1) if array else [None]:
    own = {} if task is None else {"SLURM_ARRAY_JOB_ID": number, "SLURM_ARRAY_TASK_ID": str(task)}
    more = {"SLURM_JOB_ID": number, "SLURM_PROCID": "0", "SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1",
            "SLURM_NODEID": "0", "SLURM_LOCALID": "0", "SLURM_JOB_NODELIST": "here"}
    subprocess.Popen(["bash", sys.argv[1]], env={**os.environ, **more, **own}, stdout=-3, stderr=-3)
print(f"Submitted batch job {number}")
"""
SRUN = """
import os, sys
words = sys.argv[1:]
while not os.path.exists(words[0]):
    words.pop(0)
os.execv(words[0], words)
"""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the scripts lie that play SLURM, and what was submitted."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, program in (("sbatch", SBATCH), ("srun", SRUN), ("sacct", ""), ("scancel", "")):
        (folder / name).write_text(f"#!{sys.executable}\n{program}")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'tests'}")
    return folder


def test_what_is_ready_together_is_one_array(cluster: Path, tmp_path: Path):
    """And one unit alone is a job; what is full is none."""
    (tmp_path / "parcel" / "a").mkdir(parents=True)
    (tmp_path / "parcel" / "a" / "file").write_bytes(b"\0content")
    side = elsewhere.Side(tmp_path / "parcel", **{name: (elsewhere.copied, name) for name in ("one", "two", "three")})
    found: dict[str, Record] = {}
    graph = Graph(
        [
            elsewhere.unit("one", "full"),
            elsewhere.unit("two", "full"),
            elsewhere.unit("three", "one", "two"),
            elsewhere.unit("full"),
        ]
    )
    with Running(Slurm(side, tmp_path / "jobs", partition="long", minutes=7, cores=2, gpus=1, most=2)) as running:
        fill(graph, running, found)
    assert set(found) == {"one", "two", "three", "full"}
    assert side.stored == {name: {"a/file": b"\0content"} for name in ("one", "two", "three")}
    texts = [path.read_text() for path in sorted(cluster.glob("job-*"))]
    assert ["--array=0-1" in text for text in texts] == [True, False]
    for option in ("partition=long", "time=7", "cpus-per-task=2", "gpus-per-node=1", "job-name=growjax"):
        assert f"#SBATCH --{option}\n" in texts[0], texts[0]
    assert not (tmp_path / "jobs").exists()


def ended(tmp_path: Path, *task: Any) -> Delivery:
    side = elsewhere.Side(tmp_path, one=task)
    with Running(Slurm(side, tmp_path / "jobs", cluster="local", minutes=7)) as running:
        running.submit(elsewhere.unit("one"), {})
        return running.next()[0]


def test_how_jobs_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """On submitit's executor for this machine."""
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'tests'}")
    monkeypatch.setattr(submitit.Job, "_results_timeout_s", 0)
    mark = tmp_path / "mark"
    assert ended(tmp_path, elsewhere.killed_once, "one", mark) == Delivery("one", lost=True)
    assert ended(tmp_path, elsewhere.killed_once, "one", mark).records == [{"id": "one"}]
    assert ended(tmp_path, elsewhere.given_up, "preempted") == Delivery("one", lost=True)
    error = ended(tmp_path, elsewhere.given_up, "timed-out").error
    assert isinstance(error, UserError) and "one took longer than 7 minutes: give its jobs longer" in str(error)


@pytest.mark.parametrize("kind", ["slurm", "local"])
def test_jobs_of_a_head_that_was_killed_are_ended(kind: str, cluster: Path, tmp_path: Path):
    """By the head that takes its place, which is given their folder."""
    said, marks = tmp_path / "said", [tmp_path / "mark-1", tmp_path / "mark-2"]
    (cluster / "scancel").write_text(f'#!/bin/sh\necho "$@" >> {said}\n')
    side = elsewhere.Side(tmp_path, one=(elsewhere.endless, marks[0]), two=(elsewhere.endless, marks[1]))
    killed = Slurm(side, tmp_path / "jobs", cluster=kind)
    killed.start()
    for name in ("one", "two"):
        killed.submit(elsewhere.unit(name), {})
    killed._submit_waiting()
    while not all(mark.exists() for mark in marks):
        time.sleep(0.02)
    following = Slurm(side, tmp_path / "jobs", cluster=kind)
    following.start()
    assert not list((tmp_path / "jobs").glob("*/*_submitted.pkl"))
    if kind == "local":
        assert all(job._process.wait(120) for job in killed._jobs.values())
    else:
        assert sorted(said.read_text().split()) == sorted(job.job_id for job in killed._jobs.values())
    following.stop(failed=False)
    assert not (tmp_path / "jobs").exists()
    for mark in marks:  # by this the jobs of the one that plays SLURM end
        mark.unlink()


def test_jobs_that_are_not_taken_are_refused(cluster: Path, tmp_path: Path):
    (cluster / "sbatch").write_text("#!/bin/sh\necho 'sbatch: error: invalid partition specified: x' >&2\nexit 1\n")
    running = Slurm(elsewhere.Side(tmp_path, one=(elsewhere.copied, "one")), tmp_path / "jobs", partition="x")
    running.start()
    running.submit(elsewhere.unit("one"), {})
    with pytest.raises(UserError, match=r"SLURM does not take the jobs .*invalid partition"):
        running.next()
