"""What is folded into weights on the way out, where stock architectures have no setting of their own for it."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax

from growjax.config import ModelConfig
from growjax.model.axes import ParamSpec, map_specs
from growjax.model.components import components
from growjax.model.decoder import Params, param_specs

Fold = Callable[[ParamSpec, jax.Array], jax.Array]
"""Of a parameter or a part of it, what is written in its place: each entry by itself."""


def epsilon_fold(model: ModelConfig) -> tuple[ModelConfig, Fold | None]:
    """The same function with one epsilon for all norms, where those of queries and keys have another than those over
    `embed` (operators that pad with zeros change the latter alone).

    RMSNorm of a x with epsilon a^2 e is RMSNorm of x with epsilon e. So whatever writes the residual stream is
    multiplied by a = sqrt(qk_norm_eps / norm_eps), and with a tied head the final gain is divided by it. Where norms
    stand after attention and MLP, what they read and what they give are; where none stand before, what reads the
    stream is divided by a.
    """
    own = model.qk_norm_eps
    if not model.qk_norm or own is None or own == model.norm_eps or own <= 0 or components(model).norm.subtracts_mean:
        return model, None
    a, bare = math.sqrt(own / model.norm_eps), not components(model).norms_before

    def one(spec: ParamSpec, leaf: jax.Array) -> jax.Array:
        if any((dim.axis, dim.role, dim.gauge) == ("embed", "writes", "embed") for dim in spec.dims):
            return leaf * a
        if spec.residual and any(dim.role == "scales" for dim in spec.dims):
            return leaf * a
        if bare and any((dim.axis, dim.role, dim.gauge) == ("embed", "reads", "embed") for dim in spec.dims):
            return leaf / a
        tied_gain = model.tie_embeddings and any(d.role == "scales" and d.gauge == "logits" for d in spec.dims)
        return leaf / a if tied_gain else leaf

    return model.replace(norm_eps=own, qk_norm_eps=None), one


def scale_fold(model: ModelConfig, scale: float) -> Fold | None:
    """The same function where embeddings are multiplied by `scale`, not by `model.embed_scale`.

    Stock architectures multiply by a number that follows from d_model and changes when it grows. So the table is
    multiplied by a = embed_scale / scale, and with a tied head, which reads the table, what the final norm gives is
    divided by it.
    """
    a, tied = model.embed_scale / scale, model.tie_embeddings
    if a == 1:
        return None

    def one(spec: ParamSpec, leaf: jax.Array) -> jax.Array:
        if {"keeps", "writes"} == {dim.role for dim in spec.dims} and any(dim.axis == "vocab" for dim in spec.dims):
            return leaf * a
        final = any(dim.gauge == "logits" and dim.role in ("scales", "writes") for dim in spec.dims)
        return leaf / a if tied and final else leaf

    return one


def then(first: Fold | None, second: Fold | None) -> Fold | None:
    """Both, one after the other."""
    if first is None or second is None:
        return first or second
    return lambda spec, leaf: second(spec, first(spec, leaf))


def folded(fold: Fold | None, model: ModelConfig, params: Params) -> Params:
    """A fold of a whole decoder."""
    return params if fold is None else map_specs(fold, param_specs(model), params)
