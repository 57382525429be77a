"""What a run directory holds of a study is looked through before the study goes on: what is damaged is taken away, with
a line that says so, and is then computed anew like what was never there."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping

from growjax.data.tokens import INFO
from growjax.errors import CheckFailed, UserError
from growjax.record.cell_types import CellRecord
from growjax.record.cells import Recipe, result_of
from growjax.record.integrity import check_cell, check_tokens, recorded_tokens
from growjax.record.rundir import RunDir
from growjax.record.sealed import damage
from growjax.schema import Record

Say = Callable[[str], None]
Recorded = Mapping[str, CellRecord]
"""The cells of the receipt that stands there, by id; none where there is none, or it is damaged."""


def mend_tokens(run: RunDir, data: Recipe, recorded: Recorded, say: Say) -> None:
    """Takes a run's tokens away where they are damaged, or are not those of its cell."""
    if not (run.data / INFO).exists():
        if data.id in recorded:
            say(f"the tokens in {run.data} are gone: they are made anew")
        return
    try:
        cell = check_cell(run.cells / data.id)
    except CheckFailed:
        cell = recorded.get(data.id)
    try:
        if cell is None or cell["kind"] != "data":
            recorded_tokens(run.data)
        else:
            check_tokens(run.data, cell)
    except (CheckFailed, UserError) as error:
        text = error.fault if isinstance(error, UserError) else str(error).removesuffix(": prepare the tokens again")
        say(f"{text}: the tokens are made anew")
        shutil.rmtree(run.data)


def mend_cells(run: RunDir, recipes: Iterable[Recipe], recorded: Recorded, say: Say) -> set[str]:
    """Takes cells away that are damaged, or are not what the receipt holds; returns their ids, and those of cells that
    it holds and that are gone."""
    mended = set()
    for recipe in recipes:
        folder = run.cells / recipe.id
        if not folder.exists():
            if recipe.id in recorded:
                say(f"cell {recipe.id} is gone: it is computed anew")
                mended.add(recipe.id)
            continue
        try:
            cell = check_cell(folder)
            if cell != recorded.get(recipe.id, cell):
                raise CheckFailed(f"cell {recipe.id}: its result.json is not what the receipt holds")
        except CheckFailed as error:
            say(f"{error}: it is computed anew")
            shutil.rmtree(folder) if folder.is_dir() else folder.unlink()
            mended.add(recipe.id)
    return mended


def check_mended(mended: Iterable[str], records: Mapping[str, Record], recorded: Recorded) -> None:
    """Raises `CheckFailed` where a cell that was computed anew is not what the receipt held."""
    for name in sorted(mended):
        if name in recorded and name in records and result_of(records[name]) != result_of(recorded[name]):
            raise CheckFailed(f"cell {name} does not come out as it was recorded: start anew with --force")


def say_of_report(run: RunDir, say: Say) -> None:
    """Says which files of the report are damaged, which is drawn anew in any case."""
    for fault in damage(run.report):
        say(f"{fault}: the report is drawn anew")
