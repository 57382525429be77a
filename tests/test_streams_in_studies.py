"""Streams exchanged, crossed and split, in whole studies: only what was asked for changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, audited, growjax, made_once, studied

from growjax.audit.check import NONE_INJECTED
from growjax.record.integrity import read_receipt
from growjax.record.rundir import RunDir
from growjax.report.page import write_report
from growjax.study.crossing import outcomes
from growjax.study.spec import StudySpec
from growjax.study.summary import summarise

SMALL = ("--preset", "smoke", "--source-steps", "10", "--workers", "1")
"""The smoke run's first source."""


BOTH = ("--operators", "exact_copy", "perturbed")
"""One that draws nothing when it is widened, and one that does."""


@pytest.fixture(scope="session")
def crossed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Streams crossed, beside both regimes."""
    words = ("--stochastic-replicates", "2", "--crossed.order", "2", "--crossed.dropout", "2", "--crossed.perturb", "3")
    return made_once(tmp_path_factory, "crossed", lambda out: studied(out, *SMALL, *BOTH, *words))[0]


@pytest.fixture(scope="session")
def accounted(crossed: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Its audit, no cell run again."""
    return json.loads(made_once(tmp_path_factory, "accounted", lambda _: audited(crossed, "--inject", "none"))[1])


def test_every_level_meets_every_other(crossed: Path):
    receipt = RunDir(crossed).receipt()
    spec = StudySpec.from_dict(receipt["config"])
    found = outcomes(receipt["cells"], spec, "seed0-step10")
    assert sorted(found) == ["exact_copy", "perturbed"]
    assert all(y.shape == (2, 2, 3) and np.isfinite(y).all() for y in found.values())
    assert len(np.unique(found["perturbed"])) == 12  # other draws of any stream, other outcome
    assert len(np.unique(found["exact_copy"])) == 4  # it draws nothing when it is widened
    assert sum(cell["kind"] == "crossed" for cell in receipt["cells"]) == 12 + 4
    described = summarise(receipt)["attribution"][0]
    assert described["levels"] == {"order": 2, "dropout": 2, "perturb": 3}
    assert {row["outcome"]: row["mean"] for row in described["outcomes"]} == {n: y.mean() for n, y in found.items()}
    assert sum(row["share"] for row in described["best"]) == pytest.approx(1)  # shares of twelfths: rounding of two


def test_equal_levels_are_the_replicate(crossed: Path):
    """Order's and dropout's randomness of one number are together the stochastic replicate of that number."""
    cells = [c for c in RunDir(crossed).receipt()["cells"] if c["operator"] == "exact_copy"]
    ends = {(c["kind"], c["regime"], c["replicate"]): c["digests"]["state"] for c in cells}
    for level in range(2):
        assert ends["crossed", "crossed", (level * 2 + level) * 3] == ends["continuation", "stochastic", level]


def shared_cells(one: Path, other: Path) -> list[dict[str, Any]]:
    """Those that two runs both hold beside others: the same in every digest and figure."""
    mine, theirs = ({c["id"]: c for c in RunDir(run).receipt()["cells"]} for run in (one, other))
    shared = [mine[i] for i in mine if i in theirs]
    assert len(mine) > len(shared) > 10 and len(theirs) > len(shared)
    assert all(cell == theirs[cell["id"]] for cell in shared)
    return shared


def test_new_candidates_and_designs_change_no_bit(crossed: Path, smoke_run: Path):
    kinds = {cell["kind"] for cell in shared_cells(crossed, smoke_run)}
    assert kinds == {"data", "source", "candidate", "probe", "continuation"}


@pytest.mark.slow
def test_new_regimes_change_no_bit(crossed: Path, tmp_path: Path):
    out = tmp_path / "run"
    studied(out, *SMALL, "--operators", "exact_copy", "--regimes", "deterministic", "order", "dropout", "stochastic")
    assert {cell["regime"] for cell in shared_cells(out, crossed)} == {None, "deterministic", "stochastic"}
    assert json.loads(audited(out))["faults"] == []


def test_the_page_says_what_decides(crossed: Path):
    page = (crossed / "report" / "index.html").read_text()
    assert 'id="crossed"' in page and 'id="factorial"' not in page and "redraw whole levels of a stream" in page
    tables = {path.name for path in (crossed / "report" / "tables").iterdir()}
    assert {"attribution.csv", "best.csv"} <= tables and "regimes_factorial.csv" not in tables


def test_the_published_regimes_are_known_apart(tmp_path: Path):
    """The page and the table of the committed study, from its receipt: neither stream, each alone, both."""
    published = ROOT / "artifacts" / "regimes"
    summary = summarise(read_receipt(published))
    write_report(tmp_path, summary)
    assert 'id="factorial"' in (tmp_path / "index.html").read_text()
    table = Path("tables/regimes_factorial.csv")
    assert (tmp_path / table).read_bytes() == (published / table).read_bytes()
    assert (tmp_path / "tables" / "regimes_effects.csv").exists()
    (apart,) = summary["regimes_factorial"]
    places = set(range(1, len(apart["rows"]) + 1))
    assert all(
        {row[corner]["rank"] for row in apart["rows"]} == places for corner in ("neither", "order", "dropout", "both")
    )
    effects = [row["of_order"]["effect"] for row in apart["rows"]]
    assert sum(effects) == pytest.approx(0, abs=1e-12) and any(effects)  # effects of values less their mean: rounding


def test_crossed_keys_pass_the_audit(accounted: dict[str, Any]):
    assert accounted["faults"] == [] and accounted["not_checked"] == [NONE_INJECTED]
    # probes and continuations: 1 + 2 replicates of the regimes; crossed: the pairs of order and dropout
    assert accounted["counts"]["comparisons under common randomness"] == 2 * 3 + 4


@pytest.mark.slow
def test_crossed_randomness_is_what_its_ledgers_say(crossed: Path):
    """The cells run again with their recorded draws in place of keys, a crossed one among them, come out the same."""
    described = json.loads(audited(crossed))
    kinds = {cell["id"]: cell["kind"] for cell in described["cells"]}
    assert described["faults"] == [] and "crossed" in {kinds[name] for name in described["injected"]}


@pytest.mark.parametrize(
    ("stream", "changed"),
    [
        pytest.param("dropout=7", {"dropout"}, id="dropout"),
        pytest.param("perturb=3", {"perturb"}, id="perturb", marks=pytest.mark.slow),
    ],
)
def test_exchanged_randomness_changes_its_own_draws_alone(
    stream: str, changed: set[str], crossed: Path, accounted: dict[str, Any], tmp_path: Path
):
    """Against the same study with no randomness exchanged; digests of the drawn bits, and of states before the first
    step."""
    out = tmp_path / "run"
    words = ("--operators", "perturbed", "--regimes", "stochastic", "--stochastic-replicates", "1")
    studied(out, *SMALL, *words, "--stream", stream)
    described = json.loads(audited(out, "--inject", "none"))
    assert described["faults"] == []
    against = json.loads(growjax("audit", str(out), "--against", str(crossed), "--json").out)
    assert {name for name, row in against["streams"].items() if row["other"]} == changed
    mine, theirs = _bits(described), _bits(accounted)
    shared = set(mine) & set(theirs)
    assert {name for _, name in shared} == {"init", "order", "dropout", "perturb"}
    assert {name for place, name in shared if mine[place, name] != theirs[place, name]} == changed
    states = [_states(run) for run in (out, crossed)]
    moved = {name for name in states[0] if states[0][name] != states[1][name]}
    assert moved == ({("candidate", "perturbed")} if "perturb" in changed else set())


def _bits(described: dict[str, Any]) -> dict[tuple, str]:
    """Digests of all bits drawn, by cell's labels and stream."""
    labels = ("kind", "source", "operator", "regime", "replicate", "lag")
    return {
        (tuple(cell[name] for name in labels), stream): entry["bits"]
        for cell in described["cells"]
        if cell["regime"] in (None, "stochastic")
        for stream, entry in cell["streams"].items()
    }


def _states(run: Path) -> dict[tuple, str]:
    cells = [c for c in RunDir(run).receipt()["cells"] if c["kind"] in ("source", "candidate") and c["regime"] is None]
    return {(c["kind"], c["operator"]): c["digests"]["state"] for c in cells}
