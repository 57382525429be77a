"""The decomposition on synthetic outcomes whose components are known."""

from __future__ import annotations

import numpy as np
import pytest

from growjax.study.attribution import TERMS, attribute, best_shares, component_intervals, components, mean_interval
from growjax.study.factorial import factorial

SHAPE = (4, 4, 3)
SDS = (0.5, 1.0, 0.3, 0.2, 0.4, 0.1, 0.25)
"""Of the terms, in their order."""


def outcomes(rng: np.random.Generator, shape: tuple[int, ...] = SHAPE, sds: tuple[float, ...] = SDS) -> np.ndarray:
    """One crossed design with normal effects of these standard deviations around 3."""
    y = np.full(shape, 3.0)
    for term, sd in zip(TERMS, sds, strict=True):
        y = y + sd * rng.standard_normal([n if axis in term else 1 for axis, n in enumerate(shape)])
    return y


def test_components_are_unbiased():
    rng = np.random.default_rng(0)
    many = np.stack([outcomes(rng) for _ in range(4000)])
    found = components(many)
    error = found.std(axis=0) / np.sqrt(len(many))
    # a mean of 4000: 4 standard errors are passed by chance in 1 of 2000 draws of seven
    assert (np.abs(found.mean(axis=0) - np.square(SDS)) < 4 * error).all()


def test_an_effect_of_one_stream_is_found_there_alone():
    y = np.zeros(SHAPE) + np.asarray([0.0, 1.0, 2.0, 5.0])[None, :, None]
    found = components(y)
    # float64 rounding of means and differences of numbers up to 5; a root of it for the standard deviations
    assert found[TERMS.index((1,))] > 4 and np.abs(np.delete(found, TERMS.index((1,)))).max() < 1e-12
    described = attribute({"a": y, "b": y + 1}, seed=0)
    assert described["outcomes"][0]["terms"][1]["share"] > 1 - 1e-9
    assert all(term["sd"] < 1e-6 for term in described["difference"]["terms"])  # common randomness cancels


def test_intervals_cover_as_stated():
    """1000 designs of 4 x 4 x 3: each component lies in its 95 % interval in at least 93 % of them (a share of exactly
    0.95 falls below 0.93 by chance less than twice in 1000), the mean as well."""
    rng = np.random.default_rng(1)
    truth = np.square(SDS)
    inside, mean_inside = np.zeros(len(TERMS)), 0
    for _ in range(1000):
        y = outcomes(rng)
        bounds = component_intervals(y, rng=rng, times=600)
        inside += (bounds[:, 0] <= truth) & (truth <= bounds[:, 1])
        low, high = mean_interval(y, rng=rng, times=600)
        mean_inside += low <= 3.0 <= high
    assert (inside / 1000 >= 0.93).all(), inside
    assert mean_inside / 1000 >= 0.93, mean_inside


def test_the_probability_of_being_best_is_the_share_of_draws_in_which_it_is():
    rng = np.random.default_rng(2)
    a, b = outcomes(rng), outcomes(rng)
    rows = {row["candidate"]: row for row in best_shares({"a": a, "b": b}, rng=rng)}
    # float64 rounding of a sum of two shares
    assert rows["a"]["share"] == (a < b).mean() and abs(rows["a"]["share"] + rows["b"]["share"] - 1) < 1e-12
    tied = best_shares({"a": a, "b": a}, rng=rng)
    assert [row["share"] for row in tied] == [0.5, 0.5]
    assert all(row["low"] <= row["share"] <= row["high"] for row in rows.values())


def test_again_gives_the_same_numbers():
    rng = np.random.default_rng(3)
    found = {"a": outcomes(rng), "b": outcomes(rng)}
    assert attribute(found, seed=7) == attribute(dict(reversed(found.items())), seed=7)


def test_a_two_by_two_pairs_what_replicates_share():
    """Orders and masks move both candidates alike, far more than dropout moves one of them: no interval leaves 0 out
    where replicates are not paired. A corner with more replicates is cut to those that all have."""
    rng = np.random.default_rng(3)
    fixed, drawn, masks, noise = (rng.standard_normal(8) * sd for sd in (1.0, 1.0, 1.0, 1e-3))
    streams = {"neither": fixed, "order": drawn, "dropout": fixed + masks, "both": drawn + masks}
    dropped = ("dropout", "both")
    corners = {
        corner: {"a": list(shared), "b": list(shared + 0.1 + noise + 0.02 * (corner in dropped))}
        for corner, shared in streams.items()
    }
    corners["neither"] = {name: [*values, 99.0] for name, values in corners["neither"].items()}
    found = factorial(corners, "seed0-step9", 128)
    assert found is not None and found["n"] == 8
    a, b = found["rows"]
    assert b["of_dropout"]["effect"] == pytest.approx(0.01)  # rounding
    assert a["of_dropout"]["effect"] == pytest.approx(-0.01)  # rounding
    low, high = b["of_dropout"]["low"], b["of_dropout"]["high"]
    assert low is not None and high is not None and 0 < low < 0.01 < high
    for row in found["rows"]:
        assert row["of_order"]["effect"] == pytest.approx(0, abs=1e-12)  # rounding of numbers near 1
        assert row["together"]["effect"] == pytest.approx(0, abs=1e-12)  # the same
    assert b["neither"]["auc"] == pytest.approx(np.mean(fixed + 0.1 + noise))  # rounding
    assert factorial({**corners, "both": {"a": [1.0]}}, "seed0-step9", 128) is None
