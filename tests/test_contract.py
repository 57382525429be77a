"""The bits contract: rows hold, a fault in a row's mechanism fails that row, no run starts on a bad backend."""

from __future__ import annotations

import subprocess
import sys
import time
import types
from pathlib import Path
from typing import Any

import jax
import pytest
from conftest import ROOT, Shown
from planted import PLANTS

from growjax import accelerator, runtime
from growjax.errors import CheckFailed
from growjax.preflight import canaries, verdict
from growjax.preflight.busy import busy_device
from growjax.preflight.canaries import CANARIES, Seen
from growjax.preflight.verdict import preflight
from growjax.proof import doctor
from growjax.proof.bench import Bench
from growjax.record.rundir import COMPARABLE, LOCAL

ROWS = {row.name: row for row in doctor.ROWS}


def test_rows_hold(shown: Shown):
    """The quickest; `doctor --thorough` is the evidence for all."""
    rows = {row["row"]: row for row in shown.said("doctor")["rows"]}
    assert {name: row["verdict"] for name, row in rows.items()} == {"B6": "holds", "B10": "open"}
    assert rows["B6"]["compared"] == ["stored, moved and loaded"]


QUICK = ("B9",)
PLANTED = [pytest.param(row, marks=() if row in QUICK else pytest.mark.slow) for row in PLANTS if row in ROWS]


@pytest.mark.parametrize("row", PLANTED)
def test_a_planted_fault_makes_its_row_fail(row: str, tmp_path: Path):
    """Every process of the row runs with the fault; comparing what is left of the contract shows it."""
    if row == "B4" and runtime.cores() == 1:
        pytest.fail("this test needs two cores: with one the missing pin changes nothing")
    bench = Bench(tmp_path, program=(sys.executable, str(ROOT / "tests" / "planted.py"), row))
    plain = {} if row in ("B2", "B3", "B8") else bench.reference_run("the plain run")[0]
    result = doctor._examine(bench, ROWS[row], plain)
    assert result.verdict == "fails" and result.compared, result
    assert "was" in (result.failed or "") and "is" in (result.failed or ""), result


def test_every_row_is_in_the_contract():
    assert list(ROWS) == [f"B{n}" for n in range(1, 11)]
    assert {name for name, row in ROWS.items() if row.compare is None} == {"B10"} == set(ROWS) - set(PLANTS)


PREFLIGHT = """
import sys
from growjax import runtime
for name in sys.argv[1:]:
    runtime.XLA_PINS.pop(name, None), runtime.ENV_PINS.pop(name, None)
runtime.pin()
from growjax.preflight.verdict import preflight
try:
    print(preflight()["verdict"])
except Exception as error:
    print(type(error).__name__, error)
"""


def test_no_run_starts_without_the_pin_of_the_racing_sum(tmp_path: Path):
    clean, gone = runtime.without_pins(), "--xla_cpu_experimental_ynn_fusion_type"
    done = subprocess.run([sys.executable, "-c", PREFLIGHT, gone], cwd=ROOT, capture_output=True, text=True,
                          env={**clean, "XDG_CACHE_HOME": str(tmp_path)})  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("CheckFailed preflight: racing sum: ")
    assert f"{gone}=" in done.stdout and "jaxlib 0.12" in done.stdout
    assert not list(tmp_path.rglob("canaries-*"))


@pytest.mark.parametrize("name", CANARIES)
def test_a_canary_that_sings_stops_everything(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(CANARIES, name, lambda: Seen(0, "a planted fault", "a fix"))
    with pytest.raises(Exception, match=f"preflight: {name}: a planted fault: a fix"):
        preflight(cache=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_verdict_is_kept_for_its_environment_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    calls = []
    for name in CANARIES:
        monkeypatch.setitem(CANARIES, name, lambda name=name: calls.append(name) or Seen(1.0, None))
    first, again = preflight(cache=tmp_path), preflight(cache=tmp_path)
    assert first == again and calls == list(CANARIES)
    monkeypatch.setattr(runtime, "environment", lambda: {"another": "machine"})
    preflight(cache=tmp_path)
    assert calls == 2 * list(CANARIES)
    monkeypatch.setattr(verdict, "folder_digest", lambda folder: folder.name)  # as if a canary were another
    preflight(cache=tmp_path)
    assert calls == 3 * list(CANARIES)


def test_a_damaged_verdict_is_reached_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    calls = []
    monkeypatch.setattr(canaries, "CANARIES", {"one": lambda: calls.append(1) or Seen(1.0, None)})
    honest = preflight(cache=tmp_path)
    place = next(tmp_path.glob("canaries-*"))
    whole = place.read_text()
    digit = honest["canaries"]["one"]
    for damaged in ("{", "{}", "", whole.replace(digit, digit[::-1])):
        place.write_text(damaged)
        assert preflight(cache=tmp_path) == honest and place.read_text() == whole
    assert len(calls) == 5


def test_beside_other_work_canaries_sing_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Where there is an accelerator each is run again beside another process, and must give the same."""
    values = iter((1.0, 1.0, 1.0, 2.0))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(canaries, "CANARIES", {"one": lambda: Seen(next(values), None)})
    assert preflight(cache=tmp_path / "first")["verdict"] == "passed"
    with pytest.raises(CheckFailed, match="one: it came out otherwise beside other work"):
        preflight(cache=tmp_path / "second")


def test_other_work_that_does_not_go_on_is_a_fault():
    with pytest.raises(CheckFailed, match="did not begin"), busy_device((sys.executable, "-c", "")):
        pass
    with pytest.raises(CheckFailed, match="ended"), busy_device((sys.executable, "-c", "print('ready')")):
        time.sleep(0.5)


def test_rows_of_an_accelerator():
    """A row that cannot be asked on the device there is does not hold: it does not apply."""
    rows = {row.name: row for row in doctor.rows_here("gpu", 1)}
    assert list(rows) == list(ROWS) and doctor.rows_here("cpu", 1) == doctor.ROWS
    for name in ("B5", "B10"):
        assert doctor._examine(Bench(Path()), rows[name], {}).verdict == "does not apply"
    assert doctor.rows_here("gpu", 4)[4].compare is not None and rows["B1"].compare is doctor._fresh


def test_devices_are_those_that_the_user_has_chosen(monkeypatch: pytest.MonkeyPatch):
    seen: list[str] = []

    def reference_run(what: str, options: dict[str, Any], *, env: dict[str, str]) -> list[dict[str, Any]]:
        seen.append(env["CUDA_VISIBLE_DEVICES"])
        return [{}]

    bench = types.SimpleNamespace(reference_run=reference_run)
    for chosen, expected in (("4,GPU-5,7", ["4", "4", "4,GPU-5"]), (None, ["0", "0", "0,1"])):
        seen.clear()
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if chosen is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
        row = next(row for row in doctor.rows_here("gpu", 3) if row.name == "B5")
        assert row.compare is not None and len(list(row.compare(bench, {}))) == 2  # pyright: ignore[reportArgumentType]
        assert seen == expected


def test_pins_arrive_where_the_compiler_reads_them(tmp_path: Path):
    """XLA writes down the options that a program was compiled under; a flag that XLA does not have ends the process."""
    program = "from growjax import runtime; runtime.pin(); import jax; jax.jit(lambda x: x + 1)(1.0)"
    env = {**runtime.without_pins(), "PYTHONPATH": str(ROOT), "JAX_ENABLE_COMPILATION_CACHE": "false"}
    dump = {"XLA_FLAGS": f"--xla_dump_to={tmp_path}"}
    subprocess.run([sys.executable, "-c", program], env={**env, **dump}, check=True, capture_output=True)
    text = next(tmp_path.glob("*debug_options")).read_text()
    arrived = dict(line.replace('"', "").split(": ", 1) for line in text.splitlines() if ": " in line)
    assert {name: arrived.get(name.removeprefix("--")) for name in runtime.XLA_PINS} == runtime.XLA_PINS
    gone = {"XLA_FLAGS": "--xla_a_flag_that_is_gone=1"}
    done = subprocess.run([sys.executable, "-c", program], env={**env, **gone}, capture_output=True, text=True)
    assert done.returncode != 0 and "--xla_a_flag_that_is_gone" in done.stderr


def test_memory_is_taken_as_it_is_needed_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(sys.modules, "jax")
    clean, own = {}, {"XLA_PYTHON_CLIENT_PREALLOCATE": "true"}
    assert runtime.pin(clean) == runtime.pin(own) == [] and runtime.is_pinned(own)
    assert clean["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false" and own["XLA_PYTHON_CLIENT_PREALLOCATE"] == "true"


def test_one_worker_for_each_device(monkeypatch: pytest.MonkeyPatch):
    assert runtime.workers() == runtime.cores()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "local_device_count", lambda: 4)
    assert runtime.workers() == 4 and runtime.workers(shards=8) == 1


def test_what_drives_an_accelerator_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Versions come from the libraries that this process has mapped; one that does not answer is said to be unknown."""
    maps = tmp_path / "maps"
    maps.write_text(
        "7f00-7f01 r-xp 0 08:01 1  /lib/a folder/libcudnn.so.9\n7f00-7f01 r-xp 0 08:01 1  /lib/libcublas.so.13\n"
    )

    class Library:
        def __init__(self, path: str):
            if "cublas" in path:
                raise OSError

        class cudnnGetVersion:
            def __new__(cls) -> int:
                return 91000

    monkeypatch.setattr(accelerator.ctypes, "CDLL", Library)
    assert accelerator.loaded_libraries(maps) == {"libcublas": "unknown", "libcudnn": "91000"}
    assert accelerator.loaded_libraries(tmp_path / "none") == {}
    (tmp_path / "version").write_text("NVRM version: a driver\nand more")
    assert accelerator.driver(tmp_path / "version") == "NVRM version: a driver"
    assert accelerator.driver(tmp_path / "none") == ""
    assert (
        set(accelerator.describe()) == {"accelerator", "driver"} and "driver" in LOCAL and "accelerator" in COMPARABLE
    )


def test_pins_in_conflict_are_said_and_recorded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(sys.modules, "jax")  # as before it is imported
    environ = {"XLA_FLAGS": "--xla_cpu_max_isa=AVX512 --xla_dump_to=x --xla_dump_hlo_as_text", "NPROC": "4"}
    notes = runtime.pin(environ)
    assert len(notes) == 2 and "--xla_cpu_max_isa=AVX512" in notes[0] and "NPROC=4" in notes[1]
    assert not runtime.is_pinned(environ) and "--xla_dump_to=x --xla_dump_hlo_as_text " in environ["XLA_FLAGS"]
    harmless = {"XLA_FLAGS": "--xla_dump_to=x --xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    assert runtime.pin(harmless) == [] and runtime.is_pinned(harmless)
    strange = {"XLA_FLAGS": "--xla_backend_optimization_level=0", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    notes = runtime.pin(strange)
    assert [note.partition(", which")[0] for note in notes] == [
        "XLA_FLAGS has --xla_backend_optimization_level",
        "JAX_DISABLE_MOST_OPTIMIZATIONS is set",
    ]
    assert not runtime.is_pinned(strange)
    clean: dict[str, str] = {}
    assert runtime.pin(clean) == [] and runtime.is_pinned(clean)
