"""States that no cell stores: where a cell that trains starts, and where it stood after some step."""

from __future__ import annotations

from growjax.record.cells import Recipe
from growjax.record.store import load_state
from growjax.streams import Streams, root_key
from growjax.study.account import Account
from growjax.study.context import Context
from growjax.train.loop import copy_state
from growjax.train.state import TrainState, init_state


def origin_state(ctx: Context, run: Account) -> TrainState:
    """The state at step `begun` of an account: the stored one that it names, or a source's first draw."""
    if run.origin is not None:
        return load_state(ctx.run.cells / run.origin)
    return init_state(ctx.config, key=Streams(root_key(run.seed, run.purpose)).at("init", 0))


def state_at(ctx: Context, recipe: Recipe, step: int) -> TrainState:
    """The state of a cell that trains after `step` steps, as its account counts them, computed again."""
    run = ctx.account(recipe)
    state, steps = origin_state(ctx, run), step - run.begun
    if steps == 0:
        return state
    return ctx.train(copy_state(state), ctx.keys(run), start=run.begun, steps=steps, every=steps).state
