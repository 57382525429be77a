"""The accelerator's evidence, rehearsed on a CPU: every stage runs, every comparison compares something, and a planted
fault in each of them is found.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from experiments import compile_for_card, modules
from experiments.accelerator import bits, studies
from experiments.accelerator.__main__ import STAGES, main
from experiments.accelerator.evidence import Evidence, Setting
from experiments.cards import CARDS, target


def test_a_rehearsal_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["--small", "--out", str(tmp_path)]) == 0, capsys.readouterr().out
    found = json.loads((tmp_path / "accelerator-cpu.json").read_text())
    assert found["faults"] == found["not_reached"] == [] and set(STAGES) < set(found["stages"])
    stages = found["stages"]
    assert stages["studies"]["diff"]["compared"] == 7 and stages["bits"]["distinct"]["float32"]["module"] == 1
    assert [row["verdict"] for row in stages["studies"]["rows"]["rows"]] == ["holds"]
    assert stages["audit"]["holds"] and stages["bench"]["pool"]["map"]["same bits"] == 2
    assert stages["bench"]["rows"] and not any("failed" in row for row in stages["bench"]["rows"].values())
    page = (tmp_path / "accelerator-cpu.md").read_text()
    assert page in capsys.readouterr().out and "Every comparison holds." in page


def test_planted_faults_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Another flag in one process, another state in one, studies that share no cell, a row that fails."""
    asked: dict[str, int] = {}
    honest, words = Evidence.worker, studies.study_words
    given = bits.jobs(small=True)[0].given

    def planted(self: Evidence, name: str, job: dict[str, Any], env: dict[str, str], limit: float = 240) -> Any:
        asked[job["plant"]] = asked.get(job["plant"], 0) + 1
        if asked[job["plant"]] == 2:
            job = {**job, "seed": 1} if job["plant"] == "state" else job
            env = {**env, "XLA_FLAGS": "--xla_cpu_max_isa=SSE4_2"} if job["plant"] == "flag" else env
        return honest(self, name, job, env, limit)

    monkeypatch.setattr(Evidence, "worker", planted)
    monkeypatch.setattr(bits, "jobs", lambda small: [bits.Job(n, {**given, "plant": n}, 2) for n in ("flag", "state")])
    monkeypatch.setattr(
        studies, "study_words", lambda n, small: [*words(n, small), "--data.stories", f"40{n == 'a':d}"]
    )
    row = {"row": "B6", "changes": "storage", "verdict": "fails", "failed": "a digest", "compared": ["one"]}
    monkeypatch.setattr(studies, "_doctor", lambda evidence: {"rows": [row]})
    assert main(["--small", "--stages", "bits", "studies", "--out", str(tmp_path)]) == 1, capsys.readouterr().out
    faults = json.loads((tmp_path / "accelerator-cpu.json").read_text())["faults"]
    for text in ("flag: pins of 2 processes: 2 different", "state: state of 2 processes: 2 different", "B6 storage",
                 'diff of two studies: {"compared": 0'):  # fmt: skip
        assert any(text in fault for fault in faults), (text, faults)


def test_a_comparison_of_nothing_is_a_fault(tmp_path: Path):
    evidence = Evidence(Setting(True, None), tmp_path, tmp_path, 100)
    evidence.compare("x", "two", ["a", "a"])
    assert not evidence.faults
    for values in ([], ["a"], ["a", "b"], ["a", None], ["", ""]):
        evidence.compare("x", "few", values)
    assert len(evidence.faults) == 5


def test_a_budget_that_is_used_up_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["--small", "--budget", "0", "--out", str(tmp_path)]) == 3
    assert "Not reached: facts, bits, bench, suspects, studies, audit." in capsys.readouterr().out
    assert main(["--small", "--stages", "nothing", "--out", str(tmp_path)]) == 2


MODULE = """HloModule jit_f, is_scheduled=true

%fused (p: f32[4]) -> f32[4] {
  %p = f32[4]{0} parameter(0)
  ROOT %scatter.1 = f32[4]{0} scatter(%p, %p, %p), to_apply=%add
}

%sliced (p: f32[4,4]) -> (f32[4,4], s8[8]) {
  %p = f32[4,4]{1,0} parameter(0)
  ROOT %custom-call = (f32[4,4]{1,0}, s8[8]{0}) custom-call(%p), custom_call_target="__cublas$lt$matmul"
}

%body (p: (s32[], f32[4])) -> (s32[], f32[4]) {
  %p = (s32[], f32[4]{0}) parameter(0)
  %sliced.1 = (f32[4,4]{1,0}, s8[8]{0}) fusion(%p), kind=kCustom, calls=%sliced, backend_config={"kind":"__custom"}
  ROOT %sort.2 = (s32[], f32[4]{0}) sort(%p), dimensions={0}, to_apply=%less
}

%until (p: (s32[], f32[4])) -> pred[] {
  ROOT %compare = pred[] compare(%p, %p), direction=LT
}

ENTRY %main (a: f32[4]) -> f32[4] {
  %a = f32[4]{0} parameter(0)
  %loop_fusion = f32[4]{0} fusion(%a), kind=kLoop, calls=%fused
  %while.1 = (s32[], f32[4]{0}) while(%a), condition=%until, body=%body, backend_config={"known_trip_count":{"n":"3"}}
  %while.2 = (s32[], f32[4]{0}) while(%a), condition=%until, body=%body
  ROOT %copy = f32[4]{0} copy(%loop_fusion)
}
"""


def test_launches_are_counted_round_by_round():
    """A loop of three rounds, and one whose rounds only data knows: one round, and its test."""
    found = modules.count(MODULE)
    assert found.by_kind == {"fusion": 1, "__cublas$lt$matmul": 4, "sort": 4, "compare": 1, "copy": 1}
    assert (found.launches, found.products, found.sorts, found.scatters, found.open_loops) == (11, 4, 4, 1, 1)
    with pytest.raises(ValueError, match="no entry"):
        modules.parse("HloModule jit_f")


def test_programs_are_compiled_for_a_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The command from end to end with the CPU in the card's place; a process that disagrees makes it fail."""
    words = [
        "--small",
        "--widths",
        "32",
        "--dtypes",
        "float32",
        "--processes",
        "2",
        "--out",
        str(tmp_path / "out.json"),
    ]
    assert compile_for_card.main(words) == 0
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert [row["job"]["what"] for row in rows] == ["step", "loop"] and all(row["modules"] == 1 for row in rows)
    assert all(row["launches"] > 50 and row["products"] >= 20 and row["sorts"] == 0 for row in rows)
    for change in ({"modules": 2}, {"failed": 1}, {"sorts": 1}):
        assert not compile_for_card.holds({**rows[0], **change})
    assert all(target(card).count("{") == target(card).count("}") for card in CARDS.values())
