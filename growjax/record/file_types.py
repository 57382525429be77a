"""The types of what lies beside a receipt: states, tokens, the lines of a trace."""

from __future__ import annotations

from typing import Annotated, NotRequired

from annotated_types import Ge, Le, MaxLen, Predicate
from typing_extensions import TypedDict

from growjax.record.cell_types import Sides
from growjax.record.types import Count, Digest, Dtype, Name, Number, Tree, Words

Leaf = tuple[Dtype, Annotated[list[Count], MaxLen(8)], Digest]
"""dtype, shape, digest."""


class StateInfo(TypedDict):
    """`state.json`: what the folder `state/` beside it holds."""

    digest: Digest
    config: Tree
    state: Digest
    leaves: dict[Name, Leaf]
    """By path."""


TokensFiles = TypedDict("TokensFiles", {"tokenizer.json": Digest, "train.bin": Digest, "validation.bin": Digest})


class TokensInfo(TypedDict):
    """`tokens.json`."""

    files: TokensFiles
    tokens: Sides
    stories: Sides
    vocab_size: Annotated[int, Ge(1), Le(2**31 - 1)]
    corpus_digest: Digest
    source: Tree
    config: Tree
    unigram_entropy: Number


class PlanRow(TypedDict):
    """An axis of a plan, in words."""

    axis: Name
    old: Count
    new: Count
    copies: Annotated[str, MaxLen(300), Predicate(str.isprintable)]
    exact: Annotated[str, MaxLen(300), Predicate(str.isprintable)]


class OriginRecord(TypedDict):
    tokens: Digest | None
    tokenizer: Digest | None


class Widened(TypedDict):
    """`widen.json`, as far as it is read again."""

    operator: Name
    plan: list[PlanRow]
    origin: NotRequired[OriginRecord]


class TraceNames(TypedDict):
    params: list[Name]
    state: list[Name]


class TraceHead(TypedDict):
    """The first line of `metrics.jsonl`."""

    leaves: TraceNames


class StepFigures(TypedDict):
    loss: str
    grad_norm: str


class StepLine(TypedDict):
    """The line of a step."""

    step: Count
    exact: StepFigures
    leaves: Words
    params: str
