"""Units that are filled where the graph's files are not: what travels there, and what comes back.

A worker is given an order, and parcels of files by name; it hands back every cell as its files. The executor that reads
what comes back has the graph's side store it, and nobody else writes there.
"""

from __future__ import annotations

import abc
import os
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from growjax.cells.executor import Delivery, described
from growjax.cells.graph import Unit
from growjax.schema import Record

Files = dict[str, bytes]
"""Contents by path below a folder."""


class Order(NamedTuple):
    """A unit as a worker gets it. Nothing in it needs jax to be read."""

    environ: Mapping[str, str | None]
    """Variables that the worker sets before jax is imported; None: one that it must not have."""
    parcels: tuple[str, ...]
    """Names of the parcels that it may need."""
    task: bytes
    """A pickled function of a module, with arguments. It is called with those and a function that gives the files of a
    parcel, and returns the files of each cell by its id."""


class Remote(Protocol):
    """The graph's side."""

    def here(self, unit: Unit, given: Mapping[str, Record]) -> Sequence[Record] | None:
        """The records of a unit whose cells are all full already; None for any other."""
        ...

    def order(self, unit: Unit, given: Mapping[str, Record]) -> Order:
        """What a worker is given to fill a unit."""
        ...

    def folder(self, name: str) -> Path:
        """Where the files of a parcel lie; all of them belong to it."""
        ...

    def store(self, unit: Unit, given: Mapping[str, Record], made: Mapping[str, Files]) -> Sequence[Record]:
        """Checks the cells that came back, stores those that are not there yet, and returns the unit's records. Raises
        `CheckFailed` where they are not what they say."""
        ...


class Answer(NamedTuple):
    """What a worker hands back."""

    made: dict[str, Files]
    error: Exception | None = None


def work(order: Order, parcel: Callable[[str], Files]) -> Answer:
    """In a worker: fills what is ordered."""
    for name, value in order.environ.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    try:
        function, *arguments = pickle.loads(order.task)  # only now: it may import jax
        return Answer(function(*arguments, parcel))
    except Exception as error:
        return Answer({}, described(error))


class RemoteUnits(abc.ABC):
    """What executors of remote workers have in common: which unit is where, and what comes of an answer."""

    def __init__(self, remote: Remote):
        self._remote = remote
        self._given: dict[str, tuple[Unit, Mapping[str, Record]]] = {}
        self._ended: list[Delivery] = []

    def submit(self, unit: Unit, given: Mapping[str, Record]) -> None:
        records = self._remote.here(unit, given)
        if records is not None:
            self._ended.append(Delivery(unit.name, records))
            return
        self._given[unit.name] = unit, given
        self._send(unit.name, self._remote.order(unit, given))

    @abc.abstractmethod
    def _send(self, name: str, order: Order) -> None:
        """Hands an order to a worker; returns at once."""

    def _answered(self, name: str, answer: Answer) -> Delivery:
        """A unit's delivery, once its cells are stored."""
        if answer.error is not None:
            return Delivery(name, error=answer.error)
        return Delivery(name, self._remote.store(*self._given[name], answer.made))


def refused(what: Any, error: BaseException) -> str:
    """Why a library refuses something, in few words."""
    return f"{what} ({type(error).__name__}: {' '.join(str(error).split())[:300]})"
