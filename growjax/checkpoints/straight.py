"""A checkpoint made wider without ever being in memory: tensor by tensor, from mapped files into their places.

What comes out has the bits of `load_checkpoint`, `widen` and `save_checkpoint`. Clones are scaled before they are
copied, chunk by chunk; other operators are given one layer of a parameter, or some rows of a table, where its parts
follow from the same parts of the old one, and else all of it (`growjax.grow.leafwise`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from growjax.checkpoints.adam import Options
from growjax.checkpoints.copies import CHUNK, copy_scaled
from growjax.checkpoints.folder import SHARD, Opened, Stock, fill_beside, scales, stock
from growjax.checkpoints.groups import factors_of, groups_of, write_factors
from growjax.checkpoints.layout import Leaf, Place, leaves, places, put_together, taken_apart
from growjax.checkpoints.record import Digests
from growjax.checkpoints.stored import NUMPY, in_float32
from growjax.checkpoints.written import Writer, rounded
from growjax.config import ModelConfig, OptimConfig
from growjax.grow.copying import Cloned, leaf_maps
from growjax.grow.leafwise import Leafwise
from growjax.grow.plan import WidthPlan, dealt_plan
from growjax.grow.widen import given_factors, leafwise
from growjax.model.axes import ParamSpec
from growjax.train.optim import LawFactors

BASE = 500 * 10**6
"""Bytes that the process, its libraries and the chunks in work take at most."""
TEMPORARIES = 6
"""Arrays of the new part's size in float32 that an operator works with at once, at most."""

Layers = list[tuple[Place, str]]
"""The tensors of one row of a family's table, each with the name of the one that it is made of."""


@dataclasses.dataclass(frozen=True)
class Straight:
    """What a checkpoint becomes, known before a tensor is read."""

    opened: Opened
    plan: WidthPlan
    """The plan that the operator follows; its target as growjax has it."""
    functions: Leafwise
    stock: Stock
    """What it is written as."""
    law: LawFactors | None
    """Factors of the optimizer's constants, where the operator gives some."""

    @property
    def dtype(self) -> str:
        """Of the tensors that are written."""
        return self.stock.given["dtype"]

    @cached_property
    def rows(self) -> list[Layers]:
        """Every tensor that is written, row by row."""
        names = {(place.row.name, place.layer): name for name, place in self.opened.stored.items()}
        found = [
            (place, names[place.row.name, place.layer]) for place in places(self.stock.family.tensors, self.stock.model)
        ]
        return [list(group) for _, group in itertools.groupby(found, key=lambda pair: pair[0].row.name)]

    @cached_property
    def _old(self) -> dict[str, Leaf]:
        return leaves(self.opened.model)

    @cached_property
    def _new(self) -> dict[str, Leaf]:
        return leaves(self.stock.model)

    @cached_property
    def _clone(self) -> Cloned | None:
        first, *rest = self.functions.functions
        return first if isinstance(first, Cloned) and not rest else None

    def _together(self, row: Layers) -> bool:
        """Whether all layers are made at once."""
        place, _ = row[0]
        specs = [self._old[path].spec for path in place.row.parameters]
        return place.layer is not None and any(map(self.functions.together, specs))

    def _by_rows(self, spec: ParamSpec) -> bool:
        """Whether a parameter without layers is made some rows at a time."""
        return spec.dims[0].role == "keeps" and not self.functions.together(spec)

    def _nbytes(self, place: Place) -> int:
        return math.prod(place.shape) * NUMPY[self.dtype].itemsize

    @property
    def bytes_in(self) -> int:
        """Of the tensors that are read."""
        return sum(map(self.opened.tensors.nbytes, self.opened.stored))

    @property
    def bytes_out(self) -> int:
        """Of the tensors that are written."""
        return sum(self._nbytes(place) for row in self.rows for place, _ in row)

    @property
    def peak_bytes(self) -> int:
        """Memory that writing takes at most: the two largest tensors, in and out, and `BASE`; where there is more than
        clones, also what the operator works with, of the largest part that it is given at once."""
        pairs = [(place, name) for row in self.rows for place, name in row]
        held = max(self.opened.tensors.nbytes(n) for _, n in pairs) + max(self._nbytes(place) for place, _ in pairs)
        return BASE + held + (0 if self._clone is not None else max(map(self._work, self.rows)))

    def _work(self, row: Layers) -> int:
        place, name = row[0]
        size = math.prod(self.opened.tensors.shapes[name]) + TEMPORARIES * math.prod(place.shape)
        if self._together(row):
            return 4 * len(row) * size
        rows = place.layer is None and all(self._by_rows(self._old[path].spec) for path in place.row.parameters)
        return 4 * (min(size, (1 + TEMPORARIES) * CHUNK) if rows else size)

    def write(self, folder: Path, *, shard_bytes: int = SHARD) -> Digests:
        """Writes everything but the card into an empty folder. Raises `UserError` for values that are no finite
        numbers, or do not fit into the dtype to store."""
        self.opened.check_copy()
        source: dict[str, str] = {}
        written: dict[str, str] = {}
        found = [place for row in self.rows for place, _ in row]
        with ThreadPoolExecutor(1) as pool, Writer(folder, found, self.dtype, shard_bytes) as writer:
            for row in self.rows:
                for place, value in self._made(row, source, pool):
                    digest = pool.submit(_sha256, place.name, value)
                    writer.put(place.name, value)
                    written[place.name] = digest.result()
        fill_beside(folder, self.stock.given, self.opened.extras)
        if self.law is not None:
            self._write_factors(folder, self.law)
        return Digests.of(source, written)

    def _write_factors(self, folder: Path, law: LawFactors) -> None:
        model, family = self.plan.target, self.stock.family
        factors = factors_of(law, family, model, scales(self.stock, model))
        constants = Options.of(OptimConfig(), 0.0).constants(OptimConfig().clip_norm)
        write_factors(folder, factors, groups_of(factors, family, model), constants, assumed=True)

    def _made(self, row: Layers, source: dict[str, str], pool: Executor) -> Iterator[tuple[Place, np.ndarray]]:
        """The tensors of a row in the dtype to store; digests of what they are made of go to `source`."""
        if not self._together(row):
            for place, name in row:
                stored = self.opened.tensors.mapped(name)
                digest = pool.submit(_sha256, name, stored)
                value = self._one(place, name, stored)
                source[name] = digest.result()
                yield place, value
            return
        paths, layout = row[0][0].row.parameters, row[0][0].row.layout
        old = {path: np.empty((len(row), *self._old[path].shape[1:]), np.float32) for path in paths}
        for number, (place, name) in enumerate(row):
            stored = self.opened.tensors.mapped(name)
            source[name] = _sha256(name, stored)
            values = taken_apart(place.row.held(in_float32(name, stored)), [self._old[path] for path in paths], layout)
            for path, value in zip(paths, values, strict=True):
                old[path][number] = value
        new = {path: self._grown(path, old.pop(path)) for path in paths}
        for number, (place, _) in enumerate(row):
            whole = put_together([new[path][number] for path in paths], [self._new[path] for path in paths], layout)
            yield place, self._rounded(place, whole)

    def _one(self, place: Place, name: str, stored: np.ndarray) -> np.ndarray:
        """One tensor from one tensor."""
        paths, layout = place.row.parameters, place.row.layout
        made = np.empty(place.shape, NUMPY[self.dtype])
        olds = taken_apart(stored, [self._old[path] for path in paths], layout)
        news = taken_apart(made, [self._new[path] for path in paths], layout)
        for path, old, new in zip(paths, olds, news, strict=True):
            assert np.shares_memory(new, made), f"{place.name}: its parts must be views of it"
            self._fill(path, old, new, place, name)
        return made

    def _fill(self, path: str, old: np.ndarray, new: np.ndarray, place: Place, name: str) -> None:
        spec, layer = self._old[path].spec, place.layer
        if self._clone is not None:
            maps, times = leaf_maps(spec, self._clone.plan), self._clone.before_copying(spec)
            if layer is not None:
                maps, times = maps[1:], times[0]
            copy_scaled(
                old,
                new,
                maps,
                times,
                read=lambda part: place.row.held(in_float32(name, part)),
                rounded=lambda part: self._rounded(place, self._folded(spec, part)),
            )
        elif layer is not None:
            value = self._grown(path, place.row.held(in_float32(name, old))[None], layer)[0]
            new[...] = self._rounded(place, value)
        else:
            step = max(1, CHUNK * len(new) // new.size) if self._by_rows(spec) else max(len(old), len(new))
            for start in range(0, len(new), step):
                value = self._grown(path, place.row.held(in_float32(name, old[start : start + step])), start)
                new[start : start + step] = self._rounded(place, value)

    def _grown(self, path: str, value: np.ndarray, first: int = 0) -> np.ndarray:
        spec = self._old[path].spec
        return self._folded(spec, self.functions(path, spec, jnp.asarray(value), first))

    def _folded(self, spec: ParamSpec, value: jax.Array | np.ndarray) -> np.ndarray:
        fold = self.stock.fold
        return np.asarray(value if fold is None else fold(spec, jnp.asarray(value)))

    def _rounded(self, place: Place, value: np.ndarray) -> np.ndarray:
        return rounded(place.name, place.row.stored(value), self.dtype)


def _sha256(name: str, value: np.ndarray) -> str:
    """Of a tensor's name, dtype, shape and bytes."""
    sha = hashlib.sha256(f"{name} {value.dtype.name} {list(value.shape)} ".encode())
    sha.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
    return sha.hexdigest()


def plan_straight(
    opened: Opened, target: ModelConfig, *, operator: str = "exact_copy", key: jax.Array
) -> Straight | None:
    """What `widen` with these arguments would make of a checkpoint, tensor by tensor; None where the operator does not
    say what becomes of single parameters. Raises `UserError` where `widen` would, before a tensor is read."""
    own, functions = leafwise(dealt_plan(opened.model, target), OptimConfig(), operator=operator, key=key)
    made = stock(own.target, opened.extras, None)
    if functions is None:
        return None
    law = given_factors(dealt_plan(opened.model, target), OptimConfig(), operator=operator, key=key)
    return Straight(opened, own, functions, made, law)
