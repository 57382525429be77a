"""The ledger of each kind of cell, from its recipe and the keys that the run holds."""

from __future__ import annotations

from growjax.audit.draws import Ledger
from growjax.audit.ledger import growth_ledger, init_ledger, training_ledger, training_sites
from growjax.record.cells import Recipe
from growjax.streams import Streams, root_key
from growjax.study.account import Account
from growjax.study.context import Context
from growjax.train.loop import Luck


def trained_ledger(ctx: Context, run: Account, live: Luck) -> Ledger:
    """Of a cell that trains, by its account, under the keys that the run held; with the first state's draws where the
    cell makes them."""
    model, data = ctx.plan.target if run.wide else ctx.config.model, ctx.spec.data
    streams = Streams(root_key(run.seed, run.purpose))
    fresh = init_ledger(model, streams, purpose=run.purpose, seed=run.seed) if run.origin is None else {}
    trained = training_ledger(
        live,
        training_sites(model, data.batch_size, data.seq_len, ctx.feed.train.shape[0], shards=ctx.spec.shards),
        purpose=run.purpose,
        seed=run.seed,
        replicates=run.replicates(),
        first=run.first,
        last=run.last - 1,
    )
    return {**fresh, **trained}


def candidate_ledger(ctx: Context, recipe: Recipe, streams: Streams) -> Ledger:
    """Of a candidate's cell."""
    parameters = recipe.parameters
    exchanged = parameters.get("exchanged", {})
    return growth_ledger(parameters["operator"], ctx.plan, streams, seed=parameters["study_seed"], exchanged=exchanged)
