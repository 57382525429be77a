"""`write_report`: the page, its figures and its tables, written whole or not at all, the same bytes for one summary."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from growjax.config import canonical_json
from growjax.record.digested import write_with_digests
from growjax.report import attribution, charts, claims, csv_tables, figures, further, plotting, sentences, style, tables
from growjax.report.formatting import Contents, Row, contents_of, fixed, rows, text

NOTHING = '<p class="soft">Nothing recorded here in this run.</p>\n'
Figures = dict[str, str | None]


def write_report(directory: Path, summary: Row) -> list[Path]:
    """Write `index.html`, `figures/*.svg` and `tables/*.csv` under `directory`, with their digests beside them, and
    return their paths.

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
    files = {f"figures/{name}.svg": svg for name, svg in drawn.items() if svg is not None}
    files |= {f"tables/{name}": body for name, body in csv_tables.csv_files(summary, contents).items()}
    if rows(summary, "claims"):
        files["claims.md"] = claims.markdown(summary)
    files["index.html"] = page(summary, contents, drawn)
    return write_with_digests(Path(directory), files)


def page(summary: Row, contents: Contents, drawn: Figures) -> str:
    """The whole HTML document."""
    title = text(summary.get("title") or "Width growth")
    sections: list[tuple[str, str, str]] = [
        ("curves", "Continuations", _continuations(drawn)),
        ("ranks", "Ranks by regime and lag", _ranks(summary, contents, drawn)),
        ("ranking", "The ranking", tables.ranking(summary, contents) or NOTHING),
        ("long", "The long lag", further.long(summary, contents)),
        ("rates", "Each family at its best learning rate", further.rates(summary, contents)),
        ("preservation", "Preservation against utility", _preservation(summary, contents, drawn)),
        ("probes", "What the probes see", _probes(summary, contents, drawn)),
        (
            "selectors",
            "Cheap selectors",
            _or_nothing(summary, "selectors", lambda: tables.selectors(summary, contents)),
        ),
        ("claims", "The claims", claims.section(summary)),
        ("crossed", "What decides who wins", _attribution(summary, contents, drawn)),
        ("factorial", "Regimes as a factorial", attribution.factorial(summary, contents)),
        ("sources", "The source states", _sources(summary, drawn)),
        ("definitions", "Definitions", _definitions()),
        ("reproduce", "How to reproduce this", _reproduce(summary)),
    ]
    asked = {
        "crossed": "attribution",
        "factorial": "regimes_factorial",
        "claims": "claims",
        "long": "long",
        "rates": "rates",
    }  # sections that only some studies have
    sections = [s for s in sections if s[0] not in asked or rows(summary, asked[s[0]])]
    nav = "".join(f'<a href="#{name}">{heading}</a>' for name, heading, _ in sections)
    cells = "".join(
        f"<div><dt>{head}</dt><dd>{value}{f'<small>{small}</small>' if small else ''}</dd></div>"
        for head, value, small in sentences.facts(summary, contents)
    )
    notes = "".join(f"<li>{text(note)}</li>" for note in rows(summary, "notes"))
    noted = f"<h3>Notes</h3><ul>{notes}</ul>" if notes else ""
    unpinned = (summary.get("run") or {}).get("pinned") is False
    warning = '<p class="warn">This run was not pinned: its bits need not come out again elsewhere.</p>\n'
    body = "".join(f'<section id="{n}">\n<h2>{heading}</h2>\n{inner}</section>\n' for n, heading, inner in sections)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{style.css()}</style>\n</head>\n<body>\n<main>\n"
        f'<header>\n<h1>{title}</h1>\n<div id="conclusion">\n'
        f'<p class="lead">{sentences.conclusion(summary, contents)}</p>\n'
        f"{sentences.verdicts(summary, contents)}</div>\n{warning if unpinned else ''}"
        f'<dl class="facts">{cells}</dl>\n{noted}\n<nav>{nav}</nav>\n</header>\n'
        f"{body}</main>\n</body>\n</html>\n"
    )


def _figure(drawn: Figures, name: str, label: str, caption: str) -> str:
    svg = drawn.get(name)
    if svg is None:
        return NOTHING
    picture = plotting.inline(svg, name=name, label=label)
    return f'<figure>\n<div class="wide" tabindex="0">{picture}</div>\n<figcaption>{caption}</figcaption>\n</figure>\n'


def _or_nothing(summary: Row, section: str, make: Callable[[], str]) -> str:
    return make() if rows(summary, section) else NOTHING


def _continuations(drawn: Figures) -> str:
    if drawn["curves"] is None:
        return NOTHING
    parts = [
        _figure(
            drawn, "curves", "Validation loss against steps after widening",
            "Validation loss after widening; lower is better. Lines are means over replicates, bands run from the "
            "lowest to the highest replicate, controls are dashed. The range shows where the candidates differ: a bad "
            "start may enter from above, and a curve that stays above is reported over its panel.",
        ),
        _figure(
            drawn, "gaps", "Validation loss minus the median of the candidates, against steps",
            "The same means, minus the median of the candidates at the same step. Below 0 is better than half of the "
            "pool; lines that cross are choices that depend on how long one trains.",
        ) if drawn["gaps"] else "",
        _figure(
            drawn, "flops", "Validation loss against training FLOPs after widening",
            "Validation loss against the FLOPs spent after widening. The source that continues unwidened pays less for "
            "a step, so its line ends early: where it lies below a candidate, widening has not yet paid at that cost.",
        ),
    ]  # fmt: skip
    return "".join(parts)


def _ranks(summary: Row, contents: Contents, drawn: Figures) -> str:
    chart = _figure(
        drawn, "ranks", "Rank by AUC at each lag",
        "Rank by mean AUC (1 is the lowest), shortest lag left, longest right. Crossing lines are reversals: what a "
        "short probe would have chosen wrongly. A rank says nothing of the distance; the table below does.",
    )  # fmt: skip
    return chart + _or_nothing(summary, "pairs", lambda: tables.pairs(summary, contents))


def _preservation(summary: Row, contents: Contents, drawn: Figures) -> str:
    chart = _figure(
        drawn, "utility", "Zero-step KL against AUC at the longest lag",
        "How much of the source's function a candidate keeps (left keeps more) against how well it trains (lower is "
        "better). Were preservation enough, points would rise from lower left to upper right. Values under "
        "1e&#8209;12 are rounding and are drawn at that floor.",
    )  # fmt: skip
    return chart + _or_nothing(summary, "preservation", lambda: tables.preservation(summary, contents))


def _probes(summary: Row, contents: Contents, drawn: Figures) -> str:
    chart = _figure(
        drawn, "escape", "Escape from the cloned subspace, per candidate",
        "How far each candidate has left the subspace in which all clones are equal by the end of the probe: 0 means "
        "the copies still act as one. A point per source state, shape and colour by candidate, filling by regime. "
        "An axis is logarithmic where values span decades; 0 then stands at its left end.",
    )  # fmt: skip
    return chart + _or_nothing(summary, "probes", lambda: tables.probes(summary, contents))


def _attribution(summary: Row, contents: Contents, drawn: Figures) -> str:
    chart = _figure(
        drawn, "crossed", "Standard deviation of AUC by stream, with intervals",
        "How much of the outcome each stream moves: dots are standard deviations, lines their intervals. Where the "
        "panel of the difference shows less than those of the candidates, common randomness cancels in the comparison.",
    )  # fmt: skip
    return chart + attribution.attribution(summary, contents)


def _sources(summary: Row, drawn: Figures) -> str:
    chart = _figure(
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
    return chart + _or_nothing(summary, "sources", lambda: tables.table(caption, columns, rows(summary, "sources")))


def _definitions() -> str:
    body = "".join(
        f'<tr><th scope="row">{name}</th><td class="prose">{formula}</td><td>{unit}</td>'
        f'<td class="prose">{direction}</td></tr>\n'
        for name, formula, unit, direction in sentences.definitions()
    )
    return (
        '<div class="wide" tabindex="0"><table><caption>How each number on this page is computed, and which way '
        "is better.</caption>\n"
        '<thead><tr><th scope="col">measure</th><th scope="col">formula</th><th scope="col">unit</th>'
        f'<th scope="col">direction</th></tr></thead>\n<tbody>\n{body}</tbody></table></div>\n'
    )


def _reproduce(summary: Row) -> str:
    run = summary.get("run") or {}
    facts = {"receipt root": run.get("root"), "corpus digest": run.get("corpus_digest"), "preset": run.get("preset")}
    facts |= {"unigram entropy (nats/token)": fixed(run.get("unigram_entropy")), "optimizer": run.get("optimizer")}
    facts |= {"pinned": None if run.get("pinned") is None else "yes" if run["pinned"] else "no"}
    facts |= {str(k): v for k, v in sorted((run.get("environment") or {}).items())}
    body = "".join(
        f'<tr><th scope="row">{text(name)}</th><td class="any"><code>{_plain(value)}</code></td></tr>\n'
        for name, value in facts.items()
    )
    preset = f" --preset {text(run['preset'])}" if run.get("preset") else ""
    return (
        f"<pre>python -m growjax study{preset}\npython -m growjax verify RUN</pre>\n"
        "<p>The first command runs the study again; in the environment below, with the same pins, its receipt must end "
        "in the same root digest. The second executes recorded cells again and compares their bits. The numbers behind "
        "every figure are in <code>tables/</code>, in full precision.</p>\n"
        '<div class="wide" tabindex="0"><table><caption>What must agree for the bits to agree. Another version of '
        "jaxlib or another kind of device is not comparable, which is not the same as wrong.</caption>\n"
        f"<tbody>\n{body}</tbody></table></div>\n"
    )


def _plain(value: object) -> str:
    """A setting as text; nested ones as a short list."""
    if isinstance(value, dict):
        return "<br>".join(f"{text(k)} = {_plain(v)}" for k, v in sorted(value.items())) or text(None)
    if isinstance(value, (list, bool)):
        return text(canonical_json(value))
    return text(value)
