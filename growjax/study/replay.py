"""States that no cell stores: where a cell that trains starts, and where it stood after some step."""

from __future__ import annotations

import numpy as np

from growjax.errors import CheckFailed, UserError
from growjax.record.cells import Recipe
from growjax.record.integrity import state_of
from growjax.record.partial import Partial
from growjax.streams import Streams, root_key
from growjax.study.account import Account
from growjax.study.context import Context
from growjax.study.traces import diverged_at
from growjax.train.loop import Run, RunKeys, Trace, copy_state
from growjax.train.state import TrainState, init_state


def origin_state(ctx: Context, run: Account) -> TrainState:
    """The state at step `begun` of an account: the stored one that it names, or a source's first draw."""
    if run.origin is not None:
        return state_of(ctx.run.cells, run.origin)
    return init_state(ctx.config, key=Streams(root_key(run.seed, run.purpose)).at("init", 0))


def state_at(ctx: Context, recipe: Recipe, step: int) -> TrainState:
    """The state of a cell that trains after `step` steps, as its account counts them, computed again."""
    run = ctx.account(recipe)
    state, steps = origin_state(ctx, run), step - run.begun
    if steps == 0:
        return state
    return ctx.train(copy_state(state), ctx.keys(run), start=run.begun, steps=steps, every=steps).state


def train_in_parts(ctx: Context, run: Account, live: RunKeys, kept: Partial) -> Run:
    """What an account runs from its origin, one evaluation after the other, each kept in case this process ends. It
    goes on from the last that is kept, and has the bits of a run in one go. Raises `UserError` with the step at which
    the loss was first no finite number."""
    found = kept.load()
    step, done = found if found is not None else (run.first, None)
    while step < run.last:
        state = origin_state(ctx, run) if done is None else done.state
        part = ctx.train(state, live, start=step, steps=run.every, every=run.every)
        done, step = part if done is None else joined(done, part), step + run.every
        diverged = diverged_at(done.trace, run.first, run.every)
        if diverged is not None:
            raise UserError(
                f"the source of seed {run.seed} diverged at step {diverged}: its loss is no finite number",
                "lower --optim.learning-rate, or give it more warm-up",
            )
        if step < run.last:
            kept.save(step, done)
    assert done is not None
    return done


def joined(before: Run, after: Run) -> Run:
    """Two runs, the second of which goes on where the first ends. Raises `CheckFailed` where it does not."""
    same = before.trace.state_digest[-1].tobytes() == after.trace.state_digest[0].tobytes()
    if before.program != after.program or not same:
        raise CheckFailed("a run does not go on as it was interrupted: start anew with --force")
    names = {"eval_loss": 1, "state_digest": 1}  # the evaluation where they meet stands in both
    parts = {
        name: np.concatenate([getattr(before.trace, name), getattr(after.trace, name)[names.get(name, 0) :]])
        for name in Trace._fields
    }
    return after._replace(trace=Trace(**parts))  # pyright: ignore[reportArgumentType]
