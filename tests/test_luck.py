"""Luck exchanged, crossed and taken apart, in whole studies: only what was asked for changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import audited, growjax, made_once, studied

from growjax.record.rundir import RunDir
from growjax.study.crossing import outcomes
from growjax.study.spec import StudySpec
from growjax.study.summary import summarise

SMALL = ("--preset", "smoke", "--source-steps", "10", "--lanes", "1")
"""The smoke run's first source."""


BOTH = ("--operators", "exact_copy", "perturbed")
"""One that draws nothing when it is widened, and one that does."""


@pytest.fixture(scope="session")
def crossed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every regime, and luck crossed."""
    words = ("--regimes", "deterministic", "order", "dropout", "stochastic", "--stochastic-replicates", "2",
             "--crossed.order", "2", "--crossed.dropout", "2", "--crossed.perturb", "3")  # fmt: skip
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
    assert len(np.unique(found["perturbed"])) == 12  # other luck of any kind, other outcome
    assert len(np.unique(found["exact_copy"])) == 4  # it draws nothing when it is widened
    assert sum(cell["kind"] == "crossed" for cell in receipt["cells"]) == 12 + 4
    told = summarise(receipt)["attribution"][0]
    assert told["levels"] == {"order": 2, "dropout": 2, "perturb": 3}
    assert {row["outcome"]: row["mean"] for row in told["outcomes"]} == {n: y.mean() for n, y in found.items()}
    assert sum(row["share"] for row in told["best"]) == pytest.approx(1)  # shares of twelfths: rounding of two


def test_equal_levels_are_the_replicate(crossed: Path):
    """Order's and dropout's luck of one number are together the stochastic replicate of that number."""
    cells = [c for c in RunDir(crossed).receipt()["cells"] if c["operator"] == "exact_copy"]
    ends = {(c["kind"], c["regime"], c["replicate"]): c["digests"]["state"] for c in cells}
    for level in range(2):
        assert ends["crossed", "crossed", (level * 2 + level) * 3] == ends["continuation", "stochastic", level]


def test_new_candidates_regimes_and_designs_change_no_bit(crossed: Path, smoke_run: Path):
    """Both runs hold some of the same cells beside others: what they share is the same in every digest and figure."""
    mine, theirs = ({c["id"]: c for c in RunDir(run).receipt()["cells"]} for run in (crossed, smoke_run))
    shared = [(mine[i], theirs[i]) for i in mine if i in theirs]
    assert {"data", "source", "candidate", "probe", "continuation"} == {a["kind"] for a, _ in shared}
    assert len(mine) > len(shared) > 10 and len(theirs) > len(shared)
    assert all(a == b for a, b in shared)


def test_the_page_tells_what_decides(crossed: Path):
    page = (crossed / "report" / "index.html").read_text()
    assert 'id="luck"' in page and 'id="apart"' in page and "redraw whole levels of luck" in page
    apart = summarise(RunDir(crossed).receipt())["regimes_apart"][0]
    for row in apart["rows"]:
        assert {row[corner]["rank"] for corner in ("neither", "order", "dropout", "both")} <= {1, 2}
    effects = [row["of_order"] for row in apart["rows"]]
    assert sum(effects) == pytest.approx(0, abs=1e-12) and any(effects)  # effects of values less their mean: rounding
    tables = crossed / "report" / "tables"
    assert {"attribution.csv", "best.csv", "regimes_apart.csv"} <= {path.name for path in tables.iterdir()}


def test_crossed_luck_passes_the_audit(accounted: dict[str, Any]):
    assert accounted["faults"] == []
    # probes and continuations: 1 + 3 x 2 replicates of the regimes; crossed: the pairs of order and dropout
    assert accounted["counts"]["comparisons whose luck was common"] == 2 * 7 + 4


@pytest.mark.slow
def test_crossed_luck_is_what_its_ledgers_say(crossed: Path):
    """The cells run again with their recorded draws in place of keys, a crossed one among them, come out the same."""
    told = json.loads(audited(crossed))
    kinds = {cell["id"]: cell["kind"] for cell in told["cells"]}
    assert told["faults"] == [] and "crossed" in {kinds[name] for name in told["injected"]}


@pytest.mark.parametrize(
    ("stream", "changed"),
    [
        pytest.param("dropout=7", {"dropout"}, id="dropout"),
        pytest.param("perturb=3", {"perturb"}, id="perturb", marks=pytest.mark.slow),
    ],
)
def test_exchanged_luck_changes_its_own_draws_alone(
    stream: str, changed: set[str], crossed: Path, accounted: dict[str, Any], tmp_path: Path
):
    """Against the same study with no luck exchanged; digests of the drawn bits, and of states before the first step."""
    out = tmp_path / "run"
    words = ("--operators", "perturbed", "--regimes", "stochastic", "--stochastic-replicates", "1")
    studied(out, *SMALL, *words, "--stream", stream)
    told = json.loads(audited(out, "--inject", "none"))
    assert told["faults"] == []
    against = json.loads(growjax("audit", str(out), "--against", str(crossed), "--json").out)
    assert {name for name, row in against["streams"].items() if row["other"]} == changed
    mine, theirs = _bits(told), _bits(accounted)
    shared = set(mine) & set(theirs)
    assert {name for _, name in shared} == {"init", "order", "dropout", "perturb"}
    assert {name for place, name in shared if mine[place, name] != theirs[place, name]} == changed
    states = [_states(run) for run in (out, crossed)]
    moved = {name for name in states[0] if states[0][name] != states[1][name]}
    assert moved == ({("candidate", "perturbed")} if "perturb" in changed else set())


def _bits(told: dict[str, Any]) -> dict[tuple, str]:
    """Digests of all bits drawn, by cell's labels and stream."""
    labels = ("kind", "source", "operator", "regime", "replicate", "lag")
    return {
        (tuple(cell[name] for name in labels), stream): entry["bits"]
        for cell in told["cells"]
        if cell["regime"] in (None, "stochastic")
        for stream, entry in cell["streams"].items()
    }


def _states(run: Path) -> dict[tuple, str]:
    cells = [c for c in RunDir(run).receipt()["cells"] if c["kind"] in ("source", "candidate") and c["regime"] is None]
    return {(c["kind"], c["operator"]): c["digests"]["state"] for c in cells}
