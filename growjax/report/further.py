"""What some studies have beside the ranking: the long lag of the finalists, each family at its best learning rate."""

from __future__ import annotations

from growjax.report import tables
from growjax.report.formatting import Contents, Row, count, fixed, rows, significant, text

RATES = ("source", "regime", "lag", "rank", "family", "rate", "auc_mean", "auc_sd", "gain", "low", "high", "n")


def long(summary: Row, contents: Contents) -> str:
    """The finalists at the long lag, with their rank at the lag that chose them."""
    found = sorted(rows(summary, "long"), key=lambda r: (*_place(r, contents), r.get("rank") or 0, r["candidate"]))
    shorter = max((r["lag"] for r in rows(summary, "ranking")), default=0)
    before = {(r["source"], r["regime"], r["candidate"]): r for r in rows(summary, "ranking") if r["lag"] == shorter}
    columns = [
        tables.candidate_column(contents),
        tables.Column("rank", lambda r: count(r.get("rank"))),
        tables.Column(
            f"rank<br>lag {shorter}",
            lambda r: count(before.get((r["source"], r["regime"], r["candidate"]), {}).get("rank")),
        ),
        tables.Column("AUC", lambda r: text(r.get("diverged") or fixed(r.get("auc_mean")))),
        tables.Column("sd of<br>AUC", lambda r: fixed(r.get("auc_sd"))),
        tables.Column("final<br>loss", lambda r: fixed(r.get("final_mean"))),
        tables.Column("n", lambda r: count(r.get("n"))),
    ]
    lag = max((r["lag"] for r in found), default=0)
    caption = (
        f"Lag {count(lag)}: the first of each ranking went on. A rank other than that at lag {count(shorter)} is a "
        "reversal that the shorter lag did not show; those who were left behind might have had others."
    )
    return tables.table(caption, columns, found, _heading)


def rates(summary: Row, contents: Contents) -> str:
    """Each family at the best of the learning rates that it went on with."""
    found = sorted(rows(summary, "rates"), key=lambda r: (*_place(r, contents), r.get("rank") or 0, r["family"]))
    tried = sorted({rate for r in found for rate in r["aucs"]}, key=float)
    columns = [
        tables.Column("family", lambda r: f"<code>{text(r.get('family'))}</code>", False),
        tables.Column("rank", lambda r: count(r.get("rank"))),
        tables.Column("best rate", lambda r: f"{text(r.get('rate'))} &times;{' (edge)' * _edge(r)}"),
        tables.Column("AUC", lambda r: fixed(r.get("auc_mean"))),
        tables.Column("gain over<br>own rate", lambda r: significant(r.get("gain"), 3, signed=True)),
        tables.Column("interval", tables.interval),
        tables.Column("n", lambda r: count(r.get("n"))),
        *(tables.Column(f"AUC<br>{text(rate)} &times;", lambda r, rate=rate: fixed(r["aucs"].get(rate)))
          for rate in tried),
    ]  # fmt: skip
    caption = (
        "Each family at the best of the learning rates tried, as multiples of the source's; all have the same "
        "replicates. Where the order differs from the ranking above, the ranking was one of rates. The best is chosen "
        "by the figures that it is reported by, which flatters it a little. Edge: the best is the least or the largest "
        "rate tried, so a better one may lie beyond. Rankings, claims and all else on this page are at the source's "
        f"own rate. Paired t intervals over replicates, adjusted for the rates of a family alone. {tables.UNIT}"
    )
    return tables.table(caption, columns, found, _heading)


def _edge(row: Row) -> bool:
    """Whether a family's best rate is the least or the largest of those tried."""
    tried = sorted(map(float, row["aucs"]))
    return len(tried) > 1 and float(row["rate"]) in (tried[0], tried[-1])


def flat_rates(summary: Row) -> list[Row]:
    """The rows of rates for a CSV file: a column for each rate tried."""
    return [
        {**{k: v for k, v in r.items() if k != "aucs"}, **{f"auc_at_{rate}": auc for rate, auc in r["aucs"].items()}}
        for r in rows(summary, "rates")
    ]


def _heading(row: Row) -> str:
    return f"{text(row['source'])} · {text(row['regime'])}"


def _place(row: Row, contents: Contents) -> tuple[int, int]:
    return contents.sources.index(row["source"]), contents.regimes.index(row["regime"])
