"""Gemma 3's text models (Gemma Team 2025, arXiv 2503.19786): a Gemma 2 with norms of queries and keys in place of caps
on scores, and rotary positions of their own in layers with a window."""

from __future__ import annotations

import math

from growjax.checkpoints.family import Family, Fixed
from growjax.checkpoints.gemma2 import FIXED, SETTINGS, WEIGHTS, own_keys, read_cap, read_scalar
from growjax.checkpoints.given import Given, refused, typed
from growjax.checkpoints.layout import Tensor
from growjax.checkpoints.llama import IGNORED, PARTS, check_heads
from growjax.checkpoints.rotary import Rotary
from growjax.checkpoints.windows import LOCAL, WHOLE, read_windows
from growjax.config import ModelConfig
from growjax.schema import Record

_BLOCK = "model.layers.{}.self_attn."

NORMS = (
    Tensor(f"{_BLOCK}q_norm.weight", ("blocks/q_gain",), less_one=True),
    Tensor(f"{_BLOCK}k_norm.weight", ("blocks/k_gain",), less_one=True),
)


_ROTARY, _PLAIN = Rotary(), Rotary(kinds=("default",))


def _rope(given: Given, head_dim: int, length: int) -> Record:
    """Rotary positions by kind of layer, as transformers 5 writes them or as 4 does."""
    kinds = given.get("rope_parameters")
    if kinds is None:
        kinds = {}
    if not isinstance(kinds, dict) or not set(kinds) <= {LOCAL, WHOLE}:
        raise refused("rope_parameters", kinds, f"it must hold {LOCAL} and {WHOLE}")
    whole = {"rope_theta": typed(given, "rope_theta", float, 1e6), "rope_scaling": given.get("rope_scaling")}
    local = {"rope_theta": typed(given, "rope_local_base_freq", float, 1e4)}
    own = _PLAIN.read({**local, "rope_parameters": kinds.get(LOCAL)}, head_dim, length)
    return _ROTARY.read({**whole, "rope_parameters": kinds.get(WHOLE)}, head_dim, length) | {
        "local_rope_theta": own["rope_theta"]
    }


def _own(given: Given, fields: Record) -> Record:
    every = typed(given, "sliding_window_pattern", int, 6)
    return {
        "query_pre_attn_scalar": read_scalar(given),
        "logit_softcap": read_cap(given, "final_logit_softcapping", None),
        "layer_windows": read_windows(given, fields["n_layers"], max(1, every)),
        **_rope(given, fields["head_dim"], fields["max_seq_len"]),
    }


def _keys(model: ModelConfig) -> Record:
    local, whole = model.local_rope_theta or model.rope_theta, _ROTARY.write(model)
    by_kind = {WHOLE: whole.pop("rope_parameters"), LOCAL: {"rope_type": "default", "rope_theta": local}}
    # the last for transformers 5, the others for 4
    return {**own_keys(model), **whole, "rope_local_base_freq": local, "rope_parameters": by_kind}


FAMILY = Family(
    model_type="gemma3_text",
    architecture="Gemma3ForCausalLM",
    prefix="model.",
    tensors=WEIGHTS + NORMS,
    settings=SETTINGS,
    parts=PARTS | {"norm_place": "both", "qk_norm": True},
    ties=True,
    rotary=None,
    ignored=IGNORED,
    fixed=(*FIXED, Fixed("attn_logit_softcapping", None)),
    own=_own,
    own_keys=_keys,
    scale=math.sqrt,
    check=check_heads("gemma3_text"),
)
