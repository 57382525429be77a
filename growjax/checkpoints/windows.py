"""Attention windows in config.json: a kind for each layer, and one length for those that have a window."""

from __future__ import annotations

from growjax.checkpoints.given import Given, refused
from growjax.config import ModelConfig
from growjax.schema import Record

LOCAL, WHOLE = "sliding_attention", "full_attention"

MOST = 2**16
"""More layers are not listed."""

_LENGTH = "it must be a whole number of positions"


def read_windows(given: Given, n_layers: int, every: int) -> tuple[int, ...]:
    """`layer_windows`; where config.json names no kinds, each layer but every so many-th has a window."""
    if n_layers > MOST:
        raise refused("num_hidden_layers", n_layers, f"growjax brings in {MOST} layers with windows at most")
    kinds = read_kinds(given, n_layers) or [LOCAL if (n + 1) % every else WHOLE for n in range(n_layers)]
    if LOCAL not in kinds:
        return ()
    window = read_window(given, 4096)
    if window is None:
        raise refused("sliding_window", None, _LENGTH)
    return tuple(window if kind == LOCAL else 0 for kind in kinds)


def read_kinds(given: Given, n_layers: int) -> list[str]:
    """The kind of each layer; empty where config.json names none."""
    kinds = given.get("layer_types") or []
    if not isinstance(kinds, list) or len(kinds) not in (0, n_layers) or not all(k in (LOCAL, WHOLE) for k in kinds):
        raise refused("layer_types", kinds, f"it must name {LOCAL} or {WHOLE} for each of {n_layers} layers")
    return kinds


def read_window(given: Given, default: int | None) -> int | None:
    """How far back a position sees in a layer with a window; None where it is null."""
    window = given.get("sliding_window", default)
    if window is not None and (type(window) is not int or not 0 < window < 2**31):
        raise refused("sliding_window", window, _LENGTH)
    return window


def window_keys(model: ModelConfig) -> Record:
    """The keys again."""
    windows = model.windows or (0,) * model.n_layers
    keys: Record = {"layer_types": [LOCAL if window else WHOLE for window in windows]}
    return keys | ({"sliding_window": max(windows)} if any(windows) else {})
