"""The audit of a run: its ledgers derived again, its draws twice over, its programs walked, its cells run with data
instead of keys; and what does not hold, by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

from growjax.audit import draws
from growjax.audit.inject import Injector
from growjax.audit.programs import ProgramWalk
from growjax.audit.rederive import Comparison
from growjax.audit.shared import common_keys, described, differences, reuse
from growjax.audit.tree import tree
from growjax.config import json_digest
from growjax.data.tokens import INFO
from growjax.draws import Ledger, key_hex
from growjax.errors import CheckFailed, UserError
from growjax.record.cells import CONTINUED, GOES_ON, Recipe, ledger_of
from growjax.record.integrity import check_tokens, corpus_of, finished_receipt
from growjax.record.reader import RECORD_BYTES, parse, read_bytes, typed_cell
from growjax.record.receipt_types import Receipt
from growjax.record.rundir import RunDir
from growjax.record.traces import check_trace
from growjax.schema import SCHEMA, Record, reads
from growjax.select.racing import asked_for, check_ended
from growjax.streams import Streams, root_key
from growjax.study.context import Context, make_context, prepare_tokens
from growjax.study.ledgers import candidate_ledger, trained_ledger
from growjax.study.receipt import check_named, spec_of
from growjax.study.runner import check

Notify = Callable[[str], None]

NONE_INJECTED = (
    "no cell was run again with its draws as data: that first states and candidates drew what is declared of them"
)
"""What an audit leaves out that injects nothing. Programs that train are walked all the same."""


def derived_ledger(ctx: Context, recipe: Recipe) -> Ledger:
    """A cell's ledger from its recipe alone, its keys derived in NumPy."""
    parameters = recipe.parameters
    if recipe.kind in ("data", "given"):
        return {}
    if recipe.kind == "candidate":
        streams = Streams(root_key(parameters["study_seed"], "study"), parameters.get("exchanged", {}))
        ledger = candidate_ledger(ctx, recipe, streams)
    else:
        run = ctx.account(recipe)
        ledger = trained_ledger(ctx, run, ctx.keys(run))
    return {name: {**entry, "key": key_hex(draws.stream_key(entry))} for name, entry in ledger.items()}


def open_run(run: RunDir) -> tuple[Receipt, Context]:
    """Receipt and context of a run that has come to its end."""
    receipt = finished_receipt(run.path)
    if receipt["schema"] != SCHEMA:
        raise UserError(
            f"the run in {run.path} has receipt schema {receipt['schema']}",
            f"audit it with {reads(receipt['schema'])}",
        )
    spec = spec_of(receipt)
    check_ended(receipt, spec)
    check(spec)
    run.check_own("report")
    if (run.data / INFO).exists() or any(run.cells.glob("*/result.json")):
        data = next(cell for cell in receipt["cells"] if cell["kind"] == "data")
        tokens = check_tokens(run.data, data, corpus_of(receipt))
    else:
        check_named(spec, None)
        run.check_own("data")
        tokens = prepare_tokens(run.data, spec)
    if tokens.digest != receipt["inputs"]["tokens"]:
        raise CheckFailed(f"the tokens in {run.data} are not those that the receipt names")
    ctx = make_context(spec, run, tokens)
    return receipt, dataclasses.replace(ctx, cells=asked_for(ctx.cells, spec, receipt["cells"], ctx.config.model))


class Ledgers(NamedTuple):
    """What the ledgers alone show."""

    cells: dict[str, Record]
    """The run's cells, each with its derived ledger in place of the recorded one."""
    keys: int
    shared: int
    compared: int
    faults: list[str]


def check_ledgers(receipt: Receipt, ctx: Context) -> Ledgers:
    """Every ledger derived from its recipe and compared with the recorded one; keys used twice; keys not shared."""
    cells = {cell["id"]: cell for cell in receipt["cells"]}
    recipes = {recipe.id: recipe for recipe in ctx.cells.all()}
    faults = [f"cell {name} is recorded, and no recipe of this study names it" for name in set(cells) - set(recipes)]
    faults += [f"cell {name} of this study is not recorded" for name in set(recipes) - set(cells)]
    derived: dict[str, Record] = {}
    for name, recipe in recipes.items():
        if name in cells:
            ledger = derived_ledger(ctx, recipe)
            derived[name] = {**cells[name], "digests": {**cells[name]["digests"], "ledger": ledger}}
            stored = ledger_of(cells[name]) if recipe.kind != "data" else {}
            described_ = [f"{described(cells[name])}: {fault}" for fault in differences(stored, ledger, "")]
            faults += [f"{described(cells[name])} has no ledger"] if stored is None else described_
    use = reuse(derived.values())
    # As recorded, since what candidates really had is the question here.
    compared, unequal = common_keys(c for c in cells.values() if ledger_of(c) is not None)
    return Ledgers(derived, use.keys, use.shared, compared, faults + use.faults + unequal)


def audit(run: RunDir, *, inject: str = "some", notify: Notify = lambda text: None) -> Record:
    """Audits a run. `inject`: which cells are run again with injected draws, `some`, `all` or `none`.

    Returns plain data: `faults` (one line for each thing that does not hold), `not_checked` (one for each that was left
    out), counts, for each cell its streams with the digests of all bits drawn, and the tree of streams.
    """
    receipt, ctx = open_run(run)
    for cell in receipt["cells"]:
        check_trace(run.cells / cell["id"], cell)
    notify("deriving ledgers")
    ledgers = check_ledgers(receipt, ctx)
    derived = ledgers.cells
    faults = [*receipt_faults(receipt, run), *ledgers.faults]

    notify("deriving every draw twice")
    both = Comparison()
    for cell in derived.values():
        both.ledger(cell["digests"]["ledger"])
    faults += both.faults

    notify("walking programs")
    programs = ProgramWalk(ctx, derived)
    trained = [cell for cell in derived.values() if "program" in cell["digests"]]
    faults += [fault for cell in trained for fault in programs.cell(cell)]

    recipes = ctx.cells.known
    injector, chosen = Injector(ctx, derived), _chosen(derived, recipes, inject)
    injected = states = 0
    for number, name in enumerate(chosen):
        notify(f"running cells with their draws as data: {number + 1} of {len(chosen)}")
        found = injector.cell(recipes[name])
        injected += found.served
        states += found.compared
        faults += found.faults
    everything = [e for cell in derived.values() for e in cell["digests"]["ledger"].values()]
    return {
        "root": receipt["root"],
        "holds": not faults,
        "faults": faults,
        "not_checked": [NONE_INJECTED] if inject == "none" else [],
        "counts": {
            "cells": len(receipt["cells"]),
            "cells that drew nothing": sum(not cell["digests"]["ledger"] for cell in derived.values()),
            "values drawn, over all cells": sum(e["draws"] for e in everything),
            "words drawn, over all cells": sum(e["words"] for e in everything),
            "distinct draws, each by JAX and in NumPy": both.draws,
            "words of those, equal one by one": both.words,
            "keys that served": ledgers.keys,
            "keys that several cells shared on purpose": ledgers.shared,
            "comparisons under common randomness": ledgers.compared,
            "programs walked": programs.count,
            "random primitives in them, each of a stream": programs.primitives,
            "cells run with draws as data": len(chosen),
            "keys asked for there": injected,
            "of those cells, compared in their states too": states,
        },
        "normal_distance": both.furthest,
        "cells": [_cell(cell, both) for cell in derived.values() if cell["kind"] != "data"],
        "injected": chosen,
        "streams": tree(derived.values(), both.digests),
    }


def _cell(cell: Record, both: Comparison) -> Record:
    labels = ("id", "kind", "source", "operator", "regime", "replicate", "lag")
    digests = both.digests.streams(cell["digests"]["ledger"])
    streams = {name: {**entry, "bits": digests[name]} for name, entry in cell["digests"]["ledger"].items()}
    return {**{name: cell[name] for name in labels}, "streams": streams}


def receipt_faults(receipt: Receipt, run: RunDir) -> list[str]:
    """What the receipt itself shows: its root, the environment's seed offset, ledgers beside the cells."""
    body = {name: value for name, value in receipt.items() if name != "root"}
    faults = [] if json_digest(body) == receipt.get("root") else ["the receipt's root is not the digest of its content"]
    offset = receipt["pins"]["env"].get("JAX_RANDOM_SEED_OFFSET")
    if offset != "0":
        faults.append(f"the environment shifted every seed: JAX_RANDOM_SEED_OFFSET was {offset}, not 0")
    for cell in receipt["cells"]:
        try:
            stored = parse(read_bytes(run.cells / cell["id"] / "result.json", RECORD_BYTES).decode(), run.cells)
            same = ledger_of(typed_cell(stored, str(run.cells))) == ledger_of(cell)
        except (OSError, ValueError, UserError):
            same = False
        if not same:
            faults.append(f"{described(cell)}: its ledger in the receipt is not the one stored with the cell")
    return faults


def _chosen(cells: dict[str, Record], recipes: dict[str, Recipe], rerun: str) -> list[str]:
    """Which cells are run again: all, none, or one of each kind of program and every way of drawing."""
    order = [name for name in recipes if name in cells and recipes[name].kind not in ("data", "given")]
    if rerun == "all":
        return order
    if rerun == "none":
        return []
    seen, chosen = set(), []
    for name in order:
        cell = cells[name]
        # every operator once; of what trains, each regime at the source's width and at the target's
        what = cell["operator"] if cell["kind"] == "candidate" else (cell["regime"], cell["operator"] == "unwidened")
        goes_on = cell["kind"] in GOES_ON and cells[cell["parents"][0]]["kind"] in CONTINUED
        if (cell["kind"], what) not in seen and not goes_on:
            chosen.append(name)
            seen.add((cell["kind"], what))
    return chosen
