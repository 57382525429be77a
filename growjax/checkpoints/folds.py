"""What is folded into weights on the way out, where stock architectures have no setting of their own for it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax

from growjax.config import ModelConfig
from growjax.model.axes import ParamSpec, map_specs
from growjax.model.components import components
from growjax.model.decoder import param_specs

Fold = Callable[[ParamSpec, jax.Array], jax.Array]
"""Of a parameter, what is written in its place."""


def epsilon_fold(model: ModelConfig) -> tuple[ModelConfig, Fold | None]:
    """The same function with one epsilon for all norms, where those of queries and keys have another than those over
    `embed` (operators that pad with zeros change the latter alone).

    RMSNorm of a x with epsilon a^2 e is RMSNorm of x with epsilon e. So whatever writes the residual stream is
    multiplied by a = sqrt(qk_norm_eps / norm_eps), and with a tied head the final gain is divided by it.
    """
    own = model.qk_norm_eps
    if not model.qk_norm or own is None or own == model.norm_eps or own <= 0 or components(model).norm.subtracts_mean:
        return model, None
    a = math.sqrt(own / model.norm_eps)

    def one(spec: ParamSpec, leaf: jax.Array) -> jax.Array:
        if any((dim.axis, dim.role, dim.gauge) == ("embed", "writes", "embed") for dim in spec.dims):
            return leaf * a
        tied_gain = model.tie_embeddings and any(d.role == "scales" and d.gauge == "logits" for d in spec.dims)
        return leaf / a if tied_gain else leaf

    return model.replace(norm_eps=own, qk_norm_eps=None), one


def one_epsilon(model: ModelConfig, params: Any) -> tuple[ModelConfig, Any]:
    """`epsilon_fold` on a whole decoder."""
    stock, fold = epsilon_fold(model)
    return stock, params if fold is None else map_specs(fold, param_specs(model), params)
