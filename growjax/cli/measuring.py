"""What a candidate is measured on where it is made, and with what an operator that trains is given."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from growjax.config import DataConfig, ModelConfig
from growjax.errors import UserError

if TYPE_CHECKING:
    import jax

    from growjax.data.tokens import TokenFile
    from growjax.grow.operator import GrowthData
    from growjax.train.state import TrainState


def own_tokens(source: Path, given: Path | None, vocab_size: int, *, needed: bool) -> TokenFile | None:
    """The tokens that are named, or that lie beside a state; None where there are none and none are needed."""
    from growjax.record.tokens_of import tokens_for

    try:
        return tokens_for(source, given, vocab_size)
    except UserError:
        if given is not None or needed:
            raise
        return None


def keep_tokenizer(folder: Path, source: Path, tokens: TokenFile | None, extras: Any) -> None:
    """Puts the tokenizer beside a new state, so that it can go on where its source does not lie; one that came with a
    checkpoint is among its extras."""
    from growjax.data.tokenizer import FILE
    from growjax.record.tokens_of import own_tokenizer

    own = tokens.directory / FILE if tokens else own_tokenizer(source)
    if own is not None and not (extras and extras.tokenizer):
        shutil.copyfile(own, folder / FILE)


def require_figures(measured: dict[str, float], operator: str) -> None:
    """Raises `UserError` where a candidate's logits are no finite numbers: it is no start for anything."""
    if not all(map(math.isfinite, measured.values())):
        raise UserError(
            f"the logits of what {operator} makes are no finite numbers, and nothing was written",
            "ask for less noise, or choose another operator",
        )


def held_out_windows(tokens: TokenFile, seq_len: int) -> jax.Array:
    """uint16 or uint32 [4, 8, T + 1]: held-out windows, spread evenly."""
    import jax.numpy as jnp
    import numpy as np

    from growjax.data.batches import as_windows

    windows = as_windows(tokens.validation, min(seq_len, DataConfig.from_dict(tokens.info["config"]).seq_len))
    if not len(windows):
        shortest = f"holds no window of {windows.shape[-1]} held-out tokens"
        raise UserError(f"{tokens.directory} {shortest}", "name more tokens of the same tokenizer with --tokens")
    spread = np.arange(32) * len(windows) // 32
    return jnp.asarray(windows[spread].reshape(4, 8, -1))


def growth_data(tokens: TokenFile, windows: jax.Array) -> GrowthData:
    """What an operator that trains is given: windows uint16 or uint32 [N, T + 1]."""
    import jax.numpy as jnp

    from growjax.data.batches import as_windows
    from growjax.grow.operator import GrowthData

    return GrowthData(jnp.asarray(as_windows(tokens.train, windows.shape[-1] - 1)), windows.shape[1])


def random_windows(model: ModelConfig) -> jax.Array:
    """int32 [4, 8, T + 1]: the same ids each time, of all the vocabulary."""
    import jax.numpy as jnp
    import numpy as np

    length = min(model.max_seq_len, DataConfig().seq_len) + 1
    return jnp.asarray(np.random.default_rng(0).integers(0, model.vocab_size, (4, 8, length)), jnp.int32)


def measured_on(source: TrainState, wide: TrainState, windows: jax.Array) -> dict[str, float]:
    """How a candidate differs from its source on windows (`growjax.measure.divergences`)."""
    from growjax.measure.divergence import divergences

    return divergences((source.config.model, source.params), (wide.config.model, wide.params), windows)
