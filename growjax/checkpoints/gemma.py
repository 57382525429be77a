"""Gemma (Gemma Team 2024, arXiv 2403.08295): a Llama with gains of 1 + w, embeddings times sqrt(d_model), and GELU."""

from __future__ import annotations

import math

from growjax.checkpoints.family import Family, Fixed, Setting
from growjax.checkpoints.llama import IGNORED, PARTS, SIZES, TENSORS

ACTIVATIONS = {"gelu_pytorch_tanh": "gelu", "gelu_new": "gelu", "gelu": "gelu", "silu": "silu"}
"""Here `gelu` is the tanh formula too, as transformers reads it in a Gemma."""

BIASES = (Setting("attention_bias", "qkv_bias", bool, False), Setting("attention_bias", "attn_out_bias", bool, False))

FAMILY = Family(
    model_type="gemma",
    architecture="GemmaForCausalLM",
    prefix="model.",
    tensors=tuple(row._replace(less_one=True) if "norm" in row.name else row for row in TENSORS),
    settings=(
        *(setting for setting in SIZES if setting.field != "activation"),
        Setting("hidden_act", "activation", str, "gelu_pytorch_tanh", ACTIVATIONS),
        Setting("num_key_value_heads", "n_kv_heads", int, 16),
        Setting("head_dim", "head_dim", int, 256),
        *BIASES,
    ),
    parts=PARTS,
    ties=True,
    ignored=IGNORED,
    fixed=(Fixed("use_bidirectional_attention", False), Fixed("hidden_activation", "gelu_pytorch_tanh")),
    scale=math.sqrt,
)
