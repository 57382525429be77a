"""Gemma 3's text models (Gemma Team 2025, arXiv 2503.19786): a Gemma 2 with norms of queries and keys in place of caps
on scores, and rotary positions of their own in layers with a window."""

from __future__ import annotations

import math
from typing import Any

from growjax.checkpoints.family import Family, Fixed, Given, refused, rope_theta, typed
from growjax.checkpoints.gemma2 import FIXED, SETTINGS, WEIGHTS, own_keys, read_cap, read_scalar
from growjax.checkpoints.layout import Tensor
from growjax.checkpoints.llama import IGNORED, PARTS, check_heads
from growjax.checkpoints.windows import LOCAL, WHOLE, read_windows
from growjax.config import ModelConfig

_BLOCK = "model.layers.{}.self_attn."

NORMS = (
    Tensor(f"{_BLOCK}q_norm.weight", ("blocks/q_gain",), "less_one"),
    Tensor(f"{_BLOCK}k_norm.weight", ("blocks/k_gain",), "less_one"),
)


def _rope(given: Given) -> dict[str, Any]:
    """Rotary positions by kind of layer, as transformers 5 writes them or as 4 does."""
    kinds = given.get("rope_parameters")
    if kinds is None:
        kinds = {}
    if not isinstance(kinds, dict) or not set(kinds) <= {LOCAL, WHOLE}:
        raise refused("rope_parameters", kinds, f"it must hold {LOCAL} and {WHOLE}")
    whole = {"rope_theta": typed(given, "rope_theta", float, 1e6), "rope_scaling": given.get("rope_scaling")}
    local = {"rope_theta": typed(given, "rope_local_base_freq", float, 1e4)}
    return {
        "rope_theta": rope_theta({**whole, "rope_parameters": kinds.get(WHOLE)}),
        "local_rope_theta": rope_theta({**local, "rope_parameters": kinds.get(LOCAL)}),
    }


def _own(given: Given, fields: dict[str, Any]) -> dict[str, Any]:
    every = typed(given, "sliding_window_pattern", int, 6)
    return {
        "query_pre_attn_scalar": read_scalar(given),
        "logit_softcap": read_cap(given, "final_logit_softcapping", None),
        "layer_windows": read_windows(given, fields["n_layers"], max(1, every)),
        **_rope(given),
    }


def _keys(model: ModelConfig) -> dict[str, Any]:
    local = model.local_rope_theta or model.rope_theta
    return {
        **own_keys(model),
        "rope_theta": model.rope_theta,  # the first two for transformers 4, the last for 5
        "rope_local_base_freq": local,
        "rope_parameters": {
            WHOLE: {"rope_type": "default", "rope_theta": model.rope_theta},
            LOCAL: {"rope_type": "default", "rope_theta": local},
        },
    }


FAMILY = Family(
    model_type="gemma3_text",
    architecture="Gemma3ForCausalLM",
    prefix="model.",
    tensors=WEIGHTS + NORMS,
    settings=SETTINGS,
    parts=PARTS | {"norm_place": "both", "qk_norm": True},
    ties=True,
    rotary=False,
    ignored=IGNORED,
    fixed=(*FIXED, Fixed("attn_logit_softcapping", None)),
    own=_own,
    own_keys=_keys,
    scale=math.sqrt,
    check=check_heads("gemma3_text"),
)
