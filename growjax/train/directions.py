"""What each optimizer makes of a gradient: one pure function for each, of one parameter at a time.

A direction takes (config, spec, gradient, mu, nu, count, eps factor) and gives (direction, mu, nu). The formulas and
their order are Optax's.
"""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import optax
from jax import Array
from optax.contrib import MuonDimensionNumbers, scale_by_muon

from growjax.config import OptimConfig
from growjax.model.axes import ParamSpec

Factor = Array | float
Moved = tuple[Array, Array, Array]
"""Direction, mu, nu."""


def keeps_nu(config: OptimConfig, spec: ParamSpec) -> bool:
    """Whether the optimizer keeps a second moment of this parameter."""
    return config.name == "adamw" or (config.name == "muon" and not spec.is_matrix)


def goes_by_entry(config: OptimConfig, spec: ParamSpec) -> bool:
    """Whether each entry of this parameter is updated by its own gradient and moments, whatever the others are."""
    return config.name != "muon" or not spec.is_matrix


def _adamw(config: OptimConfig, spec: ParamSpec, g: Array, m: Array, v: Array, c: Array, eps: Factor) -> Moved:
    """Loshchilov & Hutter 2019, arXiv 1711.05101, algorithm 2."""
    m = optax.tree.update_moment(g, m, config.b1, 1)
    v = optax.tree.update_moment_per_elem_norm(g, v, config.b2, 2)
    # Powers in the leaf's own precision, as optax.tree.bias_correction has them.
    m_hat = m / (1 - config.b1 ** c.astype(m.dtype))
    v_hat = v / (1 - config.b2 ** c.astype(v.dtype))
    return m_hat / (jnp.sqrt(v_hat) + config.eps * eps), m, v


def _lion(config: OptimConfig, spec: ParamSpec, g: Array, m: Array, v: Array, c: Array, eps: Factor) -> Moved:
    """Chen et al. 2023, arXiv 2302.06675, program 1."""
    change = jnp.sign((1 - config.b1) * g + config.b1 * m)
    return change, optax.tree.update_moment(g, m, config.b2, 1), v


def _sgd(config: OptimConfig, spec: ParamSpec, g: Array, m: Array, v: Array, c: Array, eps: Factor) -> Moved:
    """Heavy ball: the trace b1 m + g (Sutskever et al. 2013, eq. 1, with the rate applied afterwards)."""
    m = g + config.b1 * m
    return m, m, v


def _muon(config: OptimConfig, spec: ParamSpec, g: Array, m: Array, v: Array, c: Array, eps: Factor) -> Moved:
    """Jordan et al. 2024: matrices by orthogonalised Nesterov momentum (`optax.contrib.muon`), the rest by AdamW.

    `optax.contrib.muon` takes Adam with Nesterov momentum and a decay of its own for the rest. Jordan et al. train it
    by AdamW, and so does this: its plain momentum, and the one decay of all parameters that decay.
    """
    if not spec.is_matrix:
        return _adamw(config, spec, g, m, v, c, eps)
    beta = config.muon_beta
    m = optax.tree.update_moment(g, m, beta, 1)
    steps = c.astype(m.dtype)
    ahead = beta * (m / (1 - beta ** (steps + 1))) + (1 - beta) * (g / (1 - beta**steps))
    numbers = MuonDimensionNumbers(spec.positions("reads"), spec.positions("writes"))
    # With no momentum of its own scale_by_muon is the orthogonalisation alone. Dividing by the factor of epsilon first
    # is the same as multiplying epsilon by it.
    alone = scale_by_muon(beta=0.0, nesterov=False, eps=config.eps, weight_dimension_numbers=[numbers])
    changes: Any = alone.update([ahead / eps], alone.init([ahead]))[0]
    return changes[0] * muon_shape_factor(spec, g.shape), m, v


def muon_shape_factor(spec: ParamSpec, shape: tuple[int, ...]) -> float:
    """sqrt(max(1, fan_out / fan_in)), by which Muon multiplies the direction of a matrix of that shape."""
    fan_in, fan_out = (math.prod(shape[i] for i in spec.positions(role)) for role in ("reads", "writes"))
    return math.sqrt(max(1.0, fan_out / fan_in))


DIRECTIONS = {"adamw": _adamw, "lion": _lion, "sgd": _sgd, "muon": _muon}
