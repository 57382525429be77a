"""How far a cell that trains has come: its state and trace at the last evaluation, kept until the cell is full.

A killed run loses at most the steps since then. What is kept is derived, so what is damaged, or was made of other
inputs, is left out and computed again.
"""

from __future__ import annotations

import hashlib
import io
import shutil
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np

from growjax.config import canonical_json
from growjax.errors import CheckFailed, UserError
from growjax.files import sweep, whole_directory, write_text
from growjax.record.checksums import read_checked, with_checksum
from growjax.record.store import load_state, save_state
from growjax.schema import Record
from growjax.train.loop import Run, Trace

_INFO, _TRACE = "partial.json", "trace.npz"


class Partial(NamedTuple):
    """A cell's folder of what it has so far, for inputs that it was made of."""

    folder: Path
    inputs: dict[str, str]

    def save(self, step: int, done: Run) -> None:
        """Keeps what was run up to a step, and lets go of what was kept before."""
        data = io.BytesIO()
        np.savez(data, **done.trace._asdict())
        info = {"inputs": self.inputs, "step": step, "program": done.program, "module": done.module,
                "trace": hashlib.sha256(data.getvalue()).hexdigest()}  # fmt: skip
        with whole_directory(self.folder / str(step), replace=True) as folder:
            save_state(folder, done.state)
            (folder / _TRACE).write_bytes(data.getvalue())
            write_text(folder / _INFO, canonical_json(with_checksum(info)) + "\n")
        for older in self.folder.iterdir():
            if older.name != str(step):
                shutil.rmtree(older, ignore_errors=True)

    def load(self) -> tuple[int, Run] | None:
        """The last step that is kept whole, and what was run up to it; None where there is none."""
        if not self.folder.is_dir():
            return None
        sweep(self.folder)
        for folder in sorted(self.folder.iterdir(), key=lambda path: path.name.zfill(20), reverse=True):
            try:
                return self._read(folder)
            except (CheckFailed, UserError, OSError, ValueError, KeyError, TypeError):
                continue
        return None

    def _read(self, folder: Path) -> tuple[int, Run]:
        info = cast(Record | None, read_checked(folder / _INFO))
        data = (folder / _TRACE).read_bytes()
        if info is None or info["inputs"] != self.inputs or hashlib.sha256(data).hexdigest() != info["trace"]:
            raise CheckFailed(f"{folder} is damaged, or was made of other inputs")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            trace = Trace(**{name: arrays[name] for name in Trace._fields})
        return info["step"], Run(load_state(folder), trace, info["program"], info["module"])

    def drop(self) -> None:
        """Lets go of everything: the cell is full."""
        shutil.rmtree(self.folder, ignore_errors=True)
