"""Tables on stdout."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from growjax.study.rows import RankingRow, Summary


def _number(value: float | None, form: str = ".4f") -> str:
    return "-" if value is None else format(value, form)


def _auc(row: RankingRow) -> str:
    lost = row.get("diverged")
    return (lost if row["n"] == 0 else f"{_number(row['auc_mean'])}, {lost}") if lost else _number(row["auc_mean"])


def console() -> Console:
    """stdout, which takes every text as it is; a pipe gets rows that are not folded."""
    out = Console(markup=False, emoji=False)
    return out if out.is_terminal else Console(width=160, markup=False, emoji=False)


def print_sources(out: Console, summary: Summary) -> None:
    """Validation loss of each source state beside the unigram entropy of its tokens."""
    table = Table("source", "validation loss", "unigram entropy", "gain", title="Source states (nats per token)")
    for row in summary["sources"]:
        loss, entropy = row["validation_loss"], row["unigram_entropy"]
        table.add_row(row["name"], _number(loss), _number(entropy), _number(None if loss is None else entropy - loss))
    out.print(table)


def print_study(path: Path, summary: Summary) -> None:
    """Sources, rankings and the way to the page."""
    from growjax.measure.registry import other_measures
    from growjax.report.tables import UNIT

    out = console()
    print_sources(out, summary)
    others = other_measures("continuation")
    longest = max((row["lag"] for row in summary["ranking"]), default=0)
    for regime in dict.fromkeys(row["regime"] for row in summary["ranking"]):
        table = Table(title=f"{regime}: AUC of the validation loss (nats per token, lower is better)")
        heads = ("source", "lag", "rank", "candidate", "AUC", "sd", "final loss", "n", "tokens saved")
        for name in (*heads, *(m.title for m in others)):
            table.add_column(name, justify="left" if name in ("source", "candidate") else "right")
        rows = [row for row in summary["ranking"] if row["regime"] == regime]
        rows.sort(key=lambda row: (row["source"], row["lag"], row["rank"] is None, row["rank"] or 0, row["candidate"]))
        for row in rows:
            saved = row["tokens_saved"]
            table.add_row(
                row["source"],
                str(row["lag"]),
                str(row["rank"] or "-"),
                row["candidate"],
                _auc(row),
                _number(row["auc_sd"]),
                _number(row["final_mean"]),
                str(row["n"]),
                "-" if saved is None else f"{'> ' if row['tokens_saved_more'] else ''}{saved:,.0f}",
                *(_number(row.get(m.column), ".4g") for m in others),
                style="bold" if row["rank"] == 1 and row["lag"] == longest else None,
            )
        out.print(table)
    families = [("among the paper's families, ", pair) for pair in summary["family_pairs"]]
    for among, pair in (*families, *(("", pair) for pair in summary["pairs"])):
        if pair["lag"] == longest:
            verdict = "separated" if pair["separated"] else "not separated"
            interval = (
                "" if pair["low"] is None or pair["high"] is None else f" [{pair['low']:+.4f}, {pair['high']:+.4f}]"
            )
            out.print(
                f"{pair['source']}, {pair['regime']}: {among}{pair['best']} before {pair['second']} by "
                f"{_number(pair['difference'])}{interval}: {verdict}",
                highlight=False,
            )
    out.print(UNIT, highlight=False)
    _print_attribution(out, summary)
    out.print(
        f"root  {summary['run']['root']}\npage  {path / 'report' / 'index.html'}", highlight=False, soft_wrap=True
    )


def _print_attribution(out: Console, summary: Summary) -> None:
    """What decides who wins, and the regimes as a factorial, where the study asked for them."""
    for found in summary["attribution"]:
        outcomes = [*found["outcomes"], *([found["difference"]] if found["difference"] else [])]
        table = Table("outcome", "mean AUC", title=f"{found['source']}: standard deviation of AUC by stream (nats)")
        for term in outcomes[0]["terms"]:
            table.add_column(term["term"], justify="right")
        for row in outcomes:
            table.add_row(row["outcome"], _number(row["mean"]), *(_number(t["sd"], ".5f") for t in row["terms"]))
        out.print(table)
        best = ", ".join(f"{r['candidate']} {100 * r['share']:.0f} %" for r in found["best"])
        out.print(f"best when all streams are redrawn: {best}", highlight=False)
    for found in summary["regimes_factorial"]:
        corners: tuple[Literal["neither", "order", "dropout", "both"], ...] = ("neither", "order", "dropout", "both")
        table = Table("candidate", *corners, title=f"{found['source']}: AUC (rank) with order or dropout random")
        for row in found["rows"]:
            cells = (f"{row[c]['auc']:.4f} ({row[c]['rank']})" for c in corners)
            table.add_row(row["candidate"], *cells)
        out.print(table)
