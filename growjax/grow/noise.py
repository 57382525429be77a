"""Noise on what reads cloned axes: the part that breaks the clones' symmetry."""

from __future__ import annotations

import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from growjax.draws import Sites, normals
from growjax.grow.copying import along
from growjax.grow.leafwise import Leafwise, each_leaf
from growjax.grow.plan import AxisMap, Options, WidthPlan
from growjax.model.axes import ParamSpec
from growjax.model.decoder import Params, named_params
from growjax.streams import at_site, normals_from

Cancel = Literal["inputs", "both", "none"]
"""Over which copies noise cancels, for a user to choose (see `input_noise`)."""


def sigma_of_snr(snr_db: float) -> float:
    """The noise's root mean square over the signal's at a signal-to-noise ratio in dB: 10^(-dB/20)."""
    return 10 ** (-snr_db / 20)


def _less_mean(noise: jax.Array, axis_map: AxisMap, position: int) -> jax.Array:
    """The noise less its mean over the copies of each position, with its variance restored: sums over copies are 0.

    A position that has one copy has no noise left.
    """
    counts = axis_map.counts
    moved = jnp.moveaxis(noise, position, 0)
    means = jax.ops.segment_sum(moved, axis_map.index, num_segments=axis_map.old)
    means = jnp.moveaxis(means / counts.reshape(-1, *(1,) * (noise.ndim - 1)), 0, position)
    scale = np.where(counts > 1, np.sqrt(counts / np.maximum(counts - 1, 1)), 0.0)[axis_map.index]
    less = noise - jnp.take(means, axis_map.index, axis=position)
    return (less * along(scale, position, noise.ndim)).astype(noise.dtype)


def _pairs(axis_map: AxisMap) -> AxisMap:
    """The copies of each position two by two; a last odd one stands alone."""
    pair = axis_map.index + axis_map.old * (axis_map.copy_number // 2)
    names, index = np.unique(pair, return_inverse=True)
    return AxisMap(axis_map.axis, len(names), index.astype(np.int64))


def _sides(spec: ParamSpec, plan: WidthPlan) -> tuple[list[int], list[int]]:
    """Positions of the grown axes that a parameter reads, and of those that it writes."""
    reads, writes = ([i for i in spec.positions(r) if plan.maps[spec.dims[i].axis].grown] for r in ("reads", "writes"))
    return reads, writes


def _noisy(spec: ParamSpec, plan: WidthPlan, cancel: str) -> bool:
    """Whether a parameter is given noise."""
    inputs, outputs = _sides(spec, plan)
    return bool(inputs and {"both": outputs, "pairs": spec.is_matrix}.get(cancel, True))


def noise_sites(plan: WidthPlan, options: Options) -> Sites:
    """What `input_noise` draws: a normal for every entry of the parameters that are given noise."""
    found = named_params(plan.target)
    return [
        ([path, 0], normals(x.shape, x.dtype.name))
        for path, spec, x in found
        if _noisy(spec, plan, options.get("cancel", "inputs"))
    ]


def noisy(plan: WidthPlan, sigma: float, cancel: str, *, key: jax.Array, stacked: bool = False) -> Leafwise:
    """Adds normal noise of `sigma` times the root mean square to every parameter that reads a cloned axis.

    The root mean square is that of each matrix, each layer's by itself; with `stacked` that of all layers together.
    `inputs`: the noise sums to zero over the copies of each input, so copies that carry equal values add nothing and
    the function is kept while the copies' own weights differ. `both`: over the copies of each output as well, in
    parameters that have such; gradients then cancel too, and the noise is dead: nothing ever comes of it (as long as
    no dropout distinguishes the copies). `pairs`: in matrices alone, of each pair of copies one has the noise and the
    other its negative, and a last odd copy none. `none`: it does not cancel. `plan` is the one that the copies were
    made by. `key` is the perturb stream's at step 0; every parameter is a site of its own.
    """

    def one(path: str, spec: ParamSpec, leaf: jax.Array, first: int = 0) -> jax.Array:
        if not _noisy(spec, plan, cancel):
            return leaf
        maps, (inputs, outputs) = [plan.maps[d.axis] for d in spec.dims], _sides(spec, plan)
        rows = None if stacked else tuple(i for i, d in enumerate(spec.dims) if d.axis != "layers")
        scale = sigma * jnp.sqrt(jnp.mean(jnp.square(leaf), axis=rows, keepdims=not stacked))
        drawn = normals_from(at_site(key, path), leaf.shape, leaf.dtype, first * math.prod(leaf.shape[1:]))
        noise = scale * drawn
        # Copies along one input axis carry equal values, so cancelling along the first is enough.
        along_axes = {"inputs": inputs[:1], "pairs": inputs[:1], "both": (*inputs[:1], *outputs[:1]), "none": ()}
        for position in along_axes[cancel]:
            noise = _less_mean(noise, _pairs(maps[position]) if cancel == "pairs" else maps[position], position)
        return leaf + noise

    def of_all(spec: ParamSpec) -> bool:
        return _noisy(spec, plan, cancel) and (stacked or spec.dims[0].axis != "layers")

    return Leafwise((one,), of_all)


def input_noise(
    params: Params, plan: WidthPlan, sigma: float, cancel: str, *, key: jax.Array, stacked: bool = False
) -> Params:
    """`noisy` on every parameter."""
    return each_leaf(noisy(plan, sigma, cancel, key=key, stacked=stacked), params, plan)
