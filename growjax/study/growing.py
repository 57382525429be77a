"""When the cells of one study are those of another: what a run directory is gone on with, and what merges."""

from __future__ import annotations

from growjax.errors import UserError
from growjax.study.spec import StudySpec, trace_sizes

MAY_GROW = ("preset", "source", "source_seeds", "source_steps", "operators", "pool", "regimes", "family_regimes",
            "rates", "stochastic_replicates", "deterministic_replicates", "few_replicates", "long_lag", "finalists",
            "stream", "crossed")  # fmt: skip
"""Fields that say which cells there are, and nothing of what any of them is."""


def extends(spec: StudySpec, before: StudySpec) -> bool:
    """Whether the cells of an earlier study are those of this one wherever both have them: it asks for more, or for
    less, of the same. Raises `UserError` where only the longest run is another: programs are sized for it."""
    same = {name: getattr(spec, name) for name in MAY_GROW}
    if before.replace(**same) != spec or bool(before.all_regimes) != bool(spec.all_regimes):
        return False
    old, new = (trace_sizes(s, s.longest_lag if s.all_regimes or s.crossed else 0) for s in (before, spec))
    if old != new:
        raise UserError(
            f"the longest run between two states would have {new['max_steps']} steps and not {old['max_steps']}: every "
            "program would be another, and no cell could be kept",
            "choose another --out, or start anew with --force",
        )
    return True
