"""Figures with a curve in them: continuations by step and by FLOPs, their gap to the pool, the sources' training."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from growjax.report import plotting, style
from growjax.report.formatting import Candidate, Contents, Row, fixed, number, numbers, rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def _finite(values: Sequence[float]) -> list[float]:
    return [x for x in values if math.isfinite(x)]


def _later(values: list[float], share: float = 0.5) -> list[float]:
    """The finite values of the last part of a curve."""
    return _finite(values[math.ceil(len(values) * (1 - share)) - 1 :]) or _finite(values)


def _range(curves: list[Row], keys: Sequence[str]) -> tuple[float, float] | None:
    """The y-range in which the candidates can be distinguished.

    It holds every curve's second half and the start of a typical one; a curve far above the pool, or the first
    points of a bad start, may leave it.
    """
    operators = [c for c in curves if not c.get("control")] or curves
    series = [[numbers(c.get(key)) for key in keys if _finite(numbers(c.get(key)))] for c in operators]
    pool = [s for found in series for s in found]
    if not pool:
        return None
    low = min(min(_finite(s)) for c in curves for key in keys if (s := numbers(c.get(key))) and _finite(s))
    typical = statistics.median(_finite(s)[0] for s in pool)
    late = [max(_later(s)) for s in pool]
    high = min(max(typical, *late), low + 3 * max(max(typical, statistics.median(late)) - low, 1e-9))
    pad = 0.06 * (high - low) or 0.05
    return low - pad, high + pad


def _outside(curves: list[Row], high: float) -> str:
    """Which curves lie above the panel from end to end, and where they run."""
    described = []
    for curve in curves:
        values = _finite(numbers(curve.get("mean")))
        if values and min(values) > high:
            described.append(f"{curve['candidate']} ({fixed(values[0], 2)} to {fixed(values[-1], 2)})")
    return "above this panel: " + ", ".join(described) if described else ""


def _curve(axes: Axes, curve: Row, candidate: Candidate, x: list[float], order: int) -> None:
    """One candidate's mean, its markers staggered against the others', and its band over replicates."""
    y = numbers(curve.get("mean"))
    size = min(len(x), len(y))
    if not size:
        return
    low, high = numbers(curve.get("low"))[:size], numbers(curve.get("high"))[:size]
    stride = max(1, size // 5)
    axes.plot(
        x[:size], y[:size], linestyle=style.line(candidate), markevery=(order % stride, stride),
        zorder=2 if candidate.control else 3, **plotting.look(candidate),
    )  # fmt: skip
    if len(low) == size == len(high) and low != high:
        axes.fill_between(x[:size], low, high, color=style.colour(candidate), alpha=0.14, linewidth=0, zorder=1)


def curves(summary: Row, contents: Contents, *, axis: str) -> Figure | None:
    """Validation loss of every continuation against `axis` (`steps` or `flops`), a panel per source and regime."""
    found = [c for c in rows(summary, "curves") if _finite(numbers(c.get("mean")))]
    if axis == "steps":
        found = _shared_steps(found)
    panels = contents.panels(found)
    if not panels:
        return None
    shown = contents.named(c["candidate"] for c in found)
    columns = plotting.columns_for(len(contents.regimes), len(panels))
    figure, all_axes = plotting.grid(len(panels), columns, height=2.3, legend=shown, head=0.42)
    for axes, (source, regime) in zip(all_axes, panels, strict=True):
        here = {c["candidate"]: c for c in found if (c["source"], c["regime"]) == (source, regime)}
        limits = _range(list(here.values()), ("mean", "low", "high"))
        for order, candidate in enumerate(contents.named(here)):
            curve = here[candidate.name]
            _curve(axes, curve, candidate, numbers(curve.get(axis)), order)
        if limits:
            axes.set_ylim(*limits)
        note = _outside([here[c.name] for c in contents.named(here)], limits[1]) if limits else ""
        plotting.title(axes, f"{source} · {regime}", note)
        axes.set_xlabel("step after widening" if axis == "steps" else "training FLOPs after widening")
        axes.set_ylabel("validation loss (nats/token)")
        axes.margins(x=0.02)
        if axis == "flops":
            axes.xaxis.set_major_formatter(_flops)
            axes.locator_params(axis="x", nbins=6)
    return figure


def _shared_steps(found: list[Row]) -> list[Row]:
    """Curves cut where the last warm start ends: a control may go on for longer, to use up as many FLOPs."""
    ends = {c["candidate"]: max(_finite(numbers(c.get("steps"))), default=math.inf) for c in found}
    own = [ends[c["candidate"]] for c in found if not c.get("control")]
    last = max(own) if own else min(ends.values(), default=math.inf)

    def cut(curve: Row) -> Row:
        size = sum(step <= last for step in numbers(curve.get("steps")))
        return {**curve, **{key: (curve.get(key) or [])[:size] for key in ("steps", "mean", "low", "high")}}

    return [cut(curve) for curve in found]


def _flops(value: float, _position: object = None) -> str:
    if not value:
        return "0"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def _less(here: list[Row], against: str | None) -> list[Row]:
    """Each curve less that of the candidate `against`, or less the median of the warm starts', at the same step; steps
    without such a value are left out."""
    at: dict[float, list[float]] = {}
    pool = [c for c in here if (c["candidate"] == against if against else not c.get("control"))]
    for curve in pool or here:
        for step, value in zip(numbers(curve.get("steps")), numbers(curve.get("mean")), strict=False):
            if math.isfinite(value):
                at.setdefault(step, []).append(value)
    middle = {step: statistics.median(values) for step, values in at.items()}
    gaps = []
    for curve in here:
        pairs = zip(numbers(curve.get("steps")), numbers(curve.get("mean")), strict=False)
        kept = [(step, value - middle[step]) for step, value in pairs if step in middle]
        gaps.append({**curve, "steps": [s for s, _ in kept], "mean": [v for _, v in kept], "low": [], "high": []})
    return gaps


def gaps(summary: Row, contents: Contents, *, against: str | None = None) -> Figure | None:
    """Validation loss less the pool's median at the same step, or less that of the candidate `against`: what the loss
    curves are too steep to show."""
    found = [c for c in rows(summary, "curves") if _finite(numbers(c.get("mean")))]
    if len({c["candidate"] for c in found if not c.get("control")}) < 2:
        return None
    panels = contents.panels(found)
    shown = contents.named(c["candidate"] for c in found)
    columns = plotting.columns_for(len(contents.regimes), len(panels))
    figure, all_axes = plotting.grid(len(panels), columns, height=2.1, legend=shown, head=0.42, left=0.72)
    for axes, (source, regime) in zip(all_axes, panels, strict=True):
        here = {
            c["candidate"]: c
            for c in _less([c for c in found if (c["source"], c["regime"]) == (source, regime)], against)
        }
        late = [_later(numbers(c["mean"]), 0.8) for c in here.values() if not c.get("control")]
        sizes = sorted(max(map(abs, values)) for values in late if values)
        if sizes:
            reach = 4 * max(statistics.median(sizes), 1e-6)
            lows = [min(values) for c in here.values() if (values := _later(numbers(c["mean"]), 0.8))]
            low = max(min(lows), -reach)
            high = min(max(max(v) for v in late if v), reach)
            pad = 0.1 * (high - low) or 0.01
            axes.set_ylim(low - pad, high + pad)
        axes.axhline(0, color=style.SOFT, linewidth=0.8, zorder=0.9)
        for order, candidate in enumerate(contents.named(here)):
            curve = here[candidate.name]
            _curve(axes, curve, candidate, numbers(curve["steps"]), order)
        note = _outside([here[c.name] for c in contents.named(here)], axes.get_ylim()[1])
        plotting.title(axes, f"{source} · {regime}", note)
        axes.set_xlabel("step after widening")
        axes.set_ylabel(f"loss minus {'that of the chosen' if against else 'pool median'} (nats)")
        axes.margins(x=0.02)
    return figure


def _line(row: Row) -> str:
    """The training that a source state is of, as the figure names it."""
    name, seed = str(row.get("name")).rpartition("-step")[0], row.get("seed")
    return f"seed {seed}" if seed is not None and name in ("", f"seed{seed}") else name


def sources(summary: Row) -> Figure | None:
    """Validation loss of the sources while they were trained, a line per seed, a mark per source state."""
    found = rows(summary, "sources")
    curves: dict[str, dict[float, float]] = {}  # a state's own goes on from the state before
    for row in found:
        points = [(number(p[0]), number(p[1])) for p in row.get("curve") or []]
        curves.setdefault(_line(row), {}).update({step: loss for step, loss in points if math.isfinite(loss)})
    marks = [r for r in found if math.isfinite(number(r.get("validation_loss")))]
    if not any(curves.values()) and not marks:
        return None
    inks = itertools.cycle(light for light, _ in style.OPERATORS)
    ink = {name: next(inks) for name in dict.fromkeys(map(_line, found))}
    figure, (axes,) = plotting.grid(1, 1, height=2.8, head=0.2, width=5.2, right=2.3)
    lines = itertools.cycle(["-", "--", (0, (6, 2, 1, 2)), ":"])
    for name, curve in curves.items():
        if len(curve) > 1:  # a source that was not trained here has one
            axes.plot(*zip(*sorted(curve.items()), strict=True), color=ink[name], linestyle=next(lines), label=name)
    for place, row in enumerate(marks):
        axes.plot(
            [number(row.get("step"))], [number(row["validation_loss"])], linestyle="none", label=row["name"],
            color=ink[_line(row)], marker=style.MARKERS[place % len(style.MARKERS)], markersize=7,
            markerfacecolor=style.PAPER, markeredgewidth=1.6, zorder=4,
        )  # fmt: skip
    entropy = [x for x in numbers(r.get("unigram_entropy") for r in found) if math.isfinite(x)]
    if entropy:
        axes.axhline(entropy[0], color=style.SOFT, linestyle=(0, (1, 2)), label="unigram entropy")
    axes.set_xlabel("training step of the source")
    axes.set_ylabel("validation loss (nats/token)")
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), borderaxespad=0, labelspacing=0.7)
    return figure
