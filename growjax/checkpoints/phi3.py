"""Phi-3 (Abdin et al. 2024, arXiv 2404.14219): a Llama with queries, keys and values in one, and gate and up in one."""

from __future__ import annotations

from growjax.checkpoints.family import Family
from growjax.checkpoints.given import Given
from growjax.checkpoints.layout import Tensor
from growjax.checkpoints.llama import IGNORED, KV_HEADS, PARTS, SIZES, TENSORS, check_heads
from growjax.checkpoints.rotary import Rotary
from growjax.checkpoints.windows import read_window

_BLOCK = "model.layers.{}."


def _window(given: Given) -> int | None:
    return read_window(given, None)


FAMILY = Family(
    model_type="phi3",
    architecture="Phi3ForCausalLM",
    prefix="model.",
    tensors=(
        *(
            row
            for row in TENSORS
            if not any(part in row.name for part in ("q_proj", "k_proj", "v_proj", "gate", "up_"))
        ),
        Tensor(f"{_BLOCK}self_attn.qkv_proj.weight", ("blocks/wq", "blocks/wk", "blocks/wv")),
        Tensor(f"{_BLOCK}mlp.gate_up_proj.weight", ("blocks/w_gate", "blocks/w_up")),
    ),
    settings=(*SIZES, KV_HEADS),
    parts=PARTS | {"qkv_bias": False, "attn_out_bias": False},
    derived=lambda fields: {"head_dim": fields["d_model"] // max(1, fields["n_heads"])},
    ties=False,
    rotary=Rotary(default_share=1.0, kinds=("default",)),
    ignored=IGNORED,
    window=_window,
    check=check_heads("phi3"),
)
