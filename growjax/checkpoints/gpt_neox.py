"""GPT-NeoX and Pythia (Black et al. 2022, arXiv 2204.06745; Biderman et al. 2023, arXiv 2304.01373): parallel blocks,
heads that turn in part, and queries, keys and values in one, head by head."""

from __future__ import annotations

from growjax.checkpoints.family import ACTIVATIONS, Family, Setting
from growjax.checkpoints.layout import Tensor
from growjax.checkpoints.rotary import Rotary

_BLOCK = "gpt_neox.layers.{}."

FAMILY = Family(
    model_type="gpt_neox",
    architecture="GPTNeoXForCausalLM",
    prefix="gpt_neox.",
    tensors=(
        Tensor("gpt_neox.embed_in.weight", ("embedding",), "plain"),
        Tensor(f"{_BLOCK}input_layernorm.weight", ("blocks/attn_norm_gain",)),
        Tensor(f"{_BLOCK}input_layernorm.bias", ("blocks/attn_norm_bias",)),
        Tensor(f"{_BLOCK}attention.query_key_value.weight", ("blocks/wq", "blocks/wk", "blocks/wv"), "by_head"),
        Tensor(f"{_BLOCK}attention.query_key_value.bias", ("blocks/bq", "blocks/bk", "blocks/bv"), "by_head"),
        Tensor(f"{_BLOCK}attention.dense.weight", ("blocks/wo",)),
        Tensor(f"{_BLOCK}attention.dense.bias", ("blocks/bo",)),
        Tensor(f"{_BLOCK}post_attention_layernorm.weight", ("blocks/mlp_norm_gain",)),
        Tensor(f"{_BLOCK}post_attention_layernorm.bias", ("blocks/mlp_norm_bias",)),
        Tensor(f"{_BLOCK}mlp.dense_h_to_4h.weight", ("blocks/w_up",)),
        Tensor(f"{_BLOCK}mlp.dense_h_to_4h.bias", ("blocks/b_up",)),
        Tensor(f"{_BLOCK}mlp.dense_4h_to_h.weight", ("blocks/w_down",)),
        Tensor(f"{_BLOCK}mlp.dense_4h_to_h.bias", ("blocks/b_down",)),
        Tensor("gpt_neox.final_layer_norm.weight", ("final_norm_gain",)),
        Tensor("gpt_neox.final_layer_norm.bias", ("final_norm_bias",)),
        Tensor("embed_out.weight", ("head",), "plain"),
    ),
    settings=(
        Setting("vocab_size", "vocab_size", int, 50432),
        Setting("hidden_size", "d_model", int),
        Setting("intermediate_size", "d_ff", int),
        Setting("num_hidden_layers", "n_layers", int),
        Setting("num_attention_heads", "n_heads", int),
        Setting("max_position_embeddings", "max_seq_len", int, 2048),
        Setting("hidden_act", "activation", str, "gelu", ACTIVATIONS),
        Setting("layer_norm_eps", "norm_eps", float, 1e-5),
        Setting("initializer_range", "init_std", float, 0.02),
        Setting("attention_bias", "qkv_bias", bool, True),
        Setting("attention_bias", "attn_out_bias", bool, True),
        Setting("use_parallel_residual", "parallel", bool, True),
    ),
    parts={"dialect": "layer", "position": "rotary", "mlp_bias": True},
    derived=lambda fields: {
        "n_kv_heads": fields["n_heads"],
        "head_dim": fields["d_model"] // max(1, fields["n_heads"]),
    },
    ties=False,
    rotary=Rotary(theta="rotary_emb_base", share="rotary_pct", default_share=0.25),
    ignored=r"(gpt_neox\.)?layers\.\d+\.attention\.(bias|masked_bias|rotary_emb\.inv_freq)",
    order=(
        "embed_in",
        "input_layernorm",
        "post_attention_layernorm",
        "attention.",
        "mlp.",
        "final_layer_norm",
        "embed_out",
    ),
)
