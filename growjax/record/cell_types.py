"""The types of filled cells, by kind, as in `result.json` and in the receipt."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from annotated_types import Ge, Le, MaxLen, Predicate
from typing_extensions import TypedDict

from growjax.record.types import (
    Count,
    Digest,
    Exchanged,
    Id,
    Json,
    Ledger,
    Name,
    Number,
    Seed,
    Steps16,
    Stream,
    Tree,
    Words,
    is_form,
)


class DataParameters(TypedDict):
    data: Tree


class SourceParameters(TypedDict):
    model: Tree
    optim: Tree
    seed: Seed
    step: Count
    eval_every: Annotated[int, Ge(1), Le(2**48)]
    shards: NotRequired[Count]


class GivenParameters(TypedDict):
    """Of a source that was not trained here."""

    state: Digest
    """Of its state, as it was opened."""
    step: Count
    model: NotRequired[Tree]
    optim: NotRequired[Tree]


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
    state_at: dict[Annotated[str, Predicate(is_form(r"[0-9]{1,15}"))], Words]
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
    vocab_size: Annotated[int, Ge(1), Le(2**31 - 1)]


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


class GivenMetrics(SourceMetrics):
    """One evaluation, of the state as it is."""

    parameters: Count
    zero_moments: bool
    """Whether its optimizer has seen nothing, as that of an imported checkpoint has not."""


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


class GivenCell(_Cell):
    """A source that was not trained here."""

    kind: Literal["given"]
    source: Name
    operator: None
    regime: None
    replicate: None
    lag: None
    parameters: GivenParameters
    digests: StateDigests
    metrics: GivenMetrics


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


class ExtensionCell(_Run):
    """A finalist's continuation that goes on to the long lag."""

    kind: Literal["extension"]
    metrics: CurveMetrics


class RungCell(_Run):
    """A candidate in a race, up to one of its lags; it goes on from the rung before."""

    kind: Literal["rung"]
    metrics: CurveMetrics


class CrossedCell(_Run):
    """A candidate trained to the longest lag under one level of each stream."""

    kind: Literal["crossed"]
    metrics: CrossedMetrics


RunCell = ProbeCell | ContinuationCell | ExtensionCell | RungCell | CrossedCell
CellRecord = DataCell | GivenCell | SourceCell | CandidateCell | RunCell
"""A filled cell, as in `result.json` and in the receipt."""
