"""OLMo 2 (OLMo et al. 2025, arXiv 2501.00656): a Llama with norms after attention and MLP alone, and one norm over all
queries and one over all keys."""

from __future__ import annotations

from growjax.checkpoints.family import Family, Setting
from growjax.checkpoints.layout import Tensor
from growjax.checkpoints.llama import HEAD_DIM, IGNORED, KV_HEADS, PARTS, SIZES, TENSORS

_BLOCK = "model.layers.{}."

NORMS = (
    Tensor(f"{_BLOCK}post_attention_layernorm.weight", ("blocks/attn_post_norm_gain",)),
    Tensor(f"{_BLOCK}post_feedforward_layernorm.weight", ("blocks/mlp_post_norm_gain",)),
    Tensor(f"{_BLOCK}self_attn.q_norm.weight", ("blocks/q_gain",)),
    Tensor(f"{_BLOCK}self_attn.k_norm.weight", ("blocks/k_gain",)),
)

FAMILY = Family(
    model_type="olmo2",
    architecture="Olmo2ForCausalLM",
    prefix="model.",
    tensors=tuple(row for row in TENSORS if "layernorm" not in row.name) + NORMS,
    settings=(
        *(setting for setting in SIZES if setting.field != "norm_eps"),
        Setting("rms_norm_eps", "norm_eps", float, 1e-5),
        KV_HEADS,
        HEAD_DIM,
        Setting("attention_bias", "qkv_bias", bool, False),
        Setting("attention_bias", "attn_out_bias", bool, False),
    ),
    parts=PARTS | {"norm_place": "after", "qk_norm": True, "qk_norm_over": "all"},
    ties=False,
    ignored=IGNORED,
)
