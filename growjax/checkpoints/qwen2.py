"""Qwen2 and Qwen2.5 (Yang et al. 2024, arXiv 2407.10671): a Llama with biases on queries, keys and values alone."""

from __future__ import annotations

from growjax.checkpoints.family import Family
from growjax.checkpoints.given import Given, typed
from growjax.checkpoints.llama import HEAD_DIM, IGNORED, KV_HEADS, PARTS, SIZES, TENSORS
from growjax.checkpoints.windows import LOCAL, read_kinds, read_window


def window(given: Given) -> int | None:
    """How far back some layer looks at most; None where all look back all the way."""
    if not typed(given, "use_sliding_window", bool, False):
        return None
    layers, first = typed(given, "num_hidden_layers", int), typed(given, "max_window_layers", int, 28)
    kinds = read_kinds(given, layers)
    return read_window(given, 4096) if (LOCAL in kinds if kinds else first < layers) else None


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
