"""The types of a summary: plain data that tables, figures and the page are made of.

Rows of `preservation`, `probes` and `ranking` also hold measures, each under its name or column; figures that are not
finite are None.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NotRequired

from typing_extensions import TypedDict

from growjax.record.types import Tree

Measured = Mapping[str, float | int | bool | str | None]
"""A row with measures beside its own fields."""


class Sizes(TypedDict):
    """A model, in numbers."""

    d_model: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    d_ff: int
    dialect: str
    parameters: int


class RunFacts(TypedDict):
    preset: str
    corpus: str
    corpus_digest: str
    tokens_train: int
    tokens_validation: int
    vocab_size: int
    tokenizer: str
    """SHA-256 of one that was given; empty where it was trained on the corpus."""
    unigram_entropy: float
    source_model: Sizes
    target_model: Sizes
    optimizer: Tree
    batch_size: int
    seq_len: int
    replicates: dict[str, int]
    pinned: bool
    environment: Tree
    root: str
    cells: int
    given: list[str]
    """Digests of the states that were not trained here."""


class CostRow(TypedDict):
    """What the cells of a kind took."""

    kind: str
    cells: int
    source_steps: int
    """Training steps of the source's width; a step that several cells share is counted once."""
    target_steps: int
    flops: float
    """Of those steps (`growjax.model.decoder.flops_per_token`)."""


class SourceRow(TypedDict):
    name: str
    seed: int | None
    """None of a source that was not trained here."""
    step: int
    validation_loss: float | None
    unigram_entropy: float
    curve: list[tuple[int, float | None]]


class Ranked(TypedDict):
    """What `rank_by_auc` reads and fills."""

    candidate: str
    auc_mean: float
    """Over the replicates that did not diverge."""
    rank: int | None
    n_diverged: NotRequired[int]
    """How many replicates diverged, where any did."""


class RankingRow(Ranked):
    """A candidate of a source in a regime at a lag."""

    source: str
    regime: str
    lag: int
    family: str
    control: bool
    n: int
    """Replicates that did not diverge: those that means are over."""
    auc_sd: float | None
    final_mean: float | None
    tokens_saved: float | None
    tokens_saved_more: bool
    diverged: NotRequired[str]
    """How many replicates of how many, and at which step the first."""


class Pair(TypedDict):
    """Best against second by AUC."""

    source: str
    regime: str
    lag: int
    best: str
    second: str
    difference: float
    low: float | None
    high: float | None
    confidence: float
    comparisons: int
    n: int
    separated: bool


class Judged(TypedDict):
    """How far a selector can be trusted."""

    selector: str
    tau: float
    top1: bool
    top1_share: float
    regret: float


class SelectorRow(Judged):
    source: str
    regime: str


class CurveRow(TypedDict):
    source: str
    regime: str
    candidate: str
    control: bool
    steps: list[int]
    tokens: list[int]
    flops: list[float]
    n: int
    """Replicates that did not diverge."""
    mean: list[float]
    """As if it had the replicates of the candidate that has most (`growjax.study.ranking.adjusted_means`); `low` and
    `high` are moved along."""
    low: list[float]
    high: list[float]


class Term(TypedDict):
    """What one randomness, or several together, give of an outcome's variance."""

    term: str
    sd: float
    low: float
    high: float
    share: float


class Decomposed(TypedDict):
    """An outcome split by randomness."""

    outcome: str
    mean: float
    low: float
    high: float
    terms: list[Term]


class BestShare(TypedDict):
    """How often a candidate is best when all streams are redrawn."""

    candidate: str
    mean: float
    share: float
    low: float
    high: float


class Attribution(TypedDict):
    levels: dict[str, int]
    confidence: float
    outcomes: list[Decomposed]
    difference: Decomposed | None
    best: list[BestShare]


class AttributionRow(Attribution):
    source: str


class Corner(TypedDict):
    auc: float
    rank: int | None


class Effect(TypedDict):
    """Of an AUC, relative to the mean of the candidates; a t interval over replicates."""

    effect: float
    low: float | None
    high: float | None


class ApartRow(TypedDict):
    """A candidate's AUC and rank with order and dropout fixed or random, and what each adds."""

    candidate: str
    neither: Corner
    order: Corner
    dropout: Corner
    both: Corner
    of_order: Effect
    of_dropout: Effect
    together: Effect


class Apart(TypedDict):
    """The 2 x 2 of one source."""

    source: str
    lag: int
    n: int
    """Replicates, those that all corners have."""
    rows: list[ApartRow]
    tau_to_neither: dict[str, float | None]


class RateRow(Ranked):
    """A family at its best learning rate, of those that it went on with."""

    source: str
    regime: str
    lag: int
    family: str
    rate: float
    """As a multiple of the source's."""
    auc_sd: float | None
    n: int
    gain: float | None
    """By how much its AUC lies under that at the source's own rate; None where it diverged there."""
    low: float | None
    high: float | None
    aucs: dict[str, float]
    """By rate: mean AUC over the same replicates."""


class Summary(TypedDict):
    """A run, summed up."""

    title: str
    run: RunFacts
    sources: list[SourceRow]
    preservation: list[Measured]
    probes: list[Measured]
    ranking: list[RankingRow]
    pairs: list[Pair]
    family_pairs: list[Pair]
    """Among the paper's families alone, where others are ranked too: fewer comparisons, all of as many replicates."""
    selectors: list[SelectorRow]
    curves: list[CurveRow]
    attribution: list[AttributionRow]
    regimes_factorial: list[Apart]
    long: list[RankingRow]
    """At the long lag, of those alone that went on to it."""
    rates: list[RateRow]
    claims: NotRequired[list[Tree]]
    """As decided (`growjax.study.claims`)."""
    cost: list[CostRow]
    programs: int
    """Distinct training programs."""
    notes: list[str]
