"""The audit of a study that was made here."""

from __future__ import annotations

import sys

from experiments.accelerator.evidence import Evidence


def run(evidence: Evidence) -> None:
    """The stage. It audits the first study of the stage `bits`."""
    if not (evidence.work / "study-a" / "receipt.json").exists():
        evidence.fault("audit", "there is no study to audit")
        return
    words = [sys.executable, "-m", "growjax", "audit", "study-a", "--json"]
    words += ["--inject", "none"] if evidence.setting.small else []
    made = evidence.child(words, evidence.environment(cache="cache-a"))
    evidence.keep("audit", {k: made[k] for k in ("counts", "faults", "holds", "failed", "wall_s") if k in made})
    if not made.get("holds"):
        evidence.fault("audit", f"{made.get('faults', made.get('stderr', ''))}"[:800])
    elif not made["counts"]["values drawn, over all cells"]:
        evidence.fault("audit", "the study drew nothing: nothing was audited")
