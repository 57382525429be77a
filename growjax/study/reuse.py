"""Cells of another run that are this run's too: taken from it in place of being computed again."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from growjax.errors import NotComparable, UserError
from growjax.files import linked, whole_directory
from growjax.record.cells import Recipe
from growjax.record.comparison import first_difference, other_registered
from growjax.record.integrity import check_cell, finished_receipt
from growjax.record.rundir import COMPARABLE, LOCAL, RunDir
from growjax.schema import Fields, Record
from growjax.source import source_notes

KINDS = ("given", "candidate")
"""Kinds of cells that are the same in every run that has them. What trains names its program, which is sized for the
longest run of its study."""


def reuse(run: RunDir, other: Path, head: Record, tokens: str, recipes: Iterable[Recipe]) -> int:
    """Takes what another run has of these recipes, with its states; returns how many cells. Raises what `reusable`
    does."""
    taken = 0
    for recipe in reusable(other, head, tokens, recipes):
        place = run.cells / recipe.id
        if not place.exists():
            with whole_directory(place) as folder:
                shutil.copytree(other / "cells" / recipe.id, folder, copy_function=linked, dirs_exist_ok=True)
            taken += 1
    return taken


def reusable(other: Path, head: Record, tokens: str, recipes: Iterable[Recipe]) -> list[Recipe]:
    """Those of the recipes whose cells another run has, undamaged. `tokens` is the digest of this run's.

    Raises `NotComparable` with the field in which that run was made otherwise than this one is, `CheckFailed` where a
    cell of it is damaged, `UserError` where it is no run that has ended.
    """
    receipt = finished_receipt(other)
    if not other.is_dir():
        raise UserError(f"{other} is a receipt, and holds no states", "name a run directory")
    require_same(receipt, head)
    held, found = {cell["id"]: cell for cell in receipt["cells"]}, []
    for recipe in recipes:
        folder = other / "cells" / recipe.id
        if recipe.kind not in KINDS or recipe.id not in held or not folder.is_dir():
            continue
        if receipt["inputs"]["tokens"] != tokens:  # of the same name, and of stories that have changed since
            raise NotComparable(
                f"not comparable: {first_difference(receipt['inputs']['tokens'], tokens, 'inputs.tokens')}"
            )
        if check_cell(folder) == held[recipe.id]:
            found.append(recipe)
    return found


def require_same(receipt: Fields, head: Fields) -> None:
    """Raises `NotComparable` with the first field of environment, pins or modules in which two runs differ, or with the
    measure or operator that is not growjax's own and not the same in both."""
    for field in (*COMPARABLE, *LOCAL):
        old, new = receipt["environment"].get(field), head["environment"].get(field)
        if old != new:
            raise NotComparable(f"not comparable: {first_difference(old, new, f'environment.{field}')}")
    for part in ("pins", "source_code"):
        old, new = receipt.get(part), head.get(part)
        if old != new:
            modules = source_notes(receipt["source_code"], head["source_code"]) if part == "source_code" else []
            raise NotComparable(f"not comparable: {(modules or [first_difference(old, new, part)])[0]}")
    fault = other_registered(receipt, head)
    if fault is not None:
        raise NotComparable(f"not comparable: {fault}")
