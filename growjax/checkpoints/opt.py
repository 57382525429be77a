"""OPT (Zhang et al. 2022, arXiv 2205.01068): ReLU, and a table of positions with two rows before the first position."""

from __future__ import annotations

from growjax.checkpoints.family import ACTIVATIONS, Family, Fixed, Setting
from growjax.checkpoints.given import Given, refused, typed
from growjax.checkpoints.layout import Tensor
from growjax.schema import Record

_BLOCK = "model.decoder.layers.{}."


def _attention(name: str, parameter: str) -> tuple[Tensor, Tensor]:
    row = f"{_BLOCK}self_attn.{name}"
    return Tensor(f"{row}.weight", (f"blocks/w{parameter}",)), Tensor(f"{row}.bias", (f"blocks/b{parameter}",))


def _own(given: Given, fields: Record) -> Record:
    width = typed(given, "word_embed_proj_dim", int, fields["d_model"])
    if width != fields["d_model"]:
        raise refused(
            "word_embed_proj_dim", width, f"growjax's decoder has embeddings of hidden_size {fields['d_model']}"
        )
    return {}


FAMILY = Family(
    model_type="opt",
    architecture="OPTForCausalLM",
    prefix="model.",
    tensors=(
        Tensor("model.decoder.embed_tokens.weight", ("embedding",), "plain"),
        Tensor("model.decoder.embed_positions.weight", ("positions",), "plain"),
        Tensor(f"{_BLOCK}self_attn_layer_norm.weight", ("blocks/attn_norm_gain",)),
        Tensor(f"{_BLOCK}self_attn_layer_norm.bias", ("blocks/attn_norm_bias",)),
        *_attention("q_proj", "q"),
        *_attention("k_proj", "k"),
        *_attention("v_proj", "v"),
        *_attention("out_proj", "o"),
        Tensor(f"{_BLOCK}final_layer_norm.weight", ("blocks/mlp_norm_gain",)),
        Tensor(f"{_BLOCK}final_layer_norm.bias", ("blocks/mlp_norm_bias",)),
        Tensor(f"{_BLOCK}fc1.weight", ("blocks/w_up",)),
        Tensor(f"{_BLOCK}fc1.bias", ("blocks/b_up",)),
        Tensor(f"{_BLOCK}fc2.weight", ("blocks/w_down",)),
        Tensor(f"{_BLOCK}fc2.bias", ("blocks/b_down",)),
        Tensor("model.decoder.final_layer_norm.weight", ("final_norm_gain",)),
        Tensor("model.decoder.final_layer_norm.bias", ("final_norm_bias",)),
        Tensor("lm_head.weight", ("head",), "plain"),
    ),
    settings=(
        Setting("vocab_size", "vocab_size", int),
        Setting("hidden_size", "d_model", int),
        Setting("ffn_dim", "d_ff", int),
        Setting("num_hidden_layers", "n_layers", int),
        Setting("num_attention_heads", "n_heads", int),
        Setting("max_position_embeddings", "max_seq_len", int, 2048),
        Setting("activation_function", "activation", str, "relu", ACTIVATIONS),
        Setting("init_std", "init_std", float, 0.02),
        Setting("enable_bias", "qkv_bias", bool, True),
        Setting("enable_bias", "attn_out_bias", bool, True),
        Setting("enable_bias", "mlp_bias", bool, True),
    ),
    parts={"dialect": "layer", "position_offset": 2, "norm_eps": 1e-5},
    derived=lambda fields: {
        "n_kv_heads": fields["n_heads"],
        "head_dim": fields["d_model"] // max(1, fields["n_heads"]),
    },
    own=_own,
    own_keys=lambda model: {"word_embed_proj_dim": model.d_model},
    ties=True,
    rotary=None,
    fixed=(
        Fixed("do_layer_norm_before", True),
        Fixed("_remove_final_layer_norm", False),
        Fixed("layer_norm_elementwise_affine", True),
    ),
    order=(
        "embed_tokens",
        "embed_positions",
        "decoder.final_layer_norm",
        ".k_proj",
        ".v_proj",
        ".q_proj",
        ".out_proj",
        "self_attn_layer_norm",
        "fc1",
        "fc2",
        "final_layer_norm",
        "lm_head",
    ),
)
