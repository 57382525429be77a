"""Large models on many chips."""

from __future__ import annotations

from experiments.plan.shapes import LLAMAS, TABLE
from growjax.config import TrainConfig
from growjax.errors import UserError
from growjax.schema import Record


def table(devices: int) -> list[Record]:
    """Large models on many chips: what is chosen, or why nothing is."""
    from growjax.plan.chips import CHIPS
    from growjax.plan.choice import batches, choose
    from growjax.plan.described import planned
    from growjax.plan.growth import shapes_of

    rows: list[Record] = []
    for (name, model), kind, chips in (
        (one, kind, chips) for one in LLAMAS.items() for kind in TABLE["kinds"] for chips in TABLE["chips"]
    ):
        row: Record = {"model": name, "chip": kind, "chips": chips}
        state = shapes_of(TrainConfig(model))
        try:
            ways = batches(chips, TABLE["batch"], model.max_seq_len, evaluated=1)
            found = choose(state, CHIPS[kind], chips, ways)
            whole = planned(state, CHIPS[kind], chips, found)
            best, tokens = whole["best"], found.batch.tokens
            row |= {"parameters": whole["parameters"], "shards": found.batch.shards, **best}
            row["tokens a second"] = tokens / best["seconds"]
        except UserError as error:
            row |= {"why_not": error.fault, "hint": error.hint}
        rows.append(row)
    return rows


def lines(rows: list[Record]) -> list[str]:
    """The table, in Markdown."""
    made = ["| model | chips | mesh | shards | GB a chip | seconds a step | tokens a second |", "|---" * 7 + "|"]
    for row in rows:
        what = f"| {row['model']} | {row['chips']} {row['chip']} "
        if row["why_not"]:
            made.append(f"{what}| {row['why_not']}: {row['hint']} | | | | |")
        else:
            mesh = " x ".join(f"{axis} {count}" for axis, count in row["mesh"].items())
            made.append(f"{what}| {mesh} | {row['shards']} | {row['bytes'] / 1e9:.1f} | {row['seconds']:.3g} | "
                        f"{row['tokens a second']:,.0f} |")  # fmt: skip
    return made
