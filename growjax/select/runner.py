"""Runs a selection: from a source and a budget to a chosen state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from growjax import runtime
from growjax.cells.executor import Executor
from growjax.config import OptimConfig
from growjax.errors import UserError
from growjax.grow.plan import WidthPlan, make_plan
from growjax.grow.registry import parse_operator
from growjax.record.integrity import finished_receipt
from growjax.record.rundir import RunDir
from growjax.schema import Record
from growjax.select.chosen import write_chosen
from growjax.select.race import ladder, least_budget, require_budget
from growjax.select.racing import race_phases
from growjax.select.rows import SelectionSummary
from growjax.select.summary import summarise_selection
from growjax.select.trust import outlook, published
from growjax.streams import Streams, root_key
from growjax.study.making import steps_in_all, steps_of
from growjax.study.presets import PUBLISHED
from growjax.study.runner import Watch, run_study
from growjax.study.selection import Selection
from growjax.study.spec import PAPER_OPERATORS
from growjax.study.units import Filling

FIRST = 16
"""The first rung, in steps, if nothing else is asked for: the lag of a study's probe."""


def pool() -> tuple[str, ...]:
    """The candidates if none are named: the paper's families and every other published operator that keeps something
    of the source."""
    named = (*PAPER_OPERATORS, *PUBLISHED)
    return tuple(name for name in named if not parse_operator(name).operator.control)


def able_and_left_out(
    named: Sequence[str], plan: WidthPlan, optim: OptimConfig, *, seed: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The operators that can follow a plan, and those that cannot. Raises `UserError` where none can."""
    streams, why = Streams(root_key(seed, "study")), {}
    for operator in named:
        made = parse_operator(operator)
        try:
            made.follow(plan, optim, streams=streams)
        except UserError as error:
            why[operator] = str(error)
    able = tuple(operator for operator in named if operator not in why)
    if not able:
        raise UserError(
            f"no operator can follow the plan ({next(reversed(why.values()), '')})",
            "name other operators, or other widths",
        )
    return able, tuple(why)


TRAINING = 1 / 8
"""The part of a budget that candidates which nobody named may be trained for before their step 0: the race is to have
the rest."""


def affordable(names: Sequence[str], rungs: Sequence[int], budget: int) -> tuple[tuple[str, ...], tuple[str, ...], int]:
    """The candidates that a budget takes to the first rung, those that train before their step 0 within `TRAINING` of
    it, where those are left out first that train longest; who was left out; and the steps for which the others train
    so. That may still be too many."""
    taken, trained = list(names), sorted(filter(steps_of, names), key=lambda name: (steps_of(name), name))
    while trained and (
        steps_in_all(taken) > budget * TRAINING or budget < least_budget(len(taken), rungs, steps_in_all(taken))
    ):
        taken.remove(trained.pop())
    return tuple(taken), tuple(name for name in names if name not in taken), steps_in_all(taken)


def planned(
    spec: Selection, *, horizon: int, first: int = FIRST, table: Record | None = None, named: bool = True
) -> Selection:
    """A selection with its rungs, and with what the published studies say of each; operators that cannot follow the
    plan are left out, by name. Where nobody `named` the operators, those are left out too that train before their step
    0 for longer than the budget takes (`affordable`).

    Raises:
        UserError: a horizon or first rung that evaluations do not fall on, no operator that can follow the plan, or a
            budget that does not take every candidate to the first rung, with the least that does; what operators train
            before step 0 counts.
    """
    if horizon % spec.eval_every or first % spec.eval_every or not 0 < first <= horizon:
        raise UserError(
            f"horizon {horizon} and first rung {first} do not fit evaluations every {spec.eval_every} steps",
            "choose multiples of --eval-every, the horizon no less than the first rung",
        )
    source = spec.train_config(spec.data.vocab_size).model
    plan = make_plan(source, spec.to.of(source))
    able, left_out = able_and_left_out(spec.operators, plan, spec.optim, seed=spec.study_seed)
    rungs, found = ladder(horizon, spec.eval_every, first), table or published()
    (regime,) = spec.regimes
    seen = tuple(number for lag in rungs for number in outlook(found, regime, lag, horizon))
    spec = spec.replace(operators=able, left_out=left_out, rungs=rungs, outlooks=seen, trust=tuple(found["roots"]))
    if not named:
        beyond = affordable(spec.candidates, rungs, spec.budget)[1]
        spec = spec.replace(operators=tuple(n for n in able if n not in beyond), left_out_by_budget=beyond)
    spec = spec.replace(making=steps_in_all(spec.candidates))
    require_budget(spec.budget, len(spec.candidates), rungs, spec.making)
    return spec


def run_selection(
    spec: Selection,
    run: RunDir,
    *,
    workers: int = 1,
    force: bool = False,
    watch: Watch | None = None,
    corpus: str | None = None,
    keep: Path | None = None,
    executor: Callable[[Filling], Executor] | None = None,
    sources: Sequence[Path] = (),
    tokenizer: Path | None = None,
    others: Sequence[Path] = (),
) -> SelectionSummary:
    """Fills the run directory with the race's cells and writes the chosen state into its folder `chosen`; full cells
    are taken as they are, so a selection that was interrupted goes on. Options are those of
    `growjax.study.runner.run_study`. The race takes `spec.budget` training steps of the target at most; what a killed
    process had begun and not kept is run again beyond that.
    """
    runtime.start()
    run_study(spec, run, workers=workers, force=force, watch=watch, corpus=corpus, keep=keep, executor=executor,
              sources=sources, tokenizer=tokenizer, phases=race_phases, others=others)  # fmt: skip
    receipt = finished_receipt(run.path)
    summary = summarise_selection(receipt)
    write_chosen(run, receipt, summary)
    return summary
