"""Clones of a tensor in place: scaled while it is narrow, then copied as bits, chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from growjax.grow.plan import AxisMap

CHUNK = 1 << 22
"""Entries of the old tensor that are in work at once."""


def copy_scaled(
    old: np.ndarray,
    new: np.ndarray,
    maps: Sequence[AxisMap | None],
    times: np.ndarray,
    *,
    read: Callable[[np.ndarray], np.ndarray],
    rounded: Callable[[np.ndarray], np.ndarray],
) -> None:
    """Fills `new`, a view of what is to be written, with copies of `old`, a view of what is stored.

    `maps` has the map of each axis, None where it does not grow; `times` broadcasts to the old tensor. `read` gives a
    part of it in float32, `rounded` puts one into the dtype to store. The product is jax's, so that the smallest
    numbers come out as they do there.
    """
    # The axes in the order in which they lie in the file, so that a chunk is of neighbours.
    order = sorted(range(new.ndim), key=lambda axis: -new.strides[axis])
    old, new, times, maps = old.transpose(order), new.transpose(order), times.transpose(order), [maps[i] for i in order]
    factor, bits = times.astype(np.float32), np.dtype(f"u{new.itemsize}")
    step = max(1, CHUNK * len(old) // max(1, old.size))
    for start in range(0, len(old), step):
        part = read(old[start : start + step])
        if not np.all(times == 1):
            part = np.asarray(_product(part, factor if len(factor) == 1 else factor[start : start + step]))
        _spread(rounded(part).view(bits), new.view(bits), maps, start)


_product = jax.jit(jnp.multiply)


def _spread(part: np.ndarray, new: np.ndarray, maps: Sequence[AxisMap | None], start: int) -> None:
    """Puts a part of the old tensor, which begins at `start` of its first axis, wherever it is copied to."""
    if all(m is None or m.in_rounds for m in maps):
        rounds = [
            n for m, size in zip(maps, new.shape, strict=True) for n in ((m.new // m.old, m.old) if m else (1, size))
        ]
        whole = np.reshape(new, rounds, copy=False)
        whole[:, start : start + len(part)] = np.expand_dims(part, tuple(range(0, 2 * part.ndim, 2)))
        return
    first, *others = maps
    for axis, m in enumerate(others, 1):
        if m is not None:
            part = np.take(part, m.index, axis)
    if first is None:
        new[start : start + len(part)] = part
    else:
        rows = np.flatnonzero((first.index >= start) & (first.index < start + len(part)))
        new[rows] = part[first.index[rows] - start]
