"""How a cell that trains is run: where it starts, under which keys, at which step, on which evaluation grid.

One pure function of its recipe says so, for whoever fills, replays, audits or compares it. The audit's own derivation
of what those keys draw is elsewhere, and independent of this.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from growjax.record.cells import CONTINUED, GOES_ON, Recipe
from growjax.schema import Fields
from growjax.study.spec import UNWIDENED

SOURCE_STREAMS = ("order", "dropout")
"""The streams that are live while a source is trained: both, whatever regimes its candidates go on in."""

LABELS = ("source", "operator", "regime", "replicate", "lag")


class Account(NamedTuple):
    """Steps are counted as the streams count them: a source's from its first draw, others' from their candidate."""

    origin: str | None
    """Id of the cell whose stored state the run goes back to; None where the first state is drawn."""
    begun: int
    """The step at which that state stands."""
    first: int
    """Steps that lie before the cell's own first: from `begun` on they are another cell's."""
    last: int
    """Steps that lie behind it at its end."""
    every: int
    """Steps between its evaluations; the first is at `first`."""
    wide: bool
    """Whether the model is the target's."""
    purpose: Literal["source", "study"]
    seed: int
    """Root of its keys, with `purpose`."""
    streams: tuple[str, ...]
    """Those that are live."""
    replicate: int | None
    """Where the streams hang; None for a source's own. Without a live order also the number of its fixed order."""
    exchanged: dict[str, int]
    """Streams that hang from another replicate, and from which."""

    def replicates(self) -> dict[str, int | None]:
        """By stream: the replicate that it hangs from, if it is live; None for a source's own."""
        return {name: self.exchanged.get(name, self.replicate) for name in SOURCE_STREAMS}


def account(recipe: Recipe, known: Mapping[str, Recipe]) -> Account:
    """The account of a cell that trains. `known` holds its ancestors by id.

    Raises `ValueError` for a cell that trains nothing.
    """
    parameters, parent = recipe.parameters, known[recipe.parents[0]] if recipe.parents else None
    if recipe.kind == "source" and parent is not None:
        goes_on = parent.kind in ("source", "given")
        after, origin = (parent.parameters["step"], parent.id) if goes_on else (0, None)
        return Account(origin, after, after, parameters["step"], parameters["eval_every"], False, "source",
                       parameters["seed"], SOURCE_STREAMS, None, {})  # fmt: skip
    if recipe.kind not in CONTINUED or parent is None:
        raise ValueError(f"a {recipe.kind} cell trains nothing")
    origin = parent.id
    while origin in known and known[origin].kind in CONTINUED:
        origin = known[origin].parents[0]
    return Account(
        origin=origin,
        begun=0,
        first=parent.parameters.get("lag", 0) if recipe.kind in GOES_ON else 0,
        last=parameters["lag"],
        every=parameters["eval_every"],
        wide=recipe.label["operator"] != UNWIDENED,
        purpose="study",
        seed=parameters["study_seed"],
        streams=tuple(parameters["streams"]),
        replicate=parameters["replicate"],
        exchanged=dict(parameters.get("exchanged", {})),
    )


def recipe_of(cell: Fields) -> Recipe:
    """The recipe of a recorded cell."""
    label = {name: cell[name] for name in LABELS}
    return Recipe(cell["kind"], cell["parameters"], tuple(cell["parents"]), label)
