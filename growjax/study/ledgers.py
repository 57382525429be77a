"""The ledger of each kind of cell: which streams are live in it, and what it draws from them. Derived from the recipe,
not sampled.

The one thing that is taken from the run is each stream's key, as the run held it: a key that hangs from another root
than the recipe names shows there.
"""

from __future__ import annotations

import jax
import numpy as np

from growjax.config import ModelConfig
from growjax.draws import Ledger, Sites, entry, integers, key_hex, mask
from growjax.grow.plan import WidthPlan, vocabulary_grown
from growjax.grow.registry import parse_operator
from growjax.model.decoder import init_sites
from growjax.record.cells import Recipe
from growjax.schema import Record
from growjax.streams import Streams, root_key
from growjax.study.account import Account
from growjax.study.context import Context
from growjax.train.loop import RunKeys

LAYERED = ("attn", "mlp")
"""Sites of dropout that every layer has; the layer's number is the last of their paths."""


def _hex(key: jax.Array) -> str:
    return key_hex(np.asarray(jax.random.key_data(key)).tolist())


def _grouped(sites: Sites) -> list[Record]:
    """Sites that draw alike, together."""
    found: list[Record] = []
    for path, draw in sites:
        if found and found[-1]["draw"] == draw:
            found[-1]["at"].append(path)
        else:
            found.append({"at": [path], "draw": draw})
    return found


def training_sites(
    model: ModelConfig, batch_size: int, seq_len: int, windows: int, *, shards: int = 1
) -> dict[str, Sites]:
    """What one training step draws from each stream that may be live in it; each virtual shard has masks of its own.

    Stated anew, not asked of what draws (`Decoder.drop` in growjax/model/decoder.py, `window_ids` in
    growjax/data/batches.py): an audit compares the two.
    """
    masks = mask((batch_size // shards, seq_len, model.d_model), model.dropout)
    sites: list[list[str | int]] = [["embed", 0]]
    sites += [[site, layer] for site in LAYERED for layer in range(model.n_layers)]
    parts: list[list[str | int]] = [["shard", n] for n in range(shards)] if shards > 1 else [[]]
    places = [[*part, *site] for part in parts for site in sites]
    return {
        "order": [([], integers(batch_size, windows))],
        "dropout": [(place, masks) for place in places] if model.dropout else [],
    }


def training_ledger(
    run_keys: RunKeys, sites: dict[str, Sites], *, purpose: str, seed: int, replicates: dict[str, int | None], first:
    int,
    last: int,
) -> Ledger:  # fmt: skip
    """The ledger of steps `first` to `last` under the keys of `run_keys`.

    `replicates`: for each stream the replicate it hangs from, None for a source's own.
    """
    ledger: Ledger = {}
    for stream in ("order", "dropout"):
        key = getattr(run_keys, stream)
        if key is not None:
            replicate = replicates.get(stream)
            path = [stream] if replicate is None else ["replicate", replicate, stream]
            ledger[stream] = entry(purpose, seed, path, _hex(key), (first, last), _grouped(sites[stream]))
    return ledger


def init_ledger(config: ModelConfig, streams: Streams, *, purpose: str, seed: int) -> Ledger:
    """The ledger of a fresh state."""
    sites = _grouped(init_sites(config))
    return {"init": entry(purpose, seed, ["init"], _hex(streams.stream("init")), (0, 0), sites)}


def growth_ledger(
    operator: str, plan: WidthPlan, streams: Streams, *, seed: int, exchanged: dict[str, int] | None = None
) -> Ledger:
    """The ledger of a candidate. Parts have streams of their own, named `noise in part 0` and the like."""
    ledger: Ledger = {}
    for part, drawn in parse_operator(operator).draws(vocabulary_grown(plan)):
        hung, path = (streams, []) if part is None else (streams.part(part), ["part", part])
        if exchanged and drawn.stream in exchanged:
            replicate = exchanged[drawn.stream]
            hung, path = hung.replicate(replicate), [*path, "replicate", replicate]
        name = drawn.stream if part is None else f"{drawn.stream} of part {part}"
        sites, key = _grouped(drawn.sites), _hex(hung.stream(drawn.stream))
        ledger[name] = entry("study", seed, [*path, drawn.stream], key, (0, 0), sites)
    return ledger


def trained_ledger(ctx: Context, run: Account, live: RunKeys) -> Ledger:
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
