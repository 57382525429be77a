"""What fills units: the contract of an executor, and the one that works in this process.

An executor is handed units whose needs are full, and hands back records. It may be late, deliver in any order or
twice, and lose workers: the scheduler checks what it delivers and hands lost units out again, so it can cost time and
never change a bit.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

from growjax.cells.graph import Unit
from growjax.errors import CheckFailed, UserError
from growjax.files import explain
from growjax.schema import Record

Fill = Callable[[Any, Any, Mapping[str, Record]], Sequence[Record]]
"""Of (what a worker computes from, a unit's argument, records of the cells it needs) to the records of its cells."""


KILLED = (
    "workers were killed from outside, again and again (out of memory?)",
    "run the same command again, with fewer workers",
)
"""Fault and hint, where losses do not end."""


class Delivery(NamedTuple):
    """How a unit ended."""

    unit: str
    """Its name."""
    records: Sequence[Record] = ()
    """One for each cell that the unit fills."""
    error: Exception | None = None
    """Why it failed: this ends the whole."""
    lost: bool = False
    """Whether its worker ended before it did: it is handed out again."""


AGAIN = Delivery("", lost=True)
"""Of no unit: whoever gets it looks once more at what can be handed out."""


class Executor(Protocol):
    """Fills units.

    Example: an executor of one's own is handed to `growjax.study.runner.run_study(..., executor=mine)`; `mine` is made
    of a function that takes the unit's argument and gives its records (`growjax.study.units.Filling`).
    """

    @property
    def capacity(self) -> int:
        """How many units can be under way at once."""
        ...

    def start(self) -> None:
        """Called once, before the first unit."""

    def submit(self, unit: Unit, given: Mapping[str, Record]) -> None:
        """Takes a unit, with the records of the cells it needs; returns at once. A unit can come again, after it was
        lost."""

    def next(self) -> Delivery:
        """Waits until a unit has ended, and says how. `AGAIN` where only the capacity has changed."""
        ...

    def stop(self, *, failed: bool) -> None:
        """Called once, at the end, or at once where the whole has failed. Units under way are given up."""


class InProcess:
    """Fills one unit after the other, in this process. An error comes as it was raised."""

    capacity = 1

    def __init__(self, context: object, fill: Fill):
        self._context, self._fill = context, fill
        self._taken: list[tuple[Unit, Mapping[str, Record]]] = []

    def start(self) -> None: ...

    def submit(self, unit: Unit, given: Mapping[str, Record]) -> None:
        self._taken.append((unit, given))

    def next(self) -> Delivery:
        unit, given = self._taken.pop(0)
        return Delivery(unit.name, self._fill(self._context, unit.argument, given))

    def stop(self, *, failed: bool) -> None: ...


def described(error: Exception) -> Exception:
    """An error as another process can raise it."""
    if isinstance(error, (UserError, CheckFailed)):
        return error
    return explain(error) or RuntimeError("".join(traceback.format_exception(error)))


class Running:
    """An executor between `start` and `stop`, and the units that it has. Several graphs can be filled one after the
    other; what only an idle worker was given may still be under way when the next one begins."""

    def __init__(self, executor: Executor):
        self._executor = executor
        self.under_way: dict[str, float] = {}
        """Since when, by a unit's name."""

    @property
    def capacity(self) -> int:
        return self._executor.capacity

    @property
    def has_room(self) -> bool:
        return len(self.under_way) < self.capacity

    def submit(self, unit: Unit, given: Mapping[str, Record]) -> None:
        self.under_way[unit.name] = time.monotonic()
        self._executor.submit(unit, given)

    def next(self) -> tuple[Delivery, float | None]:
        """How a unit has ended, and since when it was under way; None where it was not."""
        delivery = self._executor.next()
        return delivery, self.under_way.pop(delivery.unit, None)

    def __enter__(self) -> Self:
        self._executor.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._executor.stop(failed=error is not None)
