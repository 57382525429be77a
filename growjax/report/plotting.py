"""From a drawing to SVG text: the drawing state, panels, legends, and the SVG's form on the page.

matplotlib is imported inside functions, its settings are its own defaults plus those named here, and they are put
back afterwards. What is drawn, and from which numbers, is decided in `figures` and `charts`.
"""

from __future__ import annotations

import html
import io
import logging
import math
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from growjax.report import style
from growjax.report.formatting import Candidate
from growjax.schema import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

SETTINGS: dict[str, object] = {
    "svg.hashsalt": "growjax",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.5,
    "text.color": style.INK,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.labelsize": 8.5,
    "axes.labelcolor": style.INK,
    "axes.edgecolor": style.SOFT,
    "axes.facecolor": style.PAPER,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "axes.formatter.useoffset": False,
    "axes.formatter.use_mathtext": False,
    "figure.facecolor": style.PAPER,
    "grid.color": style.RULE,
    "grid.linewidth": 0.6,
    "xtick.color": style.SOFT,
    "ytick.color": style.SOFT,
    "xtick.labelcolor": style.INK,
    "ytick.labelcolor": style.INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "lines.linewidth": 1.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "savefig.facecolor": style.PAPER,
    "path.simplify": False,
}
CHARACTER = 0.072
"""Inches a character of a label takes, at most, on average."""


def draw(make: Callable[[], Figure | None]) -> str | None:
    """Run `make` under the report's settings and give its figure as SVG text; None where it has nothing to draw."""
    # a cache of fonts that cannot be written costs time alone
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        settings: Any = matplotlib.rcParams
        settings.update(SETTINGS)
        figure = make()
        if figure is None:
            return None
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", buffer.getvalue(), flags=re.DOTALL)
    return re.sub(r"[ \t]+\n", "\n", svg)


def inline(svg: str, *, name: str, label: str) -> str:
    """The same SVG for the page: names of its own, colours as the page's variables, no namespaces, a label."""
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg)
    svg = svg.replace("xlink:href=", "href=")
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg).replace("url(#", f"url(#{name}-")
    svg = re.sub(r"(font(?:-family)?:[^;\"]*?)(?:'[^;\"]*|\bDejaVu[^;\"]*)", r"\1system-ui, sans-serif", svg)
    variables = style.css_variables()
    svg = re.sub(r"#[0-9a-f]{6}\b", lambda found: variables.get(found[0], found[0]), svg)
    head = svg[: svg.index(">") + 1]
    plain = re.sub(r'\s(width|height)="[^"]*"', "", head)[:-1]
    safe = html.escape(label)
    points = float(head.split('width="')[1].split("pt")[0])
    size = f"max-width:{round(1.5 * points)}px;--least:{round(1.1 * points)}px"  # on a phone it scrolls in its frame
    return f'{plain} style="{size}" role="img" aria-label="{safe}">\n <title>{safe}</title>{svg[len(head) :]}'


def grid(
    panels: int,
    columns: int,
    *,
    height: float,
    legend: Sequence[Candidate] = (),
    left: float = 0.62,
    right: float = 0.12,
    head: float = 0.5,
    foot: float = 0.5,
    width: float | None = None,
    extra: Sequence[Any] = (),
) -> tuple[Figure, list[Axes]]:
    """Panels of one size in rows, every measure in inches, below a legend of candidates as wide as the figure."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    columns = max(1, min(columns, panels))
    down = math.ceil(panels / columns)
    wide = width or {1: 6.4, 2: 4.25, 3: 2.65}.get(columns, 2.1)
    total = columns * (left + wide + right)
    handles, labels = legend_entries(legend)
    handles, labels = [*handles, *extra], labels + [h.get_label() for h in extra]
    longest = max((len(label) for label in labels), default=0)
    across = max(1, min(len(labels), int(total // (longest * CHARACTER + 0.65)))) if labels else 1
    top = math.ceil(len(labels) / across) * 0.19 + 0.12 if labels else 0.0
    tall = top + down * (head + height + foot)
    figure = Figure(figsize=(total, tall))
    FigureCanvasSVG(figure)
    if labels:
        figure.legend(
            handles,
            labels,
            loc="upper left",
            bbox_to_anchor=(0.08 / total, 1 - 0.02 / tall),
            ncols=across,
            borderaxespad=0,
            borderpad=0,
            labelspacing=0.35,
            columnspacing=1.6,
            handlelength=2.6,
        )
    axes = []
    for panel in range(panels):
        row, column = divmod(panel, columns)
        x = column * (left + wide + right) + left
        y = tall - top - row * (head + height + foot) - head - height
        axes.append(figure.add_axes((x / total, y / tall, wide / total, height / tall)))
    return figure, axes


def legend_entries(candidates: Sequence[Candidate]) -> tuple[list[Line2D], list[str]]:
    """A line with its marker for each candidate, and its name."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], label=c.name, **look(c), linestyle=style.line(c)) for c in candidates]
    return handles, [c.name for c in candidates]


def look(candidate: Candidate) -> Record:
    """Colour and marker of a candidate, as line properties."""
    return {"color": style.colour(candidate), "marker": style.marker(candidate), "markersize": 4.5}


def title(axes: Axes, first: str, second: str = "") -> None:
    """A panel's title, with a second, lighter line for what the panel leaves out."""
    axes.set_title(first, pad=15 if second else 6)
    if second:
        axes.annotate(
            second, (0, 1), xytext=(0, 4), xycoords="axes fraction", textcoords="offset points",
            fontsize=7.5, color=style.SOFT, annotation_clip=False,
        )  # fmt: skip


def columns_for(regimes: int, panels: int) -> int:
    """A column for each regime where that fits, so that sources are rows, or two rows each."""
    return min(2, panels) if regimes <= 1 else regimes if regimes <= 3 else 3 if regimes % 3 == 0 else 2
