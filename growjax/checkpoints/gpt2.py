"""GPT-2 (Radford et al. 2019): matrices as [inputs, outputs], and queries, keys and values in one."""

from __future__ import annotations

from growjax.checkpoints.family import ACTIVATIONS, Family, Fixed, Setting
from growjax.checkpoints.layout import Tensor

_BLOCK = "transformer.h.{}."

FAMILY = Family(
    model_type="gpt2",
    architecture="GPT2LMHeadModel",
    prefix="transformer.",
    tensors=(
        Tensor("transformer.wte.weight", ("embedding",), "plain"),
        Tensor("transformer.wpe.weight", ("positions",), "plain"),
        Tensor(f"{_BLOCK}ln_1.weight", ("blocks/attn_norm_gain",)),
        Tensor(f"{_BLOCK}ln_1.bias", ("blocks/attn_norm_bias",)),
        Tensor(f"{_BLOCK}attn.c_attn.weight", ("blocks/wq", "blocks/wk", "blocks/wv"), "conv1d"),
        Tensor(f"{_BLOCK}attn.c_attn.bias", ("blocks/bq", "blocks/bk", "blocks/bv")),
        Tensor(f"{_BLOCK}attn.c_proj.weight", ("blocks/wo",), "conv1d"),
        Tensor(f"{_BLOCK}attn.c_proj.bias", ("blocks/bo",)),
        Tensor(f"{_BLOCK}ln_2.weight", ("blocks/mlp_norm_gain",)),
        Tensor(f"{_BLOCK}ln_2.bias", ("blocks/mlp_norm_bias",)),
        Tensor(f"{_BLOCK}mlp.c_fc.weight", ("blocks/w_up",), "conv1d"),
        Tensor(f"{_BLOCK}mlp.c_fc.bias", ("blocks/b_up",)),
        Tensor(f"{_BLOCK}mlp.c_proj.weight", ("blocks/w_down",), "conv1d"),
        Tensor(f"{_BLOCK}mlp.c_proj.bias", ("blocks/b_down",)),
        Tensor("transformer.ln_f.weight", ("final_norm_gain",)),
        Tensor("transformer.ln_f.bias", ("final_norm_bias",)),
        Tensor("lm_head.weight", ("head",), "plain"),
    ),
    settings=(
        Setting("vocab_size", "vocab_size", int),
        Setting("n_positions", "max_seq_len", int),
        Setting("n_embd", "d_model", int),
        Setting("n_layer", "n_layers", int),
        Setting("n_head", "n_heads", int),
        Setting("n_inner", "d_ff", int, lambda fields: 4 * fields["d_model"]),
        Setting("activation_function", "activation", str, "gelu_new", ACTIVATIONS),
        Setting("layer_norm_epsilon", "norm_eps", float, 1e-5),
        Setting("initializer_range", "init_std", float, 0.02),
    ),
    parts={"dialect": "layer"},
    derived=lambda fields: {
        "n_kv_heads": fields["n_heads"],
        "head_dim": fields["d_model"] // max(1, fields["n_heads"]),
    },
    ties=True,
    rotary=None,
    fixed=(
        Fixed("scale_attn_weights", True),
        Fixed("scale_attn_by_inverse_layer_idx", False),
        Fixed("add_cross_attention", False),
    ),
    ignored=r"(transformer\.)?h\.\d+\.attn\.(masked_)?bias",
    order=("wte", "wpe", "ln_1", "attn", "ln_2", "mlp", "ln_f", "lm_head"),
)
