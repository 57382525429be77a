"""Qwen3 (Yang et al. 2025, arXiv 2505.09388): a Llama whose queries and keys are normed head by head."""

from __future__ import annotations

from growjax.checkpoints.family import Family, Setting
from growjax.checkpoints.layout import Tensor
from growjax.checkpoints.llama import IGNORED, KV_HEADS, PARTS, SIZES, TENSORS
from growjax.checkpoints.qwen2 import window

FAMILY = Family(
    model_type="qwen3",
    architecture="Qwen3ForCausalLM",
    prefix="model.",
    tensors=(
        *TENSORS,
        Tensor("model.layers.{}.self_attn.q_norm.weight", ("blocks/q_gain",)),
        Tensor("model.layers.{}.self_attn.k_norm.weight", ("blocks/k_gain",)),
    ),
    settings=(
        *SIZES,
        KV_HEADS,
        Setting("head_dim", "head_dim", int, 128),
        Setting("attention_bias", "qkv_bias", bool, False),
        Setting("attention_bias", "attn_out_bias", bool, False),
    ),
    parts=PARTS | {"qk_norm": True},
    ties=False,
    ignored=IGNORED,
    window=window,
)
