"""What the page says in words: the conclusion, drawn from the data alone, and the definitions of the measures."""

from __future__ import annotations

import html
import re
from collections import Counter

from growjax.measure import registry
from growjax.measure.measure import Definition
from growjax.report import tables
from growjax.report.formatting import Contents, Row, brief, count, rows, text
from growjax.report.tables import separated
from growjax.select.trust import REFERENCE
from growjax.study.spec import UNWIDENED

DERIVED: tuple[tuple[str, str, str, str], ...] = (
    (
        "tokens saved",
        "tokens that the candidate needs fewer than <code>scratch</code> to reach the final loss of "
        + "<code>scratch</code>, less those that its operator trains on before step 0; “&gt;” where it starts at or "
        + "under that loss, so that the curves never cross",
        "tokens",
        "higher is better; below 0, scratch was ahead",
    ),
    (
        "Kendall's tau-b",
        "(concordant − discordant pairs) / √((pairs − ties in one order) (pairs − ties in the other))",
        "none; −1 to 1",
        "+1: the selector orders as the long continuation does",
    ),
    (
        "top-1",
        "whether the selector's first choice has the lowest AUC at the continuation's lag",
        "share",
        "higher is better",
    ),
    (
        "regret",
        "AUC of the selector's first choice minus the lowest AUC among the warm starts, at the continuation's lag",
        "nats/token",
        "lower is better; 0 is the right choice. Of a first choice that diverged there is none, and means leave it out",
    ),
    (
        "diverged",
        "a replicate whose training or validation loss was no finite number at some step; means, sd, intervals, bands "
        "and n are over the others, pairs over candidates of which none did",
        "replicates, and the first such step",
        "a candidate is ranked after all of which fewer replicates diverged, whatever its AUC",
    ),
)
"""What the page works out from measures: name, formula, unit and direction, as HTML."""


def definitions() -> list[tuple[str, str, str, str]]:
    """Every row of the page's definitions, as HTML: growjax's measures, what follows from them, other measures."""
    own, others = registry.definitions()
    return [*map(_as_html, own), *DERIVED, *map(_as_html, others)]


def _as_html(definition: Definition) -> tuple[str, str, str, str]:
    title, formula, unit, reading = (html.escape(part, quote=False) for part in definition)
    return title, _MARKS.sub(_marked, formula), unit, reading


_MARKS = re.compile(r"`(?P<code>[^`]+)`|(?<=\w)_(?:\{(?P<long>[^{}]+)\}|(?P<short>\w)\b)")
"""Code in backquotes, and indices as in x_i or x_{i+1}."""


def _marked(found: re.Match[str]) -> str:
    return f"<code>{found['code']}</code>" if found["code"] else f"<sub>{found['long'] or found['short']}</sub>"


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def _states(number: int) -> str:
    return "1 source state" if number == 1 else f"{number} source states"


def _wins(found: list[Row]) -> dict[str, int]:
    """How often each is separated from its second; most often first."""
    wins = Counter(row["best"] for row in found if separated(row))
    return dict(sorted(wins.items(), key=lambda pair: (-pair[1], pair[0])))


def _outcome(found: list[Row]) -> str:
    """Who leads in one regime at one lag, over the sources: winners where separated, nobody's name elsewhere."""
    wins = _wins(found)
    total, open_ = len(found), len(found) - sum(wins.values())
    if not wins:
        return "not separated" if total == 1 else f"not separated at any of {_states(total)}"
    if total == 1:
        return f"<code>{text(next(iter(wins)))}</code> is first"
    described = [f"<code>{text(name)}</code> is first at {n} of {_states(total)}" for name, n in wins.items()]
    return _listed(described) + (f", {open_} not separated" if open_ else "")


def conclusion(summary: Row, contents: Contents) -> str:
    """One paragraph: what was compared, and who wins in each regime at each lag, where the intervals allow a winner:
    among the paper's families, where others are ranked too; then among all; then whether widening has paid at all."""
    run = summary.get("run") or {}
    small, large = (brief((run.get(k) or {}).get("parameters")) for k in ("source_model", "target_model"))
    found, families = rows(summary, "pairs"), rows(summary, "family_pairs")
    seeds = {row["seed"] for row in rows(summary, "sources") if row.get("seed") is not None}
    of_seeds = f" of {len(seeds)} seed{'s' * (len(seeds) != 1)}" if seeds else ""
    opening = (
        f"{len(contents.operators)} ways to widen a language model from {small} to {large} parameters were compared "
        f"from {_states(len(contents.sources))}{of_seeds}, by the area under the validation-loss curve (AUC, lower is "
        "better)."
    )
    if not found:
        return f"{opening} No pair of candidates was compared with an interval, so this run names no winner."
    if families:
        opening += " Among the paper's families:"
    long = {row["lag"] for row in rows(summary, "long")}
    sentences = _by_regime(families or found, contents, long)
    closing = _reversal(families or found, contents)
    if not any(separated(r) for r in families or found):
        closing = "With these replicates the best and the second-best candidate cannot be distinguished anywhere."
    everyone = f"Among all {len(contents.operators)}: {_outcomes(found)}." if families else ""
    return " ".join(filter(None, [opening, *sentences, closing, everyone, _controls(summary, contents)]))


def _by_regime(found: list[Row], contents: Contents, long: set[int]) -> list[str]:
    """A sentence for each regime; at a long lag it is about those that went on to it."""
    sentences = []
    for regime in contents.regimes:
        parts = []
        for lag in sorted({r["lag"] for r in found if r["regime"] == regime}):
            here = [r for r in found if (r["regime"], r["lag"]) == (regime, lag)]
            parts.append(f"at lag {lag}{', of those that went on' * (lag in long)}, {_outcome(here)}")
        if parts:
            sentences.append(f"<strong>{text(regime.capitalize())}</strong> training: {'; '.join(parts)}.")
    return sentences


def _outcomes(found: list[Row]) -> str:
    """How often a first is separated from its second, over every source, regime and lag, and who it is."""
    wins = _wins(found)
    places = f"of {len(found)} comparisons (each source, regime and lag)"
    if not wins:
        return f"the first is separated from the second in none {places}"
    named = _listed([f"<code>{text(name)}</code> in {n}" for name, n in wins.items()])
    return f"the first is separated from the second in {sum(wins.values())} {places}: {named}"


def _controls(summary: Row, contents: Contents) -> str:
    """Whether the source that goes on unwidened is ahead of all widened, by mean AUC at the continuation's lag."""
    found = rows(summary, "ranking")
    lag = max((r["lag"] for r in found), default=0)
    ahead = total = 0
    for source in contents.sources:
        for regime in contents.regimes:
            here = [r for r in found if (r["source"], r["regime"], r["lag"]) == (source, regime, lag)]
            own = [r["auc_mean"] for r in here if r["candidate"] == UNWIDENED]
            warm = [r["auc_mean"] for r in here if not r.get("control") and r["candidate"] != REFERENCE]
            if own and warm and None not in (*own, *warm):
                total += 1
                ahead += own[0] < min(warm)
    if not ahead:
        return ""
    where = "everywhere" if ahead == total else f"in {ahead} of {total} rankings"
    own_run = f" (<code>{REFERENCE}</code> aside, whose run is the source's own in a wide shape)"
    reference = own_run if any(c.name == REFERENCE for c in contents.candidates) else ""
    return (
        f"At lag {lag} the source that goes on unwidened has a lower mean AUC than every widened start{reference} "
        f"{where}: until then, widening has not paid there."
    )


def _reversal(found: list[Row], contents: Contents) -> str:
    """Whether winners at the shortest lag stay winners at the longest, counted where both are separated."""
    if len(contents.lags) < 2:
        return ""
    best = {(r["source"], r["regime"], r["lag"]): r["best"] for r in found if separated(r)}
    both = [
        (best[s, g, contents.lags[0]], best[s, g, contents.lags[-1]])
        for s in contents.sources
        for g in contents.regimes
        if (s, g, contents.lags[0]) in best and (s, g, contents.lags[-1]) in best
    ]
    if not both:
        return ""
    changed = sum(early != late for early, late in both)
    return (
        f"Of the {len(both)} comparisons with a separated winner at both ends, the winner changes between lag "
        f"{contents.lags[0]} and lag {contents.lags[-1]} in {changed}."
    )


def verdicts(summary: Row, contents: Contents) -> str:
    """A small table: a row per source, a column per regime and lag, the winner or `not separated`."""
    families = rows(summary, "family_pairs")
    found = {(r["source"], r["regime"], r["lag"]): r for r in families or rows(summary, "pairs")}
    among = " among the paper's families" if families else ""
    columns = [(g, lag) for g in contents.regimes for lag in contents.lags if any(k[1:] == (g, lag) for k in found)]
    if not columns:
        return ""
    head = "".join(f'<th scope="col">{text(g)}<br>lag {lag}</th>' for g, lag in columns)
    body = []
    for source in contents.sources:
        cells = ""
        for regime, lag in columns:
            row = found.get((source, regime, lag))
            if row is None:
                cells += "<td>–</td>"
            elif separated(row):
                cells += f'<td class="won"><code>{text(row["best"])}</code></td>'
            else:
                cells += '<td class="soft">not separated</td>'
        body.append(f'<tr><th scope="row">{text(source)}</th>{cells}</tr>')
    return (
        f'<div class="wide" tabindex="0"><table><caption>Winners by AUC{among}. A name stands only where the interval '
        "of second minus best excludes 0; a row whose names change from left to right is a choice that depends on "
        f"regime or lag. {tables.UNIT}</caption>\n<thead><tr><th></th>{head}</tr></thead>\n"
        f"<tbody>{''.join(body)}</tbody></table></div>\n"
    )


def _tokenizer(run: Row) -> str:
    """Where the vocabulary comes from."""
    given = run.get("tokenizer")
    return f"ids of tokenizer {text(str(given)[:12])}" if given else "tokens, byte-level BPE"


def model_facts(run: Row) -> list[tuple[str, str, str]]:
    """Source and target as key facts: heading, value and small print, as HTML."""

    def shape(model: Row) -> str:
        keys = ("d_model", "d_ff", "n_layers", "n_heads")
        return ", ".join(f"{key} {count(model[key])}" for key in keys if key in model)

    both = [(f"{which} model", run.get(f"{which}_model") or {}) for which in ("source", "target")]
    return [(head, brief(model.get("parameters")), text(shape(model))) for head, model in both]


def data_facts(run: Row) -> list[tuple[str, str, str]]:
    """Corpus, vocabulary and batch as key facts."""
    return [
        ("corpus", text(run.get("corpus")), (f"{brief(run.get('tokens_train'))} tokens to train on, "
         f"{brief(run.get('tokens_validation'))} held out")),
        ("vocabulary", count(run.get("vocab_size")), _tokenizer(run)),
        ("batch", f"{count(run.get('batch_size'))} × {count(run.get('seq_len'))}", "sequences × tokens"),
    ]  # fmt: skip


def bits_fact(run: Row) -> tuple[str, str, str]:
    """Whether the run was pinned, and its root."""
    pinned = {True: "pinned", False: "not pinned"}.get(run.get("pinned", ""), "–")
    return "bits", pinned, f"root {text(str(run.get('root') or '')[:12])}"


def facts(summary: Row, contents: Contents) -> list[tuple[str, str, str]]:
    """The key facts of a study."""
    run = summary.get("run") or {}
    replicates = run.get("replicates") or {}
    controls = [c.name for c in contents.candidates if c.control]
    return [
        *model_facts(run),
        ("candidates", str(len(contents.operators)), text("and controls: " + ", ".join(controls)) if controls else ""),
        ("source states", str(len(contents.sources)), text(", ".join(contents.sources))),
        ("replicates", text(" / ".join(count(replicates[k]) for k in replicates)), text(" / ".join(replicates))),
        *data_facts(run),
        ("preset", text(run.get("preset")), f"{count(run.get('cells'))} cells"),
        bits_fact(run),
    ]
