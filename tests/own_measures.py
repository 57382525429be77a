"""Measures as someone else would write them, in a module that other processes can import."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from growjax.measure import MeasureInputs


def norm(tree: object) -> float:
    """The Euclidean norm over all leaves."""
    return float(jnp.sqrt(sum(jnp.sum(jnp.square(x.astype(jnp.float64))) for x in jax.tree.leaves(tree))))


def norm_ratio(given: MeasureInputs) -> float:
    """Norm of the parameters over that of the source's."""
    return norm(given.params) / norm(given.source)


def update_norm(given: MeasureInputs) -> float | None:
    """Norm of the change since the start, of candidates made from the source."""
    return norm(given.change) if given.related else None


def drop(given: MeasureInputs) -> float:
    """Loss at the start minus loss at the end."""
    return given.curve.losses[0] - given.curve.losses[-1]


def nothing(given: MeasureInputs) -> None:
    """Never has a meaning."""
