"""What candidates took before their step 0: the steps of the target for which an operator trains."""

from __future__ import annotations

from collections.abc import Iterable

from growjax.config import ModelConfig
from growjax.grow.registry import parse_operator
from growjax.model.decoder import flops_per_token
from growjax.study.rows import MakingRow
from growjax.study.spec import UNWIDENED, StudySpec


def steps_of(candidate: str) -> int:
    """For how many steps of the target a candidate was trained before its step 0, by its operator and options."""
    return 0 if candidate == UNWIDENED else parse_operator(candidate).training_steps


def steps_in_all(candidates: Iterable[str]) -> int:
    """Those of several candidates, each made once."""
    return sum(map(steps_of, candidates))


def making_rows(candidates: Iterable[str], spec: StudySpec, target: ModelConfig) -> list[MakingRow]:
    """Of each candidate that was trained before its step 0 how long, for each state that it was made of."""
    tokens, flops = spec.data.batch_size * spec.data.seq_len, flops_per_token(target, spec.data.seq_len)
    return [
        {"candidate": name, "steps": steps, "tokens": steps * tokens, "flops": steps * tokens * flops}
        for name in candidates
        if (steps := steps_of(name))
    ]


def sentences(rows: Iterable[MakingRow], rest: str) -> list[str]:
    """What a page says of them, each with `rest` behind it."""
    return [
        f"{row['candidate']} was trained for {row['steps']:,} steps of the target's width ({row['tokens']:,} tokens) "
        f"before its step 0. {rest}"
        for row in rows
    ]
