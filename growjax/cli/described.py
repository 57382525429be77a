"""What growth comes to, known from configurations alone: sizes, plan, and what is exact."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from growjax.cli.tables import console
from growjax.config import DataConfig, ModelConfig, OptimConfig
from growjax.schema import Record

if TYPE_CHECKING:
    import jax

    from growjax.cli.widen import WidenArguments
    from growjax.grow.plan import WidthPlan


def length(model: ModelConfig) -> int:
    """Positions that a model is measured on."""
    return min(model.max_seq_len, DataConfig().seq_len)


def sizes(model: ModelConfig) -> Record:
    """Parameters, and operations of a training step per token."""
    from growjax.model.decoder import count_params, flops_per_token

    return {"parameters": count_params(model), "flops_per_token": flops_per_token(model, length(model))}


def promise(plan: WidthPlan, operator: str) -> Record:
    """What an operator promises under the plan that it follows, as one sentence and as a truth."""
    from growjax.grow.plan import vocabulary_grown
    from growjax.grow.registry import parse_operator

    keeps = parse_operator(operator).keeps(vocabulary_grown(plan))
    exact = "the function is kept: the same logits up to rounding" if keeps else "the function is not kept"
    inexact = [f"{axis}: {why}" for axis, why in plan.inexact().items()]
    return {"keeps_function": keeps, "exact": "; ".join([exact, *inexact])}


def before(plan: WidthPlan, operator: str, optim: OptimConfig, *, key: jax.Array) -> Record:
    """All that is known of `widen` in memory before the first array is read."""
    from growjax.config import TrainConfig
    from growjax.grow.widen import followed_plan
    from growjax.limits import least_bytes

    own = followed_plan(plan, optim, operator=operator, key=key)
    states = [least_bytes(TrainConfig(model, optim)) for model in (own.source, own.target)]
    return {
        "operator": operator,
        **own_code(operator),
        "plan": [row._asdict() for row in own.rows()],
        "before": sizes(own.source) | {"bytes": states[0]},
        "after": sizes(own.target) | {"bytes": states[1]},
        **promise(own, operator),
        "road": "in memory",
        "least_bytes": states[0] + 2 * states[1],  # what is written is read back beside both
    }


def print_plan(out: Console, described: Record) -> None:
    """The plan axis by axis, and what it costs."""
    plan = Table("axis", "old", "new", "copies", "", title=f"{described['operator']}: which positions are copied")
    for row in described["plan"]:
        plan.add_row(row["axis"], str(row["old"]), str(row["new"]), row["copies"], row["exact"])
    out.print(plan)
    table = Table("", "before", "after", title="what it costs")
    for name in described["before"]:
        table.add_row(name.replace("_", " "), f"{described['before'][name]:,.0f}", f"{described['after'][name]:,.0f}")
    out.print(table)


def print_before(out: Console, described: Record) -> None:
    """What `--dry-run` shows."""
    print_plan(out, described)
    bound = "most" if "peak_bytes" in described else "least"
    size = described["peak_bytes" if bound == "most" else "least_bytes"]
    measuring = described.get("measuring_bytes")
    lines = [f"{described['road']}: memory at {bound} {size / 1e9:,.2f} GB", *promised(described)]
    if measuring is not None:
        lines.append(f"both models are then measured in at most {measuring / 1e9:,.2f} GB more")
    for line in lines:
        out.print(line, highlight=False, soft_wrap=True)


def promised(described: Record) -> list[str]:
    """What is exact, in lines, and what that means in the dtype that is stored."""
    from growjax.grow.promises import BFLOAT16

    return [described["exact"], *([BFLOAT16] if described.get("dtype") == "bfloat16" else [])]


def own_code(operator: str) -> Record:
    """What is recorded of an operator that is not growjax's own (`growjax.provenance`)."""
    from growjax.grow.registry import described_operators

    found = described_operators([operator])
    return {"operators": found} if found else {}


def said_of(zero: Record) -> str:
    """The figures of step 0 as a sentence, or why there are none."""
    if "not_measured" in zero:
        return f"at step 0: not measured, {zero['not_measured']}"
    return (
        f"at step 0, on {zero['measured_on']}: KL {zero['kl']:.3g} nats per token, largest logit difference "
        f"{zero['logit_max']:.3g}, loss {zero['loss']:.4f} ({zero['loss_gap']:+.2g})"
    )


def dry_run(given: WidenArguments) -> int:
    """What is known of the road through memory before an array is read."""
    from growjax.checkpoints.folder import open_checkpoint
    from growjax.grow.plan import make_plan
    from growjax.streams import root_key
    from growjax.study.sources import is_checkpoint, source_config

    if is_checkpoint(given.source):
        with open_checkpoint(given.source):
            pass  # all but its values is checked
    config = source_config(given.source)
    plan = make_plan(config.model, given.to.of(config.model))
    described = before(plan, given.operator, config.optim, key=root_key(given.seed, "study"))
    print(json.dumps(described, sort_keys=True)) if given.json else print_before(console(), described)
    return 0
