"""What decides who wins, and the regimes as a factorial: figure, tables and explanations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from growjax.report import plotting, style
from growjax.report.formatting import Contents, Row, count, fixed, number, percent, rows, significant, text
from growjax.report.tables import UNIT, Column, candidate_column, interval, table
from growjax.study.factorial import EFFECTS, SQUARE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CORNERS = tuple(SQUARE)
HEADS = dict(zip(EFFECTS, ("effect of order", "effect of dropout", "of both together"), strict=True))
FLOOR = 1e-6


def _outcomes(attribution: Row) -> list[Row]:
    """The candidates' outcomes and the difference between the best two."""
    difference = attribution.get("difference")
    return [*attribution["outcomes"], *([difference] if difference else [])]


def components(summary: Row) -> Figure | None:
    """Standard deviation that each stream gives each outcome, with its interval: a panel per outcome."""
    found = [(a["source"], o) for a in rows(summary, "attribution") for o in _outcomes(a)]
    if not found:
        return None
    columns = min(3, len(found))
    terms = [t["term"] for t in found[0][1]["terms"]]
    margin = max(map(len, terms)) * plotting.CHARACTER
    figure, all_axes = plotting.grid(len(found), columns, height=1.5, width=2.2, left=margin + 0.1, foot=0.55, head=0.5)
    reach = max(number(t["high"]) for _, o in found for t in o["terms"]) or 1.0
    for axes, (source, outcome) in zip(all_axes, found, strict=True):
        for row, term in enumerate(outcome["terms"]):
            axes.plot([term["low"], term["high"]], [row, row], color=style.SOFT, linewidth=1.2, zorder=2)
            axes.plot([term["sd"]], [row], linestyle="none", marker="o", markersize=5, color=style.INK, zorder=3)
        axes.set_yticks(range(len(terms)), terms)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(terms) - 0.4, -0.6)
        axes.set_xlim(-0.03 * reach, 1.05 * reach)
        axes.locator_params(axis="x", nbins=5)
        axes.set_xlabel("standard deviation of AUC (nats)")
        plotting.title(axes, outcome["outcome"], source)
    return figure


def attribution(summary: Row, contents: Contents) -> str:
    """The tables, each behind the words that explain design and intervals."""
    parts = []
    for found in rows(summary, "attribution"):
        levels, share = found["levels"], percent(found["confidence"])
        design = " x ".join(str(levels[name]) for name in ("order", "dropout", "perturb"))
        parts.append(
            f"<h3>{text(found['source'])}</h3>\n<p>Design: every one of {levels['order']} batch orders met every one "
            f"of {levels['dropout']} series of dropout masks and every one of {levels['perturb']} draws of widening "
            f"itself ({design}), the same randomness for every candidate; a candidate that draws nothing when it is "
            "widened ran once for all levels of perturb. An outcome is the AUC at the continuation's lag. It is taken "
            "as a mean plus an effect of each stream, of each pair and of all three (random effects; components by the "
            f"method of moments). Intervals ({share}) redraw whole levels of a stream, never single cells: the effects "
            "of levels are normal draws, so each mean square is a multiple of a chi-squared variable. They are wide "
            "because a design has few levels; a lower end at 0 says that the randomness may not matter at all. All of "
            "it is of this one source state, and says nothing of other seeds.</p>\n"
        )
        first = _outcomes(found)
        names = [t["term"] for t in first[0]["terms"]]
        columns = [
            Column("outcome", lambda r: f"<code>{text(r['outcome'])}</code>", False),
            Column("mean", lambda r: _with(r["mean"], r["low"], r["high"])),
            *(Column(name, lambda r, n=n: _term(r["terms"][n])) for n, name in enumerate(names)),
        ]
        caption = (
            "Standard deviation of AUC (nats/token) that each stream gives, its interval, and its share of the "
            "variance. In the last row randomness that both candidates share cancels: what is left decides who wins."
        )
        parts.append(table(caption, columns, first))
        best = [
            candidate_column(contents),
            Column("mean AUC", lambda r: fixed(r["mean"])),
            Column("probability of being best", lambda r: percent(r["share"])),
            Column("interval", lambda r: f"{percent(r['low'])} to {percent(r['high'])}"),
        ]
        caption = (
            "How often each candidate is best when all streams are redrawn: its share of the design's cells (ties are "
            f"split). The interval ({share} in name) draws whole levels with replacement; with so few levels it covers "
            "less than it says."
        )
        parts.append(table(caption, best, found["best"]))
    return "".join(parts)


def _with(value: float, low: float, high: float) -> str:
    return f"{fixed(value)}<small>{fixed(low)} to {fixed(high)}</small>"


def _term(term: Row) -> str:
    if max(number(term["sd"]), number(term["high"])) < FLOOR:
        return "0"
    interval = f"{significant(term['low'], 2)} to {significant(term['high'], 2)}"
    return f"{significant(term['sd'], 2)} ({percent(term['share'])})<small>{interval}</small>"


def factorial(summary: Row, contents: Contents) -> str:
    """The 2 x 2, a table per source, and what follows for the ranking in words."""
    parts = []
    for found in rows(summary, "regimes_factorial"):
        columns = [
            candidate_column(contents),
            *(Column(c, lambda r, c=c: f"{fixed(r[c]['auc'])} <small>rank {r[c]['rank']}</small>") for c in CORNERS),
            *(Column(head, lambda r, key=key: _effect(r[key])) for key, head in HEADS.items()),
        ]
        taus = ", ".join(f"{corner} {fixed(tau, 2)}" for corner, tau in found["tau_to_neither"].items())
        firsts = {c: [r["candidate"] for r in found["rows"] if r[c]["rank"] == 1] for c in CORNERS}
        described = "; ".join(
            f"{c}: {', '.join(f'<code>{text(n)}</code>' for n in names)}" for c, names in firsts.items()
        )
        caption = (
            f"{text(found['source'])}, lag {found['lag']}: mean AUC and rank with a random batch order or a fixed one "
            "(order), with dropout or without (dropout). Effects are of the AUC less the mean of the candidates: "
            "what moves all candidates alike cannot change their order. Below 0: the candidate gains on the others. "
            f"Over the {count(found['n'])} replicates that all four have, which share orders and masks; paired t "
            f"intervals, adjusted for all candidates and effects of the table. {UNIT}"
        )
        parts.append(table(caption, columns, found["rows"]))
        parts.append(f"<p>First by mean AUC: {described}. Kendall's tau-b to the ranking with neither: {taus}.</p>\n")
    return "".join(parts)


def _effect(found: Row) -> str:
    ends = "" if found["low"] is None else f"<small>{interval(found)}</small>"
    return f"{fixed(found['effect'], signed=True)}{ends}"


def csv_tables(summary: Row) -> dict[str, list[Row]]:
    """Rows of the CSV files."""
    terms: list[Row] = [
        {"source": a["source"], "outcome": o["outcome"], **t}
        for a in rows(summary, "attribution")
        for o in _outcomes(a)
        for t in o["terms"]
    ]
    best: list[Row] = [{"source": a["source"], **row} for a in rows(summary, "attribution") for row in a["best"]]
    square: list[Row] = [
        {"source": a["source"], "lag": a["lag"], "candidate": r["candidate"], "corner": corner, **r[corner]}
        for a in rows(summary, "regimes_factorial")
        for r in a["rows"]
        for corner in CORNERS
    ]
    effects: list[Row] = [
        {"source": a["source"], "lag": a["lag"], "candidate": r["candidate"], "of": key, **r[key], "n": a["n"]}
        for a in rows(summary, "regimes_factorial")
        for r in a["rows"]
        for key in EFFECTS
    ]
    files: dict[str, list[Row]] = {"attribution.csv": terms, "best.csv": best}
    files |= {"regimes_factorial.csv": square, "regimes_effects.csv": effects}
    return {name: found for name, found in files.items() if found}
