"""The chosen state, in a folder of its own: whole, ready to train on, to be widened again or to be exported."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from growjax.checkpoints import keep, kept
from growjax.data.tokenizer import FILE
from growjax.errors import CheckFailed
from growjax.files import linked, whole_directory, write_text
from growjax.grow.plan import make_plan
from growjax.record.receipt_types import Receipt
from growjax.record.rundir import RunDir
from growjax.record.store import load_state, state_digest
from growjax.select.rows import SelectionSummary
from growjax.study.receipt import models

CHOSEN = "chosen"
"""The folder's name in a run directory."""


def write_chosen(run: RunDir, receipt: Receipt, summary: SelectionSummary) -> Path:
    """Writes the folder anew: the state before its first step, what came with the checkpoint that its source was, and
    how it came to be, as `widen` writes it. Raises `CheckFailed` where the state is not the one that raced."""
    answer = summary["answer"]
    candidate = run.cells / answer["cell"]
    recipe = next(cell for cell in receipt["cells"] if cell["id"] == answer["cell"])
    source, target = models(receipt)
    data = next(cell for cell in receipt["cells"] if cell["kind"] == "data")["digests"]
    described = {
        "operator": answer["chosen"],
        "plan": [row._asdict() for row in make_plan(source, target).rows()],
        "digest": answer["state"],
        "origin": {"tokens": data["tokens"], "tokenizer": data["tokenizer.json"]},
    }
    extras = kept(run.cells / recipe["parents"][0])
    with whole_directory(run.path / CHOSEN, replace=True) as folder:
        shutil.copytree(candidate / "state", folder / "state", copy_function=linked)
        shutil.copyfile(candidate / "state.json", folder / "state.json")
        if state_digest(load_state(folder)) != answer["state"]:
            raise CheckFailed(f"the state of cell {answer['cell']} is not the one that raced: start anew with --force")
        write_text(folder / "widen.json", json.dumps(described, sort_keys=True) + "\n")
        shutil.copyfile(run.data / FILE, folder / FILE)
        if extras is not None:
            keep(extras, folder)
    return run.path / CHOSEN
