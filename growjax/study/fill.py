"""How each kind of cell is filled. Every function here is pure but for what it stores in the run directory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from growjax.digests import digest, digest_by_leaf
from growjax.draws import Ledger
from growjax.errors import CheckFailed
from growjax.grow.operator import GrowthData
from growjax.grow.plan import WidthPlan
from growjax.grow.registry import described_operators, parse_operator
from growjax.grow.widen import followed_plan, widen
from growjax.measure.escape import clones_identical
from growjax.measure.inputs import NO_CURVE, Curve, MeasureInputs
from growjax.measure.registry import take
from growjax.model.decoder import Params, count_params
from growjax.record.cells import Cell, Recipe
from growjax.record.integrity import state_of
from growjax.record.store import as_tree, save_state, state_digest
from growjax.schema import Record
from growjax.streams import Streams, root_key
from growjax.study.context import Context
from growjax.study.ledgers import candidate_ledger, trained_ledger
from growjax.study.recipes import Extension, Trajectory
from growjax.study.replay import train_in_parts
from growjax.study.spec import UNWIDENED
from growjax.study.traces import divergence, trace_digests, trace_lines
from growjax.train.loop import Run, RunKeys, Trace, copy_state
from growjax.train.state import TrainState


def fill_source(ctx: Context, recipe: Recipe, parent: Record) -> Record:
    """A source state, going on from the one before (or from its first draw)."""
    inputs = {"tokens": ctx.tokens.digest, "parent": parent["digests"]["state" if parent["source"] else "tokens"]}
    found = ctx.run.find(recipe, inputs)
    if found is not None:
        return found
    run = ctx.account(recipe)
    live, kept = ctx.keys(run), ctx.run.partial(recipe.id, inputs)
    state, trace, program, module = train_in_parts(ctx, run, live, kept)
    lines = trace_lines(trace, state, run.first, run.every)
    metrics = {
        "eval_steps": [run.first + j * run.every for j in range(len(trace.eval_loss))],
        "eval_loss": [float(x) for x in trace.eval_loss],
        "final_loss": float(trace.eval_loss[-1]),
    }
    ledger, of_trace = trained_ledger(ctx, run, live), trace_digests(lines, trace, program)
    record = _store(ctx, recipe, inputs, state, metrics, ledger, lines, of_trace, module)
    kept.drop()
    return record


def _store(
    ctx: Context,
    recipe: Recipe,
    inputs: dict[str, str],
    state: TrainState,
    metrics: Record,
    ledger: Ledger,
    lines: Sequence[Record] = (),
    of_trace: Record | None = None,
    module: str | None = None,
) -> Record:
    tree = as_tree(state)
    own = {"state": digest(tree), "leaves": digest_by_leaf(tree), "config": state.config.digest()}
    digests = {**own, **(of_trace or {}), "ledger": ledger}
    cell = Cell(recipe, inputs, digests, metrics, module)
    beside = ctx.run.cells / recipe.parents[0] if recipe.kind == "source" else None
    return ctx.run.write(cell, lines, fill=lambda folder: save_state(folder, state, beside=beside))


def stored_state(ctx: Context, cell_id: str) -> TrainState:
    """The state that a source's or a candidate's cell holds."""
    return ctx.states.get(("state", cell_id), lambda: state_of(ctx.run.cells, cell_id))


def fill_candidate(ctx: Context, recipe: Recipe, source: Record) -> Record:
    """Widens a source and measures how much of its function is kept at step 0."""
    operator = recipe.parameters["operator"]
    inputs = {"tokens": ctx.tokens.digest, "parent": source["digests"]["state"]}
    own = described_operators([operator])  # none of growjax's
    inputs |= {"operator": own[0]["code"]} if own else {}
    found = ctx.run.find(recipe, inputs)
    if found is not None:
        return found
    before = stored_state(ctx, recipe.parents[0])
    data = GrowthData(ctx.feed.train, ctx.spec.data.batch_size)
    key, exchanged = root_key(ctx.spec.study_seed, "study"), recipe.parameters.get("exchanged", {})
    state = widen(before, ctx.plan, operator=operator, key=key, data=data, exchanged=exchanged)
    params = before.params  # those of the source, and after no step those of the source continued
    given = _measured(ctx, recipe, state, state.params, source=lambda: params, continued=lambda: params)
    metrics: Record = take("zero_step", given)
    metrics |= {
        "clones_identical": clones_identical(state.params, followed(ctx, recipe)),
        "parameters": count_params(ctx.plan.target),
    }
    return _store(ctx, recipe, inputs, state, metrics, candidate_ledger(ctx, recipe, Streams(key)))


def followed(ctx: Context, candidate: Recipe) -> WidthPlan:
    """The plan by which a candidate was made; the study's own for the source that goes on unwidened."""
    given = candidate.parameters
    if "operator" not in given:
        return ctx.plan
    key, exchanged = root_key(given["study_seed"], "study"), given.get("exchanged", {})
    return followed_plan(ctx.plan, ctx.config.optim, operator=given["operator"], key=key, exchanged=exchanged)


def _measured(
    ctx: Context,
    candidate: Recipe,
    state: TrainState,
    first: Params,
    *,
    source: Callable[[], Params],
    continued: Callable[[], Params | None],
    curve: Curve = NO_CURVE,
) -> MeasureInputs:
    """A candidate as measures see it; `first` are its parameters before its first step."""
    operator = candidate.parameters.get("operator")
    related = operator is not None and not parse_operator(operator).operator.control
    configs, windows = (ctx.config.model, state.config.model), ctx.feed.evaluation
    return MeasureInputs(
        *configs, followed(ctx, candidate), state.params, first, windows, related, source, continued, curve
    )


def _control_params(ctx: Context, trajectory: Trajectory, source_id: str) -> Params:
    """The source's parameters after it went on, unwidened, for as long as a probe lasts, in the same randomness."""

    def make() -> Params:
        state, run = copy_state(stored_state(ctx, source_id)), ctx.account(trajectory.probe)
        return ctx.train(state, ctx.keys(run), start=0, steps=run.last, every=run.every).state.params

    return ctx.states.get(("control", source_id, trajectory.regime, trajectory.replicate), make)


def fill_trajectory(
    ctx: Context, trajectory: Trajectory, candidate: Record, source_id: str, control: Record | None
) -> list[Record]:
    """Probe and continuation of a candidate in one regime and replicate (the probe alone where it is all there is).

    The probe's state is not stored: a continuation that was interrupted runs the probe again, which gives the same
    bits, and that is checked.
    """
    inputs = {"tokens": ctx.tokens.digest, "parent": candidate["digests"]["state"]}
    if control is not None:
        inputs["control"] = control["digests"]["state"]
    probe = ctx.run.find(trajectory.probe, inputs)
    if probe is not None:
        if trajectory.continuation is None:
            return [probe]
        goes_on = ctx.run.find(trajectory.continuation, goes_on_from(ctx, probe))
        if goes_on is not None:
            return [probe, goes_on]
    start, run = stored_state(ctx, trajectory.candidate.id), ctx.account(trajectory.probe)
    live = ctx.keys(run)
    state, trace, program, module = ctx.train(copy_state(start), live, start=0, steps=run.last, every=run.every)
    if probe is None:
        metrics = _probe_metrics(ctx, trajectory, start.params, state, trace, source_id)
        lines = trace_lines(trace, state, 0, run.every)
        ledger = trained_ledger(ctx, run, live)
        digests = {"state": state_digest(state), **trace_digests(lines, trace, program), "ledger": ledger}
        probe = ctx.run.write(Cell(trajectory.probe, inputs, digests, metrics, module), lines)
    elif state_digest(state) != probe["digests"]["state"]:
        raise CheckFailed(f"cell {trajectory.probe.id} does not come out as it was recorded: start anew with --force")
    if trajectory.continuation is None:
        return [probe]
    goes_on = ctx.run.find(trajectory.continuation, goes_on_from(ctx, probe))
    if goes_on is not None:  # the probe alone was missing
        return [probe, goes_on]
    cloned = candidate["metrics"].get("clones_identical", False)
    run = ctx.account(trajectory.continuation)
    done = ctx.train(state, live, start=run.first, steps=run.last - run.first, every=run.every)
    goes_on = gone_on(ctx, trajectory.continuation, trajectory.candidate, done, probe, live, start.params, source_id,
                      cloned=cloned, lag=ctx.spec.continuation_lag)  # fmt: skip
    return [probe, goes_on]


def goes_on_from(ctx: Context, before: Record) -> dict[str, str]:
    """The inputs of a cell that goes on where another ends."""
    return {"tokens": ctx.tokens.digest, "parent": before["digests"]["state"]}


def gone_on(
    ctx: Context,
    recipe: Recipe,
    candidate: Recipe,
    done: Run,
    before: Record,
    live: RunKeys,
    first: Params,
    source_id: str,
    *,
    cloned: bool,
    lag: int,
) -> Record:
    """Stores a cell that was trained on from where the cell `before` ends (a candidate, or a run of it), and measures
    the whole curve up to a lag."""
    run = ctx.account(recipe)
    state, trace, program, module = done
    earlier = before["metrics"] if run.first else {}
    steps = [*earlier.get("eval_steps", [0]), *range(run.first + run.every, run.last + 1, run.every)]
    losses = [float("nan") if x is None else x for x in earlier.get("eval_loss", [float(trace.eval_loss[0])])]
    losses += [float(x) for x in trace.eval_loss[1:]]
    shared = steps.index(lag) + 1
    given = _measured(
        ctx,
        candidate,
        state,
        first,
        source=lambda: stored_state(ctx, source_id).params,
        continued=lambda: None,
        curve=Curve(tuple(steps[:shared]), tuple(losses[:shared])),
    )
    diverged = {name: value for name, value in earlier.items() if name == "diverged"}
    metrics: Record = {"eval_steps": steps, "eval_loss": losses, **take("continuation", given)}
    metrics |= diverged or divergence(trace, run.first, run.every)
    if cloned:
        metrics["clones_identical"] = clones_identical(state.params, followed(ctx, candidate))
    lines = trace_lines(trace, state, run.first, run.every)
    ledger = trained_ledger(ctx, run, live)
    digests = {"state": state_digest(state), **trace_digests(lines, trace, program), "ledger": ledger}
    cell = Cell(recipe, goes_on_from(ctx, before), digests, metrics, module)
    return ctx.run.write(cell, lines)


def fill_extension(ctx: Context, extension: Extension, candidate: Record, continuation: Record) -> Record:
    """A continuation that goes on to the long lag. Its own end is not stored, so what lies before is run again, and
    checked to come out as it was recorded."""
    recipe = extension.recipe
    found = ctx.run.find(recipe, goes_on_from(ctx, continuation))
    if found is not None:
        return found
    run, start = ctx.account(recipe), stored_state(ctx, candidate["id"])
    live = ctx.keys(run)
    state = ctx.train(copy_state(start), live, start=0, steps=run.first, every=run.first).state
    if state_digest(state) != continuation["digests"]["state"]:
        raise CheckFailed(f"cell {continuation['id']} does not come out as it was recorded: start anew with --force")
    source_id, cloned = extension.candidate.parents[0], candidate["metrics"].get("clones_identical", False)
    done = ctx.train(state, live, start=run.first, steps=run.last - run.first, every=run.every)
    return gone_on(ctx, recipe, extension.candidate, done, continuation, live, start.params, source_id,
                   cloned=cloned, lag=run.last)  # fmt: skip


def _probe_metrics(
    ctx: Context, trajectory: Trajectory, first: Params, state: TrainState, trace: Trace, source_id: str
) -> Record:
    operator = trajectory.probe.label["operator"]
    source = stored_state(ctx, source_id).params
    if operator == UNWIDENED:
        key = ("control", source_id, trajectory.regime, trajectory.replicate)
        ctx.states.get(key, lambda: jax.tree.map(jnp.copy, state.params))
    steps = [j * ctx.spec.eval_every for j in range(len(trace.eval_loss))]
    losses = [float(x) for x in trace.eval_loss]
    given = _measured(
        ctx,
        trajectory.candidate,
        state,
        first,
        source=lambda: source,
        continued=lambda: _control_params(ctx, trajectory, source_id),
        curve=Curve(tuple(steps), tuple(losses)),
    )
    return {
        "eval_steps": steps,
        "eval_loss": losses,
        "train_loss_mean": float(np.mean(trace.loss.astype(np.float64))),
        **take("probe", given),
        **divergence(trace, 0, ctx.spec.eval_every),
    }
