"""A walk over traced programs: every random primitive, in whatever is nested, and where its key comes from.

Keys are followed symbolically, from the program's arguments through folds, splits and slices, into loops, branches and
calls. A draw whose key comes from elsewhere (made inside, closed over, wrapped from raw words) belongs to no stream;
a key that serves two draws, or the same draw in every turn of a loop, is used twice.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

RAW = ("threefry2x32", "rng_uniform", "rng_bit_generator", "random_gamma", "random_seed")
"""Primitives that draw, or make keys, without a key that was handed in."""

_SAME = ("convert_element_type", "reshape", "squeeze", "broadcast_in_dim", "copy", "random_unwrap", "random_clone",
         "optimization_barrier", "stop_gradient", "copy_p", "expand_dims")  # fmt: skip


class Value(NamedTuple):
    """What is known of a variable."""

    origin: str | None = None
    """The argument that a key comes from; None where it comes from none."""
    path: tuple[str | int, ...] = ()
    """What was folded in: numbers where they are known, else the loops they vary with."""
    loops: frozenset[int] = frozenset()
    """The loops with whose turns it varies."""
    number: int | None = None
    """Its value, where it is one known number."""


class Found(NamedTuple):
    """A random primitive of a program."""

    primitive: str
    origin: str | None
    path: tuple[str | int, ...]
    shape: tuple[int, ...]
    width: int
    idle_loops: int
    """How many loops around it its key does not vary with."""

    @property
    def place(self) -> str:
        """Where its key comes from, for people."""
        return "/".join(map(str, (self.origin or "no argument", *self.path)))


def program_draws(function: Callable[..., object], arguments: tuple, names: Sequence[str]) -> list[Found]:
    """Every random primitive of `function` on arguments of these shapes. `names` label its flattened arguments."""
    closed = jax.make_jaxpr(function)(*arguments)
    walk = _Walk()
    known = [Value(origin=name) for name in names]
    walk.through(closed.jaxpr, [*known], [_constant(c) for c in closed.consts], ())
    return walk.found


def twice(found: Iterable[Found]) -> list[Found]:
    """Draws whose key has served another draw of the program, or serves every turn of a loop alike."""
    seen: set[tuple] = set()
    again = []
    for draw in found:
        place = (draw.origin, draw.path)
        if draw.primitive == "random_bits" and (draw.idle_loops or place in seen):
            again.append(draw)
        seen.add(place)
    return again


def _constant(value: Any) -> Value:
    array = value if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key) else None
    if array is None and np.size(value) == 1 and np.issubdtype(np.asarray(value).dtype, np.integer):
        return Value(number=int(np.asarray(value).reshape(())))
    return Value()


class _Walk:
    def __init__(self) -> None:
        self.found: list[Found] = []
        self._loop_numbers = itertools.count()

    def through(
        self, jaxpr: Jaxpr, arguments: Sequence[Value], constants: Sequence[Value], around: tuple[int, ...]
    ) -> list[Value]:
        """Walks one program; returns what is known of its results."""
        known: dict[object, Value] = dict(zip(jaxpr.invars, arguments, strict=True))
        known.update(zip(jaxpr.constvars, constants, strict=True))
        read = lambda atom: _constant(atom.val) if isinstance(atom, Literal) else known.get(atom, Value())  # noqa: E731
        for equation in jaxpr.eqns:
            values = [read(atom) for atom in equation.invars]
            known.update(zip(equation.outvars, self.equation(equation, values, around), strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def equation(self, equation: Any, values: list[Value], around: tuple[int, ...]) -> list[Value]:
        name, params = equation.primitive.name, equation.params
        shape = tuple(equation.outvars[0].aval.shape) if equation.outvars else ()
        if name in RAW or name == "random_wrap":
            # a wrap of words that were unwrapped from an argument's key still serves that key's stream
            self.found.append(Found(name, None, values[0].path, shape, 0, 0))
            return [Value(loops=_loops(values))] * len(equation.outvars)
        if name == "random_bits":
            idle = len(set(around) - values[0].loops)
            self.found.append(Found(name, values[0].origin, values[0].path, shape, params["bit_width"], idle))
            return [Value(loops=_loops(values))]
        if name == "random_fold_in":
            key, data = values
            folded = data.number if data.number is not None else "varying" if data.loops else "argument"
            return [key._replace(path=(*key.path, folded), loops=key.loops | data.loops)]
        if name == "random_split":
            return [values[0]._replace(path=(*values[0].path, "split"))]
        if name in ("slice", "dynamic_slice", "gather", "unstack") and values[0].path[-1:] == ("split",):
            start = params.get("start_indices", tuple(v.number for v in values[1:]))
            taken = range(len(equation.outvars)) if name == "unstack" else [start[0] if start else "?"]
            return [values[0]._replace(path=(*values[0].path[:-1], f"split {i}")) for i in taken]
        if name == "scan":
            # reported from the shapes, as the parameters that count them have other names in other versions of jax
            body = params["jaxpr"]
            results = len(equation.outvars)
            sliced = _of_other_rank(equation.invars, body.jaxpr.invars)
            carried = results - _of_other_rank(equation.outvars, body.jaxpr.outvars)
            return self.loop(body, values, len(values) - carried - sliced, carried, around, results)
        if name == "while":
            tests, bodies = params["cond_nconsts"], params["body_nconsts"]
            carried = values[tests + bodies :]
            self.loop(params["cond_jaxpr"], [*values[:tests], *carried], tests, len(carried), around, 1, tested=True)
            body = [*values[tests : tests + bodies], *carried]
            return self.loop(params["body_jaxpr"], body, bodies, len(carried), around, len(equation.outvars))
        if name == "cond":
            results = [self.inside(branch, values[1:], around) for branch in params["branches"]]
            return [r[0] if all(x == r[0] for x in r) else Value(loops=_loops(r)) for r in zip(*results, strict=True)]
        nested = [p for p in params.values() if isinstance(p, (ClosedJaxpr, Jaxpr))]
        if nested:
            return self.call(nested, values, around, len(equation.outvars))
        if name in _SAME and len(equation.outvars) == 1:
            return [values[0]._replace(number=values[0].number if len(values) == 1 else None)]
        origins = {v.origin for v in values}
        origin = origins.pop() if len(origins) == 1 else None
        return [Value(origin=origin, loops=_loops(values))] * len(equation.outvars)

    def call(
        self, nested: list[ClosedJaxpr | Jaxpr], values: list[Value], around: tuple[int, ...], results: int
    ) -> list[Value]:
        """A program within an equation, whatever the equation is called."""
        described: list[Value] | None = None
        for inner in nested:
            takes = len((inner.jaxpr if isinstance(inner, ClosedJaxpr) else inner).invars)
            given = values if takes == len(values) else [Value(loops=_loops(values))] * takes
            found = self.inside(inner, given, around)
            described = found if described is None and len(found) == results else described
        return described or [Value(loops=_loops(values))] * results

    def inside(self, inner: ClosedJaxpr | Jaxpr, values: Sequence[Value], around: tuple[int, ...]) -> list[Value]:
        if isinstance(inner, ClosedJaxpr):
            return self.through(inner.jaxpr, values, [_constant(c) for c in inner.consts], around)
        return self.through(inner, values, [Value()] * len(inner.constvars), around)

    def loop(
        self, inner: ClosedJaxpr, values: list[Value], constants: int, carried: int, around: tuple[int, ...],
        results: int, *, tested: bool = False,
    ) -> list[Value]:  # fmt: skip
        """A loop's body. What is carried on unchanged is known inside as it is outside; all else varies."""
        number = next(self._loop_numbers)
        jaxpr = inner.jaxpr
        given = []
        for place, value in enumerate(values):
            carry = place - constants
            kept = carry < 0 or (not tested and carry < carried and jaxpr.outvars[carry] is jaxpr.invars[place])
            given.append(value if kept else Value(origin=value.origin, loops=value.loops | {number}))
        out = self.inside(inner, given, (*around, number))
        return (out + [Value()] * results)[:results]


def _of_other_rank(outer: Iterable[Any], inner: Iterable[Any]) -> int:
    """How many of a scan's operands, or results, its body sees a slice of."""
    return sum(o.aval.ndim != i.aval.ndim for o, i in zip(outer, inner, strict=True))


def _loops(values: Iterable[Value]) -> frozenset[int]:
    return frozenset().union(*(v.loops for v in values))
