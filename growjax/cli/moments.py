"""`--moments`: where a state's moments come from."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING

from growjax.errors import UserError

if TYPE_CHECKING:
    from growjax.checkpoints import Extras
    from growjax.train.state import TrainState


def check_moments(moments: str) -> str:
    """What a checkpoint is read with: `auto` or `none`. Raises `UserError` where the option is none of its forms."""
    if moments == "auto":
        return "auto"
    if moments.startswith("warm") and not re.fullmatch(r"warm:[1-9]\d{0,6}", moments):
        raise UserError(f"--moments {moments} names no number of passes", "write it like warm:16")
    if moments != "none" and not moments.startswith("warm:") and not Path(moments).exists():
        raise UserError(f"{moments} is not there", "give --moments auto, none, warm:N, or a file or folder of moments")
    return "none"


def whole_state(source: Path, moments: str) -> bool:
    """Whether there is more to a checkpoint's folder than its weights, and it is not to be left behind: moments, or
    factors of an earlier growth."""
    from growjax.checkpoints.trainer import RUN

    return moments != "none" and (moments != "auto" or any((source / name).exists() for name in RUN))


def read_with_moments(source: Path, moments: str, tokens: Path | None) -> tuple[Path, TrainState, Extras | None]:
    """What `growjax.cli.widen.read_source` finds, with the moments that `--moments` asks for."""
    from growjax.cli.widen import read_source

    folder, state, extras = read_source(source, check_moments(moments))
    if moments == "auto":
        return folder, state, extras
    return folder, *with_moments(folder, state, extras, moments, tokens)


def with_moments(
    source: Path, state: TrainState, extras: Extras | None, moments: str, tokens: Path | None
) -> tuple[TrainState, Extras]:
    """A state with the moments that `--moments` asks for (not `auto`), and what is then known of it. `source` is the
    folder that it was read from, and `tokens` that of tokens for warm moments."""
    from growjax.checkpoints import Extras, add_moments, said_of
    from growjax.grow.moments import fresh_moments

    extras = dataclasses.replace(extras or Extras(source.resolve().name, {}, "float32", {}), trainer={})
    if moments == "none":
        return state.replace(opt_state=fresh_moments(state.opt_state)), extras
    if moments.startswith("warm:"):
        state, digest = _warmed(source, state, int(moments.removeprefix("warm:")), tokens)
        record = {"moments": {"from": "warm", "passes": int(moments.removeprefix("warm:")), "tokens": digest}}
        return state, dataclasses.replace(extras, trainer=record, notes=(*extras.notes, *said_of(record)))
    if (Path(moments) / "state.json").exists():
        return _of_state(state, extras, Path(moments))
    return add_moments(state, extras, moments)


def _warmed(source: Path, state: TrainState, passes: int, given: Path | None) -> tuple[TrainState, str]:
    """Moments of as many passes over training windows in the fixed order, and the digest of the tokens."""
    import jax.numpy as jnp
    import numpy as np

    from growjax.config import DataConfig
    from growjax.data.batches import as_windows, window_ids
    from growjax.record.tokens_of import tokens_for
    from growjax.train.warm import warmed_state

    tokens = tokens_for(source, given, state.config.model.vocab_size)
    data = DataConfig.from_dict(tokens.info["config"])
    windows = as_windows(tokens.train, min(state.config.model.max_seq_len, data.seq_len))
    ids = np.stack([np.asarray(window_ids(n, data.batch_size, len(windows))) for n in range(passes)])
    return warmed_state(state, jnp.asarray(windows[ids])), tokens.digest


def _of_state(state: TrainState, extras: Extras, folder: Path) -> tuple[TrainState, Extras]:
    """With the moments, factors, counters and optimizer of a growjax state of the same shapes."""
    from growjax.checkpoints import said_of
    from growjax.record.store import load_state
    from growjax.train.check import check_state

    other = load_state(folder)
    state = state.replace(
        opt_state=other.opt_state,
        step=other.step,
        law=other.law,
        config=state.config.replace(optim=other.config.optim),
    )
    check_state(state)
    record = {"moments": {"from": folder.name, "step": int(other.step)}}
    return state, dataclasses.replace(extras, trainer=record, notes=(*extras.notes, *said_of(record)))
