"""States that no cell stores: where a source or a trajectory stood after some step, computed again."""

from __future__ import annotations

from growjax.record.cells import Recipe
from growjax.record.store import load_state
from growjax.streams import Streams, root_key
from growjax.study.context import Context
from growjax.study.recipes import Crossed, Trajectory
from growjax.train.loop import Luck, copy_state, luck
from growjax.train.state import TrainState, init_state


def source_at(ctx: Context, recipe: Recipe, step: int) -> TrainState:
    """A source's state after `step` steps of training, from the stored state (or the first draw) it goes on from."""
    streams = Streams(root_key(recipe.parameters["seed"]))
    parent = ctx.run.cells / recipe.parents[0]
    if (parent / "state.json").exists():
        state = load_state(parent)
        begun = int(state.step)
    else:
        state, begun = init_state(ctx.config, key=streams.at("init", 0)), 0
    return _on(ctx, state, luck(streams, ("order", "dropout")), begun, step)


def trajectory_at(ctx: Context, trajectory: Trajectory, step: int) -> TrainState:
    """A candidate's state `step` steps into one regime and replicate, from the stored candidate."""
    state = load_state(ctx.run.cells / trajectory.candidate.id)
    return _on(ctx, state, ctx.continuation_luck(trajectory.regime, trajectory.replicate), 0, step)


def crossed_at(ctx: Context, crossed: Crossed, step: int) -> TrainState:
    """A candidate's state `step` steps into one level of each luck."""
    live = ctx.recorded_luck(crossed.recipe.parameters)
    return _on(ctx, load_state(ctx.run.cells / crossed.candidate.id), live, 0, step)


def _on(ctx: Context, state: TrainState, live: Luck, begun: int, step: int) -> TrainState:
    steps = step - begun
    return ctx.train(copy_state(state), live, start=begun, steps=steps, every=steps).state if steps else state
