"""Attention windows in config.json: a kind for each layer, and one length for those that have a window."""

from __future__ import annotations

from growjax.checkpoints.given import Given, refused
from growjax.config import ModelConfig
from growjax.schema import Record

LOCAL, WHOLE = "sliding_attention", "full_attention"


def read_windows(given: Given, n_layers: int, every: int) -> tuple[int, ...]:
    """`layer_windows`; where config.json names no kinds, each layer but every so many-th has a window."""
    kinds = given.get("layer_types") or [LOCAL if (n + 1) % every else WHOLE for n in range(n_layers)]
    if not isinstance(kinds, list) or len(kinds) != n_layers or not set(map(str, kinds)) <= {LOCAL, WHOLE}:
        raise refused("layer_types", kinds, f"it must name {LOCAL} or {WHOLE} for each of {n_layers} layers")
    window = given.get("sliding_window", 4096)
    if LOCAL in kinds and (type(window) is not int or window < 1):
        raise refused("sliding_window", window, "it must be a whole number of positions")
    windows = tuple(window if kind == LOCAL else 0 for kind in kinds)
    return windows if any(windows) else ()


def window_keys(model: ModelConfig) -> Record:
    """The keys again."""
    windows = model.windows or (0,) * model.n_layers
    keys: Record = {"layer_types": [LOCAL if window else WHOLE for window in windows]}
    return keys | ({"sliding_window": max(windows)} if any(windows) else {})
