"""Figures without a curve: ranks from lag to lag, preservation against utility, escape in the probes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from growjax.report import plotting, style
from growjax.report.formatting import Contents, Row, number, power, rows
from growjax.schema import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FLOOR = 1e-12
"""Smallest value on a logarithmic axis; anything below is drawn here and the axis says so."""
ESCAPES = (("escape_weights", "weights"), ("escape_updates", "updates"), ("escape_activations", "activations"))


def ranks(summary: Row, contents: Contents) -> Figure | None:
    """Places by AUC at each lag, joined by a line per candidate, a panel per source and regime."""
    found = [r for r in rows(summary, "ranking") if r.get("rank") is not None]
    panels = contents.panels(found)
    if not panels:
        return None
    names = {r["candidate"] for r in found}
    longest = max(map(len, names))
    height = 0.23 * len(names) + 0.1
    right = longest * plotting.CHARACTER + 0.5
    columns = plotting.columns_for(len(contents.regimes), len(panels))
    while columns > 1 and columns * (0.45 + 1.7 + right) > 13:
        columns -= 1
    figure, all_axes = plotting.grid(
        len(panels), columns, height=height, left=0.45, right=right, foot=0.42, head=0.4, width=1.7
    )
    for axes, (source, regime) in zip(all_axes, panels, strict=True):
        _bump(axes, [r for r in found if (r["source"], r["regime"]) == (source, regime)], contents)
        axes.set_title(f"{source} · {regime}")
    return figure


def _bump(axes: Axes, found: list[Row], contents: Contents) -> None:
    """Lines of rank. Equal ranks stand below each other under the same number, so that no label hides another."""
    lags = [lag for lag in contents.lags if any(r["lag"] == lag for r in found)]
    place: dict[tuple[int, str], int] = {}
    rank: dict[tuple[int, str], int] = {}
    for lag in lags:
        here = sorted((r["rank"], r["candidate"]) for r in found if r["lag"] == lag)
        place |= {(lag, name): i for i, (_, name) in enumerate(here)}
        rank |= {(lag, name): r for r, name in here}
    for candidate in contents.named(r["candidate"] for r in found):
        at = [i for i, lag in enumerate(lags) if (lag, candidate.name) in place]
        ys = [place[lags[i], candidate.name] for i in at]
        axes.plot(at, ys, linestyle=style.line(candidate), clip_on=False, **plotting.look(candidate))
        first, last = (rank[lags[i], candidate.name] for i in (at[0], at[-1]))
        axes.annotate(
            f"{last}  {candidate.name}", (at[-1], ys[-1]), xytext=(9, 0), textcoords="offset points",
            va="center", annotation_clip=False,
        )  # fmt: skip
        if len(at) > 1:
            axes.annotate(
                f"{first}", (at[0], ys[0]), xytext=(-9, 0), textcoords="offset points", ha="right", va="center",
                annotation_clip=False,
            )  # fmt: skip
    axes.set_xticks(range(len(lags)), [f"lag {lag}" for lag in lags])
    axes.set_xlim(-0.08, max(len(lags) - 1, 0) + 0.08)
    axes.set_ylim(max(place.values()) + 0.5, -0.5)
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def utility(summary: Row, contents: Contents) -> Figure | None:
    """Zero-step KL against the AUC at the longest lag at which all are ranked: a point per candidate, a panel per
    source and regime."""
    lag = max((r["lag"] for r in rows(summary, "ranking")), default=None)
    kl = {(r["source"], r["candidate"]): number(r.get("kl")) for r in rows(summary, "preservation")}
    found = [
        r
        for r in rows(summary, "ranking")
        if r["lag"] == lag
        and math.isfinite(number(r.get("auc_mean")))
        and math.isfinite(kl.get((r["source"], r["candidate"]), math.nan))
    ]
    panels = contents.panels(found)
    if not panels:
        return None
    shown = contents.named(r["candidate"] for r in found)
    columns = plotting.columns_for(len(contents.regimes), len(panels))
    figure, all_axes = plotting.grid(len(panels), columns, height=2.1, legend=shown, head=0.42, left=0.72)
    values = [kl[r["source"], r["candidate"]] for r in found]
    for axes, (source, regime) in zip(all_axes, panels, strict=True):
        here = {r["candidate"]: r for r in found if (r["source"], r["regime"]) == (source, regime)}
        operators = [number(r["auc_mean"]) for r in here.values() if not r.get("control")]
        pool = sorted(operators or [number(r["auc_mean"]) for r in here.values()])
        low = min(number(r["auc_mean"]) for r in here.values())
        high = min(pool[-1], pool[0] + 4 * max(pool[len(pool) // 2] - pool[0], 1e-4))
        pad = 0.12 * (high - low) or 0.02
        axes.set_ylim(low - pad, high + pad)
        above = []
        for candidate in contents.named(here):
            auc, x = number(here[candidate.name]["auc_mean"]), max(kl[source, candidate.name], FLOOR)
            if auc > high + pad:
                above.append(f"{candidate.name} ({auc:.2f})")
            options: Record = {
                **plotting.look(candidate),
                "markersize": 7,
                "markeredgewidth": 1.6 if candidate.control else 0,
            }
            axes.plot([x], [auc], linestyle="none", **options)
        _logarithmic(axes, values)
        plotting.title(axes, f"{source} · {regime}", "above this panel: " + ", ".join(above) if above else "")
        axes.set_xlabel("zero-step KL (nats/token)")
        axes.set_ylabel(f"AUC at lag {lag} (nats/token)")
    return figure


def _logarithmic(axes: Axes, values: list[float], floor: float = FLOOR) -> None:
    """A logarithmic x-axis over `values`, its first tick the floor where anything lies there."""
    from matplotlib.ticker import FixedLocator, NullLocator

    exponents = [math.log10(max(v, floor)) for v in values]
    first, last = math.floor(min(exponents)), math.ceil(max(exponents) + 1e-9)
    last = max(last, first + 1)
    stride = max(1, math.ceil((last - first) / 5))
    ticks = [10.0**e for e in range(first, last + 1, stride)]
    axes.set_xscale("log")
    axes.set_xlim(10 ** (first - 0.04 * (last - first)), 10 ** (last + 0.04 * (last - first)))
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    at_floor = any(v <= floor for v in values)
    labels = [("≤ " if at_floor and tick <= floor * 1.01 else "") + power(tick) for tick in ticks]
    axes.set_xticks(ticks, labels)


FACES: tuple[Record, ...] = (
    {},
    {"markerfacecolor": style.PAPER},
    {"fillstyle": "left", "markerfacecoloralt": style.PAPER},
    {"fillstyle": "bottom", "markerfacecoloralt": style.PAPER},
)
"""How markers of each regime are filled, in the order of the regimes: filled, hollow, the left half, the lower half."""


def escape(summary: Row, contents: Contents) -> Figure | None:
    """Escape from the cloned subspace at the probe's end: a row per candidate, a point per source and regime."""
    found = rows(summary, "probes")
    present = {r["candidate"] for r in found if any(math.isfinite(number(r.get(key))) for key, _ in ESCAPES)}
    shown = contents.named(present)
    if not shown:
        return None
    from matplotlib.lines import Line2D

    regimes = [g for g in contents.regimes if any(r.get("regime") == g for r in found)]
    faces = {g: i for i, g in enumerate(regimes)}
    keys = [
        Line2D(
            [], [], linestyle="none", marker="o", markersize=6, color=style.SOFT, label=regime,
            **FACES[faces[regime] % len(FACES)],
        )
        for regime in regimes
    ]  # fmt: skip
    margin = max(len(c.name) for c in shown) * plotting.CHARACTER + 0.25
    height = 0.26 * len(shown) + 0.1
    figure, all_axes = plotting.grid(
        3, 3, height=height, left=0.2, right=0.2, width=2.5, foot=0.35, head=0.3, extra=keys
    )
    _widen(figure, all_axes, margin)
    for place, (axes, (key, word)) in enumerate(zip(all_axes, ESCAPES, strict=True)):
        values = [v for r in found if math.isfinite(v := number(r.get(key)))]
        for row, candidate in enumerate(shown):
            for regime in regimes:
                mine = [r for r in found if r["candidate"] == candidate.name and r["regime"] == regime]
                points = [v for r in mine if math.isfinite(v := number(r.get(key)))]
                shift = (faces[regime] - (len(regimes) - 1) / 2) * 0.6 / max(2, len(regimes))
                axes.plot(
                    [max(v, FLOOR) if _wide(values) else v for v in points], [row + shift] * len(points),
                    linestyle="none", **plotting.look(candidate), **FACES[faces[regime] % len(FACES)],
                )  # fmt: skip
        if _wide(values):
            _logarithmic(axes, values)
        else:
            axes.locator_params(axis="x", nbins=5)
        axes.set_title(word)
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_yticks(range(len(shown)), [c.name for c in shown] if place == 0 else [""] * len(shown))
        axes.tick_params(axis="y", length=0)
    return figure


def _wide(values: list[float]) -> bool:
    """Whether values span more than a linear axis can show."""
    positive = [v for v in values if v > FLOOR]
    return bool(positive) and max(positive) / min(positive) > 300


def _widen(figure: Figure, axes: list[Axes], margin: float) -> None:
    """Make room for the names left of the first panel, in inches; every panel keeps its size."""
    old, tall = figure.get_size_inches()
    new = float(old) + margin
    figure.set_size_inches(new, tall)
    for one in axes:
        box = one.get_position()
        one.set_position(((box.x0 * old + margin) / new, box.y0, box.width * old / new, box.height))
