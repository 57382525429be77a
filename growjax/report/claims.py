"""The claims as Markdown, CSV and a section of the page."""

from __future__ import annotations

from growjax.report import tables
from growjax.report.formatting import DASH, Row, rows, significant, text

SEEDS = (
    "A verdict is of the source states of this study, by intervals over replicates at each of them, adjusted for all "
    "comparisons of the claim. Effects and intervals here are over seeds, the independent unit of anything beyond: "
    "states of one seed are averaged first, n counts seeds, and with fewer than two there is no interval."
)

REPLICATES = (
    "Every source, regime and lag that a verdict rests on: the rival nearest there, the choice, or the measure. "
    "Intervals here are over replicates, paired, and adjusted for all comparisons of the claim; they say what holds of "
    "these states."
)

FIGURES = ("verdict", "effect", "low", "high", "n")
FIRST = ("claim", "title", "unit", "by", "value", *FIGURES, "replicates")
PLACES = ("claim", "source", "regime", "lag", "what", "effect", "low", "high", "n", "verdict")


def effect(row: Row) -> str:
    """An effect with its sign."""
    return significant(row.get("effect"), 3, signed=True)


def interval(row: Row) -> str:
    """Both ends of an interval, a dash without one."""
    return tables.interval(row)


def rule(claim: Row) -> str:
    """Where a claim holds, and what it has no evidence of."""
    missing = ", ".join(map(str, rows(claim, "missing")))
    return f"{claim['rule']} (no evidence of {missing})" if missing else claim["rule"]


def replicates(row: Row) -> str:
    """How many replicates each place has that a verdict rests on, and where there is none."""
    found = " or ".join(map(str, rows(row, "replicates"))) or DASH
    lacking = rows(row, "missing")
    return f"{found} (none of {', '.join(map(str, lacking))})" if lacking else found


def decided(summary: Row) -> list[Row]:
    """A row for each claim, as it is decided, followed by those that ask it otherwise."""
    found: list[Row] = []
    for claim in rows(summary, "claims"):
        own = {"claim": claim["claim"], "title": claim["title"], "unit": claim["unit"]}
        for row in ({**claim, "by": "as claimed", "value": f"lag {claim['lag']}"}, *claim["by"]):
            figures = {name: row[name] for name in ("by", "value", *FIGURES)}
            found.append({**own, **figures, "replicates": replicates(row)})
    return found


def places(summary: Row) -> list[Row]:
    """A row for each place that a claim rests on; intervals here are over replicates."""
    return [{"claim": claim["claim"], **seen} for claim in rows(summary, "claims") for seen in claim["places"]]


def markdown(summary: Row) -> str:
    """The claims as a document of their own."""
    lines = ["# The paper's claims (arXiv 2604.04281)", "", SEEDS, ""]
    lines += [
        "| | claim | verdict of these states | effect | interval over seeds | seeds | holds where |",
        "|-|-|-|-|-|-|-|",
    ]
    for claim in rows(summary, "claims"):
        cells = (claim["claim"], claim["title"], f"**{claim['verdict']}**", f"{effect(claim)} {claim['unit']}",
                 interval(claim), claim["n"], rule(claim))  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += ["", "## Asked otherwise", ""]
    lines.append("| claim | by | | verdict | effect | interval over seeds | seeds | replicates |")
    lines.append("|-|-|-|-|-|-|-|-|")
    for row in decided(summary):
        cells = (row["claim"], row["by"], row["value"], row["verdict"], effect(row), interval(row), row["n"],
                 row["replicates"])  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += ["", "## What each rests on", "", REPLICATES, ""]
    lines.append("| claim | source | regime | lag | of | effect | interval | replicates | there |")
    lines.append("|-|-|-|-|-|-|-|-|-|")
    for row in places(summary):
        cells = (row["claim"], row["source"], row["regime"], row["lag"], row["what"], effect(row), interval(row),
                 row["n"], row["verdict"])  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def section(summary: Row) -> str:
    """The claims on the page: first what was decided, then the same questions asked otherwise."""
    figures = [
        tables.Column("verdict of<br>these states", lambda r: text(r.get("verdict")), False,
                      lambda r: "won" if r.get("verdict") == "holds" else ""),
        tables.Column("effect", effect),
        tables.Column("interval<br>over seeds", interval),
        tables.Column("seeds", lambda r: text(r.get("n"))),
    ]  # fmt: skip
    claims = rows(summary, "claims")
    columns = [
        tables.Column("claim", lambda r: f"{text(r.get('claim'))}. {text(r.get('title'))}", False, lambda r: "prose"),
        *figures,
        tables.Column("unit", lambda r: text(r.get("unit")), False),
        tables.Column("holds where", lambda r: text(rule(r)), False, lambda r: "prose"),
    ]
    by = [
        tables.Column("asked by", lambda r: text(r.get("by")), False),
        tables.Column("", lambda r: text(r.get("value")) or DASH, False),
        *figures,
        tables.Column("replicates", lambda r: text(r.get("replicates")), False, lambda r: "prose"),
    ]
    first = tables.table(f"The paper's claims, each by a rule written beforehand. {SEEDS}", columns, claims)
    caption = "The same questions at other lags, rates and measures, and of the whole pool; they decide nothing."
    asked = tables.table(caption, by, decided(summary), lambda r: f"{r['claim']}. {text(r['title'])}")
    there = [
        *(tables.Column(name, lambda r, name=name: text(r.get(name)), False) for name in ("source", "regime")),
        tables.Column("lag", lambda r: text(r.get("lag"))),
        tables.Column("of", lambda r: text(r.get("what")), False),
        tables.Column("effect", effect),
        tables.Column("interval", interval),
        tables.Column("replicates", lambda r: text(r.get("n"))),
        tables.Column("there", lambda r: text(r.get("verdict")), False),
    ]
    titles = {claim["claim"]: f"{claim['claim']}. {text(claim['title'])}" for claim in claims}
    return first + asked + tables.table(REPLICATES, there, places(summary), lambda r: titles[r["claim"]])
