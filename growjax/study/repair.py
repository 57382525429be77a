"""What a run directory holds of a study is looked through before the study goes on: what is damaged is taken away, with
a line that says so, and is then computed anew like what was never there."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping

from growjax.data.tokens import INFO
from growjax.errors import CheckFailed, UserError
from growjax.files import remove
from growjax.record.cell_types import CellRecord
from growjax.record.cells import Recipe, result_of
from growjax.record.digested import PAGES, damage
from growjax.record.integrity import check_cell, check_tokens, recorded_tokens
from growjax.record.rundir import RunDir
from growjax.record.types import Tree
from growjax.schema import Record

Say = Callable[[str], None]
Recorded = Mapping[str, CellRecord]
"""The cells of the receipt that stands there, by id; none where there is none, or it is damaged."""


def repair_tokens(
    run: RunDir,
    data: Recipe,
    recorded: Recorded,
    say: Say,
    *,
    corpus: Tree | None = None,
    can: bool = True,
) -> None:
    """Takes a run's tokens away where they are damaged, or are not those of its cell, or of the corpus that its receipt
    names. Raises `CheckFailed` where that is so and they cannot be made anew (`can`), for want of the tokenizer that
    was given."""
    if not (run.data / INFO).exists():
        if data.id in recorded:
            say(f"{run.data / INFO} is gone: the tokens are made anew")
        return
    try:
        cell = check_cell(run.cells / data.id)
    except CheckFailed:
        cell = recorded.get(data.id)
    try:
        if cell is None or cell["kind"] != "data":
            recorded_tokens(run.data)
        else:
            check_tokens(run.data, cell, corpus)
    except (CheckFailed, UserError) as error:
        text = error.fault if isinstance(error, UserError) else str(error).removesuffix(": prepare the tokens again")
        if not can:
            raise CheckFailed(f"{text}: name the tokenizer again, and the tokens are made anew") from None
        say(f"{text}: the tokens are made anew")
        remove(run.data)


def repair_cells(
    run: RunDir, recipes: Iterable[Recipe], recorded: Recorded, say: Say, *, at_hand: Container[str] = ()
) -> set[str]:
    """Takes cells away that are damaged, or are not what the receipt holds; returns their ids, and those of cells that
    it holds and that are gone. Raises `CheckFailed` where one is of a source that was not trained here, and whose
    digest is not among those `at_hand`."""
    repaired = set()
    for recipe in recipes:
        folder = run.cells / recipe.id
        if not folder.exists():
            if recipe.id in recorded:
                say(f"cell {recipe.id} is gone: it is computed anew")
                repaired.add(recipe.id)
            continue
        try:
            cell = check_cell(folder)
            if cell != recorded.get(recipe.id, cell):
                raise CheckFailed(f"cell {recipe.id}: its result.json is not what the receipt holds")
        except CheckFailed as error:
            if recipe.kind == "given" and recipe.parameters["state"] not in at_hand:
                raise CheckFailed(f"{error}: name its source again, and it is made anew") from None
            say(f"{error}: it is computed anew")
            remove(folder)
            repaired.add(recipe.id)
    return repaired


def check_repaired(repaired: Iterable[str], records: Mapping[str, Record], recorded: Recorded) -> None:
    """Raises `CheckFailed` where a cell that was computed anew is not what the receipt held."""
    for name in sorted(repaired):
        if name in recorded and name in records and result_of(records[name]) != result_of(recorded[name]):
            raise CheckFailed(f"cell {name} does not come out as it was recorded: start anew with --force")


def say_of_report(run: RunDir, say: Say) -> None:
    """Says which files of the report are damaged, which is drawn anew in any case. An audit's page is not: where that
    is damaged it goes."""
    for digests, page in PAGES.items():
        for fault in damage(run.report, digests):
            if page == "index.html":
                say(f"{fault}: the report is drawn anew")
            else:
                say(f"{fault}: {page} is taken away, and `audit` writes it anew")
                for name in (digests, page):
                    (run.report / name).unlink(missing_ok=True)
