"""The decoder-only transformer, and the pure functions around it. Flax Linen stays inside this file.

Parameters are stacked over layers and the block is scanned, so `layers` is an axis like any other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import chex
import jax
import jax.numpy as jnp
from flax import linen as nn

from growjax.config import ModelConfig
from growjax.digests import path_name
from growjax.draws import Sites, normals
from growjax.model import layers
from growjax.model.attention import causal_attention
from growjax.model.axes import (
    Dim,
    Named,
    ParamSpec,
    SpecTree,
    is_named,
    is_spec,
    keeps,
    map_specs,
    reads,
    scales,
    writes,
)
from growjax.model.caps import capped
from growjax.model.components import Components, Weight, components
from growjax.model.embedding import look_up
from growjax.model.loss import mean_loss
from growjax.model.products import project, project_each
from growjax.model.rotary import frequencies, local_frequencies
from growjax.schema import Record
from growjax.streams import at_site, normals_from

Params = Record

Seen = dict[str, jax.Array] | None
"""What a layer hands on, or every layer, by the name of its widened axis; None where nobody asks."""

UNROLL = 8
"""Layers that one round of the loop over layers holds: what a layer keeps for its derivative is copied only between
rounds, and a program grows with them."""


class _Owner(nn.Module):
    """A module whose parameters are created with their axes."""

    config: ModelConfig

    @property
    def parts(self) -> Components:
        return components(self.config)

    def weight(self, weight: Weight) -> jax.Array:
        cfg = self.config
        sizes = {
            "embed": cfg.d_model,
            "heads": cfg.n_heads,
            "kv_heads": cfg.n_kv_heads,
            "head_dim": cfg.head_dim,
            "mlp": cfg.d_ff,
            "vocab": cfg.vocab_size,
            "position": cfg.position_offset + cfg.max_seq_len,
        }
        shape = tuple(sizes[d.axis] for d in weight.dims)
        spec = ParamSpec(weight.dims, weight.init, weight.residual)
        value = self.param(weight.name, lambda _: Named(jnp.zeros(shape, cfg.param_dtype), spec))
        return jnp.asarray(value, cfg.dtype)

    def bias(self, weight: Weight | None) -> jax.Array | float:
        return 0.0 if weight is None else self.weight(weight)

    def norm(self, name: str, x: jax.Array, dim: Dim, residual: bool = False) -> jax.Array:
        norm = self.parts.norm
        return norm.function(x, *map(self.weight, norm.weights(name, dim, residual)), self.config.norm_eps)

    def drop(self, x: jax.Array, key: jax.Array | None, site: str, index: jax.Array | int = 0) -> jax.Array:
        """Dropout at a named site. The ledger of a step states these sites by itself (`training_sites` in
        growjax/study/ledgers.py), and an audit compares the two: a site that is new here must be added there."""
        if key is None or self.config.dropout == 0:
            return x
        return layers.dropout(x, self.config.dropout, key=at_site(key, site, index))


class Block(_Owner):
    """Attention and MLP beside the residual stream, with norms before them, after them, or both."""

    capture: bool = False

    def before(self, name: str, x_BTD: jax.Array) -> jax.Array:
        return self.norm(name, x_BTD, scales("embed")) if self.parts.norms_before else x_BTD

    def after(self, name: str, x_BTD: jax.Array) -> jax.Array:
        return self.norm(name, x_BTD, scales("embed"), residual=True) if self.parts.norms_after else x_BTD

    @nn.compact
    def __call__(self, x_BTD: jax.Array, layer: jax.Array, dropout_key: jax.Array | None) -> tuple[jax.Array, Seen]:
        parts, given_BTD = self.parts, x_BTD
        heads_BTHK = self.attention(self.before("attn_norm", x_BTD), layer)
        weight, bias = parts.attention.output()
        out = project(heads_BTHK, self.weight(weight), 2) + self.bias(bias)
        x_BTD = x_BTD + self.drop(self.after("attn_post_norm", out), dropout_key, "attn", layer)

        y_BTD = self.before("mlp_norm", given_BTD if parts.parallel else x_BTD)
        weights, biases = zip(*((self.weight(w), self.bias(b)) for w, b in parts.mlp.inputs()), strict=True)
        made = [x + b for x, b in zip(project_each(y_BTD, *weights)[::-1], biases[::-1], strict=True)]
        mlp_BTF = parts.mlp.function(*made)  # what was made last first: the gate, then what it gates
        weight, bias = parts.mlp.output()
        out = project(mlp_BTF, self.weight(weight)) + self.bias(bias)
        x_BTD = x_BTD + self.drop(self.after("mlp_post_norm", out), dropout_key, "mlp", layer)
        seen = {"embed": x_BTD, "heads": heads_BTHK, "mlp": mlp_BTF} if self.capture else None
        return x_BTD, seen

    def attention(self, x_BTD: jax.Array, layer: jax.Array) -> jax.Array:
        cfg, parts = self.config, self.parts
        inputs = parts.attention.inputs()
        weights, biases = [self.weight(w) for w, _ in inputs], [self.bias(b) for _, b in inputs]
        q: Any
        k: Any
        q, k, v = (x + b for x, b in zip(project_each(x_BTD, *weights), biases, strict=True))
        if parts.attention.qk_norm:
            eps = cfg.norm_eps if cfg.qk_norm_eps is None else cfg.qk_norm_eps
            q_gain, k_gain = parts.attention.gains()
            norm = layers.rms_norm_of_all if parts.attention.norms_all else layers.rms_norm
            q = norm(q, self.weight(q_gain), eps)
            k = norm(k, self.weight(k_gain), eps)
        window = jnp.asarray(cfg.windows, jnp.int32)[layer] if cfg.windows else None
        if parts.position.rotates:
            rope = cfg.rope_dim or cfg.head_dim
            cos, sin = self.rotary_tables(x_BTD.shape[1], rope, window, x_BTD.dtype)
            q, k = (layers.rotate(x, cos, sin, rope, cfg.rotary_dim) for x in (q, k))
        if cfg.query_pre_attn_scalar not in (None, cfg.head_dim):
            q = q * math.sqrt(cfg.head_dim / cfg.query_pre_attn_scalar)
        grouped = q.reshape(*q.shape[:2], cfg.n_kv_heads, -1, cfg.head_dim)
        reach = None if window is None else jnp.where(window == 0, x_BTD.shape[1], window)
        return causal_attention(grouped, k, v, reach=reach, cap=cfg.attn_softcap).reshape(q.shape)

    def rotary_tables(self, length: int, rope_dim: int, window: jax.Array | None, dtype: jnp.dtype) -> tuple:
        """cos and sin [T, K]; of layers with a window by their own theta, where there is one."""
        cfg = self.config
        if self.is_initializing():  # for shapes alone, of a model that need not fit anywhere
            return (jnp.zeros((length, cfg.head_dim), dtype),) * 2
        tables = layers.rope_tables(length, cfg.head_dim, rope_dim, frequencies(cfg), dtype)
        if window is None or cfg.local_rope_theta is None:
            return tables
        local = layers.rope_tables(length, cfg.head_dim, rope_dim, local_frequencies(cfg), dtype)
        return tuple(jnp.where(window == 0, *pair) for pair in zip(tables, local, strict=True))


class Decoder(_Owner):
    """Tokens int32 [B, T] to logits [B, T, V] (at least float32), or with targets to their mean loss."""

    capture: bool = False

    @nn.compact
    def __call__(
        self, tokens_BT: jax.Array, dropout_key: jax.Array | None, targets_BT: jax.Array | None = None
    ) -> tuple[jax.Array, Seen]:
        cfg = self.config
        table_VD = self.weight(Weight("embedding", (keeps("vocab"), writes("embed"))))
        x_BTD = look_up(table_VD, tokens_BT)
        if cfg.embed_scale != 1:
            x_BTD = x_BTD * cfg.embed_scale
        for table in self.parts.position.weights():
            x_BTD = x_BTD + self.weight(table)[cfg.position_offset :][: tokens_BT.shape[1]]
        x_BTD = self.drop(x_BTD, dropout_key, "embed")
        blocks = nn.scan(
            Block,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=(0, nn.broadcast),  # pyright: ignore[reportArgumentType]
            length=cfg.n_layers,
            unroll=UNROLL,
            metadata_params={},
        )(cfg, capture=self.capture, name="blocks")
        x_BTD, seen = blocks(x_BTD, jnp.arange(cfg.n_layers, dtype=jnp.uint32), dropout_key)
        x_BTD = self.norm("final_norm", x_BTD, scales("embed", "logits", "embed"))
        head = Weight("head", (keeps("vocab"), reads("embed", "logits")))
        head_VD = table_VD if cfg.tie_embeddings else self.weight(head)
        if targets_BT is not None:
            flat = x_BTD.reshape(-1, cfg.d_model), head_VD, targets_BT.reshape(-1)
            return mean_loss(*flat, cfg.logit_softcap), seen
        logits = project(x_BTD, head_VD.T)
        return capped(logits.astype(jnp.promote_types(logits.dtype, jnp.float32)), cfg.logit_softcap), seen


def forward(
    config: ModelConfig, params: Params, tokens_BT: jax.Array, *, dropout_key: jax.Array | None = None
) -> jax.Array:
    """Logits [B, T, V]; without a key no dropout takes place and nothing is drawn."""
    return Decoder(config).apply({"params": params}, tokens_BT, dropout_key)[0]  # pyright: ignore[reportReturnType]


def loss(
    config: ModelConfig,
    params: Params,
    tokens_BT: jax.Array,
    targets_BT: jax.Array,
    *,
    dropout_key: jax.Array | None = None,
) -> jax.Array:
    """Mean negative log-likelihood in nats per token of targets int32 [B, T], at least float32."""
    return Decoder(config).apply({"params": params}, tokens_BT, dropout_key, targets_BT)[0]  # pyright: ignore[reportReturnType]


def activations(config: ModelConfig, params: Params, tokens_BT: jax.Array) -> dict[str, jax.Array]:
    """What every layer hands on, by the name of its widened axis: `embed` [L, B, T, D] (the residual stream), `heads`
    [L, B, T, H, K] (what attention gives for each head, before wo) and `mlp` [L, B, T, F] (the hidden units)."""
    return Decoder(config, capture=True).apply({"params": params}, tokens_BT, None)[1]  # pyright: ignore[reportReturnType]


@lru_cache(maxsize=256)
def _boxed(config: ModelConfig) -> Mapping[str, object]:
    tokens = jax.ShapeDtypeStruct((1, min(2, config.max_seq_len)), jnp.int32)
    model = Decoder(config)
    return jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros(tokens.shape, tokens.dtype), None))["params"]


def param_specs(config: ModelConfig) -> SpecTree:
    """The tree of `ParamSpec`, of the parameters' own structure."""
    return jax.tree.map(lambda box: box.spec, _boxed(config), is_leaf=is_named)


def param_shapes(config: ModelConfig) -> chex.ArrayTree:
    """The tree of `jax.ShapeDtypeStruct` of the parameters."""
    return jax.tree.map(lambda box: box.value, _boxed(config), is_leaf=is_named)


def init_params(config: ModelConfig, *, key: jax.Array) -> Params:
    """Fresh parameters: normals of `init_std` (divided by sqrt(2 L) where a block writes the residual stream,
    Radford et al. 2019, section 2.3), ones for gains, zeros for biases. `key` is the init stream's at step 0; every
    parameter is a site of its own, named by its path.
    """

    def draw(path: jax.tree_util.KeyPath, spec: ParamSpec, shape: jax.ShapeDtypeStruct) -> jax.Array:
        return init_leaf(config, path_name(path), spec, shape.shape, key=key)

    specs = jax.tree_util.tree_flatten_with_path(param_specs(config), is_leaf=lambda s: isinstance(s, ParamSpec))
    shapes = jax.tree.leaves(param_shapes(config))
    return jax.tree.unflatten(specs[1], [draw(p, s, shape) for (p, s), shape in zip(specs[0], shapes, strict=True)])


def init_leaf(
    config: ModelConfig, path: str, spec: ParamSpec, shape: tuple[int, ...], first: int = 0, *, key: jax.Array
) -> jax.Array:
    """One of `init_params`, or the part of that shape that begins at position `first` of its first axis."""
    if spec.init != "normal":
        return jnp.full(shape, 1.0 if spec.init == "ones" else 0.0, config.param_dtype)
    drawn = normals_from(at_site(key, path), shape, config.param_dtype, first * math.prod(shape[1:]))
    return initial_deviation(config, spec) * drawn


def initial_deviation(config: ModelConfig, spec: ParamSpec) -> float:
    """The standard deviation that a parameter which starts as normals is drawn with."""
    return config.init_std / (math.sqrt(2 * config.n_layers) if spec.residual else 1.0)


def init_sites(config: ModelConfig) -> Sites:
    """What `init_params` draws: a normal for every parameter that starts as one; its path is its site."""
    return [([path, 0], normals(x.shape, x.dtype.name)) for path, s, x in named_params(config) if s.init == "normal"]


def named_params(config: ModelConfig) -> list[tuple[str, ParamSpec, jax.ShapeDtypeStruct]]:
    """Path, spec, and shape with dtype, of every parameter."""
    specs = jax.tree_util.tree_flatten_with_path(param_specs(config), is_leaf=is_spec)[0]
    shapes = jax.tree.leaves(param_shapes(config))
    return [(path_name(path), spec, shape) for (path, spec), shape in zip(specs, shapes, strict=True)]


def count_params(config: ModelConfig) -> int:
    """Number of parameters."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(param_shapes(config)))


def flops_per_token(config: ModelConfig, seq_len: int) -> float:
    """Floating-point operations of one training step per token: 6 per weight that multiplies, plus attention's
    12 L T H K (Chowdhery et al. 2022, arXiv 2204.02311, appendix B; a causal half is not taken off, and T is a
    window's length where that is shorter)."""
    weights = map_specs(
        lambda spec, shape: math.prod(shape.shape) if any(d.role == "reads" for d in spec.dims) else 0,
        param_specs(config),
        param_shapes(config),
    )
    head = config.vocab_size * config.d_model if config.tie_embeddings else 0
    spans = [min(window or seq_len, seq_len) for window in config.windows] or [seq_len] * config.n_layers
    attention = 12 * sum(spans) * config.n_heads * config.head_dim
    return 6.0 * (sum(jax.tree.leaves(weights)) + head) + attention
