"""What the page says beside a study's figures."""

from __future__ import annotations

from growjax.record.receipt_types import Receipt
from growjax.study.spec import StudySpec


def of_given(receipt: Receipt) -> list[str]:
    """What is to be said of sources that were not trained here."""
    hints, notes = receipt["inputs"].get("sources", {}), []
    for cell in receipt["cells"]:
        if cell["kind"] == "given":
            state, step = cell["parameters"]["state"], cell["parameters"]["step"]
            hint = hints.get(state)
            where = f" {hint['path']} ({hint['model_type'] or 'a state'})," if hint else ""
            moments = "moments of zero" if cell["metrics"]["zero_moments"] else "moments of its own"
            notes.append(f"Source {cell['source']} was not trained here:{where} state {state}, step {step}, {moments}.")
    if len(notes) > 1:
        notes.append(
            "Sources that were not trained here count as one run: it is not known whether they come from one training. "
            "So there is no interval over them."
        )
    return notes


def of_study(spec: StudySpec) -> list[str]:
    """What is to be said of a study's samples."""
    notes = [
        "States of one seed at two steps are not independent: they are one run seen twice.",
        "A deterministic continuation repeated is one number; its replicates are fixed batch orders.",
    ]
    every = [n for regime in spec.all_regimes for n in spec.entrants(regime).values()]
    fewest = min(every, default=0)
    if len(spec.pool_of_all) > len(spec.operators) and spec.regimes:
        notes.append(
            "Candidates with fewer replicates are ranked as if they had all: moved by what theirs are above or below "
            "the rest, averaged over the candidates that have all."
        )
    if fewest < 8:
        notes.append(
            f"Where there are {fewest} replicates (there are {max(every)} at most) intervals are wide; a claim should "
            "rest on at least 8."
            if every
            else "No regime was run."
        )
    return notes
