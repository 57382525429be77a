"""The tables as CSV, in full precision: nothing rounded, nothing for a missing value."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

from growjax.measure.registry import measures_at, other_measures
from growjax.report import attribution, claims, further, tables
from growjax.report.formatting import Contents, Row, rows

SECTIONS: dict[str, tuple[str, ...]] = {
    "sources": ("name", "seed", "step", "validation_loss", "unigram_entropy"),
    "preservation": ("source", "candidate"),
    "probes": ("source", "regime", "candidate", "n"),
    "ranking": (
        "source", "regime", "lag", "candidate", "family", "control", "n", "auc_mean", "auc_sd",
        "auc_after_start_mean", "final_mean", "rank", "tokens_saved", "tokens_saved_more",
    ),
    "pairs": (
        "source", "regime", "lag", "best", "second", "difference", "low", "high", "confidence", "comparisons",
        "separated", "n",
    ),
    "selectors": ("selector", "source", "regime", "tau", "top1", "regret"),
}  # fmt: skip
"""The CSV files that hold a section as it is, with the columns that come first. Those of measures follow in the order
in which they are registered, and any others by name."""

COST = ("kind", "cells", "source_steps", "target_steps", "flops")
MAKING = ("candidate", "steps", "tokens", "flops")


def first_columns(section: str) -> tuple[str, ...]:
    """The columns of a section whose order is given."""
    measured: dict[str, tuple[str, ...]] = {
        "preservation": tuple(m.name for m in measures_at("zero_step")),
        "probes": tuple(m.name for m in measures_at("probe") if m.recorded),
        "ranking": tuple(m.column for m in other_measures("continuation")),
    }
    return (*SECTIONS[section], *measured.get(section, ()))


def csv_text(found: Sequence[Row], first: Sequence[str]) -> str:
    """CSV of plain rows: the columns `first`, then any others by name; nothing for a missing value."""
    extra = sorted({key for row in found for key in row} - set(first))
    columns = [*first, *(key for key in extra if not any(isinstance(row.get(key), (list, dict)) for row in found))]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for row in found:
        cells = (row.get(key) for key in columns)
        writer.writerow("" if v is None or (isinstance(v, float) and math.isnan(v)) else v for v in cells)
    return buffer.getvalue()


def csv_files(summary: Row, contents: Contents) -> dict[str, str]:
    """Every CSV file by name: the sections as they are, curves with a row per point, selectors averaged."""
    files = {f"{section}.csv": csv_text(rows(summary, section), first_columns(section)) for section in SECTIONS}
    means = ("regime", "selector", "sources", "tau_mean", "top1_share", "regret_mean")
    files["selectors_by_regime.csv"] = csv_text(tables.selector_means(summary, contents), means)
    keys = ("steps", "tokens", "flops", "mean", "low", "high")
    points = [
        {"source": c["source"], "regime": c["regime"], "candidate": c["candidate"], "control": c.get("control")}
        | {key.removesuffix("s") if key == "steps" else key: (c.get(key) or [])[i : i + 1] for key in keys}
        for c in rows(summary, "curves")
        for i in range(len(c.get("steps") or []))
    ]
    flat = [{k: (v[0] if v else None) if isinstance(v, list) else v for k, v in p.items()} for p in points]
    head = ("source", "regime", "candidate", "control", "step", "tokens", "flops", "mean", "low", "high")
    files["curves.csv"] = csv_text(flat, head)
    training = [
        {"source": s["name"], "step": point[0], "validation_loss": point[1]}
        for s in rows(summary, "sources")
        for point in s.get("curve") or []
    ]
    files["source_curves.csv"] = csv_text(training, ("source", "step", "validation_loss"))
    some = {
        "family_pairs": rows(summary, "family_pairs"),
        "long": rows(summary, "long"),
        "rates": further.flat_rates(summary),
        "claims": claims.decided(summary),
        "claim_places": claims.places(summary),
        "cost": rows(summary, "cost"),
        "making": rows(summary, "making"),
    }
    first = {
        "family_pairs": SECTIONS["pairs"],
        "long": first_columns("ranking"),
        "rates": further.RATES,
        "claims": claims.FIRST,
        "claim_places": claims.PLACES,
        "cost": COST,
        "making": MAKING,
    }
    files |= {f"{name}.csv": csv_text(found, first[name]) for name, found in some.items() if found}
    return files | {name: csv_text(found, tuple(found[0])) for name, found in attribution.csv_tables(summary).items()}
