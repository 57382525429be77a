"""Fills the rungs of a race. The state at the end of a rung is kept until the next rung is full, so that no step is
taken twice."""

from __future__ import annotations

from growjax.errors import CheckFailed
from growjax.record.partial import Partial
from growjax.record.store import state_digest
from growjax.schema import Record
from growjax.study.account import Account
from growjax.study.context import Context
from growjax.study.fill import goes_on_from, gone_on, stored_state
from growjax.study.recipes import Rung
from growjax.study.replay import joined
from growjax.train.loop import Run, RunKeys, copy_state
from growjax.train.state import TrainState

PART = 8
"""Evaluations after which a rung under way is kept, in case this process ends."""


def fill_rung(ctx: Context, rung: Rung, candidate: Record, before: Record | None) -> Record:
    """A candidate's run from one lag of a race to the next."""
    recipe, parent = rung.recipe, before or candidate
    inputs = goes_on_from(ctx, parent)
    found = ctx.run.find(recipe, inputs)
    if found is not None:
        return found
    run, kept = ctx.account(recipe), ctx.run.partial(recipe.id, inputs)
    live = ctx.keys(run)
    done = _trained(ctx, run, live, kept, candidate, before)
    first, cloned = stored_state(ctx, candidate["id"]).params, candidate["metrics"].get("clones_identical", False)
    record = gone_on(ctx, recipe, rung.candidate, done, parent, live, first, rung.candidate.parents[0],
                     cloned=cloned, lag=run.last)  # fmt: skip
    if before is not None:
        end_of(ctx, before).drop()
    return record


def end_of(ctx: Context, rung: Record) -> Partial:
    """Where the state at the end of a rung is kept."""
    return ctx.run.partial(rung["id"], rung["inputs"])


def _trained(ctx: Context, run: Account, live: RunKeys, kept: Partial, candidate: Record, before: Record | None) -> Run:
    """What an account runs, a part after the other; each part, the last included, is kept."""
    found = kept.load()
    step, done = found if found is not None else (run.first, None)
    while step < run.last:
        state = _start(ctx, run, live, candidate, before) if done is None else done.state
        steps = min(PART * run.every, run.last - step)
        part = ctx.train(state, live, start=step, steps=steps, every=run.every)
        done, step = part if done is None else joined(done, part), step + steps
        kept.save(step, done)
    assert done is not None
    return done


def _start(ctx: Context, run: Account, live: RunKeys, candidate: Record, before: Record | None) -> TrainState:
    """The state that a rung begins with. One that is no longer kept is computed again from the candidate, and checked
    to come out as it was recorded."""
    if before is not None:
        found = end_of(ctx, before).load()
        if found is not None and state_digest(found[1].state) == before["digests"]["state"]:
            return found[1].state
    state = copy_state(stored_state(ctx, candidate["id"]))
    if before is None:
        return state
    state = ctx.train(state, live, start=0, steps=run.first, every=run.first).state
    if state_digest(state) != before["digests"]["state"]:
        raise CheckFailed(f"cell {before['id']} does not come out as it was recorded: start anew with --force")
    return state
