"""Cells of another run that are this run's too: taken from it in place of being computed again."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from growjax.errors import NotComparable, UserError
from growjax.files import linked, whole_directory
from growjax.record.cells import Recipe
from growjax.record.integrity import check_cell, finished_receipt
from growjax.record.rundir import COMPARABLE, LOCAL, RunDir, first_difference
from growjax.schema import Fields, Record
from growjax.source import source_notes

KINDS = ("given", "candidate")
"""Kinds of cells that are the same in every run that has them. What trains names its program, which is sized for the
longest run of its study."""


def reuse(run: RunDir, other: Path, head: Record, tokens: str, recipes: Iterable[Recipe]) -> int:
    """Takes what another run has of these recipes, with its states; returns how many cells. `tokens` is the digest of
    this run's.

    Raises `NotComparable` with the field in which that run was made otherwise than this one is, `CheckFailed` where a
    cell of it is damaged, `UserError` where it is no run that has ended.
    """
    receipt = finished_receipt(other)
    if not other.is_dir():
        raise UserError(f"{other} is a receipt, and holds no states", "name a run directory")
    require_same(receipt, head)
    held, taken = {cell["id"]: cell for cell in receipt["cells"]}, 0
    for recipe in recipes:
        place, found = run.cells / recipe.id, other / "cells" / recipe.id
        there = recipe.kind in KINDS and recipe.id in held and found.is_dir()
        if there and receipt["inputs"]["tokens"] != tokens:  # of the same name, and of stories that have changed since
            raise NotComparable(
                f"not comparable: {first_difference(receipt['inputs']['tokens'], tokens, 'inputs.tokens')}"
            )
        if there and not place.exists() and check_cell(found) == held[recipe.id]:
            with whole_directory(place) as folder:
                shutil.copytree(found, folder, copy_function=linked, dirs_exist_ok=True)
            taken += 1
    return taken


def require_same(receipt: Fields, head: Fields) -> None:
    """Raises `NotComparable` with the first field of environment, pins or modules in which two runs differ."""
    for field in (*COMPARABLE, *LOCAL):
        old, new = receipt["environment"].get(field), head["environment"].get(field)
        if old != new:
            raise NotComparable(f"not comparable: {first_difference(old, new, f'environment.{field}')}")
    for part in ("pins", "source_code", "measures"):
        old, new = receipt.get(part), head.get(part)
        if old != new:
            modules = source_notes(receipt["source_code"], head["source_code"]) if part == "source_code" else []
            raise NotComparable(f"not comparable: {(modules or [first_difference(old, new, part)])[0]}")
