"""Which candidates go on to the long lag: the first of every ranking at the continuation's lag, by recorded results."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

from growjax.schema import Fields
from growjax.study.ranking import adjusted_means
from growjax.study.recipes import StudyCells
from growjax.study.spec import StudySpec

Place = tuple[str, str, str]
"""(source, regime, candidate)"""


def finalists(cells: StudyCells, spec: StudySpec, records: Iterable[Fields]) -> set[Place]:
    """The first `spec.finalists` by AUC of each source and regime, among those that could go on; ties by name.

    A candidate that diverged is last.
    """
    able = {_place(extension.recipe.label) for extension in cells.possible}
    aucs: dict[tuple[str, str], dict[str, dict[int, float]]] = {}
    for record in records:
        if record["kind"] == "continuation" and (place := _place(record)) in able:
            source, regime, candidate = place
            auc = record["metrics"].get("auc")
            by_replicate = aucs.setdefault((source, regime), {}).setdefault(candidate, {})
            by_replicate[record["replicate"]] = math.inf if auc is None else auc
    found: set[Place] = set()
    for (source, regime), values in aucs.items():
        middle = adjusted_means({name: [own[k] for k in sorted(own)] for name, own in values.items()})
        order = sorted(middle, key=lambda name: (middle[name], name))
        found |= {(source, regime, name) for name in order[: spec.finalists]}
    return found


def with_finalists(cells: StudyCells, spec: StudySpec, records: Iterable[Fields]) -> StudyCells:
    """The cells of a study, with the extensions of those whom its results have made finalists."""
    if not cells.possible:
        return cells
    chosen = finalists(cells, spec, records)
    return dataclasses.replace(cells, extensions=[e for e in cells.possible if _place(e.recipe.label) in chosen])


def _place(label: Fields) -> Place:
    return label["source"], label["regime"], label["operator"]
