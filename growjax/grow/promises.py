"""What operators and parts may promise, and what they check before anything is computed."""

from __future__ import annotations

from growjax.config import OptimConfig
from growjax.errors import require
from growjax.grow.factors import law_factors
from growjax.grow.plan import Options, WidthPlan
from growjax.model.components import components

BFLOAT16 = (
    "In bfloat16 a kept function differs by as much as bfloat16 itself makes: KL 1e-4 to 6e-4 nats per token on a real "
    "model."
)
"""What a promise means there, said wherever a promise is shown."""


def always(plan: WidthPlan, options: Options) -> bool:
    """The function is kept under every plan."""
    return True


def never(plan: WidthPlan, options: Options) -> bool:
    """The function is not kept."""
    return False


def where_clones_are_exact(plan: WidthPlan, options: Options) -> bool:
    """Kept, but for uneven copies of what the plan says must be copied evenly."""
    return plan.exact


def where_zeros_are_exact(plan: WidthPlan, options: Options) -> bool:
    """Kept, but for zeros in the residual stream under LayerNorm, which shift its mean, and for new heads of their own
    under one norm over all of them."""
    parts = components(plan.source)
    heads = any(plan.maps[axis].grown for axis in ("heads", "kv_heads"))
    shifted = parts.norm.subtracts_mean and plan.maps["embed"].grown
    return not (shifted or (parts.attention.norms_all and heads))


def where_means_are_exact(plan: WidthPlan, options: Options) -> bool:
    """Kept, but for the mean in a remainder of the residual stream to which LayerNorms write, unit by unit."""
    parts = components(plan.source)
    return not (parts.norm.subtracts_mean and parts.norms_after and plan.maps["embed"].uneven)


def unless_noise_shows(plan: WidthPlan, options: Options) -> bool:
    """Kept where clones are exact and the noise cancels."""
    return options["cancel"] != "none" and where_clones_are_exact(plan, options)


def check_law(plan: WidthPlan, optim: OptimConfig, options: Options) -> None:
    """The optimizer has a law under this plan."""
    law_factors(plan, optim)


def check_whole_multiples(plan: WidthPlan, optim: OptimConfig, options: Options) -> None:
    """Every axis grows by a whole multiple."""
    for axis_map in plan.maps.values():
        require(
            not axis_map.uneven or axis_map.axis == "vocab",
            f"it is defined for whole multiples, and {axis_map.axis} grows from {axis_map.old} to {axis_map.new}",
            f"grow it to {axis_map.old * -(-axis_map.new // axis_map.old)}, or choose exact_copy",
        )
