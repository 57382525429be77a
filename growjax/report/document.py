"""What every page is made of: its frame, figures with captions, facts, and how its bits come out again."""

from __future__ import annotations

import html
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from growjax.config import canonical_json
from growjax.report import plotting, style
from growjax.report.formatting import Row, count, fixed, rows, significant, text
from growjax.report.tables import Column, table

NOTHING = '<p class="soft">Nothing recorded here in this run.</p>\n'
Figures = Mapping[str, str | None]
"""SVG by name; None where there was nothing to draw."""

UNPINNED = '<p class="warn">This run was not pinned: its bits need not come out again elsewhere.</p>\n'


class Section(NamedTuple):
    """A part of a page: the name that links go to, its heading, and HTML."""

    name: str
    heading: str
    inner: str


def document(title: str, head: str, sections: Sequence[Section]) -> str:
    """A whole HTML document that asks nothing of a network; `title` is text, `head` the HTML under it."""
    title = text(title)
    nav = "".join(f'<a href="#{section.name}">{section.heading}</a>' for section in sections)
    body = "".join(f'<section id="{s.name}">\n<h2>{s.heading}</h2>\n{s.inner}</section>\n' for s in sections)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{style.css()}</style>\n</head>\n<body>\n<main>\n"
        f"<header>\n<h1>{title}</h1>\n{head}\n<nav>{nav}</nav>\n</header>\n{body}</main>\n</body>\n</html>\n"
    )


def figure(drawn: Figures, name: str, label: str, caption: str) -> str:
    """A figure of the page, with the text that stands for it."""
    svg = drawn.get(name)
    if svg is None:
        return NOTHING
    picture = plotting.inline(svg, name=name, label=label)
    return (
        f'<figure data-file="figures/{name}.svg">\n<div class="wide" tabindex="0">{picture}</div>\n'
        f"<figcaption>{caption}</figcaption>\n</figure>\n"
    )


def figure_files(drawn: Figures) -> dict[str, str]:
    """The figures as files of their own, by name."""
    return {f"figures/{name}.svg": svg for name, svg in drawn.items() if svg is not None}


def or_nothing(summary: Row, section: str, make: Callable[[], str]) -> str:
    """What `make` gives, where the section has rows."""
    return make() if rows(summary, section) else NOTHING


def listed(items: Iterable[str]) -> str:
    """Texts as a list."""
    return f"<ul>{''.join(f'<li>{text(item)}</li>' for item in items)}</ul>\n"


def commands(*lines: str) -> str:
    """Lines for a shell."""
    return f'<pre tabindex="0">{html.escape(chr(10).join(lines))}</pre>\n'


def facts(cells: Iterable[tuple[str, str, str]]) -> str:
    """A strip of key facts: heading, value and small print, as HTML."""
    body = "".join(
        f"<div><dt>{head}</dt><dd>{value}{f'<small>{small}</small>' if small else ''}</dd></div>"
        for head, value, small in cells
    )
    return f'<dl class="facts">{body}</dl>\n'


def definitions(found: Iterable[tuple[str, str, str, str]]) -> str:
    """A table of definitions; each is name, formula, unit and direction, as HTML."""
    body = "".join(
        f'<tr><th scope="row">{name}</th><td class="prose">{formula}</td><td>{unit}</td>'
        f'<td class="prose">{direction}</td></tr>\n'
        for name, formula, unit, direction in found
    )
    return (
        '<div class="wide" tabindex="0"><table><caption>How each number on this page is computed, and which way '
        "is better.</caption>\n"
        '<thead><tr><th scope="col">measure</th><th scope="col">formula</th><th scope="col">unit</th>'
        f'<th scope="col">direction</th></tr></thead>\n<tbody>\n{body}</tbody></table></div>\n'
    )


def cost(summary: Row) -> str:
    """What the run took."""
    found = rows(summary, "cost")
    if not found:
        return NOTHING
    names = ("cells", "source_steps", "target_steps", "flops")
    every = {name: sum(row[name] for row in found) for name in names}
    programs = summary.get("programs")
    columns = [
        Column("cells of kind", lambda r: text(r["kind"]), False),
        Column("cells", lambda r: count(r["cells"])),
        Column("steps of the<br>source's width", lambda r: count(r["source_steps"])),
        Column("steps of the<br>target's width", lambda r: count(r["target_steps"])),
        Column("training<br>FLOPs", lambda r: significant(r["flops"])),
    ]
    caption = (
        "What was computed, each cell once. A step that several cells share is counted with the one that took it. "
        "What an operator trains before step 0 stands with the candidates. Evaluations, measures, steps up to the "
        "continuation's lag that a long lag takes again, and what a killed process had to do again are not counted."
    )
    if programs is not None:
        caption += f" Distinct training programs: {programs}."
    return table(caption, columns, [*found, {"kind": "all", **every}])


def given_words(run: Row) -> list[str]:
    """What `verify` has to be given beside a receipt, as words of a command."""
    words = ["--source", "SOURCE"] if run.get("given") else []
    if run.get("corpus") not in (None, "builtin"):
        words += ["--corpus", "CORPUS"]
    if run.get("tokenizer") and not run.get("given"):
        words += ["--tokenizer", "TOKENIZER"]
    return words


def verifying(run: Row) -> str:
    """How to verify a receipt, as HTML."""
    words = given_words(run)
    where = {
        "--source": "SOURCE is the folder of the state with digest " + ", ".join(map(_code, run.get("given") or [])),
        "--corpus": f"CORPUS is where the corpus with digest {_code(run.get('corpus_digest'))} lies",
        "--tokenizer": f"TOKENIZER is the file with SHA-256 {_code(run.get('tokenizer'))}",
    }
    described = "; ".join(where[word] for word in words if word in where)
    return (
        f"{commands(shlex.join(['python', '-m', 'growjax', 'verify', 'RUN/receipt.json', *words]))}"
        "<p>This executes the recorded cells again, from the receipt alone, and compares their bits; with "
        f"<code>--cells 12</code> a sample of them.{f' {described}.' if described else ''}</p>\n"
    )


def environment(run: Row) -> str:
    """What must agree for the bits to agree."""
    known = {"receipt root": run.get("root"), "corpus digest": run.get("corpus_digest"), "preset": run.get("preset")}
    known |= {"unigram entropy (nats/token)": fixed(run.get("unigram_entropy")), "optimizer": run.get("optimizer")}
    known |= {"pinned": None if run.get("pinned") is None else "yes" if run["pinned"] else "no"}
    known |= {str(k): v for k, v in sorted((run.get("environment") or {}).items())}
    body = "".join(
        f'<tr><th scope="row">{text(name)}</th><td class="any"><code>{_plain(value)}</code></td></tr>\n'
        for name, value in known.items()
    )
    return (
        '<div class="wide" tabindex="0"><table><caption>What must agree for the bits to agree. Another version of '
        "jaxlib or another kind of device is not comparable, which is not the same as wrong.</caption>\n"
        f"<tbody>\n{body}</tbody></table></div>\n"
    )


def _code(value: object) -> str:
    return f"<code>{text(value)}</code>"


def _plain(value: object) -> str:
    """A setting as text; nested ones as a short list."""
    if isinstance(value, dict):
        return "<br>".join(f"{text(k)} = {_plain(v)}" for k, v in sorted(value.items())) or text(None)
    if isinstance(value, (list, bool)):
        return text(canonical_json(value))
    return text(value)
