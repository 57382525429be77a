"""What each operator and part draws, declared from the plan alone: the other side of what they are seen to draw.

An operator that is neither named here nor brings a declaration of its own is taken to draw nothing, and the audit
names what it drew all the same.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

from growjax.audit import draws
from growjax.audit.draws import Draw
from growjax.config import ModelConfig
from growjax.grow.blocks import grown, without_gaps
from growjax.grow.ligo import clone_maps
from growjax.grow.operator import Draws, Operator
from growjax.grow.plan import HeadMap, WidthPlan
from growjax.grow.registry import parse_operator
from growjax.model.axes import ParamSpec
from growjax.model.components import components
from growjax.model.decoder import param_shapes, param_specs

Sites = list[tuple[list[str | int], Draw]]
"""Paths below the step's key, each with what is drawn there."""


class Drawn(NamedTuple):
    """What an operator or a part draws at step 0 of one stream."""

    stream: str
    sites: Sites


def _parameters(config: ModelConfig) -> list[tuple[str, ParamSpec, tuple[int, ...], str]]:
    """Path, spec, shape and dtype of every parameter."""
    is_spec = lambda node: isinstance(node, ParamSpec)  # noqa: E731
    specs = jax.tree_util.tree_flatten_with_path(param_specs(config), is_leaf=is_spec)[0]
    shapes = jax.tree.leaves(param_shapes(config))
    return [
        (jax.tree_util.keystr(path, simple=True, separator="/"), spec, shape.shape, shape.dtype.name)
        for (path, spec), shape in zip(specs, shapes, strict=True)
    ]


def init_sites(config: ModelConfig) -> Sites:
    """A normal for every parameter that starts as one; its path is its site."""
    return [
        ([path, 0], draws.normals(shape, dtype))
        for path, spec, shape, dtype in _parameters(config)
        if spec.init == "normal"
    ]


def _init(plan: WidthPlan, options: dict[str, Any]) -> Sites:
    return init_sites(plan.target)


def _noise(plan: WidthPlan, options: dict[str, Any]) -> Sites:
    sites: Sites = []
    for path, spec, shape, dtype in _parameters(plan.target):
        maps = [plan.maps[dim.axis] for dim in spec.dims]
        inputs, outputs = (any(maps[i].grown for i in spec.positions(role)) for role in ("reads", "writes"))
        if inputs and (outputs or options.get("cancel") != "both"):
            sites.append(([path, 0], draws.normals(shape, dtype)))
    return sites


def _noise_if_any(plan: WidthPlan, options: dict[str, Any]) -> Sites:
    return _noise(plan, options) if options["sigma"] else []


def _maps(plan: WidthPlan, options: dict[str, Any]) -> Sites:
    maps = clone_maps(plan).items()
    return [([name, 0], draws.normals(m.shape, m.dtype.name)) for name, m in maps]


def _mixtures(plan: WidthPlan, options: dict[str, Any]) -> Sites:
    sites: Sites = []
    for axis in grown(plan):
        axis_map = plan.maps[axis]
        rounds = without_gaps(axis_map.copy_number[np.flatnonzero(axis_map.is_new)])
        for number, size in enumerate(np.bincount(rounds).tolist()):
            # where the mean is kept, the vector of ones is taken out of what is mixed
            size -= components(plan.source).norm.subtracts_mean and axis == "embed" and size > 1
            sites.append(([axis, number], draws.normals((size, size), "float64")))
    return sites


def _splits(plan: WidthPlan, options: dict[str, Any]) -> Sites:
    sites: Sites = [([axis, 0], draws.uniforms(plan.maps[axis].new, 0.5, 1.5)) for axis in grown(plan)]
    return sites


def _copies(plan: WidthPlan, options: dict[str, Any]) -> Sites:
    heads = plan.maps["heads"]
    assert isinstance(heads, HeadMap)
    # keys by number: child i of a split is what folding i in gives
    embed = None if "embed" in components(plan.source).even else plan.maps["embed"]
    axes = [heads.groups, heads.inner, embed, plan.maps["mlp"]]
    sites: Sites = [
        ([i], draws.integers(m.new - m.old, m.old, "int64")) for i, m in enumerate(axes) if m and m.new != m.old
    ]
    return sites


DECLARED: dict[str, Draws] = {
    "perturbed": {"perturb": _noise},
    "hypercloning_noisy": {"perturb": _noise},
    "mupscale": {"perturb": lambda plan, options: _noise_if_any(plan, {**options, "cancel": "none"})},
    "noise": {"perturb": _noise},
    "ligo": {"perturb": _maps},
    "structured": {"structure": _mixtures},
    "lemon": {"structure": _splits},
    "net2net": {"structure": _copies},
    "scratch": {"init": _init},
    "zero_pad": {"init": _init},
    "shrink_perturb": {"init": _init},
}


def _declared(op: Operator) -> Draws:
    """What an operator draws from each stream: its own declaration, or the one above."""
    return op.draws if op.draws is not None else DECLARED.get(op.name, {})


def growth_draws(operator: str, plan: WidthPlan) -> list[tuple[int | None, Drawn]]:
    """What an operator's text draws under a plan (its vocabulary grown already): with the number of the part that
    draws it, None for the operator itself."""
    made = parse_operator(operator)
    found: list[tuple[int | None, Drawn]] = []
    for number, (op, options) in enumerate(((made.operator, made.options), *made.parts)):
        drawn = [Drawn(stream, sites(plan, {**op.options, **options})) for stream, sites in _declared(op).items()]
        found += [(number - 1 if number else None, one) for one in drawn if one.sites]
    return found


def streams_of(operator: str) -> set[str]:
    """The streams that an operator's text may draw from, under some plan."""
    made = parse_operator(operator)
    return {stream for op in (made.operator, *(part for part, _ in made.parts)) for stream in _declared(op)}
