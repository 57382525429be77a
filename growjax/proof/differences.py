"""Where two records of one cell, or two states, first differ, and by how much."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from growjax.config import ModelConfig
from growjax.digests import leaf_bytes, named_leaves
from growjax.measure.measure import CELLS
from growjax.measure.registry import OWN
from growjax.model.decoder import param_shapes
from growjax.record.cell_types import CellRecord
from growjax.record.cells import CONTINUED, result_of, stored, trained
from growjax.study.account import account, recipe_of

PARTS = ("kind", "parameters", "parents", "inputs", "digests", "exact", "metrics")
"""Of a cell's record, in the order in which they are compared."""


class Difference(NamedTuple):
    """The first difference found; None where a field does not apply or cannot be known."""

    cell: str | None = None
    what: str = ""
    """In a reader's words: which record, or which part of a step."""
    step: int | None = None
    """Training step after which it shows, counted from the start of the cell's source or candidate."""
    leaf: str | None = None
    element: tuple[int, ...] | None = None
    ulps: float | None = None
    """Distance in units in the last place, of the element or of the figure named."""

    def __str__(self) -> str:
        places = [
            f"cell {self.cell}" if self.cell else "",
            f"step {self.step}" if self.step is not None else "",
            f"leaf {self.leaf}" if self.leaf else "",
            f"element {list(self.element)}" if self.element is not None else "",
            self.what,
            f"{self.ulps:g} ulps apart" if self.ulps is not None else "",
        ]
        return ", ".join(p for p in places if p)


def ulps_apart(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """float64, elementwise: how many representable numbers lie from a to b (arrays of one dtype); for integers the
    plain distance. -0 and 0 are one ulp apart, since their bits differ."""
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype.kind not in "fV" and a.dtype.name != "bfloat16":
        return np.abs(a.astype(np.float64) - b.astype(np.float64))
    size = a.dtype.itemsize
    integer = np.dtype(f"i{size}")

    def ordered(x: np.ndarray) -> np.ndarray:
        words = np.ascontiguousarray(x).view(integer).reshape(x.shape).astype(object if size == 8 else np.int64)
        low = -(2 ** (8 * size - 1))
        return np.where(words < 0, low - words - 1, words)  # the most negative word is -0, one below 0

    return np.asarray(abs(ordered(a) - ordered(b)), np.float64)  # of two signs, they lie further apart than int64


def leaf_difference(path: str, a: ArrayLike, b: ArrayLike) -> Difference | None:
    """The first element (in row-major order) at which two leaves differ in their bits."""
    if leaf_bytes(a) == leaf_bytes(b):
        return None
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or a.dtype != b.dtype:
        return Difference(what=f"{a.dtype}{list(a.shape)} against {b.dtype}{list(b.shape)}", leaf=path)
    words = [np.ascontiguousarray(x).reshape(-1).view(np.uint8).reshape(x.size, -1) for x in (a, b)]
    first = int(np.argmax(np.any(words[0] != words[1], axis=1)))
    element = tuple(int(i) for i in np.unravel_index(first, a.shape))
    return Difference(leaf=path, element=element, ulps=float(ulps_apart(a[element], b[element])))


def tree_difference(a: object, b: object) -> Difference | None:
    """The first leaf, in tree order, at which two trees differ."""
    left, right = dict(named_leaves(a)), dict(named_leaves(b))
    for path in sorted(left.keys() | right.keys(), key=lambda path: path.split("/")):
        if path not in left or path not in right:
            return Difference(what="only one of the two states has it", leaf=path)
        found = leaf_difference(path, left[path], right[path])
        if found:
            return found
    return None


def steps_by_leaf(cell: CellRecord, leaves: int) -> np.ndarray | None:
    """uint16 [steps, leaves]: what a receipt keeps of the digests after each step; None of a cell that trains nothing,
    or whose model has another number of leaves."""
    digests = trained(cell)
    words = np.frombuffer(base64.b64decode(digests["params_at"]) if digests else b"", "<u2")
    return words.reshape(-1, leaves) if digests and words.size % leaves == 0 else None


def first_step(cell: CellRecord, start: int, model: ModelConfig, other: CellRecord) -> tuple[int, str] | None:
    """(step, leaf) at which the parameters of two records of a cell first differ, by what receipts keep of them."""
    names = [path for path, _ in named_leaves(param_shapes(model))]
    a, b = steps_by_leaf(cell, len(names)), steps_by_leaf(other, len(names))
    if a is None or b is None or a.shape != b.shape:
        return None
    rows = np.flatnonzero(np.any(a != b, axis=1))
    if not len(rows):
        return None
    row = int(rows[0])
    return start + row + 1, names[int(np.flatnonzero(a[row] != b[row])[0])]


def figure_difference(a: object, b: object, path: str = "") -> tuple[str, float | None] | None:
    """(path, ulps) of the first figure in which two trees of exact figures differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        pairs = [(f"{path}.{k}" if path else k, a.get(k), b.get(k)) for k in sorted(a.keys() | b.keys())]
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        pairs = [(f"{path}[{i}]", x, y) for i, (x, y) in enumerate(zip(a, b, strict=True))]
    elif a == b:
        return None
    else:
        try:
            return path, float(ulps_apart(_figure(a), _figure(b)))
        except (TypeError, ValueError, OverflowError):
            return path, None
    return next((found for p, x, y in pairs if (found := figure_difference(x, y, p))), None)


def _figure(described: object) -> np.float64:
    """A number, or the exact text of one; a digest is none, though its digits would pass."""
    if isinstance(described, str) and "0x" in described:
        return np.float64(float.fromhex(described))
    if isinstance(described, int | float):
        return np.float64(described)
    raise ValueError(described)


def cell_start(cell: CellRecord, cells: Mapping[str, CellRecord]) -> int:
    """The step in front of a cell's first: that of the state or of the lag that it goes on from."""
    recipe = recipe_of(cell)
    if recipe.kind not in ("source", *CONTINUED):
        return 0
    return account(recipe, {name: recipe_of(cells[name]) for name in recipe.parents if name in cells}).first


def one_sided(a: CellRecord, b: CellRecord) -> set[str]:
    """The figures of other people's measures that only one of two records of a cell holds: it was filled where another
    measure was registered, which makes it no other result."""
    if a["kind"] not in CELLS.values():
        return set()
    return (a["metrics"].keys() ^ b["metrics"].keys()) - OWN


def not_compared(a: Sequence[CellRecord], b: Sequence[CellRecord]) -> list[str]:
    """A note on the measures that only one of two receipts' cells hold, if there are any."""
    others = {cell["id"]: cell for cell in b}
    found = sorted({name for cell in a if cell["id"] in others for name in one_sided(cell, others[cell["id"]])})
    return [f"only one side has these measures, and they are not compared: {', '.join(found)}"] if found else []


def _result(cell: CellRecord, without: set[str]) -> dict[str, object]:
    """What a cell came to, but for the figures of these names."""
    cut = {part: {k: v for k, v in cell[part].items() if k not in without} for part in ("metrics", "exact")}
    return {**result_of(cell), **cut}


def cell_difference(a: CellRecord, b: CellRecord, *, start: int, model: ModelConfig) -> Difference | None:
    """The first difference between the results of two records of one cell; None where every field is the same.

    `model` is the configuration of the parameters that the cell trains; `start` the step in front of its first. What
    is `one_sided` is left out.
    """
    alone = one_sided(a, b)
    left, right = _result(a, alone), _result(b, alone)
    if left == right:
        return None
    found = first_step(a, start, model, b)
    if found:
        figure = figure_difference(left["exact"], right["exact"])
        described = f"the first figure to differ is {figure[0]}" if figure else "every figure is the same"
        return Difference(a["id"], described, *found, ulps=figure[1] if figure else None)
    mine, other = stored(a), stored(b)
    for path, recorded in mine["leaves"].items() if mine else ():
        if other and other["leaves"].get(path) != recorded:
            return Difference(a["id"], "the state that the cell holds", leaf=path)
    for field in PARTS:
        figure = figure_difference(left[field], right[field])
        if figure:
            return Difference(a["id"], f"{field} {figure[0]}", ulps=figure[1])
    return Difference(a["id"], "its record")


def computed_otherwise(a: CellRecord, b: CellRecord) -> str | None:
    """Why two records of one cell may differ by how they were computed: another program, or the same program compiled
    into another optimized module. None where both are the same, or are not recorded."""
    if a["digests"].get("program") != b["digests"].get("program"):
        return "the program itself is another"
    if None not in (a.get("module"), b.get("module")) and a.get("module") != b.get("module"):
        return "the program is the same, and the compiler made another module of it (other fusions)"
    return None
