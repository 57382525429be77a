"""A cell: one result, named by how it is made.

Its id is the hash of a recipe (a kind, a version, parameters) and of its parents' ids, so two machines name one cell
alike even where their bits differ. Everything else is a field: digests of what went in and came out, and metrics.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from growjax.config import json_digest
from growjax.record.cell_types import CellRecord, RunDigests, StateDigests
from growjax.record.checksums import exact, readable, with_checksum
from growjax.record.types import Ledger, Tree
from growjax.schema import Record

GOES_ON = ("continuation", "extension", "rung")
"""Kinds of cells that go on where their parent ends: a probe, a continuation, a rung (the first one where its candidate
begins)."""

CONTINUED = ("probe", "crossed", *GOES_ON)
"""Kinds of cells that go on from a candidate (or from the source, unwidened)."""

NOT_RESULT = ("digest", "module")
"""Fields of a cell that are no part of its result: the checksum, and the way in which its program was compiled."""

VERSION = 2
"""Of the recipes: raised when a recipe of the same text would give other results."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a cell is made."""

    kind: str
    """data, given, source, candidate, probe, continuation, extension, rung or crossed."""
    parameters: Record
    """Plain JSON data: all that the result depends on, apart from the parents."""
    parents: tuple[str, ...] = ()
    label: Record = dataclasses.field(default_factory=dict)
    """What a reader looks for (source, operator, regime, replicate, lag); follows from the rest, and is not hashed."""

    @property
    def id(self) -> str:
        """16 hexadecimal digits of the SHA-256 of recipe and parents."""
        body = {"kind": self.kind, "version": VERSION, "parameters": self.parameters, "parents": list(self.parents)}
        return json_digest(body)[:16]


@dataclasses.dataclass(frozen=True)
class Cell:
    """A filled cell."""

    recipe: Recipe
    inputs: dict[str, str]
    """Digest of each input, by name: tokens, and each parent's output."""
    digests: Mapping[str, object]
    """Digests of what came out."""
    metrics: Mapping[str, object]
    module: str | None = None
    """Digest of the optimized module of the program that trained it: how it was computed, and no part of its result."""

    @property
    def id(self) -> str:
        return self.recipe.id

    def to_dict(self) -> Tree:
        """Plain data, as in `result.json` and in the receipt, with a digest of its own."""
        recipe = self.recipe
        return with_checksum({
            "id": self.id,
            "kind": recipe.kind,
            "source": None,
            "operator": None,
            "regime": None,
            "replicate": None,
            "lag": None,
            **recipe.label,
            "version": VERSION,
            "parameters": recipe.parameters,
            "parents": list(recipe.parents),
            "inputs": self.inputs,
            "digests": self.digests,
            "metrics": readable(self.metrics),
            "exact": exact(self.metrics),
            **({} if self.module is None else {"module": self.module}),
        })  # fmt: skip


def trained(cell: CellRecord) -> RunDigests | None:
    """What came out of the training of a cell; None of one that trains nothing."""
    if cell["kind"] == "data" or cell["kind"] == "given" or cell["kind"] == "candidate":
        return None
    return cell["digests"]


def stored(cell: CellRecord) -> StateDigests | None:
    """Digests of the state that a cell stores; None of one that stores none."""
    if cell["kind"] == "given" or cell["kind"] == "source" or cell["kind"] == "candidate":
        return cell["digests"]
    return None


def ledger_of(cell: CellRecord) -> Ledger | None:
    """What a cell drew; None where that is not recorded."""
    return None if cell["kind"] == "data" else cell["digests"].get("ledger")


def result_of(cell: Mapping[str, object]) -> dict[str, object]:
    """What a recorded cell came to: its record without `NOT_RESULT`."""
    return {name: value for name, value in cell.items() if name not in NOT_RESULT}
