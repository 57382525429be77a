"""Qwen2 and Qwen2.5 (Yang et al. 2024, arXiv 2407.10671): a Llama with biases on queries, keys and values alone."""

from __future__ import annotations

from growjax.checkpoints.family import Family, Given
from growjax.checkpoints.llama import HEAD_DIM, IGNORED, KV_HEADS, PARTS, SIZES, TENSORS


def window(given: Given) -> int | None:
    """How far back some layer looks at most; None where all look back all the way."""
    if not given.get("use_sliding_window", False):
        return None
    layers, first = given.get("num_hidden_layers", 0), given.get("max_window_layers", 28)
    kinds = given.get("layer_types") or ["sliding_attention" if n >= first else "" for n in range(layers)]
    return given.get("sliding_window", 4096) if "sliding_attention" in kinds else None


FAMILY = Family(
    model_type="qwen2",
    architecture="Qwen2ForCausalLM",
    prefix="model.",
    tensors=TENSORS,
    settings=(*SIZES, KV_HEADS, HEAD_DIM),
    parts=PARTS | {"qkv_bias": True, "attn_out_bias": False},
    ties=False,
    ignored=IGNORED,
    window=window,
)
