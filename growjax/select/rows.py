"""The types of a selection's summary, as in `--json`. Losses, gaps and reaches are in nats per token."""

from __future__ import annotations

from typing_extensions import TypedDict

from growjax.study.rows import CostRow, MakingRow, RunFacts, SourceRow


class Question(TypedDict):
    """What was asked."""

    source: str
    regime: str
    horizon: int
    budget: int
    candidates: int
    """Those that raced."""
    eval_every: int
    """Steps between evaluations."""


class Answer(TypedDict):
    """What came of it."""

    chosen: str
    cell: str
    """Id of the cell that holds its full state."""
    state: str
    """Digest of that state."""
    runner_up: str | None
    gap: float | None
    """The runner-up's projected AUC at the horizon less the chosen's, at the last request, in which both ran; None
    where nobody else did, or all others diverged."""
    reach: float | None
    """How far noise and drift reach for such a gap, at 95 % over all comparisons of the rung."""
    separated: bool
    """Whether every other candidate left because it was further behind than noise and drift reached, or diverged."""
    lag: int
    replicates: int
    spent: int
    """Training steps of the target, those among them for which operators trained before step 0."""


class Standing(TypedDict):
    """A candidate of the race."""

    candidate: str
    place: int
    lag: int
    """How far it ran."""
    replicates: int
    behind: float | None
    """Its projected AUC less the leader's when it left, or at the end; None where it diverged."""
    reach: float | None
    why: str
    """Why it left: `separated`, `budget`, `diverged`; `chosen` or `stayed` for those that did not."""
    kl: float | None
    """At step 0, against the source."""
    loss: float | None
    """At step 0."""
    curve: list[tuple[int, float | None]]
    """Mean validation loss over its replicates, as far as all of them went."""
    low: list[float | None]
    high: list[float | None]


class Left(TypedDict):
    """A candidate that did not race."""

    candidate: str
    why: str


class RungRow(TypedDict):
    """One request of the race."""

    lag: int
    candidates: int
    replicates: int
    steps: int
    """Of the first request with those for which operators trained before step 0."""
    slope: float
    drift: float
    noise: float
    """What the published studies say of this lag (`growjax.select.trust`)."""


class OutlookRow(TypedDict):
    """What the published studies say of a lag (`growjax.select.trust.Outlook`)."""

    lag: int
    slope: float
    drift: float
    noise: float


class Rule(TypedDict):
    """A plain rule, and what it would have taken."""

    rule: str
    candidates: list[str]
    """Several where it does not tell them apart: what it takes is then a draw among them."""
    places: list[int]
    """Of those candidates in the race."""


class SelectionSummary(TypedDict):
    """All of it."""

    title: str
    question: Question
    answer: Answer
    certain: list[str]
    """What the race shows, in sentences."""
    uncertain: list[str]
    standings: list[Standing]
    left_out: list[Left]
    rungs: list[RungRow]
    rules: list[Rule]
    outlooks: list[OutlookRow]
    """Of every rung, those that the race did not reach too."""
    measured_from: int | None
    """The least lag that anything was measured of in those studies; below it outlooks are carried on by a rule. None
    where they are others than those of the table that comes with growjax."""
    trust: list[str]
    """Roots of the receipts of those studies."""
    train_options: list[str]
    """Options of `train` that give the data of the selection, but for a corpus or tokenizer of one's own."""
    run: RunFacts
    source: SourceRow
    cells: dict[str, int]
    """By kind."""
    cost: list[CostRow]
    making: list[MakingRow]
    """Of the candidates whose operator trains before their step 0."""
    programs: int
    """Distinct training programs."""
    notes: list[str]
