"""Gemma 2 (Gemma Team 2024, arXiv 2408.00118): a Gemma with norms before and after, soft caps, a scale of attention of
its own, and windows in every other layer."""

from __future__ import annotations

import math

from growjax.checkpoints.family import Family, Fixed, Setting
from growjax.checkpoints.gemma import ACTIVATIONS, BIASES
from growjax.checkpoints.given import Given, refused
from growjax.checkpoints.layout import Tensor
from growjax.checkpoints.llama import IGNORED, PARTS, SIZES, TENSORS, check_heads
from growjax.checkpoints.windows import read_windows, window_keys
from growjax.config import ModelConfig
from growjax.schema import Record
from growjax.values import LARGEST

_BLOCK = "model.layers.{}."

NORMS = (
    Tensor(f"{_BLOCK}input_layernorm.weight", ("blocks/attn_norm_gain",), less_one=True),
    Tensor(f"{_BLOCK}post_attention_layernorm.weight", ("blocks/attn_post_norm_gain",), less_one=True),
    Tensor(f"{_BLOCK}pre_feedforward_layernorm.weight", ("blocks/mlp_norm_gain",), less_one=True),
    Tensor(f"{_BLOCK}post_feedforward_layernorm.weight", ("blocks/mlp_post_norm_gain",), less_one=True),
    Tensor("model.norm.weight", ("final_norm_gain",), less_one=True),
)

WEIGHTS = tuple(row for row in TENSORS if "norm" not in row.name) + NORMS

SETTINGS = (
    *(setting for setting in SIZES if setting.field != "activation"),
    Setting("hidden_activation", "activation", str, "gelu_pytorch_tanh", ACTIVATIONS),
    Setting("num_key_value_heads", "n_kv_heads", int, 4),
    Setting("head_dim", "head_dim", int, 256),
    *BIASES,
)

FIXED = (Fixed("use_bidirectional_attention", False), Fixed("hidden_act", "gelu_pytorch_tanh"))


def read_cap(given: Given, key: str, default: float | None) -> float | None:
    """A soft cap; null is none."""
    value = given.get(key, default)
    if value is not None and (type(value) not in (int, float) or not 0 < value <= LARGEST):
        raise refused(key, value, "it must be a positive number, or null")
    return None if value is None else float(value)


def read_scalar(given: Given) -> int:
    """What scores are divided by the root of."""
    value = given.get("query_pre_attn_scalar", 256)
    if type(value) not in (int, float) or not 1 <= value < 2**31 or value != int(value):
        raise refused("query_pre_attn_scalar", value, "it must be a positive whole number")
    return int(value)


def own_keys(model: ModelConfig) -> Record:
    """Keys of both that are no plain settings."""
    return {
        "query_pre_attn_scalar": model.query_pre_attn_scalar or model.head_dim,
        "final_logit_softcapping": model.logit_softcap,
        "attn_logit_softcapping": model.attn_softcap,
        **window_keys(model),
    }


def _own(given: Given, fields: Record) -> Record:
    return {
        "query_pre_attn_scalar": read_scalar(given),
        "attn_softcap": read_cap(given, "attn_logit_softcapping", 50.0),
        "logit_softcap": read_cap(given, "final_logit_softcapping", 30.0),
        "layer_windows": read_windows(given, fields["n_layers"], 2),
    }


FAMILY = Family(
    model_type="gemma2",
    architecture="Gemma2ForCausalLM",
    prefix="model.",
    tensors=WEIGHTS,
    settings=SETTINGS,
    parts=PARTS | {"norm_place": "both"},
    ties=True,
    ignored=IGNORED,
    fixed=FIXED,
    own=_own,
    own_keys=own_keys,
    scale=math.sqrt,
    check=check_heads("gemma2"),
)
