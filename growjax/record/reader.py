"""Records as input from strangers: bounded first, then checked against the types beside it.

What does not fit is reported in one line and gets no further: no field of it becomes a path, a name of something to
import or to fetch, or text on a terminal. pydantic does the checking of types, strictly (no number in a text is a
number); what was read is handed on as it was, since digests are over it. It is imported when the first record is read.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar, cast

from growjax.errors import UserError
from growjax.record.cell_types import CellRecord, CurveMetrics
from growjax.record.receipt_types import Begun, Frame, Opening, Receipt
from growjax.record.types import Json, Tree

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")

RECEIPT_BYTES = 2**28
RECORD_BYTES = 2**25
"""Of a result, the description of a state, and that of tokens."""
TRACE_BYTES = 2**28
"""Of the steps and evaluations of one cell."""
VALUES = 8_000_000
"""Values in one file; each takes some 60 bytes of memory, and more than it does in the file."""
DEPTH = 24
TEXT = 2**24
CELLS = 20_000
LARGEST = 1e100
"""The largest figure that is read: sums and squares of such are finite."""

DRAWN = 2**30
"""Values of one draw."""

_WRITER = "take the file that growjax wrote"


def read_bytes(path: Path, limit: int) -> bytes:
    """The bytes of a plain file. Raises `FileNotFoundError`, and `UserError` where it is something else, is larger than
    `limit` or holds more than `VALUES` values."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise UserError(f"{path} is no file", _WRITER)
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise UserError(f"{path} is larger than {limit} bytes", _WRITER)
    if data.count(b",") + data.count(b"[") + data.count(b"{") > VALUES:
        raise UserError(f"{path} holds more than {VALUES} values", _WRITER)
    return data


def file_digest(path: Path) -> str:
    """SHA-256 of a plain file. Raises `UserError` where it is something else."""
    if not path.is_file():
        raise UserError(f"{path} is no file", _WRITER)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def parse(text: str, path: Path) -> Json:
    """The JSON value of a text. Raises `ValueError` where it is none, `UserError` where it is beyond bounds."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise UserError(f"{path} is nested too deep", _WRITER) from None
    fault = _beyond(value)
    if fault is not None:
        raise UserError(f"{path} {fault}", _WRITER)
    return value


def _beyond(value: Json) -> str | None:
    """What is out of bounds in a value: its depth, a text, a number."""
    todo = [(value, 0)]
    while todo:
        one, depth = todo.pop()
        if isinstance(one, dict):
            todo += [(key, depth) for key in one]
            todo += [(inner, depth + 1) for inner in one.values()]
        elif isinstance(one, list):
            todo += [(inner, depth + 1) for inner in one]
        elif isinstance(one, str):
            if len(one) > TEXT:
                return f"holds a text of {len(one)} characters"
            if not one.isprintable() and _controls(one):
                return f"holds the control character {_controls(one)[0]!a}"
        elif isinstance(one, float) and not math.isfinite(one):
            return "holds a number that is not finite"
        elif isinstance(one, int) and abs(one) >= 2**64:
            return "holds a number beyond 64 bits"
        if depth > DEPTH:
            return "is nested too deep"
    return None


def _controls(text: str) -> list[str]:
    return [c for c in text if not (c.isprintable() or (c.isspace() and c not in "\r\v\f\x1c\x1d\x1e\x1f\x85"))]


@functools.cache
def _adapter(kind: type) -> TypeAdapter:
    from pydantic import Field, TypeAdapter

    if kind is CellRecord:
        return TypeAdapter(Annotated[CellRecord, Field(discriminator="kind")])
    return TypeAdapter(kind)


def typed(kind: type[T], value: object, what: str) -> T:
    """The value itself, once it is found to be of that type. Raises `UserError` with the first place that is not."""
    from pydantic import ValidationError

    try:
        _adapter(kind).validate_json(json.dumps(value), strict=True)  # as JSON, where a list is a tuple too
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"]))[:120]
        described = first["msg"].partition("Predicate")[0] or "not of the form that growjax writes"
        raise UserError(f"{what} is none that growjax wrote: {place or 'the whole'}: {described}", _WRITER) from None
    return cast(T, value)


def typed_cell(value: object, what: str) -> CellRecord:
    """A cell's record, whose figures fit each other as well."""
    cell = cast(CellRecord, typed(cast(type, CellRecord), value, what))
    fault = next(_unlike(cell), None)
    if fault is not None:
        raise UserError(f"{what} is none that growjax wrote: {fault}", _WRITER)
    return cell


def typed_receipt(value: Tree, path: Path) -> Receipt | Begun:
    """A receipt, each cell of which stands once, behind its parents' kinds."""
    cells = value["cells"]
    if not isinstance(cells, list) or len(cells) > CELLS:
        raise UserError(f"{path} holds no list of at most {CELLS} cells", _WRITER)
    frame = {name: part for name, part in value.items() if name != "cells"}
    typed(Frame if "inputs" in frame else Opening, frame, str(path))
    kinds: dict[str, str] = {}
    known = [typed_cell(cell, f"cell {number} of {path}") for number, cell in enumerate(cells)]
    for cell in known:
        if cell["id"] in kinds:
            raise UserError(f"{path} holds cell {cell['id']} twice", _WRITER)
        kinds[cell["id"]] = cell["kind"]
    for cell in known:
        found = tuple(kinds.get(parent, "") for parent in cell["parents"])
        if found not in PARENTS[cell["kind"]]:
            raise UserError(f"cell {cell['id']} of {path} has parents that no {cell['kind']} has", _WRITER)
    return cast(Receipt, value)


PARENTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "data": ((),),
    "given": (("data",),),
    "source": (("data",), ("given",), ("source",)),
    "candidate": (("given",), ("source",)),
    "probe": tuple(of for kind in ("candidate", "given", "source") for of in ((kind,), (kind, "probe"))),
    "continuation": (("probe",),),
    "extension": (("continuation",),),
    "rung": (("candidate",), ("rung",)),
    "crossed": (("candidate",),),
}
"""Of a cell of each kind: the kinds that its parents may have."""


def _unlike(cell: CellRecord) -> Iterator[str]:
    """What in a cell of the right types does not fit the rest of it."""
    for name, value in cell["metrics"].items():
        if not (value is None or isinstance(value, int | float) or name in _TREES):
            yield f"metrics.{name[:80]}: no figure"
        if any(abs(figure) > LARGEST for figure in _figures(value)):
            yield f"metrics.{name[:80]}: a figure beyond {LARGEST:g}"
    if cell["kind"] == "data":
        return
    for name, entry in cell["digests"].get("ledger", {}).items():
        if entry["first"] > entry["last"]:
            yield f"digests.ledger.{name}: ends before it begins"
        if any(math.prod(site["draw"]["shape"]) > DRAWN for site in entry["sites"]):
            yield f"digests.ledger.{name}: more than {DRAWN} values in one draw"
    if cell["kind"] == "source":
        yield from _off_grid(cell["metrics"], None, cell["parameters"]["step"], cell["parameters"]["eval_every"])
    elif cell["kind"] == "given":
        step = cell["parameters"]["step"]
        yield from _off_grid(cell["metrics"], step, step, 1)
    elif cell["kind"] != "candidate":
        run = cell["parameters"]
        if cell["lag"] != run["lag"]:
            yield "lag: another than that of its parameters"
        yield from _off_grid(cell["metrics"], 0, run["lag"], run["eval_every"])


def _figures(value: object) -> Iterator[float]:
    """The figures of a metric: itself, or those of a curve."""
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, int | float):
            yield one


_TREES = ("tokens", "stories", "eval_steps", "eval_loss")
"""Metrics that are no single figure."""


def _off_grid(metrics: CurveMetrics, first: int | None, last: int, every: int) -> Iterator[str]:
    """Whether a curve was evaluated every so often from its first step to its last, and has a loss at each."""
    steps = metrics["eval_steps"]
    begin = first if first is not None or not steps else steps[0]
    if len(steps) != len(metrics["eval_loss"]):
        yield "metrics: not as many losses as steps"
    elif begin is None or steps != list(range(begin, begin + every * len(steps), every)) or steps[-1:] != [last]:
        yield "metrics.eval_steps: not the steps that its parameters say"
