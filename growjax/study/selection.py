"""A selection as data: a study in which the candidates race (`growjax.select.race`) within a budget of steps."""

from __future__ import annotations

import dataclasses
import itertools

from growjax.errors import require
from growjax.schema import Record
from growjax.study.spec import StudySpec

OUTLOOK = 3
"""Numbers of an outlook: slope, drift, noise."""

MOST_RUNGS = 20_000
"""Cells that a race may ask for at most, whoever wins."""


@dataclasses.dataclass(frozen=True)
class Selection(StudySpec):
    """A study of one regime whose candidates go on as far as a race asks, in place of probes and continuations."""

    budget: int = 0
    """Training steps of the target, all candidates and replicates together, those of `making` among them."""
    rungs: tuple[int, ...] = ()
    """Lags at which candidates are compared, rising; the last is the horizon, the steps of training that are
    planned."""
    replicates_at_most: int = 8
    outlooks: tuple[float, ...] = ()
    """Of each rung slope, drift and noise (`growjax.select.trust.Outlook`), as they were known when it began."""
    trust: tuple[str, ...] = ()
    """Roots of the receipts that the outlooks were measured on."""
    left_out: tuple[str, ...] = ()
    """Operators that cannot follow the plan, and so are no candidates."""
    left_out_by_budget: tuple[str, ...] = ()
    """Operators that nobody named and whose own training the budget does not take, and so are no candidates."""
    making: int = 0
    """Training steps of the target for which operators train before their candidates' step 0, all candidates together:
    counted in the budget."""

    def check(self) -> None:
        super().check()
        if not self.rungs:
            return
        require(len(self.all_regimes) == 1, f"a selection has the regimes {self.all_regimes}", "name one")
        require(len(self.outlooks) == OUTLOOK * len(self.rungs),
                f"there are {len(self.outlooks)} numbers of outlooks for {len(self.rungs)} rungs",
                f"give {OUTLOOK} of each rung")  # fmt: skip
        require(not self.crossed, "a selection crosses streams", "leave them out")
        cells = len(self.candidates) * self.replicates_at_most * len(self.rungs)
        require(cells <= MOST_RUNGS, f"a selection of up to {cells} cells",
                f"lower operators, replicates or rungs to {MOST_RUNGS} cells at most")  # fmt: skip

    def check_lags(self) -> None:
        """Of its rungs alone: nobody runs a probe or a continuation."""
        require(all(a < b for a, b in itertools.pairwise((0, *self.rungs))), f"the rungs {self.rungs} do not rise",
                "give rising lags")  # fmt: skip
        require(all(lag % self.eval_every == 0 for lag in self.rungs),
             f"rungs {self.rungs} are no multiples of eval_every {self.eval_every}",
             "choose a horizon and a first rung that evaluations fall on")  # fmt: skip

    @property
    def horizon(self) -> int:
        """Steps of training that are planned."""
        return self.rungs[-1] if self.rungs else 0

    @property
    def longest_lag(self) -> int:
        return self.horizon

    def replicates(self, regime: str) -> int:
        return self.replicates_at_most

    def entrants(self, regime: str) -> dict[str, int]:
        """Nobody beforehand: the race says who goes on. The unwidened source does not run."""
        return {}


def read_spec(config: Record) -> StudySpec:
    """A specification from plain data: a study's, or a selection's, which alone has rungs."""
    return Selection.from_dict(config) if "rungs" in config else StudySpec.from_dict(config)
