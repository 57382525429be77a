"""Llama (Touvron et al. 2023, arXiv 2302.13971; Grattafiori et al. 2024, arXiv 2407.21783)."""

from __future__ import annotations

from collections.abc import Callable

from growjax.checkpoints.family import ACTIVATIONS, Family, Setting
from growjax.checkpoints.layout import Tensor
from growjax.config import ModelConfig
from growjax.errors import UserError

_BLOCK = "model.layers.{}."

TENSORS = (
    Tensor("model.embed_tokens.weight", ("embedding",), "plain"),
    Tensor(f"{_BLOCK}input_layernorm.weight", ("blocks/attn_norm_gain",)),
    Tensor(f"{_BLOCK}self_attn.q_proj.weight", ("blocks/wq",)),
    Tensor(f"{_BLOCK}self_attn.q_proj.bias", ("blocks/bq",)),
    Tensor(f"{_BLOCK}self_attn.k_proj.weight", ("blocks/wk",)),
    Tensor(f"{_BLOCK}self_attn.k_proj.bias", ("blocks/bk",)),
    Tensor(f"{_BLOCK}self_attn.v_proj.weight", ("blocks/wv",)),
    Tensor(f"{_BLOCK}self_attn.v_proj.bias", ("blocks/bv",)),
    Tensor(f"{_BLOCK}self_attn.o_proj.weight", ("blocks/wo",)),
    Tensor(f"{_BLOCK}self_attn.o_proj.bias", ("blocks/bo",)),
    Tensor(f"{_BLOCK}post_attention_layernorm.weight", ("blocks/mlp_norm_gain",)),
    Tensor(f"{_BLOCK}mlp.gate_proj.weight", ("blocks/w_gate",)),
    Tensor(f"{_BLOCK}mlp.gate_proj.bias", ("blocks/b_gate",)),
    Tensor(f"{_BLOCK}mlp.up_proj.weight", ("blocks/w_up",)),
    Tensor(f"{_BLOCK}mlp.up_proj.bias", ("blocks/b_up",)),
    Tensor(f"{_BLOCK}mlp.down_proj.weight", ("blocks/w_down",)),
    Tensor(f"{_BLOCK}mlp.down_proj.bias", ("blocks/b_down",)),
    Tensor("model.norm.weight", ("final_norm_gain",)),
    Tensor("lm_head.weight", ("head",), "plain"),
)
"""Biases are there where the decoder has them, the head where it is not tied."""

SIZES = (
    Setting("vocab_size", "vocab_size", int),
    Setting("hidden_size", "d_model", int),
    Setting("intermediate_size", "d_ff", int),
    Setting("num_hidden_layers", "n_layers", int),
    Setting("num_attention_heads", "n_heads", int),
    Setting("max_position_embeddings", "max_seq_len", int),
    Setting("rms_norm_eps", "norm_eps", float, 1e-6),
    Setting("hidden_act", "activation", str, "silu", ACTIVATIONS),
    Setting("initializer_range", "init_std", float, 0.02),
)
HEAD_DIM = Setting("head_dim", "head_dim", int, lambda fields: fields["d_model"] // fields["n_heads"])
KV_HEADS = Setting("num_key_value_heads", "n_kv_heads", int, lambda fields: fields["n_heads"])

PARTS = {"dialect": "rms", "mlp_bias": False}

IGNORED = r"(model\.)?layers\.\d+\.self_attn\.rotary_emb\.inv_freq"


def check_heads(model_type: str) -> Callable[[ModelConfig], None]:
    """Refuses sizes whose heads do not divide d_model, for classes that do."""

    def check(model: ModelConfig) -> None:
        if model.d_model % model.n_heads:
            raise UserError(
                f"transformers takes no {model_type} with hidden_size {model.d_model} and {model.n_heads} attention "
                "heads",
                f"widen to a d_model that is a multiple of {model.n_heads}",
            )

    return check


FAMILY = Family(
    model_type="llama",
    architecture="LlamaForCausalLM",
    prefix="model.",
    tensors=TENSORS,
    settings=(
        *SIZES,
        KV_HEADS,
        HEAD_DIM,
        Setting("attention_bias", "qkv_bias", bool, False),
        Setting("attention_bias", "attn_out_bias", bool, False),
        Setting("mlp_bias", "mlp_bias", bool, False),
    ),
    parts={"dialect": "rms"},
    ties=False,
    ignored=IGNORED,
    check=check_heads("llama"),
)
