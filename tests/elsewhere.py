"""Units without jax: what workers elsewhere do in tests, and the side that sends them."""

from __future__ import annotations

import os
import pickle
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from growjax.cells.graph import Unit
from growjax.cells.remote import Files, Order
from growjax.schema import Record


def copied(name: str, parcel: Callable[[str], Files]) -> dict[str, Files]:
    """A cell that holds what the parcel does."""
    return {name: parcel("parcel")}


def killed_once(name: str, mark: Path, parcel: Callable[[str], Files]) -> dict[str, Files]:
    """The same; the first time the process ends before."""
    if not mark.exists():
        mark.write_text("")
        os.kill(os.getpid(), signal.SIGKILL)
    return copied(name, parcel)


def endless(mark: Path, parcel: Callable[[str], Files]) -> dict[str, Files]:
    """Says that it is there, and stays as long as that lies there."""
    mark.write_text("")
    while mark.exists():
        time.sleep(0.1)
    return {}


def given_up(reason: str, parcel: Callable[[str], Files]) -> dict[str, Files]:
    """What submitit raises amid the work where a job's time is over, or another job takes its place."""
    from submitit.core.utils import UncompletedJobError

    raise UncompletedJobError(f"Job not requeued because: {reason} and not checkpointable.")


class Side:
    """Units whose tasks are given; cells are what came back."""

    def __init__(self, parcel: Path, **tasks: tuple[Any, ...]):
        self.parcel, self.tasks = parcel, tasks
        self.stored: dict[str, Files] = {}

    def here(self, unit: Unit, given: Mapping[str, Record]) -> Sequence[Record] | None:
        return [{"id": unit.name}] if unit.name == "full" else None

    def order(self, unit: Unit, given: Mapping[str, Record]) -> Order:
        return Order({}, ("parcel",), pickle.dumps(self.tasks[unit.name]))

    def folder(self, name: str) -> Path:
        return self.parcel

    def store(self, unit: Unit, given: Mapping[str, Record], made: Mapping[str, Files]) -> Sequence[Record]:
        self.stored |= made
        return [{"id": unit.name}]


def unit(name: str, *needs: str) -> Unit:
    return Unit(name, "kind", (name,), needs, 1.0, None)
