"""What decides who wins: outcomes of a crossed design split into the randomness of order, dropout and perturb.

Every level of each stream meets every level of the others, so an outcome y[i, j, k] is a mean plus an effect of each
stream, of each pair of them and of all three (a random-effects model: levels are draws, not chosen). Variance
components follow from the mean squares of that analysis of variance by the method of moments (Searle, Casella &
McCulloch 1992, section 5.3; the classical expected mean squares of a balanced crossed design).
"""

from __future__ import annotations

import itertools

import numpy as np

from growjax.study.ranking import TIE
from growjax.study.rows import Attribution, BestShare, Decomposed, Term

STREAMS = ("order", "dropout", "perturb")
"""The factors of the design, in the order of an outcome's axes."""

TERMS = tuple(term for size in (1, 2, 3) for term in itertools.combinations(range(3), size))
"""Main effects, pairs, and all three, as axes."""

CONFIDENCE = 0.95
RESAMPLES = 4000


def term_name(term: tuple[int, ...]) -> str:
    """A term, for people."""
    return " x ".join(STREAMS[axis] for axis in term)


def _mean_squares(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mean squares, degrees of freedom) of the terms, over the last three axes; leading axes are many outcomes."""
    axes = (-3, -2, -1)
    effects: dict[tuple[int, ...], np.ndarray] = {(): y.mean(axis=axes, keepdims=True)}
    squares, freedoms = [], []
    shape = y.shape[-3:]
    for term in TERMS:
        others = tuple(axes[a] for a in range(3) if a not in term)
        effect = y.mean(axis=others, keepdims=True) if others else y
        for size in range(len(term)):
            for part in itertools.combinations(term, size):
                effect = effect - effects[part]
        effects[term] = effect
        freedom = int(np.prod([shape[a] - 1 for a in term]))
        repeated = int(np.prod([shape[a] for a in range(3) if a not in term]))
        squares.append(repeated * np.square(effect).sum(axis=axes) / max(freedom, 1))
        freedoms.append(freedom)
    return np.stack(squares, axis=-1), np.asarray(freedoms)


def components(y: np.ndarray) -> np.ndarray:
    """Variance components [..., 7] of outcomes [..., order, dropout, perturb], in the order of `TERMS`.

    Unbiased, and so below 0 by chance where a component is small. The last one holds all three together. Terms with a
    randomness of one level are 0.
    """
    squares, freedoms = _mean_squares(np.asarray(y, np.float64))
    return _from_squares(squares, freedoms, y.shape[-3:])


def _from_squares(squares: np.ndarray, freedoms: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    # E[MS of a term] = sum over the terms that hold it of (levels of all axes outside the term) x component
    found = np.zeros_like(squares)
    for number in reversed(range(len(TERMS))):
        if not freedoms[number]:
            continue
        rest = squares[..., number].copy()
        for other, wider in enumerate(TERMS):
            if set(TERMS[number]) < set(wider) and freedoms[other]:
                rest -= np.prod([shape[a] for a in range(3) if a not in wider]) * found[..., other]
        found[..., number] = rest / np.prod([shape[a] for a in range(3) if a not in TERMS[number]])
    return found


def component_intervals(y: np.ndarray, *, rng: np.random.Generator, times: int = RESAMPLES) -> np.ndarray:
    """[7, 2]: an interval for each variance component of one outcome [order, dropout, perturb], at `CONFIDENCE`.

    Whole levels are drawn again, never cells: in each of `times` rounds the levels' effects are normal draws of a
    variance under which the mean squares seen are what they are, so a mean square of f degrees of freedom becomes
    f MS / chi2(f), and the components follow (generalised intervals, Weerahandi 1993, J. Am. Stat. Assoc. 88, 899).
    Drawing the few levels there are with replacement would cover far less than it says.
    """
    found = np.maximum(_redrawn(y, rng=rng, times=times), 0)
    return np.quantile(found, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0).T


def _redrawn(y: np.ndarray, *, rng: np.random.Generator, times: int) -> np.ndarray:
    squares, freedoms = _mean_squares(np.asarray(y, np.float64))
    chances = np.stack([rng.chisquare(max(f, 1), times) for f in freedoms], axis=-1)
    return _from_squares(squares * freedoms / chances, freedoms, y.shape[-3:])


def mean_interval(y: np.ndarray, *, rng: np.random.Generator, times: int = RESAMPLES) -> tuple[float, float]:
    """An interval for the mean of an outcome over all randomness, at `CONFIDENCE`: the mean moves with the levels
    drawn, by the variance that each redrawn set of components gives it."""
    levels = [np.prod([y.shape[axis] for axis in term]) for term in TERMS]
    spread = np.sqrt(np.maximum((_redrawn(y, rng=rng, times=times) / levels).sum(axis=-1), 0))
    tails = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    low, high = np.quantile(y.mean() + spread * rng.standard_normal(times), tails)
    return float(low), float(high)


def best_shares(
    outcomes: dict[str, np.ndarray], *, rng: np.random.Generator, times: int = RESAMPLES
) -> list[BestShare]:
    """For each candidate the probability that it has the lowest outcome when all streams are redrawn, with an interval.

    The share of the design's cells in which it is lowest (a tie at rounding level shared among the tied); the interval
    draws whole levels of each stream with replacement. With four levels it covers less than it says, and the page says
    so.
    """
    names = sorted(outcomes)
    stacked = np.stack([outcomes[name] for name in names])
    lowest = stacked - stacked.min(axis=0) <= TIE * np.abs(stacked)
    share = lowest / lowest.sum(axis=0)
    a, b, c = (_weights(rng, times, n) for n in share.shape[-3:])
    drawn = np.einsum("nijk,ti,tj,tk->tn", share, a, b, c)
    bounds = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return [
        {"candidate": name, "mean": float(outcomes[name].mean()), "share": float(share[n].mean()),
         "low": float(bounds[0, n]), "high": float(bounds[1, n])}
        for n, name in enumerate(names)
    ]  # fmt: skip


def _weights(rng: np.random.Generator, times: int, levels: int) -> np.ndarray:
    """[times, levels]: how large a part each level has when as many are drawn with replacement."""
    return rng.multinomial(levels, np.full(levels, 1 / levels), times) / levels


def decompose(name: str, y: np.ndarray, *, rng: np.random.Generator) -> Decomposed:
    """Components of one outcome, as standard deviations and as shares of their sum, each with its interval."""
    found = np.maximum(components(y), 0)
    bounds = component_intervals(y, rng=rng)
    total = float(found.sum())
    low, high = mean_interval(y, rng=rng)
    terms: list[Term] = [
        {"term": term_name(term), "sd": float(np.sqrt(found[n])), "low": float(np.sqrt(bounds[n, 0])),
         "high": float(np.sqrt(bounds[n, 1])), "share": float(found[n]) / total if total else 0.0}
        for n, term in enumerate(TERMS)
    ]  # fmt: skip
    return {"outcome": name, "mean": float(y.mean()), "low": low, "high": high, "terms": terms}


def attribute(outcomes: dict[str, np.ndarray], *, seed: int) -> Attribution:
    """The whole attribution of one comparison: outcomes (lower is better) [order, dropout, perturb] by candidate.

    Each candidate's outcome is decomposed, and the difference between the two of lowest mean; `seed` is that of the
    resampling (NumPy's Philox, with a key of its own).
    """
    rng = np.random.Generator(np.random.Philox(key=seed))
    order = sorted(outcomes, key=lambda name: (float(outcomes[name].mean()), name))
    rows = [decompose(name, outcomes[name], rng=rng) for name in order]
    difference = None
    if len(order) > 1:
        first, second = order[:2]
        difference = decompose(f"{second} minus {first}", outcomes[second] - outcomes[first], rng=rng)
    shape = next(iter(outcomes.values())).shape
    return {
        "levels": dict(zip(STREAMS, shape, strict=True)),
        "confidence": CONFIDENCE,
        "outcomes": rows,
        "difference": difference,
        "best": best_shares(outcomes, rng=rng),
    }
