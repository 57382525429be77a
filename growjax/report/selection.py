"""`write_selection`: the page of a selection, its figures and its tables, the same bytes for one summary."""

from __future__ import annotations

import shlex
from pathlib import Path

from growjax.config import canonical_json
from growjax.record.digested import write_with_digests
from growjax.report import csv_tables, figures, markdown, plotting, racing, sentences
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
from growjax.report.formatting import Contents, Row, brief, contents_of, count, fixed, rows, text
from growjax.select.rows import SelectionSummary

WORDS: tuple[tuple[str, str, str, str], ...] = (
    (
        "rung",
        "a lag at which candidates are compared; each goes on from the state it stopped in, where that is still kept",
        "steps",
        "longer says more of the horizon",
    ),
    (
        "horizon",
        "the length of the training that is planned",
        "steps",
        "what the order is wanted for",
    ),
    (
        "projected AUC",
        "AUC up to the lag · lag / horizon + slope · loss at the lag · (1 − lag / horizon), a mean over replicates; "
        "what all candidates have in common is left out, so that only differences have a meaning",
        "nats/token",
        "lower is better",
    ),
    (
        "slope",
        "the part of a difference in loss at the lag that is left, on average, until the horizon: least squares over "
        "the pairs of candidates of other studies",
        "none",
        "1: differences stay as they are",
    ),
    (
        "drift",
        "root mean square, over those pairs, of what the projection misses of the difference in AUC at the horizon",
        "nats/token",
        "lower: the order at this lag is nearer to that at the horizon",
    ),
    (
        "noise",
        "standard deviation over replicates of a paired difference in projected AUC",
        "nats/token",
        "lower: one replicate says more",
    ),
    (
        "behind",
        "projected AUC minus that of the leader, paired by replicate",
        "nats/token",
        "0: the leader",
    ),
    (
        "reach",
        "√((t · noise)² / replicates + (z · drift)²), with t and z the quantiles that hold for all comparisons of the "
        "rung together at 95 %",
        "nats/token",
        "a candidate further behind than this is separated, and leaves",
    ),
    (
        "replicate",
        "one more run of every candidate that stands, on other batches and other dropout masks, the same for all",
        "none",
        "more: less noise",
    ),
)
"""The words of a race: name, formula, unit and reading, as HTML."""

SHARED = ("AUC", "validation loss", "zero-step KL")
"""Measures of a study's page that this page uses too."""


def write_selection(directory: Path, summary: SelectionSummary) -> list[Path]:
    """Write `index.html`, `figures/*.svg`, `tables/*.csv`, the page once more as Markdown in `selection.md`, and the
    summary in `selection.json` under `directory`, with their digests beside them; return their paths.

    The page holds everything it shows and asks nothing of a network. The bytes depend on `summary` alone (and on
    matplotlib's version); each file is complete under its name or absent.
    """
    given: Row = summary
    curves = racing.curve_rows(given)
    drawable = {"curves": curves, "sources": [given["source"]]}
    contents = contents_of(drawable)
    drawn: Figures = {
        "curves": plotting.draw(lambda: figures.curves(drawable, contents, axis="steps")),
        "gaps": plotting.draw(lambda: figures.gaps(drawable, contents, against=given["answer"]["chosen"])),
        "race": plotting.draw(lambda: racing.race(given, contents)),
    }
    files = figure_files(drawn)
    files |= {f"tables/{name}": body for name, body in racing.csv_files(given).items()}
    files["tables/cost.csv"] = csv_tables.csv_text(rows(given, "cost"), csv_tables.COST)
    if rows(given, "making"):
        files["tables/making.csv"] = csv_tables.csv_text(rows(given, "making"), csv_tables.MAKING)
    files["index.html"] = page(given, contents, drawn)
    files["selection.md"] = markdown.of_page(files["index.html"])
    files["selection.json"] = canonical_json(summary) + "\n"
    return write_with_digests(Path(directory), files)


def page(summary: Row, contents: Contents, drawn: Figures) -> str:
    """The whole HTML document."""
    sections = [
        Section("next", "How to go on", _next(summary)),
        Section("standings", "Standings", racing.standings(summary, contents)),
        Section("curves", "Loss curves", _curves(drawn)),
        Section("race", "The race", _race(summary, drawn)),
        Section("trust", "What each rung could be trusted for", racing.outlooks(summary)),
        Section("rules", "What plain rules would have taken",
                or_nothing(summary, "rules", lambda: racing.rules(summary))),
        Section("left-out", "Who did not race", or_nothing(summary, "left_out", lambda: racing.left_out(summary))),
        Section("cost", "What it took", cost(summary)),
        Section("verify", "How to verify this", _verify(summary)),
        Section("definitions", "Definitions", definitions(_words())),
        Section("environment", "Environment", environment(summary["run"])),
    ]  # fmt: skip
    notes = [str(note) for note in rows(summary, "notes")]
    head = (
        f'<div id="conclusion">\n<p class="lead">{_question(summary)}</p>\n<p class="lead">{_answer(summary)}</p>\n'
        f"{_known(summary)}</div>\n{UNPINNED if summary['run'].get('pinned') is False else ''}"
        f"{facts(_facts(summary))}{f'<h3>Notes</h3>{listed(notes)}' if notes else ''}"
    )
    return document(str(summary["title"]), head, sections)


def _question(summary: Row) -> str:
    question, run = summary["question"], summary["run"]
    small, large = (brief(run[key]["parameters"]) for key in ("source_model", "target_model"))
    return (
        f"Which of {count(question['candidates'])} ways to widen <code>{text(question['source'])}</code> from {small} "
        f"to {large} parameters should {count(question['horizon'])} steps of {text(question['regime'])} training on "
        f"{text(run['corpus'])} begin with? The budget to find out is {count(question['budget'])} training steps."
    )


def _answer(summary: Row) -> str:
    answer = summary["answer"]
    chosen = f"Chosen: <strong><code>{text(answer['chosen'])}</code></strong>."
    spent = f"The race took {count(answer['spent'])} steps and ended at lag {count(answer['lag'])}."
    if answer["runner_up"] is None or answer["gap"] is None:
        return f"{chosen} No other candidate was left to compare it with. {spent}"
    near = [one["candidate"] for one in rows(summary, "standings") if one["why"] in ("stayed", "budget")]
    names = ", ".join(f"<code>{text(name)}</code>" for name in near)
    firm = f"{names} {'is' if len(near) == 1 else 'are'} not separated from it" if near else "every one is separated"
    return (
        f"{chosen} Next is <code>{text(answer['runner_up'])}</code>, {fixed(answer['gap'])} nats per token of "
        f"projected AUC behind; noise and drift reach {fixed(answer['reach'])}. Of the other candidates {firm}. {spent}"
    )


def _known(summary: Row) -> str:
    """What is certain, and what is not, each in the summary's own sentences."""
    parts = (("What is certain", rows(summary, "certain")), ("What is not certain", rows(summary, "uncertain")))
    return "".join(
        f"<h3>{head}</h3>{listed(map(str, found)) if found else '<p>Nothing.</p>'}\n" for head, found in parts
    )


def _facts(summary: Row) -> list[tuple[str, str, str]]:
    question, answer, run = summary["question"], summary["answer"], summary["run"]
    ended = f"lag {count(answer['lag'])}, {count(answer['replicates'])} replicate{'s' * (answer['replicates'] != 1)}"
    return [
        *sentences.model_facts(run),
        ("planned", f"{count(question['horizon'])} steps", text(question["regime"])),
        ("race", f"{count(answer['spent'])} of {count(question['budget'])} steps", ended),
        *sentences.data_facts(run),
        ("cells", count(sum(summary["cells"].values())), f"{count(summary['programs'])} training programs"),
        ("chosen state", text(str(answer["state"])[:12]), f"cell {text(answer['cell'])}"),
        sentences.bits_fact(run),
    ]


def _next(summary: Row) -> str:
    """The commands that take the chosen state further."""
    question, run = summary["question"], summary["run"]
    data = [*map(str, rows(summary, "train_options")), *(["--data.corpus", "CORPUS"] * (run["corpus"] != "builtin"))]
    train = (
        f"python -m growjax train --from RUN/chosen --steps {question['horizon']} --eval-every "
        f"{question['eval_every']} \\",
        f"    {shlex.join(data)} --out OUT",
    )
    alike = (
        ""
        if question["regime"] == "stochastic"
        else (
            f" <code>train</code> draws batch order and dropout masks; the selection was of {text(question['regime'])} "
            "training."
        )
    )
    return (
        f"{commands(*train, 'python -m growjax export RUN/chosen --out FOLDER')}"
        "<p><code>RUN/chosen</code> holds the full state before its first step: weights, moments, counters, schedule, "
        "and the tokenizer. The first command trains on from it, on the corpus and with the data options that were "
        f"given to the selection.{alike} The second writes it as a Hugging Face checkpoint, where a stock architecture "
        f"has its parts. Its digest is <code>{text(summary['answer']['state'])}</code>.</p>\n"
    )


def _curves(drawn: Figures) -> str:
    if drawn["curves"] is None:
        return NOTHING
    first = figure(
        drawn, "curves", "Validation loss of each candidate against steps after widening",
        "Validation loss after widening, as far as each candidate ran; lower is better. Lines are means over "
        "replicates, as if all had those of the one with most; bands run from the lowest to the highest replicate. "
        "The range shows where the candidates differ: a bad start may enter from above, and a curve that stays above "
        "is reported over its panel.",
    )  # fmt: skip
    if drawn["gaps"] is None:
        return first
    return first + figure(
        drawn, "gaps", "Validation loss minus that of the chosen, against steps",
        "The same means, minus that of the chosen at the same step. Below 0 a candidate was ahead of it there.",
    )  # fmt: skip


def _race(summary: Row, drawn: Figures) -> str:
    budget = count(summary["question"]["budget"])
    chart = figure(
        drawn, "race", "How far each candidate ran in the race, and why it stopped",
        f"A column for each request of the race, a mark for each candidate that took part in it, and why it stopped "
        f"there. The budget was {budget} steps.",
    )  # fmt: skip
    return chart + racing.requests(summary)


def _verify(summary: Row) -> str:
    return verifying(summary["run"]) + (
        "<p>The race is decided by the recorded curves alone; reading the receipt plays it again, and a receipt whose "
        "cells are not those that its race asked for is refused. The numbers behind every figure are in "
        "<code>tables/</code>, and all of this page as data in <code>selection.json</code>, in full precision.</p>\n"
    )


def _words() -> list[tuple[str, str, str, str]]:
    shared = {found[0]: found for found in sentences.definitions()}
    return [*(shared[name] for name in SHARED), *WORDS]
