"""What plain rules take on a made-up grid where the answer is known, and which table a replay may know."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.select_replay import after, halved, plain, summed
from experiments.select_unseen import PAPER, words
from growjax.cli.arguments import parse
from growjax.cli.train import TrainArguments
from growjax.errors import UserError
from growjax.record.integrity import finished_receipt
from growjax.select.runner import pool
from growjax.select.trust import Grid, grids, measured
from growjax.study.ranking import Table

STEPS = tuple(range(0, 136, 8))
ARTIFACTS = Path(__file__).parents[1] / "artifacts"


def grid(**levels: tuple[float, ...]) -> Grid:
    """Flat curves: by candidate a level for each replicate."""
    curves = {name: [[level] * len(STEPS) for level in several] for name, several in levels.items()}
    return Grid("seed 0 of it", "seed0-step1000", "stochastic", STEPS, curves)


FOUR = grid(a=(2.0, 2.4), b=(2.1, 2.1), c=(2.2, 2.2), d=(2.3, 2.3))
"""By one replicate `a` is first, by both `b`."""


def test_equal_shares_go_to_the_horizon_first_and_then_to_replicates():
    assert after(FOUR, list("abcd"), 7) == {}
    assert after(FOUR, list("abcd"), 8)["a"] == after(FOUR, list("abcd"), 255)["a"] == 2.0
    both = after(FOUR, list("abcd"), 256)["a"]
    assert both == after(FOUR, list("abcd"), 10_000)["a"] == pytest.approx(2.2)  # rounding of a mean


def test_halving_takes_nobody_by_name_and_more_replicates_where_there_is_budget():
    assert halved(FOUR, 4 * 8 * 2 - 1) == ()  # two rounds, the first shorter than an evaluation
    assert halved(FOUR, 4 * 8 * 2) == ("a",)
    assert halved(FOUR, 4 * 256 * 2) == ("b",)


def test_a_rule_without_a_difference_takes_a_draw():
    kl = {"a": 3e-13, "b": 1e-13, "c": 2e-13, "d": 0.1}
    cells = [
        {"kind": "candidate", "source": "seed0-step1000", "regime": None, "operator": name, "replicate": None,
         "metrics": {"kl": value}}
        for name, value in kl.items()
    ]  # fmt: skip
    taken = plain(FOUR, Table(cells), 4 * 16)  # pyright: ignore[reportArgumentType]
    assert taken == {
        "least zero-step KL": ("a", "b", "c"),
        "lowest probe loss": ("a",),
        "equal shares": ("a",),
        "successive halving": ("a",),
    }
    assert "lowest probe loss" not in plain(FOUR, Table(cells), 4 * 16 - 1)  # pyright: ignore[reportArgumentType]


def test_a_rule_that_stands_in_few_races_has_no_mean():
    rows = [
        {"part": 0.25, "regret": {"select": 0.1, "exact copy": 0.3, "successive halving": 0.0}},
        {"part": 0.25, "regret": {"select": 0.0, "exact copy": 0.1}},
    ]
    (found,) = summed(rows)
    assert found["regret"] == {"select": 0.05, "exact copy": 0.2} and found["least of plain rules"] == 0.2


def test_a_table_leaves_a_training_out_with_all_its_sources():
    quick, regimes, other = (finished_receipt(ARTIFACTS / name) for name in ("quick", "regimes", "stories260k"))
    trainings = {found.training for receipt in (quick, regimes) for found in grids(receipt)}
    assert len(trainings) == 1  # two studies of one training
    with pytest.raises(UserError, match="no study of another training"):
        measured([quick, regimes], without=trainings.pop())
    (training,) = {found.training for found in grids(quick)}
    alone, all_of_them = measured([other]), measured([quick, other], without=training)
    assert all_of_them["regimes"] == alone["regimes"]


def test_the_candidates_of_a_grid_are_those_of_select():
    """Those of the paper's preset, and no more: `lockstep` is the source's own run."""
    receipt = finished_receipt(ARTIFACTS / "stories260k")
    assert "lockstep" in receipt["config"]["operators"] and all("lockstep" not in g.curves for g in grids(receipt))
    assert set(PAPER.pool_of_all) - {"lockstep", "scratch"} == set(pool())


def test_options_say_the_whole_configuration():
    """The verbs' own defaults are other studies'."""
    argv = [word for prefix in ("model", "optim", "data") for word in words(prefix, getattr(PAPER, prefix))]
    given = parse(TrainArguments, argv, verb="train")
    assert (given.model, given.optim, given.data) == (PAPER.model, PAPER.optim, PAPER.data)
    assert given.model != TrainArguments().model and given.data != TrainArguments().data
