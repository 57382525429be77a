"""`write_report`: the page, its figures and its tables, written whole or not at all, the same bytes for one summary."""

from __future__ import annotations

import shlex
from pathlib import Path

from growjax.record.digested import write_with_digests
from growjax.report import (
    attribution,
    charts,
    claims,
    csv_tables,
    figures,
    further,
    markdown,
    plotting,
    sentences,
    tables,
)
from growjax.report.document import (
    NOTHING,
    UNPINNED,
    Figures,
    Section,
    commands,
    cost,
    definitions,
    document,
    environment,
    facts,
    figure,
    figure_files,
    listed,
    or_nothing,
    verifying,
)
from growjax.report.formatting import Contents, Row, contents_of, fixed, rows, text


def write_report(directory: Path, summary: Row) -> list[Path]:
    """Write `index.html`, `figures/*.svg` and `tables/*.csv` under `directory`, the page once more as Markdown in
    `study.md`, and their digests beside them; return their paths.

    The page holds everything it shows and asks nothing of a network. The bytes depend on `summary` alone (and on
    matplotlib's version, and on the measures registered); each file is complete under its name or absent.
    """
    contents = contents_of(summary)
    drawn: Figures = {
        "curves": plotting.draw(lambda: figures.curves(summary, contents, axis="steps")),
        "gaps": plotting.draw(lambda: figures.gaps(summary, contents)),
        "flops": plotting.draw(lambda: figures.curves(summary, contents, axis="flops")),
        "ranks": plotting.draw(lambda: charts.ranks(summary, contents)),
        "utility": plotting.draw(lambda: charts.utility(summary, contents)),
        "escape": plotting.draw(lambda: charts.escape(summary, contents)),
        "crossed": plotting.draw(lambda: attribution.components(summary)),
        "sources": plotting.draw(lambda: figures.sources(summary)),
    }
    files = figure_files(drawn)
    files |= {f"tables/{name}": body for name, body in csv_tables.csv_files(summary, contents).items()}
    if rows(summary, "claims"):
        files["claims.md"] = claims.markdown(summary)
    files["index.html"] = page(summary, contents, drawn)
    files["study.md"] = markdown.of_page(files["index.html"])
    return write_with_digests(Path(directory), files)


def page(summary: Row, contents: Contents, drawn: Figures) -> str:
    """The whole HTML document."""
    sections = [
        Section("curves", "Continuations", _continuations(drawn)),
        Section("ranks", "Ranks by regime and lag", _ranks(summary, contents, drawn)),
        Section("ranking", "The ranking", tables.ranking(summary, contents) or NOTHING),
        Section("long", "The long lag", further.long(summary, contents)),
        Section("rates", "Each family at its best learning rate", further.rates(summary, contents)),
        Section("preservation", "Preservation against utility", _preservation(summary, contents, drawn)),
        Section("probes", "What the probes see", _probes(summary, contents, drawn)),
        Section("selectors", "Cheap selectors",
                or_nothing(summary, "selectors", lambda: tables.selectors(summary, contents))),
        Section("claims", "The claims", claims.section(summary)),
        Section("crossed", "What decides who wins", _attribution(summary, contents, drawn)),
        Section("factorial", "What decides who wins: order or dropout", attribution.factorial(summary, contents)),
        Section("sources", "The source states", _sources(summary, drawn)),
        Section("cost", "What it took", cost(summary)),
        Section("definitions", "Definitions", definitions(sentences.definitions())),
        Section("reproduce", "How to verify this", _reproduce(summary)),
    ]  # fmt: skip
    asked = {
        "crossed": "attribution",
        "factorial": "regimes_factorial",
        "claims": "claims",
        "long": "long",
        "rates": "rates",
    }  # sections that only some studies have
    sections = [s for s in sections if s.name not in asked or rows(summary, asked[s.name])]
    notes = rows(summary, "notes")
    unpinned = (summary.get("run") or {}).get("pinned") is False
    head = (
        f'<div id="conclusion">\n<p class="lead">{sentences.conclusion(summary, contents)}</p>\n'
        f"{sentences.verdicts(summary, contents)}</div>\n{UNPINNED if unpinned else ''}"
        f"{facts(sentences.facts(summary, contents))}{f'<h3>Notes</h3>{listed(map(str, notes))}' if notes else ''}"
    )
    return document(str(summary.get("title") or "Width growth"), head, sections)


def _continuations(drawn: Figures) -> str:
    if drawn["curves"] is None:
        return NOTHING
    parts = [
        figure(
            drawn, "curves", "Validation loss against steps after widening",
            "Validation loss after widening; lower is better. Lines are means over replicates, as if all candidates "
            "had those of the one with most; bands run from the lowest to the highest replicate, controls are dashed. "
            "The range shows where the candidates differ: a bad start may enter from above, and a curve that stays "
            "above is reported over its panel.",
        ),
        figure(
            drawn, "gaps", "Validation loss minus the median of the candidates, against steps",
            "The same means, minus the median of the candidates at the same step. Below 0 is better than half of the "
            "pool; lines that cross are choices that depend on how long one trains.",
        ) if drawn["gaps"] else "",
        figure(
            drawn, "flops", "Validation loss against training FLOPs after widening",
            "Validation loss against the FLOPs spent after widening. The source that continues unwidened pays less for "
            "a step: where its line lies below a candidate's, widening has not yet paid at that cost.",
        ),
    ]  # fmt: skip
    return "".join(parts)


def _ranks(summary: Row, contents: Contents, drawn: Figures) -> str:
    chart = figure(
        drawn, "ranks", "Rank by AUC at each lag",
        "Rank by mean AUC (1 is the lowest), shortest lag left, longest right. Crossing lines are reversals: what a "
        "short probe would have chosen wrongly. A rank says nothing of the distance; the table below does.",
    )  # fmt: skip
    families = tables.pairs(summary, contents, "family_pairs") if rows(summary, "family_pairs") else ""
    return chart + families + or_nothing(summary, "pairs", lambda: tables.pairs(summary, contents))


def _preservation(summary: Row, contents: Contents, drawn: Figures) -> str:
    chart = figure(
        drawn, "utility", "Zero-step KL against AUC at the continuation's lag",
        "How much of the source's function a candidate keeps (left keeps more) against how well it trains (lower is "
        "better). Were preservation enough, points would rise from lower left to upper right. Values under "
        "1e&#8209;12 are rounding and are drawn at that floor.",
    )  # fmt: skip
    return chart + or_nothing(summary, "preservation", lambda: tables.preservation(summary, contents))


def _probes(summary: Row, contents: Contents, drawn: Figures) -> str:
    chart = figure(
        drawn, "escape", "Escape from the cloned subspace, per candidate",
        "How far each candidate has left the subspace in which all clones are equal by the end of the probe: 0 means "
        "the copies still act as one. A point per source state, shape and colour by candidate, filling by regime. "
        "An axis is logarithmic where values span decades; 0 then stands at its left end.",
    )  # fmt: skip
    return chart + or_nothing(summary, "probes", lambda: tables.probes(summary, contents))


def _attribution(summary: Row, contents: Contents, drawn: Figures) -> str:
    chart = figure(
        drawn, "crossed", "Standard deviation of AUC by stream, with intervals",
        "How much of the outcome each stream moves: dots are standard deviations, lines their intervals. Where the "
        "panel of the difference shows less than those of the candidates, common randomness cancels in the comparison.",
    )  # fmt: skip
    return chart + attribution.attribution(summary, contents)


def _sources(summary: Row, drawn: Figures) -> str:
    chart = figure(
        drawn, "sources", "Validation loss of the sources during their training",
        "Validation loss while the sources were trained; marks are the states that were widened. A source that lies "
        "clearly below the unigram entropy (the loss of knowing token frequencies and nothing else) has learned to use "
        "context.",
    )  # fmt: skip
    columns = [
        tables.Column("source", lambda r: text(r.get("name")), False),
        tables.Column("seed", lambda r: text("–" if r.get("seed") is None else r["seed"])),
        tables.Column("step", lambda r: text(r.get("step"))),
        tables.Column("validation loss", lambda r: fixed(r.get("validation_loss"))),
        tables.Column("unigram entropy", lambda r: fixed(r.get("unigram_entropy"))),
    ]
    caption = "The first number should lie well below the second. Both in nats/token."
    return chart + or_nothing(summary, "sources", lambda: tables.table(caption, columns, rows(summary, "sources")))


def _reproduce(summary: Row) -> str:
    run = summary.get("run") or {}
    preset = f" --preset {shlex.quote(str(run['preset']))}" if run.get("preset") else ""
    return (
        f"{verifying(run)}{commands(f'python -m growjax study{preset}')}"
        "<p>With the options of this run, this runs the study again; in the environment below, with the same pins and "
        "the corpus named as it was, its receipt must end in the same root digest. The numbers behind every figure are "
        f"in <code>tables/</code>, in full precision.</p>\n{environment(run)}"
    )
