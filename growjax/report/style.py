"""Colours, lines, markers and the style sheet: how things look, in light and in dark."""

from __future__ import annotations

from typing import Any

from growjax.report.formatting import Candidate

Line = Any
"""A line style as matplotlib takes it: a name, or an offset with lengths on and off."""

PAPER, INK, SOFT, RULE = "#fffffe", "#1d2125", "#5b636b", "#d8dce0"
"""Of the figures; on the page each is a variable with a light and a dark value."""
SURFACES = {
    "paper": (PAPER, "#14171a"),
    "ink": (INK, "#e8eaec"),
    "soft": (SOFT, "#a3abb3"),
    "rule": (RULE, "#343a40"),
}
OPERATORS = (
    ("#0072b2", "#4fa8e8"),
    ("#d55e00", "#ff8b45"),
    ("#008f68", "#31c99b"),
    ("#b5488a", "#ea94c8"),
    ("#a87400", "#e3b23c"),
    ("#4b3ba8", "#a497f5"),
    ("#8b1a2b", "#e5697d"),
    ("#2e9bd6", "#97d7fb"),
    ("#6b7000", "#c3ca5c"),
    ("#00575c", "#5cbcc2"),
)
"""Light and dark value; neighbours differ in lightness as well as in hue, for colour-blind readers."""
REFERENCES = (("#4a4f55", "#c9ced3"), ("#80868c", "#8c939a"), ("#a3763d", "#b99a6b"))
"""Of the controls: greys first."""
MARKERS = "osD^vPX*<>"
CONTROL_LINES: tuple[Line, ...] = ("--", (0, (1, 2)), (0, (6, 2, 1, 2)))


def colour(candidate: Candidate) -> str:
    """The candidate's colour in the figures, the same in every one of them."""
    palette = REFERENCES if candidate.control else OPERATORS
    return palette[candidate.place % len(palette)][0]


def marker(candidate: Candidate) -> str:
    """The candidate's marker; controls have a plus or a cross. Colour and marker together repeat after a hundred."""
    around, place = divmod(candidate.place, len(OPERATORS))
    return "+x1"[candidate.place % 3] if candidate.control else MARKERS[(place + 3 * around) % len(MARKERS)]


def line(candidate: Candidate) -> Line:
    """The candidate's line: controls are dashed, operators solid (beyond the tenth, dash and dot)."""
    if candidate.control:
        return CONTROL_LINES[candidate.place % len(CONTROL_LINES)]
    return "-" if candidate.place < len(OPERATORS) else (0, (8, 1, 1, 1))


def css_variables() -> dict[str, str]:
    """From a colour in a figure to the page's variable for it."""
    found = {light: f"var(--{name})" for name, (light, _) in SURFACES.items()}
    found |= {light: f"var(--c{i})" for i, (light, _) in enumerate(OPERATORS)}
    return found | {light: f"var(--k{i})" for i, (light, _) in enumerate(REFERENCES)}


def _values(dark: int) -> str:
    pairs = [(name, both[dark]) for name, both in SURFACES.items()]
    pairs += [(f"c{i}", both[dark]) for i, both in enumerate(OPERATORS)]
    pairs += [(f"k{i}", both[dark]) for i, both in enumerate(REFERENCES)]
    return "".join(f"--{name}:{value};" for name, value in pairs)


def css() -> str:
    """The whole style sheet of the page."""
    light = f"{_values(0)}--shade:#f4f6f7;--accent:#00609a;--good:#e2f3ea;--goodink:#0b5d3b;--warn:#fdf1d8;"
    dark = f"{_values(1)}--shade:#1d2226;--accent:#7cc0f2;--good:#163527;--goodink:#8fe0b8;--warn:#3a2f16;"
    return (
        f":root{{color-scheme:light dark;{light}}}\n"
        f"@media (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"
        f"@media print{{:root{{color-scheme:light;{light}}}}}\n{RULES}"
    )


RULES = """*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:68rem;margin:0 auto;padding:2rem 1.25rem 4rem}
h1{font-size:1.9rem;line-height:1.2;margin:0 0 .75rem}
h2{font-size:1.3rem;margin:3rem 0 .5rem;padding-top:.75rem;border-top:1px solid var(--rule)}
h3{font-size:1rem;margin:1.5rem 0 .25rem}
p{max-width:46rem;margin:.5rem 0}
p,li,dd,h1,figcaption{overflow-wrap:anywhere}
p.lead{font-size:1.08rem}
a{color:var(--accent)}
code,pre{font-family:ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;
font-size:.88em;line-height:1.4}
pre{line-height:1.55;background:var(--shade);padding:.75rem 1rem;border-radius:6px;overflow-x:auto}
nav{font-size:.88rem;margin:1.25rem 0 0}
nav a{display:inline-block;margin:0 1rem .25rem 0}
.soft{color:var(--soft)}
.warn{background:var(--warn);padding:.5rem .75rem;border-radius:6px}
dl.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(12rem,45%),1fr));gap:1px;
margin:1.5rem 0;border:1px solid var(--rule);border-radius:6px;overflow:hidden}
dl.facts div{box-shadow:0 0 0 1px var(--rule);padding:.6rem .8rem}
dl.facts dt{font-size:.76rem;color:var(--soft)}
dl.facts dd{margin:0;font-size:1.05rem;font-weight:600;font-variant-numeric:tabular-nums}
dl.facts dd small{display:block;font-size:.76rem;font-weight:400;color:var(--soft)}
figure{margin:1rem 0 1.5rem}
figcaption,caption{font-size:.88rem;color:var(--soft);text-align:left;max-width:46rem}
figcaption{margin-top:.25rem}
caption{padding:0 0 .5rem;caption-side:top;max-width:min(46rem,calc(100vw - 2.5rem))}
.wide{overflow-x:auto;margin:1rem 0}
.long{max-height:34rem;overflow-y:auto}.long thead th{position:sticky;top:0;background:var(--paper)}
figure .wide{margin:0}
figure svg{display:block;width:100%;height:auto;min-width:var(--least)}
svg text{font-family:system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
table{border-collapse:collapse;min-width:min(30rem,100%);font-size:.86rem;font-variant-numeric:tabular-nums}
th,td{padding:.28rem .7rem;text-align:left;white-space:nowrap;border-bottom:1px solid var(--rule)}
th:first-child,td:first-child{padding-left:.2rem}
thead th{font-weight:600;vertical-align:bottom;border-bottom:2px solid var(--rule)}
.n{text-align:right}
tr.control td{color:var(--soft)}
tr.group th{padding-top:.9rem;font-weight:600}
tbody th{white-space:normal;min-width:7rem}
td.won{background:var(--good);color:var(--goodink);font-weight:600}
td.prose{white-space:normal;min-width:14rem}
td small{display:block;color:var(--soft)}
td.any{white-space:normal;min-width:14rem;overflow-wrap:anywhere}
.swatch{display:inline-block;width:.7em;height:.7em;border-radius:2px;margin-right:.45em}
@media (max-width:40rem){main{padding:1.25rem .9rem 3rem}h1{font-size:1.5rem}th,td{padding:.28rem .45rem}}
@media print{body{font-size:10.5pt}main{max-width:none;padding:0}nav{display:none}
.wide{overflow:visible;max-height:none}
pre{white-space:pre-wrap}
figure svg{min-width:0}table{font-size:7.5pt}th,td{padding:.15rem .35rem}
h2,h3{break-after:avoid}figure,tr{break-inside:avoid}td.won{print-color-adjust:exact}}
"""
