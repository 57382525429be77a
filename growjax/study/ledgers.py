"""The ledger of each kind of cell, from its recipe and the keys that the run holds."""

from __future__ import annotations

from growjax.audit.draws import Ledger
from growjax.audit.ledger import growth_ledger, init_ledger, training_ledger, training_sites
from growjax.config import ModelConfig
from growjax.record.cells import Recipe
from growjax.streams import Streams, root_key
from growjax.study.context import Context
from growjax.study.spec import UNWIDENED
from growjax.train.loop import Luck


def _training(ctx: Context, model: ModelConfig, live: Luck, recipe: Recipe, first: int, last: int) -> Ledger:
    source = recipe.kind == "source"
    parameters, data = recipe.parameters, ctx.spec.data
    exchanged = parameters.get("exchanged", {})
    return training_ledger(
        live,
        training_sites(model, data.batch_size, data.seq_len, ctx.feed.train.shape[0], shards=ctx.spec.shards),
        purpose="source" if source else "study",
        seed=parameters["seed"] if source else parameters["study_seed"],
        replicates={} if source else {name: exchanged.get(name, parameters["replicate"]) for name in Luck._fields},
        first=first,
        last=last,
    )


def source_ledger(ctx: Context, recipe: Recipe, live: Luck, *, after: int | None) -> Ledger:
    """Of a source's cell that goes on from step `after`; None draws the first state as well."""
    seed = recipe.parameters["seed"]
    fresh = init_ledger(ctx.config.model, Streams(root_key(seed)), purpose="source", seed=seed) if after is None else {}
    return {**fresh, **_training(ctx, ctx.config.model, live, recipe, after or 0, recipe.parameters["step"] - 1)}


def candidate_ledger(ctx: Context, recipe: Recipe, streams: Streams) -> Ledger:
    """Of a candidate's cell."""
    parameters = recipe.parameters
    exchanged = parameters.get("exchanged", {})
    return growth_ledger(parameters["operator"], ctx.plan, streams, seed=parameters["study_seed"], exchanged=exchanged)


def continued_ledger(ctx: Context, recipe: Recipe, live: Luck, *, first: int) -> Ledger:
    """Of a probe's or a continuation's cell that begins with step `first`."""
    model = ctx.config.model if recipe.label["operator"] == UNWIDENED else ctx.plan.target
    return _training(ctx, model, live, recipe, first, recipe.parameters["lag"] - 1)
