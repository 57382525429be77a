"""What is likely to be slow, each by itself."""

from __future__ import annotations

from experiments.accelerator.evidence import Evidence


def run(evidence: Evidence) -> None:
    """The stage. What growjax uses on an accelerator must give its bits again; the others are for comparison."""
    made = evidence.worker("suspects", {}, evidence.environment(cache="cache-shared", **evidence.quick()), limit=150)
    evidence.keep("suspects", made)
    if "failed" in made:
        evidence.fault("suspects", str(made.get("stderr", ""))[-500:])
    used = ("by product", "logits at a time", "gradient, xla", "digests of")
    asked = [name for name, row in made.items() if isinstance(row, dict) and any(word in name for word in used)]
    if not asked:
        evidence.fault("suspects", "nothing was asked")
    for name in asked:
        if not made[name].get("repeats"):
            evidence.fault("suspects", f"{name}: {made[name].get('failed', 'its bits do not repeat')}")
