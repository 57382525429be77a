"""What a validation-loss curve is worth."""

from __future__ import annotations

import math
from collections.abc import Sequence


def auc(steps: Sequence[int], losses: Sequence[float]) -> float:
    """Area under the loss curve over its length (trapezoid rule), in nats per token: the mean loss along the way.

    Lower is better. `steps` rise strictly; at least two points.
    """
    if len(steps) < 2 or len(steps) != len(losses):
        raise ValueError("a curve needs at least two points, and one loss for each step")
    # fsum is rounded once; the built-in sum is rounded in one way by Python 3.11 and in another from 3.12 on.
    area = math.fsum((steps[i + 1] - steps[i]) * (losses[i] + losses[i + 1]) / 2 for i in range(len(steps) - 1))
    return area / (steps[-1] - steps[0])


def steps_to_reach(steps: Sequence[int], losses: Sequence[float], level: float) -> float | None:
    """The first step (linear between points) at which the curve is at or under `level`; None if it never is."""
    if losses[0] <= level:
        return float(steps[0])
    for i in range(1, len(steps)):
        if losses[i] <= level:
            before, after = losses[i - 1], losses[i]
            return steps[i - 1] + (steps[i] - steps[i - 1]) * (before - level) / (before - after)
    return None


def tokens_saved(
    steps: Sequence[int],
    scratch: Sequence[float],
    candidate: Sequence[float],
    tokens_per_step: int,
    *,
    before: int = 0,
) -> tuple[float, bool]:
    """Tokens that the candidate needs fewer than training from scratch to reach scratch's final loss.

    `before` is for how many steps the candidate was trained before the first of these; its tokens count.

    Returns (tokens, more). Where the candidate starts at or under that loss the curves never cross: `more` is true
    and the tokens, all that scratch used less those of `before`, are a lower bound. Negative where scratch reached the
    candidate's final loss first.
    """
    spent = before * tokens_per_step
    total = steps[-1] * tokens_per_step - spent
    reached = steps_to_reach(steps, candidate, scratch[-1])
    if reached is None:
        other = steps_to_reach(steps, scratch, candidate[-1])
        assert other is not None  # scratch ends below the candidate
        return (other - steps[-1]) * tokens_per_step - spent, False
    return total - reached * tokens_per_step, reached == steps[0]
