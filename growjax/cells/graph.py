"""What is to be filled, and what must be full before: a graph of units."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable


@dataclasses.dataclass(frozen=True)
class Unit:
    """What a worker fills in one go: one cell, or a cell and the one that goes on from it."""

    name: str
    kind: str
    """What progress counts it under."""
    fills: tuple[str, ...]
    """Ids of the cells it fills."""
    needs: tuple[str, ...]
    """Ids of the cells that must be full before."""
    cost: float
    """Expected work, in one unit of measure for the whole graph."""
    argument: object
    """What the function that fills it is given; it must pickle."""
    optional: bool = False
    """Done only while a worker has nothing else to do, and left out where none ever has."""


class Graph:
    """Units by name, each cell filled by one of them."""

    def __init__(self, units: Iterable[Unit], *, full: Collection[str] = ()):
        """`full` are ids of cells that need no unit. A unit that fills only what another unit fills is dropped.

        Raises `ValueError` for a name used twice, a need that nothing fills, or a circle.
        """
        self.units: dict[str, Unit] = {}
        filled_by: dict[str, str] = {}
        for unit in units:
            if unit.name in self.units:
                raise ValueError(f"two units are named {unit.name}")
            if unit.fills and all(cell in filled_by for cell in unit.fills):
                continue
            self.units[unit.name] = unit
            for cell in unit.fills:
                filled_by.setdefault(cell, unit.name)
        self.after: dict[str, set[str]] = {name: set() for name in self.units}
        """By unit: the units that need what it fills."""
        self.before: dict[str, set[str]] = {}
        """By unit: the units that fill what it needs."""
        for name, unit in self.units.items():
            missing = [cell for cell in unit.needs if cell not in filled_by and cell not in full]
            if missing:
                raise ValueError(f"unit {name} needs cell {missing[0]}, which nothing fills")
            self.before[name] = {filled_by[cell] for cell in unit.needs if cell in filled_by} - {name}
            for other in self.before[name]:
                self.after[other].add(name)
        self.urgency = self._urgency()
        """By unit: the cost of the longest way from its beginning to the end."""

    def _urgency(self) -> dict[str, float]:
        left = {name: len(after) for name, after in self.after.items()}
        ends, found = [name for name, count in left.items() if not count], {}
        while ends:
            name = ends.pop()
            found[name] = self.units[name].cost + max((found[other] for other in self.after[name]), default=0.0)
            for other in self.before[name]:
                left[other] -= 1
                if not left[other]:
                    ends.append(other)
        if len(found) < len(self.units):
            raise ValueError(f"units need each other in a circle: {', '.join(sorted(set(self.units) - set(found)))}")
        return found
