"""A plan as one record: what `python -m growjax plan` prints."""

from __future__ import annotations

from typing import NamedTuple

from growjax.grow.plan import WidthPlan
from growjax.model.decoder import count_params, flops_per_token
from growjax.plan.chips import Chip
from growjax.plan.choice import Choice, Option, batches, choose, fastest
from growjax.plan.growth import place_of, selecting, target_shapes, widening
from growjax.plan.memory import Batch
from growjax.schema import Record
from growjax.train.state import TrainState


class Race(NamedTuple):
    """What a selection is asked to do."""

    candidates: int
    budget: int
    horizon: int
    first: int
    every: int
    making: int = 0
    """Of the budget, the steps for which operators train before their candidates' step 0."""


def planned(state: TrainState, chip: Chip, chips: int, found: Choice) -> Record:
    """Training on so many chips: the mesh to choose, and all others."""
    model, batch = state.config.model, found.batch
    return {
        "parameters": count_params(model),
        "flops_per_token": flops_per_token(model, batch.length),
        "chip": {"name": chip.name, "memory": chip.memory, "source": chip.source},
        "chips": chips,
        "batch": batch._asdict(),
        "best": described(found.best),
        "meshes": [described(option) for option in found.options],
    }


def described(option: Option) -> Record:
    """A mesh, what a chip holds on it by kind, and what a step takes there."""
    row: Record = {"mesh": option.mesh._asdict(), "why_not": option.why_not}
    if option.peak is not None:
        row |= {"bytes": option.peak.total, "phase": option.peak.name, "kinds": dict(option.peak.bytes)}
    if option.seconds is not None:
        row |= {"seconds": option.seconds.total, "parts": option.seconds._asdict()}
    return row


def plan_growth(
    source: TrainState, plan: WidthPlan, chip: Chip, chips: int, given: list[Batch], race: Race, *, operator: str
) -> Record:
    """Widening a source (arrays or their shapes), training what comes of it, and selecting among candidates for that.
    Raises `UserError` where the operator cannot follow the plan, or nothing fits, with the least number of chips that
    would do."""
    target = target_shapes(source, plan, operator=operator)
    found = choose(target, chip, chips, given)
    assert found.best.seconds is not None
    step = found.best.seconds.total
    each, slower = fewest(target, chip, chips, found) or (chips, step)
    place = place_of(source, plan, found.best.mesh, operator=operator)
    growth = widening(source, target, plan, place, chip)
    cost = selecting(source, target, chips=chips, each=each, step=slower, **race._asdict())
    return {
        "operator": operator,
        "source": {"parameters": count_params(plan.source)},
        "plan": [row._asdict() for row in plan.rows()],
        **planned(target, chip, chips, found),
        "widening": growth._asdict() | {"mesh": place._asdict()},
        "selection": cost._asdict() | {"chips_each": each, "step_seconds": slower},
        "training": {"steps": race.horizon, "seconds": race.horizon * step},
    }


def fewest(state: TrainState, chip: Chip, chips: int, found: Choice) -> tuple[int, float] | None:
    """The fewest of the chips on which one candidate trains, and a step's seconds there: the more candidates train side
    by side, the less goes over links. None where only all of them do."""
    batch = found.batch
    for each in (n for n in range(1, chips) if chips % n == 0 and (chip.joins(n, chips) or n % chip.joined == 0)):
        way = fastest(state, chip, each, batches(each, batch.size, batch.length, batch.shards, batch.evaluated))
        if way is not None and way.best.seconds is not None:
            return each, way.best.seconds.total
    return None
