"""The types of receipts, whole and begun."""

from __future__ import annotations

from typing import Annotated, NotRequired, final

from annotated_types import Ge, Le
from typing_extensions import TypedDict

from growjax.record.cell_types import CellRecord
from growjax.record.types import Digest, Json, Name, Tree


class Pins(TypedDict):
    env: dict[Name, str | None]
    xla_flags: dict[Name, str | None]
    pinned: bool


class SourceHint(TypedDict):
    """How to get a source that was not trained here, for people; its digest is what it is known by."""

    path: Name
    model_type: Name | None
    """Of the Hugging Face checkpoint that it came from, if it did."""
    moments: Name
    tokenizer: Digest | None


class Inputs(TypedDict):
    corpus: Tree
    """How to obtain the stories again."""
    corpus_digest: Digest
    tokens: Digest
    sources: NotRequired[dict[Digest, SourceHint]]
    """By digest, where there are any."""
    tokenizer: NotRequired[Name]
    """Where the tokenizer lay, if it was not trained here."""


class Header(TypedDict):
    """What a receipt says of a run before its first cell."""

    schema: Annotated[int, Ge(1), Le(10**6)]
    environment: Tree
    pins: Pins
    config: Tree
    source_code: Digest | dict[Name, Digest]
    """By module; receipts of schema 2 hold one digest of all."""
    preflight: Tree
    measures: NotRequired[list[dict[Name, Json]]]
    """Of other people, where there are any, each with the provenance of its function (`growjax.provenance`)."""
    operators: NotRequired[list[dict[Name, Json]]]
    """The same of the operators that are used."""


class Opening(Header):
    """With its digests: a receipt without its cells, of a run that has not come to its end."""

    parts: dict[Name, Digest]
    """A digest of each part beside the cells."""
    results: Digest
    """Of all cells' results."""
    root: Digest
    """Of everything else."""


class Frame(Opening):
    """A receipt without its cells."""

    inputs: Inputs
    programs: NotRequired[Tree]


class Receipt(Frame):
    """All that a run says of itself, once it has come to its end."""

    cells: list[CellRecord]


@final
class Begun(Opening):
    """The receipt of a run that has not."""

    cells: list[CellRecord]
