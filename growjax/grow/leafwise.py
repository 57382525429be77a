"""Growth of parameters one by one, and where it can be, of one layer or some rows at a time.

A leaf function makes a new parameter of an old one, or changes a new one, and needs no other parameter. An operator
that is made of such functions says so (`growjax.grow.operator.Operator.leafwise`), and a model that does not fit in
memory can then be widened piece by piece, to the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import jax

from growjax.digests import path_name
from growjax.grow.plan import WidthPlan
from growjax.model.axes import ParamSpec, is_spec
from growjax.model.decoder import Params, param_specs


class LeafFunction(Protocol):
    """What becomes of one parameter.

    Args:
        path: as in `blocks/wq`.
        spec: what the parameter is.
        leaf: the parameter, or a part of it: some positions along its first axis, where that is of layers, tokens or
            positions. Dtype of the model's parameters.
        first: where along its first axis the part begins, in the new parameter and in the old one alike.

    Returns:
        The new parameter, or the same part of it.
    """

    def __call__(self, path: str, spec: ParamSpec, leaf: jax.Array, first: int = 0, /) -> jax.Array: ...


def never_together(spec: ParamSpec) -> bool:
    """Every part can be made of the same part alone."""
    return False


class Leafwise(NamedTuple):
    """What an operator, or a part, does to parameters: functions in their order."""

    functions: tuple[LeafFunction, ...] = ()
    together: Callable[[ParamSpec], bool] = never_together
    """Whether a parameter is made as a whole, all layers at once, since its parts do not follow from the same parts of
    the old one, or not to the same bits."""

    def then(self, other: Leafwise) -> Leafwise:
        """Both, one after the other."""
        return Leafwise(self.functions + other.functions, lambda spec: self.together(spec) or other.together(spec))

    def __call__(self, path: str, spec: ParamSpec, leaf: jax.Array, first: int = 0) -> jax.Array:
        for function in self.functions:
            leaf = function(path, spec, leaf, first)
        return leaf


def each_leaf(function: LeafFunction, params: Params, plan: WidthPlan) -> Params:
    """A leaf function on every parameter, whole."""

    def one(path: jax.tree_util.KeyPath, spec: ParamSpec, leaf: jax.Array) -> jax.Array:
        return function(path_name(path), spec, leaf)

    return jax.tree_util.tree_map_with_path(one, param_specs(plan.source), params, is_leaf=is_spec)
