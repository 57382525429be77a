"""The bench's figures as one table in Markdown."""

from __future__ import annotations

from experiments.bench.setting import RATIO, Figures


def table(figures: Figures) -> str:
    """One line for every ratio and every figure that stands alone; above 1 growjax is faster."""
    of = figures["environment"]
    versions = ", ".join(f"{name} {of['packages'][name]}" for name in ("jax", "jaxlib", "flax", "optax"))
    lines = [
        f"{of['cpu']['model'] or of['device_kind']}, {figures['cores']} cores; Python {of['python']}, {versions}, "
        f"torch {of['torch']}; {figures['rounds']} rounds in turns.",
        "",
        "| row | beside | median | low | high |",
        "|---|---|---|---|---|",
    ]
    for name, row in figures["rows"].items():
        lines += [_line(name, *cells) for cells in _cells(row)]
    return "\n".join(lines) + "\n"


def _line(name: str, what: str, median: str, low: str = "", high: str = "") -> str:
    return f"| {name} | {what} | {median} | {low} | {high} |"


def _cells(row: Figures) -> list[tuple[str, ...]]:
    """What a row has to say, in the order of a reader's questions."""
    cells: list[tuple[str, ...]] = [
        (f"{RATIO}: {peer}", *(f"{r[k]:.2f}" for k in ("median", "low", "high")))
        for peer, r in row.get(RATIO, {}).items()
    ]
    if "seconds per step" in row:
        cells += [(f"a step, {peer}", _seconds(s)) for peer, s in row["seconds per step"].items()]
        cells.append(("largest difference of losses", f"{max(row['largest difference of the losses'].values()):.1e}"))
    elif RATIO in row:
        cells += [(f"whole, {peer}", _seconds(s)) for peer, s in row["seconds"].items()]
    if "share of the product rate" in row:
        product = row["this machine, in each process"]
        cells += [
            ("share of this machine's product rate", f"{row['share of the product rate']:.0%}"),
            (
                "product rate, copy bandwidth",
                f"{product['product GFLOP/s']:.0f} GFLOP/s, {product['copy GB/s']:.1f} GB/s",
            ),
            ("program's memory over the count", f"{row['memory']['program over the count']:.2f}"),
            ("program's memory", f"{row['memory']['program'] / 1e6:.0f} MB"),
        ]
    parts = row.get("growjax by parts, each alone, seconds", {})
    cells += [(f"by parts: {part}", _seconds(s)) for part, s in parts.items()]
    cells += [(what, _seconds(s)) for what, s in row.get("growth, seconds", {}).items()]
    if "second start, seconds of computing" in row:
        cells += [(what, _seconds(s)) for what, s in row.items()]
    cells += _of_modules(row)
    return cells


def _of_modules(row: Figures) -> list[tuple[str, ...]]:
    """What the experiments that measure by themselves found."""
    cells: list[tuple[str, ...]] = []
    for operator, one in row.get("rows", {}).items():
        low, median, high = (f"{x:.2f}" for x in one["ratio to a copy into fresh memory"])
        cells.append((f"{operator}: its rate over a copy's into fresh memory", median, low, high))
        cells.append((f"{operator}: 200 M parameters", _seconds(one["seconds"]["widen"])))
    for compared in [row["pins"], *row["digests"]] if "digests" in row else []:
        for name, r in compared["over the base"].items():
            cells.append((f"{name} over {compared['base']}", *(f"{r[k]:.3f}" for k in ("ratio", "low", "high"))))
    if "seconds in ledgers" in row:
        cells.append(("share of a study's time", f"{row['share']:.2%}"))
    return cells


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{1000 * value:.2g} ms" if value < 0.01 else f"{1000 * value:.0f} ms"
