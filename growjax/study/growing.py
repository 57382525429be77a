"""When the cells of one study are those of another: what a run directory is gone on with, and what merges."""

from __future__ import annotations

from growjax.errors import UserError
from growjax.study.context import longest_run, models_of
from growjax.study.selection import Selection
from growjax.study.spec import StudySpec, trace_sizes

MAY_GROW = ("preset", "source", "source_seeds", "source_steps", "operators", "pool", "regimes", "family_regimes",
            "rates", "stochastic_replicates", "deterministic_replicates", "few_replicates", "long_lag", "finalists",
            "stream", "crossed")  # fmt: skip
"""Fields that say which cells there are, and nothing of what any of them is."""

RACE_MAY_GROW = ("budget", "rungs", "replicates_at_most", "outlooks", "trust", "left_out")
"""Such fields of a selection."""


def extends(spec: StudySpec, before: StudySpec) -> bool:
    """Whether the cells of an earlier study are those of this one wherever both have them: it asks for more, or for
    less, of the same. Raises `UserError` where only the longest run is another: programs are sized for it."""
    if type(spec) is not type(before):
        return False
    names = (*MAY_GROW, *(RACE_MAY_GROW if isinstance(spec, Selection) else ()))
    same = {name: getattr(spec, name) for name in names}
    try:
        fits = before.replace(**same) == spec
    except UserError:  # both together are no study
        fits = False
    if not fits or bool(before.all_regimes) != bool(spec.all_regimes):
        return False
    fault = other_programs(spec, before)
    if fault is not None:
        raise UserError(f"{fault}, and no cell could be kept", "choose another --out, or start anew with --force")
    return True


def other_programs(spec: StudySpec, before: StudySpec) -> str | None:
    """Why no cell of an earlier study is one of this one, where its programs are sized for another longest run."""
    old, new = (_sizes(one) for one in (before, spec))
    if old == new:
        return None
    return (
        f"the longest run between two states would have {new['max_steps']} steps and {new['max_evals']} evaluations, "
        f"and not {old['max_steps']} and {old['max_evals']}: every program would be another"
    )


def _sizes(spec: StudySpec) -> dict[str, int]:
    """Sizes of the traces, with as large a vocabulary as the study's tokenizer may have."""
    return trace_sizes(spec, longest_run(spec, *models_of(spec, spec.data.vocab_size)))
