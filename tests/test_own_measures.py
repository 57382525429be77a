"""Measures of one's own: in cells, tables, page and selectors by one call; refused in one line where they are none."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Entry
from own_measures import drop, norm_ratio, nothing, update_norm

from growjax.cli.tables import print_study
from growjax.errors import UserError
from growjax.measure import Curve, Measure, measures, register_measure, registry, unregister_measure
from growjax.measure.builtin import BUILTIN, DEFINITIONS
from growjax.measure.registry import OWN, value_of
from growjax.proof.diff import diff
from growjax.record.rundir import RunDir
from growjax.report.page import write_report
from growjax.report.sentences import definitions
from growjax.study.presets import presets
from growjax.study.runner import run_study
from growjax.study.spec import UNWIDENED, StudySpec
from growjax.study.summary import summarise

SMALL = presets()["smoke"].replace(
    source_steps=(10,), regimes=("deterministic",), operators=("exact_copy", "perturbed", "structured")
)
WORDS: dict[str, Any] = {"title": "a title", "unit": "none", "direction": "none", "definition": "its formula"}


@pytest.fixture
def own() -> Iterator[None]:
    """One measure at each place; the probe's may select."""
    try:
        register_measure("norm_ratio", norm_ratio, where="zero_step", title="norm ratio <w>", unit="none",
                         direction="none", definition="‖w_i‖ / ‖`source`‖ & no more")  # fmt: skip
        register_measure("update_norm", update_norm, where="probe", title="norm of update", unit="weights",
                         direction="larger", definition="‖w_{16} − w_0‖", selects="largest")  # fmt: skip
        register_measure("drop", drop, where="continuation", title="drop", unit="nats/token", direction="larger",
                         definition="L_0 − L_{end}")  # fmt: skip
        yield
    finally:
        for name in ("norm_ratio", "update_norm", "drop"):
            unregister_measure(name)
        assert measures() == BUILTIN


def sheet(run: Path, name: str) -> list[dict[str, str]]:
    with (run / "tables" / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_one_call_puts_a_measure_everywhere(
    smoke_run: Path, own: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    receipt = run_study(SMALL, RunDir(tmp_path / "run"))
    assert [(m["name"], m["where"], m["selects"]) for m in receipt["measures"]] == [
        ("norm_ratio", "zero_step", None), ("update_norm", "probe", "largest"), ("drop", "continuation", None),
    ]  # fmt: skip
    before = {cell["id"]: cell for cell in RunDir(smoke_run).receipt()["cells"]}
    added = {"candidate": "norm_ratio", "probe": "update_norm", "continuation": "drop"}
    for cell in receipt["cells"]:
        names = {added[cell["kind"]]} if cell["kind"] in added else set()
        assert cell["metrics"].keys() - before[cell["id"]]["metrics"].keys() == names
        assert cell["digests"] == before[cell["id"]]["digests"]
        for part in ("metrics", "exact"):
            assert {k: v for k, v in cell[part].items() if k not in names} == before[cell["id"]][part]
        if cell["kind"] == "continuation":
            curve = cell["metrics"]["eval_loss"][: 1 + SMALL.continuation_lag // SMALL.eval_every]
            assert cell["metrics"]["drop"] == curve[0] - curve[-1]
        if cell["kind"] == "probe":
            assert (cell["metrics"]["update_norm"] is None) == (cell["operator"] == UNWIDENED)
    found = diff(smoke_run, tmp_path / "run")
    assert found.difference is None and found.compared == len(receipt["cells"])
    assert any("not compared: drop, norm_ratio, update_norm" in note for note in found.notes)

    summary = summarise(receipt)
    for section in ("preservation", "probes", "ranking"):
        assert {key for row in summary[section] for key in row} <= OWN | {"norm_ratio", "update_norm", "drop"}
    judged = [row for row in summary["selectors"] if row["selector"] == "probe norm of update"]
    updates = {row["candidate"]: row["update_norm"] for row in summary["probes"]}
    aucs = {row["candidate"]: row["auc_mean"] for row in summary["ranking"] if row["lag"] == SMALL.continuation_lag}
    chosen = max(updates, key=lambda name: updates[name])
    assert len(judged) == 1
    assert judged[0]["regret"] == aucs[chosen] - min(aucs[name] for name in SMALL.operators)
    assert not any("norm ratio" in row["selector"] for row in summary["selectors"])

    write_report(tmp_path, summary)
    columns = {name: list(sheet(tmp_path, name)[0]) for name in ("preservation", "probes", "ranking")}
    assert columns["preservation"][-2:] == ["escape_weights", "norm_ratio"]
    assert columns["probes"][-2:] == ["escape_activations", "update_norm"]
    assert columns["ranking"][-2:] == ["tokens_saved_more", "drop"]
    assert [float(row["update_norm"]) for row in sheet(tmp_path, "probes")] == list(updates.values())
    assert all((row["drop"] == "") == (row["lag"] == "4") for row in sheet(tmp_path, "ranking"))
    assert "probe norm of update" in {row["selector"] for row in sheet(tmp_path, "selectors_by_regime")}
    page = (tmp_path / "index.html").read_text()
    assert '<th scope="col" class="n">norm ratio<br>&lt;w&gt;</th>' in page and "norm of<br>update</th>" in page
    assert "‖w<sub>i</sub>‖ / ‖<code>source</code>‖ &amp; no more" in page
    assert '‖w<sub>16</sub> − w<sub>0</sub>‖</td><td>weights</td><td class="prose">higher is better' in page
    print_study(tmp_path, summary)
    assert " drop " in capsys.readouterr().out


def test_cells_that_lack_a_measure_are_shown_without_it(smoke_run: Path, own: None, tmp_path: Path) -> None:
    receipt = RunDir(smoke_run).receipt()
    with pytest.raises(UserError, match=r"measure norm_ratio \(zero_step\) was not registered, and is now"):
        run_study(presets()["smoke"], RunDir(smoke_run))
    assert RunDir(smoke_run).receipt() == receipt
    summary = summarise(receipt)
    write_report(tmp_path, summary)
    for section, name in (("preservation", "norm_ratio"), ("probes", "update_norm"), ("ranking", "drop")):
        assert {row[name] for row in sheet(tmp_path, section)} == {""}
    assert not any("norm of update" in row["selector"] for row in summary["selectors"])


def test_processes_beside_this_one_have_it_too(own: None, tmp_path: Path) -> None:
    spec: StudySpec = SMALL.replace(operators=("exact_copy", "scratch"), regimes=())
    cells = run_study(spec, RunDir(tmp_path / "run"), workers=2)["cells"]
    found = {c["operator"]: c["metrics"]["norm_ratio"] for c in cells if c["kind"] == "candidate"}
    assert found["exact_copy"] > 1 and found["scratch"] > 0


REFUSED = {
    "a name of growjax's": ({"name": "kl"}, "a figure is named 'kl' already"),
    "a column of growjax's": ({"name": "auc_mean"}, "a figure is named 'auc_mean' already"),
    "a field of a cell": ({"name": "eval_loss"}, "a figure is named 'eval_loss' already"),
    "a name registered before": ({"name": "norm_ratio"}, "a figure is named 'norm_ratio' already"),
    "a name that is none": ({"name": "two words"}, "'two words' cannot name a measure"),
    "no function": ({"fn": 3}, "measure mine: 3 is no function"),
    "no place": ({"where": "later"}, "measure mine is taken at 'later': choose one of zero_step, probe"),
    "no direction": ({"direction": "up"}, "measure mine has direction 'up': choose one of smaller, larger, none"),
    "no choice": ({"selects": "smaller"}, "measure mine selects 'smaller': choose smallest, largest or None"),
    "too late to select": (
        {"where": "continuation", "selects": "smallest"}, "measure mine of a continuation may not select"
    ),
    "no unit": ({"unit": " "}, "measure mine has no unit"),
    "a selector's name": ({"title": "KL", "selects": "smallest"}, "a selector is named 'zero-step KL' already"),
}  # fmt: skip


@pytest.mark.parametrize(("given", "message"), REFUSED.values(), ids=REFUSED)
def test_refusals(given: dict[str, Any], message: str, own: None) -> None:
    arguments = {"name": "mine", "fn": norm_ratio, "where": "zero_step", **WORDS, **given}
    with pytest.raises(UserError) as found:
        register_measure(**arguments)
    assert message in str(found.value) and "\n" not in str(found.value)
    assert not any(m.name == "mine" for m in measures())


def test_one_name_at_two_places(own: None) -> None:
    register_measure("norm_ratio", norm_ratio, where="probe", **WORDS)
    assert sum(m.name == "norm_ratio" for m in measures()) == 2


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("nan"), "gave nan: return a finite number, or None where it has no meaning"),
        (float("inf"), "gave inf"),
        ("0.5", "gave '0.5'"),
        (True, "gave True"),
        ([1.0], r"gave \[1.0\]"),
        (ValueError("no\nsource"), "raised ValueError: no source: correct its function"),
    ],
)
def test_a_value_that_is_none(value: Any, message: str) -> None:
    def fn(given: Any) -> Any:
        if isinstance(value, Exception):
            raise value
        return value

    measure = Measure("mine", fn, "probe", **WORDS)
    with pytest.raises(UserError, match=rf"measure mine \(probe\) {message}"):
        value_of(measure, Curve())


def test_a_study_names_the_measure_that_fails(tmp_path: Path) -> None:
    spec: StudySpec = SMALL.replace(operators=("exact_copy",), regimes=())
    register_measure("fails", lambda given: 1 / 0, where="zero_step", **WORDS)
    try:
        with pytest.raises(UserError, match=r"measure fails \(zero_step\) raised ZeroDivisionError: division by zero"):
            run_study(spec, RunDir(tmp_path / "run"))
        with pytest.raises(UserError, match="measure fails cannot be handed to other processes"):
            run_study(spec, RunDir(tmp_path / "run"), workers=2)
    finally:
        unregister_measure("fails")
    assert len(run_study(spec, RunDir(tmp_path / "run"))["cells"]) == 3  # the same command goes on


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (Measure("silent", nothing, "probe", **WORDS), None),
        (Measure("other", nothing, "probe", **WORDS), "is no Measure of that name"),
        (nothing, "is no Measure of that name"),
        (Measure("silent", nothing, "later", **WORDS), "measure silent is taken at 'later'"),  # pyright: ignore
        (ImportError("no module"), r"cannot be loaded \(ImportError: no module\)"),
    ],
)
def test_entry_points(found: Any, message: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    def entries(*, group: str) -> list[Entry]:
        assert group == "growjax.measures"
        return [Entry("silent", found)]

    monkeypatch.setattr(registry.importlib.metadata, "entry_points", entries)
    registry._installed.cache_clear()
    try:
        if message is None:
            assert measures() == (*BUILTIN, found)
            assert definitions()[-1][0] == "a title"
            with pytest.raises(UserError, match="named 'silent' already"):
                register_measure("silent", nothing, where="probe", **WORDS)
        else:
            with pytest.raises(UserError, match=rf"the entry point silent = package:object:? {message}"):
                measures()
    finally:
        monkeypatch.undo()
        registry._installed.cache_clear()


def test_every_measure_is_described() -> None:
    for measure in BUILTIN:
        assert measure.definition in DEFINITIONS and measure.unit and measure.title
    selectors = [m.selector for m in BUILTIN if m.selects]
    assert len(set(selectors)) == len(selectors) == 11
    assert len({(m.where, m.name) for m in BUILTIN}) == len(BUILTIN)
