"""A race as figure and tables: who stood at which rung, why candidates left, and how far each rung could be trusted."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from growjax.report import plotting, style
from growjax.report.csv_tables import csv_text
from growjax.report.formatting import Contents, Row, count, fixed, rows, significant, text
from growjax.report.tables import Column, candidate_column, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WHY = {
    "chosen": "chosen",
    "stayed": "stood at the end",
    "separated": "further behind than noise and drift reach",
    "budget": "the budget did not take it further",
    "diverged": "its loss left the finite numbers",
}
"""Why a candidate's race ended."""

_ENDS = {"chosen": "chosen", "stayed": "stood", "separated": "separated", "budget": "budget", "diverged": "diverged"}

STANDINGS = ("candidate", "place", "lag", "replicates", "behind", "reach", "why", "kl", "loss")
RUNGS = ("lag", "candidates", "replicates", "steps", "slope", "drift", "noise")


def curve_rows(summary: Row) -> list[Row]:
    """The loss curves as a study's page has them."""
    question = summary["question"]
    return [
        {
            "source": question["source"],
            "regime": question["regime"],
            "candidate": one["candidate"],
            "control": False,
            "steps": [step for step, _ in one["curve"]],
            "mean": [loss for _, loss in one["curve"]],
            "low": one["low"],
            "high": one["high"],
        }
        for one in rows(summary, "standings")
    ]


def took_part(standing: Row, requests: list[Row]) -> list[int]:
    """The requests that asked for a candidate, by number. Lag and replicates only rise from one to the next."""
    return [
        number
        for number, asked in enumerate(requests)
        if asked["lag"] <= standing["lag"] and asked["replicates"] <= standing["replicates"]
    ]


def race(summary: Row, contents: Contents) -> Figure | None:
    """A row for each candidate and a column for each request of the race: how far everyone went, and how it ended."""
    standings, requests = rows(summary, "standings"), rows(summary, "rungs")
    if not standings or not requests:
        return None
    margin = max(len(one["candidate"]) for one in standings) * plotting.CHARACTER + 0.25
    figure, (axes,) = plotting.grid(
        1, 1, height=0.26 * len(standings) + 0.1, width=0.75 * max(3, len(requests)), left=margin, right=1.0, head=0.2,
        foot=0.75,
    )  # fmt: skip
    look = {candidate.name: candidate for candidate in contents.candidates}
    for row, one in enumerate(standings):
        upto = took_part(one, requests)
        axes.plot(upto, [row] * len(upto), linestyle=style.line(look[one["candidate"]]), clip_on=False,
                  **plotting.look(look[one["candidate"]]))  # fmt: skip
        axes.annotate(
            _ENDS.get(one["why"]) or one["why"], (upto[-1] if upto else 0, row), xytext=(9, 0),
            textcoords="offset points", va="center", fontweight="bold" if one["why"] == "chosen" else "normal",
            color=style.INK if one["why"] in ("chosen", "stayed") else style.SOFT, annotation_clip=False,
        )  # fmt: skip
    spent, labels = 0, list[str]()
    for asked in requests:
        spent += asked["steps"]
        labels.append(f"{asked['lag']} × {asked['replicates']}\n{spent}")
    axes.set_xticks(range(len(requests)), labels)
    axes.set_xlim(-0.2, max(1, len(requests) - 1) + 0.2)
    axes.set_ylim(len(standings) - 0.4, -0.6)
    axes.set_yticks(range(len(standings)), [one["candidate"] for one in standings])
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("lag × replicates; below, steps spent")
    return figure


def standings(summary: Row, contents: Contents) -> str:
    """Everyone who raced, the chosen first."""
    columns = [
        Column("place", lambda r: count(r["place"])),
        candidate_column(contents),
        Column("ran to<br>lag", lambda r: count(r["lag"])),
        Column("replicates", lambda r: count(r["replicates"])),
        Column("behind", lambda r: fixed(r["behind"])),
        Column("reach", lambda r: fixed(r["reach"])),
        Column("why it stopped", lambda r: text(WHY.get(r["why"], r["why"])), False,
               lambda r: "won" if r["why"] == "chosen" else ""),
        Column("zero-step<br>KL", lambda r: significant(r["kl"])),
        Column("loss at<br>step 0", lambda r: fixed(r["loss"])),
    ]  # fmt: skip
    caption = (
        "Behind: projected AUC less the leader's when the candidate left, or at the end (nats/token). It left for good "
        "where that was more than noise and drift reach at that rung. Places of those that left are by when they "
        "left, then by how far behind they were then."
    )
    return table(caption, columns, rows(summary, "standings"))


def requests(summary: Row) -> str:
    """What the race asked for, one thing after another."""
    spent, found = 0, list[Row]()
    for asked in rows(summary, "rungs"):
        spent += asked["steps"]
        found.append({**asked, "spent": spent})
    columns = [
        Column("lag", lambda r: count(r["lag"])),
        Column("replicates", lambda r: count(r["replicates"])),
        Column("candidates", lambda r: count(r["candidates"])),
        Column("steps", lambda r: count(r["steps"])),
        Column("spent<br>so far", lambda r: count(r["spent"])),
    ]
    caption = (
        "What the race asked for, from first to last: either a longer lag or one replicate more, whichever was the "
        "more uncertain, for those that still stood."
    )
    return table(caption, columns, found)


def outlooks(summary: Row) -> str:
    """How far the order at each lag could be trusted at the horizon, and by which studies."""
    reached = max((asked["lag"] for asked in rows(summary, "rungs")), default=0)
    least = summary.get("measured_from") or 0

    def remark(lag: int) -> str:
        found = ["not measured"] * (lag < least) + ["not reached"] * (lag > reached)
        return ", ".join(found)

    columns = [
        Column("lag", lambda r: count(r["lag"])),
        Column("slope", lambda r: significant(r["slope"])),
        Column("drift", lambda r: significant(r["drift"])),
        Column("noise", lambda r: significant(r["noise"])),
        Column("", lambda r: remark(r["lag"]), False),
    ]
    horizon = count(summary["question"]["horizon"])
    caption = (
        f"What a lag says of the order at the horizon ({horizon} steps), measured on the candidates of published "
        "studies. Drift and noise are standard deviations in nats/token. Noise stands for this race's own where each "
        "candidate ran once; with more replicates the race takes its own."
    )
    if any(row["lag"] < least for row in rows(summary, "outlooks")):
        caption += (
            f" Under lag {count(least)} nothing was measured: the figures there are carried on from longer lags by a "
            "rule (<code>growjax/select/trust.py</code>)."
        )
    roots = ", ".join(f"<code>{text(root)}</code>" for root in rows(summary, "trust"))
    return table(caption, columns, rows(summary, "outlooks")) + (
        f"<p>The studies are those whose receipts have the roots {roots}. They are small: how far their figures hold "
        "for larger models is not known.</p>\n"
    )


def taken(rule: Row, as_text: Callable[[str], str] = str) -> str:
    """What a plain rule takes, in words."""
    names = ", ".join(map(as_text, rule["candidates"]))
    return names if len(rule["candidates"]) == 1 else f"a draw among {names}"


def rules(summary: Row) -> str:
    """What the plain rules would have taken."""
    columns = [
        Column("plain rule", lambda r: text(r["rule"]), False),
        Column("candidate", lambda r: taken(r, lambda name: f"<code>{text(name)}</code>"), False, lambda r: "prose"),
        Column("its place in<br>the race", lambda r: ", ".join(map(count, r["places"]))),
    ]
    caption = (
        "What one would have taken without a race, among the same candidates. Place 1 is the race's own choice. Where "
        "a rule does not tell candidates apart (they differ by rounding), what it takes is a draw among them."
    )
    return table(caption, columns, rows(summary, "rules"))


def left_out(summary: Row) -> str:
    """Who did not race."""
    columns = [
        Column("candidate", lambda r: f"<code>{text(r['candidate'])}</code>", False),
        Column("why", lambda r: text(r["why"]), False, lambda r: "prose"),
    ]
    return table("Known before the race, so that no step was spent on it.", columns, rows(summary, "left_out"))


def csv_files(summary: Row) -> dict[str, str]:
    """Every CSV file by name, in full precision."""
    curves = [
        {"candidate": curve["candidate"], "step": step, "mean": mean, "low": low, "high": high}
        for curve in curve_rows(summary)
        for step, mean, low, high in zip(*(curve[key] for key in ("steps", "mean", "low", "high")), strict=True)
    ]
    files = {
        "standings": (rows(summary, "standings"), STANDINGS),
        "curves": (curves, ("candidate", "step", "mean", "low", "high")),
        "rungs": (rows(summary, "rungs"), RUNGS),
        "outlooks": (rows(summary, "outlooks"), ("lag", "slope", "drift", "noise")),
        "rules": (
            [
                {"rule": rule["rule"], "candidate": name, "place": place, "of": len(rule["places"])}
                for rule in rows(summary, "rules")
                for name, place in zip(rule["candidates"], rule["places"], strict=True)
            ],
            ("rule", "candidate", "place", "of"),
        ),
        "left_out": (rows(summary, "left_out"), ("candidate", "why")),
    }
    return {f"{name}.csv": csv_text(found, first) for name, (found, first) in files.items()}
