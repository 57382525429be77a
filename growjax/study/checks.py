"""Whether a study can be run here, and whether what it counts as samples are samples: asked before its first step."""

from __future__ import annotations

import itertools

from growjax.config import ModelConfig
from growjax.errors import UserError
from growjax.limits import require_room, require_room_for_stories
from growjax.model.layers import dropped_of
from growjax.study.selection import Selection
from growjax.study.spec import REGIMES, StudySpec


def require_room_for_study(spec: StudySpec) -> None:
    """Raises `UserError` where a study cannot fit into this machine's memory (see `growjax.limits`)."""
    require_room_for_stories(spec.data)
    source, tokens = spec.train_config(spec.data.vocab_size), spec.data.batch_size // spec.shards * spec.data.seq_len
    strides = [b - a for a, b in itertools.pairwise((0, *spec.source_steps))]
    require_room(source, tokens=tokens, steps=max(strides))
    if spec.all_regimes or spec.crossed:
        target = source.replace(model=spec.to.of(source.model))
        require_room(target, tokens=tokens, steps=spec.longest_lag)


def require_vocabulary(size: int, model: ModelConfig) -> None:
    """Raises `UserError` where a tokenizer has ids that a model has no row for; more rows (a padded table) are fine."""
    if size > model.vocab_size:
        raise UserError(
            f"the tokenizer has {size} ids, and the model's vocabulary is {model.vocab_size}",
            "give the model's own tokenizer, or add tokens with widen --to.vocab-size",
        )


def require_samples(spec: StudySpec, n_windows: int) -> None:
    """Raises `UserError` where replicates, or levels of crossed streams, would repeat each other bit for bit on a
    corpus of so many training windows, and so be no samples."""
    one_window, no_dropout = f"there is {n_windows} training window", f"model.dropout is {spec.model.dropout:g}"
    drops = dropped_of(spec.model.dropout) > 0
    without = {name: why for name, why, lacks in (
        ("order", one_window, n_windows < 2), ("dropout", no_dropout, not drops)) if lacks}  # fmt: skip
    held = {name: f"--stream holds {name}" for name in spec.exchanged()}
    for regime in spec.all_regimes:
        live, count = REGIMES[regime], max([spec.replicates(regime), *spec.entrants(regime).values()])
        reasons = [why for name in live if (why := {**without, **held}.get(name))]
        # where no stream distinguishes replicates, their fixed order does, if it is in use
        orders = 1 if "order" in live else n_windows
        if len(reasons) == len(live) and count > orders:
            reason = "; ".join([*reasons, *([] if "order" in live else [f"there are {n_windows} fixed orders"])])
            option = "" if isinstance(spec, Selection) else "stochastic-" if live else "deterministic-"
            raise UserError(
                f"{count} replicates of regime {regime} repeat each other bit for bit ({reason})",
                f"give --{option}replicates {orders} at most, or change what they draw from",
            )
    for name, why in without.items():
        if (levels := getattr(spec.crossed, name)) > 1:
            raise UserError(
                f"{levels} crossed levels of {name} repeat each other bit for bit ({why})",
                f"give --crossed.{name} 1, or change what they draw from",
            )
