"""Cells that are filled on a Ray cluster or as SLURM jobs are those that are filled here, whatever is killed there."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, growjax, readme_block

from experiments.counting import sent_without_cause, under_way
from experiments.nodes import Nodes, free_port
from growjax.cells import ray, slurm
from growjax.cells.executor import Delivery
from growjax.errors import UserError
from growjax.record.rundir import RunDir
from growjax.study import remote
from growjax.study.presets import presets
from growjax.study.runner import run_study
from growjax.study.units import Filling

PATHS = os.pathsep.join((str(ROOT), str(ROOT / "tests")))

TINY = ("--source-steps", "10", "--operators", "exact_copy", "--stochastic-replicates", "1")
"""A part of the smoke study: every cell is one of its."""


def cells_of(run: Path) -> dict[str, Any]:
    return {cell["id"]: cell for cell in RunDir(run).receipt()["cells"]}


class Cluster:
    """The README's two nodes on one machine, at another port."""

    def __init__(self, nodes: Nodes):
        self.nodes = nodes
        *starts, study = [shlex.split(line) for line in readme_block("cluster commands").splitlines()]
        port = str(free_port())
        for words in starts:
            assert words[0] == "ray"
            nodes.start([word.replace("6379", port) for word in words[1:]], env={"PYTHONPATH": PATHS})
        assert study[:3] == ["python", "-m", "growjax"]
        self.study = [word.replace("6379", port) for word in study[3:]]
        self.address = study[study.index("--address") + 1].replace("6379", port)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Nodes() as nodes:
        yield Cluster(nodes)


def test_two_nodes_give_the_same_cells_though_a_worker_is_killed(cluster: Cluster, smoke_run: Path, tmp_path: Path):
    """By the README's commands, of a smaller study."""
    run, killed = tmp_path / "runs" / "ray", []

    def kill() -> None:
        until = time.monotonic() + 120
        while time.monotonic() < until and len(list(run.glob("cells/*/result.json"))) < 2:  # the tokens, and a source
            time.sleep(0.02)
        while time.monotonic() < until and not killed:
            for pid in cluster.nodes.at_work()[:1]:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    thread = threading.Thread(target=kill)
    thread.start()
    done = growjax(*cluster.study, *TINY, "--json", cwd=tmp_path, env=cluster.nodes.client)
    thread.join()
    assert done.code == 0 and killed and done.err == "", done.err
    assert json.loads(done.out)["directory"] == str(run.relative_to(tmp_path))
    smoke, cells = cells_of(smoke_run), cells_of(run)
    assert len(cells) > 6 and all(smoke[name] == cell for name, cell in cells.items())
    assert not (run / "partial").exists()


def test_a_worker_with_another_jaxlib_is_refused(cluster: Cluster, tmp_path: Path):
    """Whose node is the only one that has what the study asks for."""
    there = tmp_path / "packages" / "jaxlib-9.9.9.dist-info"
    there.mkdir(parents=True)
    (there / "METADATA").write_text("Metadata-Version: 2.1\nName: jaxlib\nVersion: 9.9.9\n")
    paths = os.pathsep.join((str(there.parent), str(ROOT)))
    words = ["start", f"--address={cluster.address}", "--num-cpus=1", "--num-gpus=1", "--disable-usage-stats"]
    cluster.nodes.start(words, env={"PYTHONPATH": paths})
    done = growjax(*cluster.study, *TINY, "--gpus", "1", cwd=tmp_path, env=cluster.nodes.client)
    assert done.code == 2 and "is not in the run's environment (packages.jaxlib was" in done.err, done.err
    assert len(done.err.splitlines()) == 1 and '"9.9.9"' in done.err


def test_a_unit_is_sent_again_for_a_cause_alone():
    """As `experiments.executors` counts."""
    begin, lost = ("begin", ""), [("sent", "a"), ("lost", "a"), ("sent", "a"), ("stored", "a")]
    killed = [("sent", "b"), begin, ("sent", "b"), ("stored", "b")]
    assert sent_without_cause([begin, *lost, *killed]) == [] and under_way([*lost, *killed[:1]]) == {"b"}
    for events in ([*lost, ("sent", "a")], [*lost, begin, ("sent", "a")], [("sent", "a"), ("sent", "a")],
                   [("sent", "b"), *lost, ("sent", "b")], [*killed, ("lost", "b"), ("sent", "b")]):  # fmt: skip
        assert len(sent_without_cause([begin, *events])) == 1, events


FAULTS = """
import sys
from pathlib import Path
import elsewhere
from growjax.cells import ray
from growjax.errors import UserError

address, folder = sys.argv[1], Path(sys.argv[2])
mark = folder / "mark"
side = elsewhere.Side(folder / "parcel", one=(elsewhere.killed_once, "one", mark), two=(elsewhere.copied, "two"))
executor = ray.Ray(side, address=address, most=2)
executor.start()
for _ in range(2):
    executor.submit(elsewhere.unit("one"), {})
    print(executor.next())
print(executor.capacity, sorted(side.stored["one"]))
ray.PATIENCE = 1.5
for executor in (ray.Ray(side, gpus=9), ray.Ray(side, cores=9)):
    executor.start()
    executor.submit(elsewhere.unit("two"), {})
    try:
        executor.next()
    except UserError as error:
        print(error)
    executor.stop(failed=True)
"""


def test_what_a_cluster_loses_and_what_it_has_no_room_for(cluster: Cluster, tmp_path: Path):
    (tmp_path / "parcel").mkdir()
    (tmp_path / "parcel" / "file").write_text("content")
    words = [sys.executable, "-c", FAULTS, cluster.address, str(tmp_path)]
    own = {**os.environ, **cluster.nodes.client, "PYTHONPATH": PATHS}
    done = subprocess.run(words, env=own, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    lost, whole, held, no_gpus, no_cores = done.stdout.splitlines()
    assert lost == str(Delivery("one", lost=True)) and whole == str(Delivery("one", [{"id": "one"}]))
    assert held == "2 ['file']"
    assert no_gpus.startswith("no node of the Ray cluster has had 1 cores and 9 GPUs for 2 s: start nodes with")
    assert no_cores.startswith("no node of the Ray cluster has had 9 cores for 2 s: start nodes with")


def filled(executor: Any, tmp_path: Path, operators: tuple[str, ...] = ("exact_copy",)) -> dict[str, Any]:
    """The cells of a small study; with several operators, that of their candidates alone."""
    regimes = () if len(operators) > 1 else ("deterministic",)
    spec = presets()["smoke"].replace(source_steps=(10,), operators=operators, regimes=regimes)
    run_study(spec, RunDir(tmp_path / "run"), executor=executor)
    return cells_of(tmp_path / "run")


def test_jobs_give_the_same_cells(tmp_path: Path):
    """On submitit's executor for this machine, which goes the way of a cluster's."""
    operators = ("exact_copy", "perturbed")

    def jobs(filling: Filling) -> slurm.Slurm:
        side = remote.StudyRemote(filling.context)
        return slurm.Slurm(side, tmp_path / "jobs", cluster="local", most=2)

    here, cells = filled(None, tmp_path / "here", operators), filled(jobs, tmp_path / "there", operators)
    assert len(cells) == 4 and cells == here
    assert not (tmp_path / "jobs").exists()


@pytest.mark.parametrize(("words", "line"), [
    (("--executor", "ray", "--address", "127.0.0.1:1"), "no Ray cluster answers at 127.0.0.1:1 (ConnectionRefused"),
    (("--executor", "ray", "--address", "here"), "'here' is no address of a Ray cluster: give HOST:PORT, auto or"),
    (("--executor", "ray", "--address", "ray://a:1"), "'ray://a:1' is no address of a Ray cluster"),
    (("--executor", "ray", "--partition", "a"), "--partition is given for --executor ray: give --executor slurm"),
    (("--cores", "2"), "--cores is given for --executor processes: give --executor ray or slurm"),
    (("--executor", "slurm"), "there is no SLURM on this machine (no sbatch)"),
    (("--executor", "dask"), "executor"),
])  # fmt: skip
def test_what_cannot_be_used_is_refused_before_anything_is_written(words: tuple[str, ...], line: str, tmp_path: Path,
                                                                   monkeypatch: pytest.MonkeyPatch):  # fmt: skip
    from growjax.cli.study import run

    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError) as caught:
        run(["--preset", "smoke", "--out", str(tmp_path / "run"), *words])
    assert line in str(caught.value) and not list(tmp_path.iterdir())


@pytest.mark.parametrize(("module", "extra"), [("ray", "ray"), ("submitit", "slurm")])
def test_a_package_that_is_not_installed_is_named(module: str, extra: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, module, None)
    look = {"ray": ray.library, "submitit": lambda: slurm.library("local")}[module]
    with pytest.raises(UserError, match=rf"is not installed: pip install -e '\.\[{extra}\]' in growjax's folder"):
        look()


@pytest.mark.parametrize(("says", "fault"), [(b"", "TimeoutError"), (b"HTTP/1.1 400 Bad Request", "something else")])
def test_who_is_not_ray_is_refused_in_time(says: bytes, fault: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ray, "ANSWERS", 0.5)
    held: list[socket.socket] = []

    def answer() -> None:
        held.append(server.accept()[0])
        held[0].sendall(says)

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        threading.Thread(target=answer).start()
        with pytest.raises(UserError, match=rf"no Ray cluster answers at 127.0.0.1:\d+ \(.*{fault}"):
            ray.connect(f"127.0.0.1:{server.getsockname()[1]}")
        held[0].close()
