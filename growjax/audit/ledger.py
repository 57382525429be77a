"""A cell's ledger: which streams are live in it, and what it draws from them. Derived from the recipe, not sampled.

The one thing that is taken from the run is each stream's key, as the run held it: a key that hangs from another root
than the recipe names shows there.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from growjax.audit import draws
from growjax.audit.draws import Ledger
from growjax.audit.growth import Sites, growth_draws, init_sites
from growjax.config import ModelConfig
from growjax.grow.plan import AxisMap, WidthPlan
from growjax.streams import Streams
from growjax.train.loop import Luck

LAYERED = ("attn", "mlp")
"""Sites of dropout that every layer has; the layer's number is the last of their paths."""


def _hex(key: jax.Array) -> str:
    return draws.key_hex(np.asarray(jax.random.key_data(key)).tolist())


def _grouped(sites: Sites) -> list[dict[str, Any]]:
    """Sites that draw alike, together."""
    found: list[dict[str, Any]] = []
    for path, draw in sites:
        if found and found[-1]["draw"] == draw:
            found[-1]["at"].append(path)
        else:
            found.append({"at": [path], "draw": draw})
    return found


def training_sites(
    model: ModelConfig, batch_size: int, seq_len: int, windows: int, *, shards: int = 1
) -> dict[str, Sites]:
    """What one training step draws from each stream that may be live in it; each virtual shard has masks of its own."""
    mask = draws.mask((batch_size // shards, seq_len, model.d_model), model.dropout)
    sites: list[list[str | int]] = [["embed", 0]]
    sites += [[site, layer] for site in LAYERED for layer in range(model.n_layers)]
    parts: list[list[str | int]] = [["shard", n] for n in range(shards)] if shards > 1 else [[]]
    places = [[*part, *site] for part in parts for site in sites]
    return {
        "order": [([], draws.integers(batch_size, windows))],
        "dropout": [(place, mask) for place in places] if model.dropout else [],
    }


def training_ledger(
    luck: Luck, sites: dict[str, Sites], *, purpose: str, seed: int, replicates: dict[str, int | None], first: int,
    last: int,
) -> Ledger:  # fmt: skip
    """The ledger of steps `first` to `last` under the keys of `luck`.

    `replicates`: for each stream the replicate it hangs from, None for a source's own.
    """
    ledger: Ledger = {}
    for stream in ("order", "dropout"):
        key = getattr(luck, stream)
        if key is not None:
            replicate = replicates.get(stream)
            path = [stream] if replicate is None else ["replicate", replicate, stream]
            ledger[stream] = draws.entry(purpose, seed, path, _hex(key), (first, last), _grouped(sites[stream]))
    return ledger


def init_ledger(config: ModelConfig, streams: Streams, *, purpose: str, seed: int) -> Ledger:
    """The ledger of a fresh state."""
    sites = _grouped(init_sites(config))
    return {"init": draws.entry(purpose, seed, ["init"], _hex(streams.stream("init")), (0, 0), sites)}


def growth_ledger(
    operator: str, plan: WidthPlan, streams: Streams, *, seed: int, exchanged: dict[str, int] | None = None
) -> Ledger:
    """The ledger of a candidate. Parts have streams of their own, named `noise in part 0` and the like."""
    ledger: Ledger = {}
    for part, drawn in growth_draws(operator, _vocabulary_grown(plan)):
        hung, path = (streams, []) if part is None else (streams.part(part), ["part", part])
        if exchanged and drawn.stream in exchanged:
            replicate = exchanged[drawn.stream]
            hung, path = hung.replicate(replicate), [*path, "replicate", replicate]
        name = drawn.stream if part is None else f"{drawn.stream} of part {part}"
        sites, key = _grouped(drawn.sites), _hex(hung.stream(drawn.stream))
        ledger[name] = draws.entry("study", seed, [*path, drawn.stream], key, (0, 0), sites)
    return ledger


def _vocabulary_grown(plan: WidthPlan) -> WidthPlan:
    """The plan that is left once new tokens are added, which is done before anything is drawn."""
    vocab = plan.maps["vocab"]
    if not vocab.grown:
        return plan
    same = AxisMap("vocab", vocab.new, np.arange(vocab.new))
    return WidthPlan(plan.source.replace(vocab_size=vocab.new), plan.target, {**plan.maps, "vocab": same})
