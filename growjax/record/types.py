"""The types of what is recorded, as plain JSON data: receipts, cells, ledgers, states, tokens, lines of a trace.

They serve twice: a type checker reads them, and `growjax.record.reader` checks what strangers wrote against them.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal, NotRequired, TypeAlias, final

from annotated_types import Ge, Le, MaxLen, MinLen, Predicate
from typing_extensions import TypeAliasType, TypedDict

if TYPE_CHECKING:
    Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
    """A tree of plain data."""
else:  # what pydantic can follow into itself
    Json = TypeAliasType("Json", bool | int | float | str | list["Json"] | dict[str, "Json"] | None)

Tree = dict[str, Json]
"""A part of a record whose fields something else knows: a configuration, an environment."""


def _is(form: str) -> Callable[[str], bool]:
    return lambda text: re.fullmatch(form, text) is not None


def _is_base64(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) % 2 == 0
    except binascii.Error:
        return False


Digest = Annotated[str, Predicate(_is(r"[0-9a-f]{64}"))]
"""SHA-256 in hexadecimal."""
Words = Annotated[str, Predicate(_is(r"([0-9a-f]{16})*"))]
"""Digests of leaves after a step, 16 hexadecimal digits each."""
Steps16 = Annotated[str, Predicate(_is_base64)]
"""uint16 [steps, leaves], little-endian, in base64."""
Id = Annotated[str, Predicate(_is(r"[0-9a-f]{16}"))]
"""Of a cell; also a key."""
Name = Annotated[str, MinLen(1), MaxLen(300), Predicate(str.isprintable)]
"""Of a source, a candidate, a regime, a stream or a leaf."""
Count = Annotated[int, Ge(0), Le(2**48)]
Seed = Annotated[int, Ge(0), Le(2**64 - 1)]
Word = Annotated[int, Ge(0), Le(2**32 - 1)]
Number = float | int
Metric = float | int | bool | None
"""A figure of a measure; None where it has no meaning, or where JSON has no word for what came out."""

Stream = Literal["order", "dropout"]
Exchanged = dict[Name, Count]
"""By stream: the replicate whose randomness it has."""


# -- ledgers


Dtype = Literal["float16", "bfloat16", "float32", "float64", "int32", "int64", "uint32", "uint64"]


class _Draw(TypedDict):
    shape: Annotated[list[Annotated[int, Ge(1), Le(2**30)]], MinLen(1), MaxLen(8)]
    dtype: Dtype


class Mask(_Draw):
    """A dropout mask."""

    distribution: Literal["mask"]
    rate: Annotated[Number, Ge(0), Le(1)]


class Integers(_Draw):
    """Whole numbers from 0 to below `high`."""

    distribution: Literal["integers"]
    high: Annotated[int, Ge(1), Le(2**31 - 1)]


class Normals(_Draw):
    """Standard normals."""

    distribution: Literal["normal"]


class Uniforms(_Draw):
    """Uniforms from `low` to below `high`."""

    distribution: Literal["uniform"]
    low: Number
    high: Number


Draw = Mask | Integers | Normals | Uniforms
"""What is drawn at a site."""

Path = list[Name | Word]
"""What is folded into a key, one after the other: names stand for their tags, numbers for themselves."""


class Site(TypedDict):
    """Places below a step's key that draw alike."""

    at: list[Path]
    draw: Draw


class Root(TypedDict):
    """The root of a stream's keys."""

    purpose: Name
    seed: Seed


class Entry(TypedDict):
    """A stream in a ledger: its key's path, the steps in which it is live, what it draws at each."""

    root: Root
    path: Annotated[Path, MinLen(1), MaxLen(8)]
    key: Id
    """As the run held it."""
    first: Count
    last: Count
    sites: list[Site]
    draws: int
    words: int


Ledger = dict[Name, Entry]
"""By stream."""


# -- cells


class DataParameters(TypedDict):
    data: Tree


class SourceParameters(TypedDict):
    model: Tree
    optim: Tree
    seed: Seed
    step: Count
    eval_every: Annotated[int, Ge(1), Le(2**48)]
    shards: NotRequired[Count]


class CandidateParameters(TypedDict):
    operator: Name
    to: Tree
    study_seed: Seed
    exchanged: NotRequired[Exchanged]


class RunParameters(TypedDict):
    """Of a probe, a continuation or a crossed cell."""

    streams: Annotated[list[Stream], MaxLen(2)]
    replicate: Count
    study_seed: Seed
    exchanged: NotRequired[Exchanged]
    eval_every: Annotated[int, Ge(1), Le(2**48)]
    lag: Count
    shards: NotRequired[Count]


DataDigests = TypedDict(
    "DataDigests", {"tokens": Digest, "tokenizer.json": Digest, "train.bin": Digest, "validation.bin": Digest}
)


class RunDigests(TypedDict):
    """What came out of training."""

    state: Digest
    program: Digest
    trace: Digest
    params_at: Steps16
    state_at: dict[Annotated[str, Predicate(_is(r"[0-9]{1,15}"))], Words]
    ledger: NotRequired[Ledger]


class StateDigests(TypedDict):
    """Of a state that is stored."""

    state: Digest
    leaves: dict[Name, Digest]
    config: Digest
    ledger: NotRequired[Ledger]


class SourceDigests(RunDigests, StateDigests):
    """Of training, and of the state that it ends in."""


class Sides(TypedDict):
    """How many there are to train on, and how many are held out."""

    train: Count
    validation: Count


class DataMetrics(TypedDict):
    unigram_entropy: Number
    tokens: Sides
    stories: Sides
    vocab_size: Annotated[int, Ge(1), Le(65536)]


class CandidateMetrics(TypedDict):
    """With the measures taken of a candidate before its first step, each a `Metric` under its name."""

    parameters: Count
    clones_identical: bool


class CurveMetrics(TypedDict):
    """A loss curve, with the measures taken of it or at its end, each a `Metric` under its name."""

    eval_steps: list[Count]
    eval_loss: list[Number | None]


class SourceMetrics(CurveMetrics):
    final_loss: Number | None


class ProbeMetrics(CurveMetrics):
    train_loss_mean: Number | None


class CrossedMetrics(CurveMetrics):
    auc: Number | None
    final_loss: Number | None


class _Cell(TypedDict):
    digest: Digest
    """The checksum: of everything else in the record."""
    id: Id
    version: Count
    inputs: dict[Name, Digest]
    """Digest of each input, by name."""
    parents: Annotated[list[Id], MaxLen(8)]
    exact: dict[Name, Json]
    """The metrics, every float in hexadecimal."""
    module: NotRequired[Digest]


class DataCell(_Cell):
    """The tokens, of which all other cells descend."""

    kind: Literal["data"]
    source: None
    operator: None
    regime: None
    replicate: None
    lag: None
    parameters: DataParameters
    digests: DataDigests
    metrics: DataMetrics


class SourceCell(_Cell):
    """A state of a source."""

    kind: Literal["source"]
    source: Name
    operator: None
    regime: None
    replicate: None
    lag: None
    parameters: SourceParameters
    digests: SourceDigests
    metrics: SourceMetrics


class CandidateCell(_Cell):
    """A widened state. Regime and replicate say which level of crossed streams it has, if any."""

    kind: Literal["candidate"]
    source: Name
    operator: Name
    regime: Name | None
    replicate: Count | None
    lag: None
    parameters: CandidateParameters
    digests: StateDigests
    metrics: CandidateMetrics


class _Run(_Cell):
    source: Name
    operator: Name
    regime: Name
    replicate: Count
    lag: Count
    parameters: RunParameters
    digests: RunDigests


class ProbeCell(_Run):
    """A candidate trained for a short lag."""

    kind: Literal["probe"]
    metrics: ProbeMetrics


class ContinuationCell(_Run):
    """A probe that goes on to the longest lag."""

    kind: Literal["continuation"]
    metrics: CurveMetrics


class CrossedCell(_Run):
    """A candidate trained to the longest lag under one level of each stream."""

    kind: Literal["crossed"]
    metrics: CrossedMetrics


RunCell = ProbeCell | ContinuationCell | CrossedCell
CellRecord = DataCell | SourceCell | CandidateCell | RunCell
"""A filled cell, as in `result.json` and in the receipt."""


# -- receipts


class Pins(TypedDict):
    env: dict[Name, str | None]
    xla_flags: dict[Name, str | None]
    pinned: bool


class Inputs(TypedDict):
    corpus: Tree
    """How to obtain the stories again."""
    corpus_digest: Digest
    tokens: Digest


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
    """Of other people, where there are any."""


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


# -- beside the receipt


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
    vocab_size: Annotated[int, Ge(1), Le(65536)]
    corpus_digest: Digest
    source: Tree
    config: Tree
    unigram_entropy: Number


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


class EvaluationLine(TypedDict):
    """The line of an evaluation."""

    evaluated: Count
    exact: dict[Name, str]
    leaves: Words
    state: str
