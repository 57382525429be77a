"""How fast rotary positions turn: angles per position, computed on the host in float64."""

from __future__ import annotations

import numpy as np

from growjax.config import ModelConfig


def frequencies(config: ModelConfig) -> np.ndarray:
    """float64 [rotary_dim / 2]: radians per position of each pair (Su et al. 2021, arXiv 2104.09864, section 3.2.2),
    scaled for sequences longer than those of training as `rope_scaling` says.

    One number divides all of them: position interpolation (Chen et al. 2023, arXiv 2306.15595, eq. 4). Four (factor,
    low, high, length) divide by the factor what turns less than `low` times over `length` positions, leave what turns
    more than `high` times, and go from one to the other between (Grattafiori et al. 2024, arXiv 2407.21783, 3.4.2).
    """
    rates = _unscaled(config, config.rope_theta)
    if not config.rope_scaling:
        return rates
    factor = config.rope_scaling[0]
    if len(config.rope_scaling) == 1:
        return rates / factor
    _, low, high, length = config.rope_scaling
    kept = np.clip((length * rates / (2 * np.pi) - low) / (high - low), 0, 1)
    return rates * (kept + (1 - kept) / factor)


def local_frequencies(config: ModelConfig) -> np.ndarray:
    """The same of layers with a window and a base of their own, which are not scaled."""
    return _unscaled(config, config.local_rope_theta or config.rope_theta)


def _unscaled(config: ModelConfig, theta: float) -> np.ndarray:
    half = (config.rotary_dim or config.rope_dim or config.head_dim) // 2
    return theta ** (-np.arange(half) / half)
