"""The race among warm starts: what to run next, who leaves, and when it is over. Pure arithmetic; nothing trains here.

A race is a generator. It yields a `Request` (which candidates and replicates, up to which lag), is sent the loss curves
of those, and returns a `Verdict`. So the same rules decide a live selection, a resumed one and a replay of a finished
study, and a race is a function of its curves alone.

The target is the area under the validation-loss curve up to the horizon (`growjax.measure.curves.auc`): lower is
better. An earlier lag projects it: the area so far, and the present loss for the rest, differences of which shrink by
a slope known from published studies (`growjax.select.trust`). A projection is uncertain in two ways: replicates differ
(noise), and the order at a short lag is not the order at the horizon (drift). A candidate leaves where its paired
difference to the leader is larger than both together allow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import NamedTuple

from growjax.errors import UserError, require
from growjax.measure.curves import auc
from growjax.select.trust import Outlook
from growjax.study.ranking import CONFIDENCE, mean

Place = tuple[str, int]
"""A candidate and a replicate."""

Curves = Mapping[Place, Sequence[float]]
"""Losses on the grid of evaluations, step 0 first, as far as each was run; infinite once they left the numbers."""


class Rules(NamedTuple):
    """What a race may spend, and on what."""

    horizon: int
    """Steps of training that are planned: what the order is wanted for."""
    budget: int
    """Training steps of the target, all candidates and replicates together, those of `making` among them."""
    rungs: tuple[int, ...]
    """Lags at which candidates are compared, rising."""
    every: int
    """Steps between evaluations."""
    most: int = 8
    """Replicates at most."""
    making: int = 0
    """Training steps of the target for which operators trained before step 0: spent with the first request, by those
    too that step 0 ruled out."""


class Request(NamedTuple):
    """What a race asks for."""

    lag: int
    places: tuple[Place, ...]
    steps: int
    """What that costs beyond what was run before; the first with what making the candidates took."""


class Left(NamedTuple):
    """A candidate that left the race."""

    candidate: str
    lag: int
    behind: float
    """Its projected AUC less the leader's, in nats per token."""
    reach: float
    """How far noise and drift reach at that rung."""
    why: str
    """`separated`, `budget`, or `diverged`."""
    request: int
    """The number of the request after which it left, from 1 on."""


class Verdict(NamedTuple):
    """How a race ended."""

    order: tuple[str, ...]
    """All candidates, the chosen first: those that stayed by projected AUC, then those that left, the last first (of
    one request the one that was least behind), and behind them those that diverged."""
    gap: float | None
    """The runner-up's projected AUC less the chosen's at the last request, in which both ran; None where nobody else
    was."""
    reach: float | None
    separated: bool
    """Whether every other candidate was separated, or diverged: none stayed, and none left for the budget."""
    lag: int
    replicates: int
    spent: int
    left: tuple[Left, ...]
    requests: tuple[Request, ...]
    behind: Mapping[str, float]
    """Of those that stayed: the projected AUC less the chosen's."""


Outlooks = Callable[[int], Outlook]
"""What each lag says of the horizon."""


def ladder(horizon: int, every: int, first: int) -> tuple[int, ...]:
    """Lags from about `first`, doubled up to the horizon; each a multiple of `every`."""
    rungs, lag = [], max(every, first // every * every)
    while lag < horizon:
        rungs.append(lag)
        lag *= 2
    return (*rungs, horizon // every * every)


def least_budget(candidates: int, rungs: Sequence[int], making: int = 0) -> int:
    """So many candidates, made in `making` steps, once up to the first rung."""
    return candidates * rungs[0] + making


def require_budget(budget: int, candidates: int, rungs: Sequence[int], making: int = 0) -> None:
    """Raises `UserError` where a budget is less than `least_budget`."""
    made = f", {making} of which make them" if making else ""
    require(
        budget >= (least := least_budget(candidates, rungs, making)),
        f"a budget of {budget} steps does not take {candidates} candidates to lag {rungs[0]}",
        f"give at least {least}{made}, name fewer candidates, or a lower first rung",
    )


class Reach(NamedTuple):
    """How far chance reaches for a difference to the leader."""

    comparisons: int
    replicates: int
    noise: float
    """Standard deviation of a paired difference over replicates: pooled over those that were run, or with one
    replicate the published studies'."""
    drift: float

    @property
    def noisy(self) -> bool:
        """Whether one replicate more would say more than a longer lag."""
        return self.noise**2 / self.replicates > self.drift**2

    def half(self) -> float:
        """Half the interval at `CONFIDENCE` over all comparisons together; noise and drift are independent."""
        from scipy.stats import norm, t

        if not self.comparisons:
            return 0.0
        tail = 1 - (1 - CONFIDENCE) / (2 * self.comparisons)
        # All m differences share the leader, so their pooled variance is less certain than m alone would make it. For
        # candidates of one variance (n - 1) (sum e)^2 / sum e^2, with the eigenvalues e of 1 + I (Satterthwaite 1946).
        freedom = 4 * self.comparisons * (self.replicates - 1) / (self.comparisons + 3)
        of_noise = float(t.ppf(tail, freedom) if freedom else norm.ppf(tail))
        return math.hypot(of_noise * self.noise / math.sqrt(self.replicates), float(norm.ppf(tail)) * self.drift)


class _Race:
    """A race at work."""

    def __init__(self, candidates: Sequence[str], rules: Rules, outlooks: Outlooks):
        require_budget(rules.budget, len(candidates), rules.rungs, rules.making)
        self.rules, self.outlooks = rules, outlooks
        self.standing = sorted(candidates)
        self.rung, self.spent = 0, 0
        self.replicates = 1
        self.reached: dict[Place, int] = {}
        self.curves: dict[Place, Sequence[float]] = {}
        self.left: list[Left] = []
        self.requests: list[Request] = []

    @property
    def lag(self) -> int:
        return self.rules.rungs[self.rung]

    def request(self, standing: Sequence[str], rung: int, replicates: int) -> Request:
        lag = self.rules.rungs[rung]
        places = tuple((c, r) for c in standing for r in range(replicates) if self.reached.get((c, r), 0) < lag)
        making = 0 if self.requests else self.rules.making
        return Request(lag, places, making + sum(lag - self.reached.get(place, 0) for place in places))

    def take(self, request: Request, curves: Curves) -> None:
        """What was run, as far as it was asked for."""
        count = request.lag // self.rules.every + 1
        self.requests.append(request)
        self.spent += request.steps
        for place in request.places:
            if len(curves[place]) < count:
                raise ValueError(f"the curve of {place} ends before lag {request.lag}")
            self.reached[place], self.curves[place] = request.lag, curves[place][:count]

    def projected(self, candidate: str) -> list[float]:
        """What the present lag says of the AUC at the horizon, by replicate: comparable among candidates, and no more
        than that, since what all have in common is left out."""
        lag, count, part = self.lag, self.lag // self.rules.every + 1, self.lag / self.rules.horizon
        steps, slope = range(0, lag + 1, self.rules.every), self.outlooks(lag).slope
        found = [self.curves[candidate, r][:count] for r in range(self.replicates)]
        return [
            auc(steps, c) * part + slope * c[-1] * (1 - part) if all(map(math.isfinite, c)) else math.inf for c in found
        ]

    def compare(self) -> tuple[list[tuple[float, str]], Reach]:
        """Standing candidates by mean projection, and how far noise and drift reach for a difference of two of them."""
        values = {c: self.projected(c) for c in self.standing}
        ranked = sorted((_mean(v), c) for c, v in values.items())
        leader = values[ranked[0][1]]
        others = [
            [b - a for a, b in zip(leader, values[c], strict=True)] for value, c in ranked[1:] if math.isfinite(value)
        ]
        seen = self.outlooks(self.lag)
        noise = math.sqrt(_pooled(others)) if self.replicates > 1 and others else seen.noise
        return ranked, Reach(len(others), self.replicates, noise, seen.drift)

    def leave(self, ranked: Sequence[tuple[float, str]], reach: float) -> None:
        """Takes out who is separated from the leader, or left the numbers."""
        best, leader = ranked[0]
        for value, name in ranked:
            behind = value - best if math.isfinite(value) else math.inf
            if math.isinf(behind):
                self._out(name, behind, reach, "diverged")
            elif name != leader and behind > reach:
                self._out(name, behind, reach, "separated")

    def _out(self, name: str, behind: float, reach: float, why: str) -> None:
        self.standing.remove(name)
        self.left.append(Left(name, self.lag, behind, reach, why, len(self.requests)))

    def advance(self, ranked: Sequence[tuple[float, str]], reach: float, noisy: bool) -> Request | None:
        """The next thing to run: further on, or one replicate more, whichever is the more uncertain; where the budget
        does not take all that stand, the worse half may have to leave. None where nothing more is to be had."""
        alive = [name for _, name in ranked if name in self.standing]
        further, wider = (self.rung + 1, self.replicates), (self.rung, self.replicates + 1)
        ways = [wider, further] if noisy else [further, wider]
        ways = [w for w in ways if w[0] < len(self.rules.rungs) and w[1] <= self.rules.most]
        for floor in dict.fromkeys((len(alive), (len(alive) + 1) // 2, 2)):
            for rung, replicates in ways:
                for count in range(len(alive), max(floor, 2) - 1, -1):
                    request = self.request(alive[:count], rung, replicates)
                    if request.steps <= self.rules.budget - self.spent:
                        best = ranked[0][0]
                        for value, name in ranked:
                            if name in alive[count:]:
                                self._out(name, value - best, reach, "budget")
                        self.rung, self.replicates = rung, replicates
                        return request
        return None


def _mean(values: Sequence[float]) -> float:
    return mean(values) if all(map(math.isfinite, values)) else math.inf


def _pooled(differences: Sequence[Sequence[float]]) -> float:
    """Variance of a paired difference over replicates, pooled over candidates."""
    n = len(differences[0])
    squares = [(d - mean(row)) ** 2 for row in differences for d in row]
    return math.fsum(squares) / (len(differences) * (n - 1))


def race(candidates: Sequence[str], rules: Rules, outlooks: Outlooks) -> Generator[Request, Curves, Verdict]:
    """Runs a race. Yields what to run, is sent its curves, returns the verdict.

    Raises:
        UserError: the budget does not take every candidate to the first rung, or every candidate diverged.
    """
    at = _Race(candidates, rules, outlooks)
    request: Request | None = at.request(at.standing, 0, at.replicates)
    ranked: list[tuple[float, str]] = []
    reach = 0.0
    while request is not None:
        at.take(request, (yield request))
        ranked, chance = at.compare()
        reach = chance.half()
        at.leave(ranked, reach)
        request = at.advance(ranked, reach, chance.noisy) if len(at.standing) > 1 else None
    if not at.standing and all(one.why == "diverged" for one in at.left):
        raise UserError(f"every candidate diverged by lag {at.lag}", "lower the learning rate, or name other operators")
    return _verdict(at, ranked, reach)


def _verdict(at: _Race, ranked: Sequence[tuple[float, str]], reach: float) -> Verdict:
    stayed = [name for _, name in ranked if name in at.standing]
    latest = sorted(at.left, key=lambda one: (one.why == "diverged", -one.request, one.behind))
    gone = [one.candidate for one in latest]
    finite = [value for value, _ in ranked if math.isfinite(value)]
    gap = finite[1] - finite[0] if len(finite) > 1 else None
    return Verdict(
        (*stayed, *gone),
        gap,
        reach if gap is not None else None,
        len(at.standing) == 1 and all(one.why != "budget" for one in at.left),
        at.lag,
        at.replicates,
        at.spent,
        tuple(at.left),
        tuple(at.requests),
        {name: value - ranked[0][0] for value, name in ranked if name in at.standing},
    )
