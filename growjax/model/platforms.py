"""One computation written twice: for a CPU, and for every other platform.

`jax.lax.platform_dependent` does that too, and leaves a choice in the program's text. This leaves none: a program for
a CPU has the text, and so the fingerprint, that it would have if the CPU's way were the only one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import jax
from jax.extend.core import ClosedJaxpr, Primitive, jaxpr_as_fun
from jax.interpreters import batching, mlir

Out = TypeVar("Out")

_by_platform = Primitive("by_platform")
_by_platform.multiple_results = True


def by_platform(*arguments: object, cpu: Callable[..., Out], other: Callable[..., Out]) -> Out:
    """`cpu(*arguments)` where the program is compiled for a CPU, `other(*arguments)` elsewhere.

    The two take and give trees of the same shapes and dtypes, and close over no array. Neither is differentiated: use
    it inside a rule of `jax.custom_vjp`. Raises `TypeError` where what they give differs.
    """
    leaves, structure = jax.tree.flatten(arguments)
    traced = [_traced(function, leaves, structure) for function in (cpu, other)]
    if traced[0][1] != traced[1][1]:
        raise TypeError(f"a CPU's way gives {traced[0][1]}, the other {traced[1][1]}")
    made = _by_platform.bind(*leaves, cpu=traced[0][0], other=traced[1][0])
    return jax.tree.unflatten(jax.tree.structure(traced[0][1]), made)


def _traced(function: Callable[..., object], leaves: list[jax.Array], structure: Any) -> tuple[ClosedJaxpr, object]:
    def flat(*leaves: jax.Array) -> object:
        return function(*jax.tree.unflatten(structure, leaves))

    return jax.make_jaxpr(flat, return_shape=True)(*leaves)


@_by_platform.def_impl
def _run(*leaves: jax.Array, cpu: ClosedJaxpr, other: ClosedJaxpr) -> list[jax.Array]:
    return jax.jit(partial(_by_platform.bind, cpu=cpu, other=other))(*leaves)


@_by_platform.def_abstract_eval
def _shapes(*leaves: object, cpu: ClosedJaxpr, other: ClosedJaxpr) -> list:
    return cpu.out_avals


def _batched(
    leaves: Sequence[jax.Array], dims: Sequence[int | None], **ways: ClosedJaxpr
) -> tuple[list[jax.Array], list[int]]:
    mapped = {name: jax.vmap(jaxpr_as_fun(way), in_axes=tuple(dims)) for name, way in ways.items()}
    made = _by_platform.bind(*leaves, **{name: jax.make_jaxpr(way)(*leaves) for name, way in mapped.items()})
    return made, [0] * len(made)


batching.primitive_batchers[_by_platform] = _batched


def _lowering(way: str) -> Callable[..., Any]:
    def lower(context: mlir.LoweringRuleContext, *leaves: Any, **ways: ClosedJaxpr) -> object:
        return mlir.lower_fun(jaxpr_as_fun(ways[way]), multiple_results=True)(context, *leaves)

    return lower


mlir.register_lowering(_by_platform, _lowering("other"))
mlir.register_lowering(_by_platform, _lowering("cpu"), platform="cpu")
