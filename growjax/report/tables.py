"""The tables as HTML, each with a caption that says what to read from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

from growjax.measure.measure import Measure
from growjax.measure.registry import measures_at, other_measures
from growjax.report.formatting import (
    DASH,
    Contents,
    Row,
    brief,
    count,
    fixed,
    mean,
    number,
    percent,
    rows,
    significant,
    text,
)
from growjax.report.style import colour, css_variables


@dataclasses.dataclass(frozen=True)
class Column:
    """A heading, how a row fills it, and whether it holds numbers (which are set to the right)."""

    head: str
    cell: Callable[[Row], str]
    numeric: bool = True
    kind: Callable[[Row], str] = lambda row: ""


LONG = 45
"""Rows of a table that a page shows without a frame to scroll."""


def table(
    caption: str, columns: Sequence[Column], found: Iterable[Row], group: Callable[[Row], str] | None = None
) -> str:
    """An HTML table that scrolls in its own frame where it is too wide, or longer than `LONG` rows; `caption` is HTML.

    With `group`, a row that names the group stands before the first of its members.
    """
    head = "".join(f'<th scope="col"{_kinds("n" if c.numeric else "")}>{c.head}</th>' for c in columns)
    body: list[str] = []
    last = None
    for row in found:
        if group is not None and (described := group(row)) != last:
            body.append(f'<tr class="group"><th scope="rowgroup" colspan="{len(columns)}">{described}</th></tr>')
            last = described
        cells = []
        for column in columns:
            kinds = _kinds("n" if column.numeric else "", column.kind(row))
            cells.append(f"<td{kinds}>{column.cell(row)}</td>")
        body.append(f"<tr{_kinds('control' if row.get('control') else '')}>{''.join(cells)}</tr>")
    kinds = "wide long" if len(body) > LONG else "wide"
    return (
        f'<div class="{kinds}" tabindex="0"><table><caption>{caption}</caption>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{chr(10).join(body)}\n</tbody></table></div>\n"
    )


def _kinds(*classes: str) -> str:
    """A class attribute, or nothing where no class is given."""
    described = " ".join(c for c in classes if c)
    return f' class="{described}"' if described else ""


def candidate_column(contents: Contents) -> Column:
    """A candidate's name behind its colour."""
    variables = css_variables()
    swatches = {
        c.name: f'<span class="swatch" style="background:{variables[colour(c)]}"></span>' for c in contents.candidates
    }
    return Column(
        "candidate", lambda r: f"{swatches.get(r['candidate'], '')}<code>{text(r['candidate'])}</code>", False
    )


def _plain(head: str, key: str) -> Column:
    return Column(head, lambda r: text(r.get(key)), False)


def _number(head: str, key: str, form: Callable[..., str], *options: int, **named: bool) -> Column:
    return Column(head, lambda r: form(r.get(key), *options, **named))


_FORMS: dict[str, Callable[[object], str]] = {
    "significant": significant,
    "fixed": fixed,
    "signed": lambda value: significant(value, signed=True),
}


def measure_column(measure: Measure, key: str) -> Column:
    """A measure's column; a title of more than two words is broken in front of its last."""
    sentences = text(measure.title).split(" ")
    head = " ".join(sentences) if len(sentences) < 3 else f"{' '.join(sentences[:-1])}<br>{sentences[-1]}"
    form = _FORMS[measure.form]
    return Column(head, lambda row: form(row.get(key)))


def _in_order(found: list[Row], contents: Contents) -> list[Row]:
    """Rows by source, regime and candidate, in the page's order."""
    place = {c.name: i for i, c in enumerate(contents.candidates)}
    regimes = {g: i for i, g in enumerate(contents.regimes)}
    sources = {s: i for i, s in enumerate(contents.sources)}
    controls = {c.name for c in contents.candidates if c.control}
    found = [{**r, "control": r["candidate"] in controls} for r in found]
    return sorted(
        found, key=lambda r: (sources[r["source"]], regimes.get(r.get("regime", ""), 0), place[r["candidate"]])
    )


def saved(row: Row) -> str:
    """Tokens saved against scratch; more than that where the curves do not cross."""
    described = brief(row.get("tokens_saved"))
    return f"&gt; {described}" if described != DASH and row.get("tokens_saved_more") else described


def auc(row: Row) -> str:
    """A mean AUC, and how many replicates it leaves out."""
    described = fixed(row.get("auc_mean"))
    if not row.get("diverged"):
        return described
    return text(row["diverged"]) if described == DASH else f"{described} <small>{text(row['diverged'])}</small>"


def ranking(summary: Row, contents: Contents) -> str:
    """A table per source and regime: the longest lag in full, the shorter ones by rank and AUC."""
    found = rows(summary, "ranking")
    parts = []
    for source, regime in contents.panels(found):
        here = [r for r in found if (r["source"], r["regime"]) == (source, regime)]
        lags = sorted({r["lag"] for r in here})
        longest = [r for r in here if r["lag"] == lags[-1]]
        longest.sort(key=lambda r: (r.get("rank") is None, r.get("rank") or 0, r["candidate"]))
        columns = [candidate_column(contents), _plain("family", "family"), _number("n", "n", count)]
        for lag in lags[:-1]:
            early = {r["candidate"]: r for r in here if r["lag"] == lag}
            columns += [
                Column(f"rank<br>lag {lag}", lambda r, early=early: count(early.get(r["candidate"], {}).get("rank"))),
                Column(f"AUC<br>lag {lag}", lambda r, early=early: auc(early.get(r["candidate"], {}))),
            ]
        columns += [
            _number(f"rank<br>lag {lags[-1]}", "rank", count),
            Column(f"AUC<br>lag {lags[-1]}", auc),
            _number("sd of<br>AUC", "auc_sd", fixed),
            _number("AUC after<br>step 0", "auc_after_start_mean", fixed),
            _number("final<br>loss", "final_mean", fixed),
            Column("tokens<br>saved", saved),
            *(measure_column(m, m.column) for m in other_measures("continuation")),
        ]
        parts.append(
            table(
                f"<strong>{text(source)} · {text(regime)}.</strong> Lower AUC is better; compare a gap between two "
                "rows with the sd beside it before reading it as an order. Controls are grey; the unwidened source has "
                "no rank.",
                columns,
                longest,
            )
        )
    return "".join(parts)


UNIT = (
    "Intervals over replicates say what holds of these source states; of anything beyond them seeds are the "
    "independent unit."
)
"""Beside every interval that is not over seeds."""


def pairs(summary: Row, contents: Contents, section: str = "pairs") -> str:
    """Best against second, with the interval that decides whether a winner may be named."""
    regimes = {g: i for i, g in enumerate(contents.regimes)}
    found = sorted(
        rows(summary, section), key=lambda r: (regimes[r["regime"]], r["lag"], contents.sources.index(r["source"]))
    )
    columns = [
        _plain("source", "source"),
        Column("verdict", lambda r: "separated" if separated(r) else "not separated", False,
               lambda r: "won" if separated(r) else ""),
        Column("lowest AUC", lambda r: f"<code>{text(r.get('best'))}</code>", False),
        Column("second", lambda r: f"<code>{text(r.get('second'))}</code>", False),
        Column("second minus<br>best", lambda r: significant(r.get("difference"), 3, signed=True)),
        Column("interval", interval),
        _number("n", "n", count),
    ]  # fmt: skip
    asked = sorted({(r.get("confidence"), r.get("comparisons")) for r in found}, key=str)
    level = "; ".join(f"{percent(c)} over {count(m)} comparisons" for c, m in asked if c is not None)
    caption = (
        "Read the interval: only where it lies wholly above 0 is the candidate with the lowest AUC named a winner. "
        f"Paired t intervals over replicates{f' ({level})' if level else ''}, adjusted for the number of comparisons. "
        f"AUC in nats/token. {UNIT}"
    )
    if section == "family_pairs":
        caption = f"Among the paper's families alone. {caption}"
    return table(caption, columns, found, lambda r: f"{text(r['regime'])} · lag {count(r['lag'])}")


def separated(row: Row) -> bool:
    """Whether a winner may be named: the record says so and its interval excludes 0."""
    return bool(row.get("separated")) and number(row.get("low")) > 0


def interval(row: Row) -> str:
    """Both ends of an interval, a dash without one."""
    low, high = (significant(row.get(key), 3, signed=True) for key in ("low", "high"))
    return DASH if DASH in (low, high) else f"{low} to {high}"


def preservation(summary: Row, contents: Contents) -> str:
    """What each candidate keeps of the source's function before a single step."""
    columns = [candidate_column(contents), *(measure_column(m, m.name) for m in measures_at("zero_step"))]
    caption = (
        "Rows near 0 in KL start as the same function as the source. Compare with the ranking: keeping the function "
        "is no promise of a low AUC. KL, loss and gap in nats/token."
    )
    return table(caption, columns, _in_order(rows(summary, "preservation"), contents), lambda r: text(r["source"]))


def probes(summary: Row, contents: Contents) -> str:
    """All probe measures, means over replicates."""
    columns = [candidate_column(contents), Column("n", _survivors)]
    columns += [measure_column(m, m.name) for m in measures_at("probe") if m.recorded]
    lag = contents.lags[0] if contents.lags else 16
    caption = (
        f"State of each candidate after {lag} steps, means over n replicates. Look for a column whose order agrees "
        "with the long ranking; the selectors below put a number on that. A dash: the measure has no meaning there."
    )
    found = _in_order(rows(summary, "probes"), contents)
    return table(caption, columns, found, lambda r: f"{text(r['source'])} · {text(r['regime'])}")


def _survivors(row: Row) -> str:
    """How many replicates means are over, and how many they leave out."""
    lost = f" <small>{text(row['diverged'])}</small>" if row.get("diverged") else ""
    return f"{count(row.get('n'))}{lost}"


def selector_means(summary: Row, contents: Contents) -> list[Row]:
    """Each selector in each regime, over its sources: mean tau, share of top-1 hits, mean regret."""
    groups: dict[tuple[int, str], list[Row]] = {}
    for row in rows(summary, "selectors"):
        groups.setdefault((contents.regimes.index(row["regime"]), row["selector"]), []).append(row)
    found = [
        {
            "regime": contents.regimes[place],
            "selector": selector,
            "sources": len(group),
            "tau_mean": mean(r.get("tau") for r in group),
            "top1_share": mean(float(r["top1"]) for r in group if r.get("top1") is not None),
            "regret_mean": mean(r.get("regret") for r in group),
            "place": place,
        }
        for (place, selector), group in groups.items()
    ]
    found.sort(key=lambda r: (r["place"], -r["tau_mean"] if r["tau_mean"] == r["tau_mean"] else 2, r["selector"]))
    return [{k: v for k, v in r.items() if k != "place"} for r in found]


def selectors(summary: Row, contents: Contents) -> str:
    """How far each cheap selector can be trusted, per regime."""
    columns = [
        _plain("regime", "regime"),
        _plain("selector", "selector"),
        _number("sources", "sources", count),
        _number("mean tau", "tau_mean", fixed, 2, signed=True),
        _number("top-1 share", "top1_share", percent),
        _number("mean regret", "regret_mean", significant),
    ]
    caption = (
        "A selector is useful where tau is near +1 and regret near 0, in both regimes; tau near 0 is no better than "
        "chance, below 0 it misleads. Means over source states, best tau first; states of one seed are not "
        "independent. Regret in nats/token of AUC."
    )
    return table(caption, columns, selector_means(summary, contents))
