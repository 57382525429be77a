"""One model over many devices and processes: the bits of one device, and what is refused."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT

from growjax.cli import main
from growjax.cli.on_mesh import MeshHere, on_mesh
from growjax.config import ModelConfig
from growjax.errors import CheckFailed, UserError
from growjax.mesh import processes
from growjax.mesh.messages import receive, send
from growjax.mesh.processes import Processes, found, given
from growjax.mesh.rules import MeshShape
from growjax.proof import doctor
from growjax.proof.bench import Bench
from growjax.study.on_mesh import follow, leading

QUICKLY = "JAX_DISABLE_MOST_OPTIMIZATIONS"
"""Other programs, compiled in a part of the time: what is compared has the same."""


@pytest.fixture(autouse=True)
def _flags_as_they_were(monkeypatch: pytest.MonkeyPatch):
    """What a command on a mesh sets in its own process is no other test's."""
    monkeypatch.setenv("XLA_FLAGS", os.environ["XLA_FLAGS"])


def test_eight_devices_have_the_bits_of_one(tmp_path: Path):
    """Widened piece by piece, trained under dropout, stored, and read on 8, 2 and 1 devices."""
    program = [sys.executable, str(ROOT / "tests" / "mesh_of_eight.py"), str(tmp_path / "state")]
    env = Bench(tmp_path).environment({"XLA_FLAGS": "--xla_force_host_platform_device_count=8", QUICKLY: "true"})
    done = subprocess.run(program, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert 1 <= said.pop("bytes") < 1.05 and 1 <= said.pop("counts") < 1.5
    assert said == {
        "widened": True, "strips": True, "trained": [True] * 6, "state": [True, True], "stored": True,
        "on 2": [True, 2], "on 8": [True, 8], "on 1": [True, 1],
    }  # fmt: skip


def test_two_processes_have_the_bits_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(QUICKLY, "true")
    bench, options = Bench(tmp_path), {"shards": 2, "rows": 4}
    plain = bench.reference_run("two shards", options)[0]
    cut = bench.processes_run("on a mesh", {**options, "mesh": MeshShape(fsdp=2)}, processes=2, devices=2)
    assert cut == plain


@pytest.mark.slow
def test_a_sum_in_the_order_of_processes_fails_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Row B5's own comparison over processes, without a fault and with it."""
    monkeypatch.setenv(QUICKLY, "true")
    bench = Bench(tmp_path)
    plain = bench.reference_run("8 shards", {"shards": 8})[0]
    ((what, expected, here),) = doctor._meshes(bench, plain)
    assert what == "8 shards on a mesh of data 1 x fsdp 2 x tensor 1 in 2 processes" and here == expected
    faulty = Bench(tmp_path, program=(sys.executable, str(ROOT / "tests" / "planted.py"), "B5-processes"))
    ((_, expected, here),) = doctor._meshes(faulty, plain)
    assert here["source"] != expected["source"] and here["programs"] == expected["programs"]


TRAIN = ("train", "--shards", "8", "--data.batch-size", "8")


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (("--mesh.fsdp", "64"), "takes 64 devices, and 1 are there"),
        (("--mesh.data", "0"), "a mesh of data 0 x fsdp 1 x tensor 1 has no devices"),
        (("--mesh.data", "1", "--shards", "1"), "--shards is 1"),
        (("--coordinator", "127.0.0.1:1"), "--processes is missing"),
        (("--coordinator", "nowhere", "--processes", "2", "--process-id", "0"), "no address of a coordinator"),
        (("--coordinator", "127.0.0.1:9", "--processes", "2", "--process-id", "2"), "no process 2 of 2"),
        (("--coordinator", "127.0.0.1:9", "--processes", "two", "--process-id", "0"), "--processes is 'two'"),
        (
            ("--coordinator", "127.0.0.1:9", "--processes", "2", "--process-id", "1", "--join-timeout", "1"),
            "no process 0 came at 127.0.0.1:9 in time",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    words: tuple[str, ...], fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    code = main([*TRAIN, "--out", str(tmp_path / "run"), *words])
    said = capsys.readouterr().err
    assert code == 2 and fault in said and len(said.splitlines()) == 1, said
    assert not list(tmp_path.iterdir())


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as there:
        return there.getsockname()[1]


def test_a_mesh_that_does_not_divide_is_refused_before_anything_is_read():
    here = MeshHere(True)
    here.at_work = lambda shape: None  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(UserError, match="6 virtual shards of a batch do not divide over the 4 devices"):
        here.runs(MeshShape(fsdp=4), 6, ModelConfig())
    with pytest.raises(UserError, match="a mesh of data 1 x fsdp 7 x tensor 1 does not divide"):
        here.runs(MeshShape(fsdp=7), 14, ModelConfig())


def test_processes_that_do_not_come_are_named(free_port: int):
    own = Processes(f"127.0.0.1:{free_port}", 3, 0)
    said: list[str] = []

    def other(number: int, of: int) -> None:
        with pytest.raises(UserError) as refused:
            processes._report(Processes(own.coordinator, of, number), processes.time.monotonic() + 5)
        said.append(refused.value.fault)

    for number, of, fault in ((2, 3, "of 3 processes not all came in time; missing: 1"), (1, 2, "number 1 of 2")):
        thread = threading.Thread(target=other, args=(number, of))
        thread.start()
        with pytest.raises(UserError, match=fault):
            processes._meet(own, {1, 2}, processes.time.monotonic() + 1)
        thread.join()
    assert all("did not go on" in fault for fault in said) and len(said) == 2


def test_processes_are_found_from_what_started_them(monkeypatch: pytest.MonkeyPatch):
    slurm = {"SLURM_NTASKS": "4", "SLURM_PROCID": "3", "SLURM_JOB_ID": "4097", "SLURM_STEP_NODELIST": "n[07-09,12],m1"}
    assert found(slurm) == Processes("n07:61441", 4, 3)
    assert found({**slurm, "SLURM_STEP_NODELIST": "alone"}) == Processes("alone:61441", 4, 3)
    ray = {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "2000"}
    assert found(ray) == Processes("10.0.0.1:2000", 2, 1)
    assert found({}) is None and found({"SLURM_NTASKS": "1", "WORLD_SIZE": "1"}) is None
    for name, value in ray.items():
        monkeypatch.setenv(name, value)
    assert given(None, None, None) == found(ray)
    assert given("10.0.0.2:1", None, 0) == Processes("10.0.0.2:1", 2, 0)
    assert given(None, 1, None) is None
    with on_mesh(["--shards", "8"]) as here:  # a process of such a job that asks for no mesh is one of its own
        assert not here.asked and not here.following


def test_processes_end_together_and_as_the_first_one_ends():
    """What their leader refuses they say too; where it ends without a word, so do they."""
    for ended, expected in ((UserError("no such corpus", "name another"), UserError), (KeyError("x"), None)):
        first, other = socket.socketpair()
        with pytest.raises(type(ended)), leading([first]):
            raise ended
        if expected is None:
            assert follow(other) == 1
        else:
            with pytest.raises(expected, match="no such corpus: name another"):
                follow(other)
    first, other = socket.socketpair()
    with leading([first]):
        pass
    assert follow(other) == 0
    first, other = socket.socketpair()
    first.close()
    with pytest.raises(CheckFailed, match="another process ended"):
        follow(other)


def test_messages_hold_arrays_of_every_kind():
    first, other = socket.socketpair()
    sent = [np.arange(6, dtype=np.uint16).reshape(2, 3), np.float32(-0.0).reshape(()), np.zeros((0, 2), np.int32)]
    sent.append(np.asarray(jnp.asarray([1.5, -2], jnp.bfloat16)))
    send(first, {"said": [1]}, sent)
    said, arrays = receive(other)
    assert said == {"said": [1]}
    assert [(x.dtype, x.shape, x.tobytes()) for x in arrays] == [(x.dtype, x.shape, x.tobytes()) for x in sent]
