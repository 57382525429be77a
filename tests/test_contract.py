"""The bits contract: rows hold, a fault in a row's mechanism fails that row, no run starts on a bad backend."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, Shown
from planted import PLANTS

from growjax import runtime
from growjax.preflight.canaries import CANARIES, Seen
from growjax.preflight.verdict import preflight
from growjax.proof import doctor
from growjax.proof.bench import Bench

ROWS = {row.name: row for row in doctor.ROWS}


def test_rows_hold(shown: Shown):
    """The quickest; `doctor --thorough` is the evidence for all."""
    rows = {row["row"]: row for row in shown.said("doctor")["rows"]}
    assert {name: row["verdict"] for name, row in rows.items()} == {"B6": "holds", "B8": "open"}
    assert rows["B6"]["compared"] == ["stored, moved and loaded"]


QUICK = ("B9",)
PLANTED = [pytest.param(row, marks=() if row in QUICK else pytest.mark.slow) for row in PLANTS]


@pytest.mark.parametrize("row", PLANTED)
def test_a_planted_fault_makes_its_row_fail(row: str, tmp_path: Path):
    """Every process of the row runs with the fault; comparing what is left of the contract shows it."""
    if row == "B4" and runtime.cores() == 1:
        pytest.fail("this test needs two cores: with one the missing pin changes nothing")
    bench = Bench(tmp_path, program=(sys.executable, str(ROOT / "tests" / "planted.py"), row))
    plain = {} if row in ("B2", "B3") else bench.specimen("the plain run")[0]
    result = doctor._examine(bench, ROWS[row], plain)
    assert result.verdict == "fails" and result.compared, result
    assert "was" in (result.failed or "") and "is" in (result.failed or ""), result


def test_every_row_is_in_the_contract():
    assert list(ROWS) == [f"B{n}" for n in range(1, 11)]
    assert {name for name, row in ROWS.items() if row.compare is None} == {"B8", "B10"} == set(ROWS) - set(PLANTS)


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
    monkeypatch.setitem(CANARIES, name, lambda: Seen(0, "a planted fault", "a mend"))
    with pytest.raises(Exception, match=f"preflight: {name}: a planted fault: a mend"):
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
    next(tmp_path.glob("canaries-*")).write_text("{")  # damaged: reached again
    monkeypatch.undo()


def test_pins_in_conflict_are_told_and_recorded(monkeypatch: pytest.MonkeyPatch):
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
