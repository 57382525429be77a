"""Who goes on where, in how many replicates, how unequal numbers are ranked, and who goes on to the long lag."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from growjax.errors import UserError
from growjax.record.integrity import read_receipt
from growjax.study.estimate import Estimate, estimate
from growjax.study.finalists import finalists, with_finalists
from growjax.study.growing import extends
from growjax.study.presets import presets
from growjax.study.ranking import Table, adjusted_means, adjustments, mean
from growjax.study.rates import rate_rows
from growjax.study.recipes import StudyCells, study_cells
from growjax.study.selectors import selectors
from growjax.study.spec import PAPER_OPERATORS, UNWIDENED, StudySpec

PAPER = presets()["paper"]


def test_the_paper_preset_has_the_sizes_that_were_named():
    assert (PAPER.model.d_model, PAPER.model.n_layers, PAPER.data.vocab_size) == (64, 4, 2048)
    assert PAPER.data.seq_len * PAPER.data.batch_size == 1024
    for regime in ("deterministic", "stochastic"):
        entrants = PAPER.entrants(regime)
        assert {entrants[name] for name in (UNWIDENED, *PAPER_OPERATORS, "lockstep")} == {8}
        assert {entrants[name] for name in (*PAPER.pool, *PAPER.at_rates)} == {3} and len(PAPER.pool) == 12
    assert PAPER.entrants("order") == dict.fromkeys((UNWIDENED, *PAPER_OPERATORS), 3)
    cells = study_cells(PAPER, 392)
    finals = 4 * 2 * 3 * 3  # sources, regimes, finalists, replicates
    assert len(cells.all()) == 2073 and not cells.extensions
    found = estimate(PAPER, Path("nowhere"), workers=2)
    assert found.cells == 2073 + finals and str(found).startswith("about 2145 cells, about ")
    assert str(Estimate(7, 9540.0, 1)) == "about 7 cells, about 2:39 hours on 1 worker"


def test_fewer_replicates_are_ranked_as_if_they_were_all():
    """In an additive table the adjusted mean is what the mean over all replicates would have been."""
    order, effects = [0.3, -0.1, 0.2, 0.0], {"a": 1.0, "b": 1.2, "c": 1.1}
    whole = {name: [effect + x for x in order] for name, effect in effects.items()}
    assert adjusted_means(whole) == pytest.approx({name: effect + 0.1 for name, effect in effects.items()})  # rounding
    some = {**whole, "c": whole["c"][:2]}
    assert adjusted_means(some) == pytest.approx(adjusted_means(whole))  # rounding
    alone = {"a": [1.0, 2.0], "b": [float("inf"), 1.0]}
    assert adjusted_means(alone)["a"] == 1.5  # by nobody who diverged


def test_selectors_and_curves_compare_unequal_replicates():
    """Of two candidates, one loses a replicate: every selector says of them what it says where both lose it."""
    receipt: Any = read_receipt(ROOT / "artifacts" / "quick" / "receipt.json")
    spec, pool = StudySpec.from_dict(receipt["config"]), ["exact_copy", "perturbed"]

    def without(*names: str) -> Table:
        gone = {(name, 2) for name in names}
        return Table(c for c in receipt["cells"] if (c["operator"], c["replicate"]) not in gone)

    at = ("seed0-step600", "stochastic", pool)
    one, both = (selectors(without(*names), spec, *at) for names in (["perturbed"], pool))
    assert len(both) > 6
    assert [(r["selector"], r["tau"], r["top1"]) for r in one] == [(r["selector"], r["tau"], r["top1"]) for r in both]
    curves = {
        n: [c["metrics"]["eval_loss"] for c in without("perturbed").rows("continuation", *at[:2], n)] for n in pool
    }
    moved = adjustments(curves)
    assert set(moved["exact_copy"]) == {0.0} and len(moved["perturbed"]) == len(curves["perturbed"][0])
    last = [curve[-1] for curve in curves["exact_copy"]]
    assert moved["perturbed"][-1] == pytest.approx(mean(last) - mean(last[:2]))  # rounding


def records(cells: StudyCells, aucs: dict[str, float | None]) -> list[dict]:
    """Continuations as recorded, with these AUCs and a replicate's own shift."""
    found = []
    for trajectory in cells.trajectories:
        recipe = trajectory.continuation
        assert recipe is not None
        auc = aucs.get(recipe.label["operator"], 9.0)
        metrics = {"auc": None if auc is None else auc + 0.5 * recipe.label["replicate"]}
        found.append({"id": recipe.id, "kind": "continuation", **recipe.label, "metrics": metrics})
    return found


def test_the_first_of_each_ranking_go_on():
    spec = PAPER.replace(finalists=2, source_seeds=(0,), source_steps=(1000,))
    cells = study_cells(spec, 392)
    aucs = {"lemon": 1.0, "net2net": 2.0, "aki": 2.0, "exact_copy": None, "scratch": 0.5, UNWIDENED: 0.1,
            "structured+rate:times=0.5": 0.2}  # fmt: skip
    found = finalists(cells, spec, records(cells, aucs))
    regimes = ("deterministic", "stochastic")
    places = {("seed0-step1000", regime, name) for regime in regimes for name in ("lemon", "aki")}
    assert found == places  # ties by name; no control and no other learning rate among them
    chosen = with_finalists(cells, spec, records(cells, aucs))
    assert len(chosen.extensions) == 2 * 2 * 3
    for extension in chosen.extensions:
        assert extension.recipe.parents == (extension.continuation.id,)
        assert extension.recipe.label["lag"] == 512 and chosen.known[extension.recipe.id] is extension.recipe
    one = chosen.extensions[0]
    assert [e.recipe.id for e in chosen.only({one.recipe.id}).extensions] == [one.recipe.id]
    assert {t.candidate.id for t in chosen.only({one.recipe.id}).trajectories} >= {one.candidate.id}


def test_each_family_at_its_best_rate():
    spec = PAPER.replace(rates=(0.5, 2.0))

    def cells(name: str) -> list[dict]:
        shift = {"exact_copy": 0.1, "structured+rate:times=2.0": -0.5, "perturbed": 0.05}.get(name, 0.0)
        lost = name.startswith("asymmetric_reset+rate:times=2.0")
        return [
            {"auc": 2 + shift + 0.01 * k, "eval_steps": [0], "eval_loss": [None if lost else 1.0]} for k in range(3)
        ]

    rows = rate_rows({n: cells(n) for n in (*spec.families, *spec.at_rates)}, spec, source="s", regime="deterministic")  # pyright: ignore[reportArgumentType]
    by = {row["family"]: row for row in rows}
    assert (
        by["structured"]["rank"] == 1
        and by["structured"]["rate"] == 2
        and by["structured"]["gain"] == pytest.approx(0.5)  # rounding
    )
    assert by["exact_copy"]["rate"] == 0.5 and by["exact_copy"]["candidate"] == "exact_copy+rate:times=0.5"
    assert by["asymmetric_reset"]["rate"] == 1 and set(by["asymmetric_reset"]["aucs"]) == {"0.5", "1"}


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"long_lag": 128}, "long_lag 128 is not beyond continuation_lag 128"),
        ({"long_lag": 130}, "long_lag 130 is no multiple of eval_every 8"),
        ({"pool": ("exact_copy",)}, "operators names .* twice"),
        ({"family_regimes": ("stochastic",)}, "regimes names .* twice"),
        ({"family_regimes": ("sometimes",)}, "no regime is named 'sometimes'"),
        ({"rates": (0.0,)}, "rates is"),
        ({"operators": ("lemon",), "rates": (2.0,)}, "name no family of the paper's"),
        ({"pool": (UNWIDENED,)}, "unwidened is no operator"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict, fault: str):
    with pytest.raises(UserError, match=fault):
        StudySpec(**changes)


def test_a_study_that_asks_for_more_goes_on():
    before = PAPER.replace(pool=(), rates=(), family_regimes=(), finalists=1)
    assert extends(PAPER, before) and extends(before, PAPER)
    ids = {recipe.id for recipe in study_cells(before, 392).all()}
    assert ids < {recipe.id for recipe in study_cells(PAPER, 392).all()}
