"""A study's cells as units of a graph, and the one function that fills any of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from growjax import runtime
from growjax.cells.executor import Fill
from growjax.cells.graph import Unit
from growjax.data.tokens import open_tokens
from growjax.measure import registry
from growjax.measure.measure import Measure
from growjax.model.decoder import flops_per_token
from growjax.record.cells import Recipe
from growjax.record.rundir import RunDir
from growjax.schema import Record
from growjax.streams import Streams, root_key
from growjax.study.context import Context, make_context
from growjax.study.crossing import fill_crossed
from growjax.study.fill import fill_candidate, fill_extension, fill_source, fill_trajectory
from growjax.study.making import steps_of
from growjax.study.recipes import Crossed, Extension, Rung, StudyCells, Trajectory
from growjax.study.rungs import fill_rung
from growjax.study.selection import read_spec
from growjax.study.spec import REGIMES, UNWIDENED
from growjax.train.loop import compile_run
from growjax.train.state import init_state

WIDENING = 4.0
"""What widening and its measures cost, in training steps of the target."""


class Program(NamedTuple):
    """A regime's program for states of a candidate's shape: compiled before the first candidate is there."""

    regime: str


class Filling(NamedTuple):
    """How a worker begins, and how it fills a unit: what an executor is made of."""

    begin: Callable[..., Context]
    """Makes, once in each worker, what units are filled from, of `arguments`."""
    arguments: tuple[object, ...]
    fill: Fill
    """Of that, a unit's argument, and the records of the cells it needs: the records of its cells."""
    context: Context
    """This process's own, for what is done here for workers elsewhere (`growjax.study.remote`)."""


def study_units(ctx: Context, cells: StudyCells, *, ahead: bool) -> list[Unit]:
    """One unit for each source, candidate and crossed cell, one for a probe with its continuation. The unwidened
    control's probe has its own, since other probes are measured against it. Costs are training steps of the target;
    `ahead` adds the programs that a worker with nothing else to do compiles."""
    config, length = ctx.config.model, ctx.spec.data.seq_len
    narrow = flops_per_token(config, length) / flops_per_token(ctx.plan.target, length)
    units = [_source(ctx, recipe, narrow) for chain in cells.sources.values() for recipe in chain]
    units += [
        Unit(
            f"widen {recipe.id}",
            "widened",
            (recipe.id,),
            recipe.parents,
            WIDENING + steps_of(recipe.label["operator"]),
            recipe,
        )
        for recipe in cells.candidates
    ]
    for trajectory in cells.trajectories:
        units += _trajectory(trajectory, narrow)
    for one in cells.crossed:
        lag = one.recipe.parameters["lag"]
        units.append(Unit(f"cross {one.recipe.id}", "crossed", (one.recipe.id,), (one.candidate.id,), lag, one))
    units += extension_units(cells.extensions)
    if ahead and cells.candidates:
        units += [
            Unit(f"compile {regime}", "compiled", (), (), 0.0, Program(regime), optional=True)
            for regime in ctx.spec.all_regimes
        ]
    return units


def extension_units(extensions: Iterable[Extension | Rung]) -> list[Unit]:
    """One unit for each. One to the long lag runs again what lies before its own first step."""
    units = []
    for e in extensions:
        if isinstance(e, Rung):
            needs = (e.candidate.id, *([e.before.id] if e.before else []))
            steps = e.recipe.parameters["lag"] - (e.before.parameters["lag"] if e.before else 0)
            units.append(Unit(f"race {e.recipe.id}", "raced", (e.recipe.id,), needs, steps, e))
        else:
            needs = (e.candidate.id, e.continuation.id)
            units.append(
                Unit(f"extend {e.recipe.id}", "extended", (e.recipe.id,), needs, e.recipe.parameters["lag"], e)
            )
    return units


def _source(ctx: Context, recipe: Recipe, narrow: float) -> Unit:
    run = ctx.account(recipe)
    return Unit(f"train {recipe.id}", "trained", (recipe.id,), recipe.parents, (run.last - run.first) * narrow, recipe)


def _trajectory(trajectory: Trajectory, narrow: float) -> list[Unit]:
    probe, goes_on = trajectory.probe, trajectory.continuation
    control = probe.label["operator"] == UNWIDENED
    weight, lag = narrow if control else 1.0, probe.parameters["lag"]
    alone = Unit(f"probe {probe.id}", "probed", (probe.id,), probe.parents, lag * weight, trajectory.probe_alone())
    if goes_on is None:
        return [alone]
    name, last = f"continue {goes_on.id}", goes_on.parameters["lag"] * weight
    if control:
        return [alone, Unit(name, "probed", (goes_on.id,), (*probe.parents, probe.id), last, trajectory)]
    return [Unit(name, "probed", (probe.id, goes_on.id), probe.parents, last, trajectory)]


def fill_unit(ctx: Context, argument: Any, given: Mapping[str, Record]) -> list[Record]:
    """Fills a unit's cells, of whatever kind. `given` holds the records of those that it needs."""
    if isinstance(argument, Program):
        _compile(ctx, argument.regime)
        return []
    if isinstance(argument, Crossed):
        return [fill_crossed(ctx, argument, given[argument.candidate.id])]
    if isinstance(argument, Extension):
        return [fill_extension(ctx, argument, given[argument.candidate.id], given[argument.continuation.id])]
    if isinstance(argument, Rung):
        before = argument.before and given[argument.before.id]
        return [fill_rung(ctx, argument, given[argument.candidate.id], before)]
    if isinstance(argument, Trajectory):
        return _fill_trajectory(ctx, argument, given)
    fill = {"source": fill_source, "candidate": fill_candidate}[argument.kind]
    return [fill(ctx, argument, given[argument.parents[0]])]


def _fill_trajectory(ctx: Context, trajectory: Trajectory, given: Mapping[str, Record]) -> list[Record]:
    probe, candidate = trajectory.probe, trajectory.candidate
    control = given[probe.parents[1]] if len(probe.parents) > 1 else None
    source = candidate.id if control is None else candidate.parents[0]
    filled = fill_trajectory(ctx, trajectory, given[candidate.id], source, control)
    return [record for record in filled if record["id"] not in given]


def _compile(ctx: Context, regime: str) -> None:
    shapes = jax.eval_shape(lambda: init_state(ctx.target, key=Streams(root_key(0)).at("init", 0)))
    live = ctx.keys_of(REGIMES[regime], 0, {})
    compile_run(shapes, ctx.feed, live, batch_size=ctx.spec.data.batch_size, programs=ctx.programs, **ctx.sizes)


def filling(ctx: Context) -> Filling:
    """What workers are given a study at work: its specification and run directory alone, so that what runs beside a
    cell cannot change it."""
    return Filling(begin_worker, (ctx.spec.to_dict(), str(ctx.run.path), registry.portable()), fill_unit, ctx)


def begin_worker(spec: Record, path: str, measures: list[Measure]) -> Context:
    """What a process of its own fills cells from."""
    runtime.start()
    registry.adopt(measures)
    run = RunDir(Path(path))
    return make_context(read_spec(spec), run, open_tokens(run.data))
