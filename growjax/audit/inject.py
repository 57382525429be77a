"""Cells run again with their recorded draws as data instead of keys: the state digests tell whether the bits agree.

Words that come from the host make another program. A CPU's bits do not depend on that. An accelerator's compiler fuses
around a draw, and not around a call of the host, so there the keys that asked and the words they got are what can be
compared, and states are not.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import jax
import numpy as np

from growjax.audit.shared import told
from growjax.audit.threefry import Key
from growjax.audit.witness import Recorded, Witness
from growjax.digests import total, words_hex
from growjax.errors import CheckFailed
from growjax.grow.operator import GrowthData
from growjax.grow.widen import widen
from growjax.record.cells import Recipe
from growjax.record.store import load_state, state_digest
from growjax.streams import Streams, root_key
from growjax.study.context import Context
from growjax.train.loop import copy_state, luck
from growjax.train.state import TrainState, init_state

Record = dict[str, Any]
Altered = dict[Key, np.ndarray]


class Injected(NamedTuple):
    """What came of a cell's recorded draws."""

    served: int
    """Draws that were asked for and served."""
    compared: bool
    """Whether its states were compared with the recorded ones."""
    faults: list[str]


class Injector:
    """Runs cells of a study again; programs compiled for one serve the next."""

    def __init__(self, ctx: Context, cells: dict[str, Record]):
        self.ctx, self.cells = ctx, cells
        self.witness = Witness()
        self.states = jax.default_backend() == "cpu"
        """Whether an injected program's states have the recorded bits on this device."""

    def cell(self, recipe: Recipe, altered: Altered | None = None) -> Injected:
        """One cell again. `altered` replaces recorded words by key: what a test plants."""
        cell = self.cells[recipe.id]
        recorded = Recorded(cell["digests"]["ledger"], altered)
        again = {"candidate": self._candidate, "source": self._source}.get(recipe.kind, self._continued)
        asked, faults = again(cell, recorded)
        faults = faults if self.states else []
        found = [f"{told(cell)}: {fault}" for fault in (*recorded.faults(asked), *faults)]
        return Injected(len(asked), self.states, found)

    def _candidate(self, cell: Record, recorded: Recorded) -> tuple[list[Key], list[str]]:
        ctx, parameters = self.ctx, cell["parameters"]
        before = load_state(ctx.run.cells / cell["parents"][0])
        with self.witness.watching(recorded.give) as asked:
            state = widen(
                before,
                ctx.plan,
                operator=parameters["operator"],
                key=root_key(parameters["study_seed"], "study"),
                data=GrowthData(ctx.feed.train, ctx.spec.data.batch_size),
                exchanged=parameters.get("exchanged", {}),
            )
        same = state_digest(state) == cell["digests"]["state"]
        return asked, [] if same else ["with its recorded draws injected, its state is another"]

    def _source(self, cell: Record, recorded: Recorded) -> tuple[list[Key], list[str]]:
        parameters, every = cell["parameters"], self.ctx.spec.source_eval_every
        parent = self.cells[cell["parents"][0]]
        streams, after = (lambda: Streams(root_key(parameters["seed"]))), 0
        before = None
        if parent["kind"] == "source":
            after, before = parent["parameters"]["step"], load_state(self.ctx.run.cells / parent["id"])
        with self.witness.watching(recorded.give) as asked:
            start = init_state(self.ctx.config, key=streams().at("init", 0)) if before is None else before
            live = luck(streams(), ("order", "dropout"))
            faults = self._steps(cell, start, live, after, parameters["step"], every)
        return asked, faults

    def _continued(self, cell: Record, recorded: Recorded) -> tuple[list[Key], list[str]]:
        """A probe, or a continuation from its own first step: the probe before it is run as it was, with its keys."""
        ctx, parameters = self.ctx, cell["parameters"]
        first, start = 0, None
        parent = self.cells[cell["parents"][0]]
        if parent["kind"] == "probe":
            first = parent["parameters"]["lag"]
            live = ctx.recorded_luck(parameters)
            start = load_state(ctx.run.cells / parent["parents"][0])
            start = ctx.train(start, live, start=0, steps=first, every=ctx.spec.eval_every).state
            if state_digest(start) != parent["digests"]["state"]:
                raise CheckFailed(f"{told(parent)} does not come out here as it was recorded: see verify")
        else:
            start = load_state(ctx.run.cells / parent["id"])
        with self.witness.watching(recorded.give) as asked:
            live = ctx.recorded_luck(parameters)
            faults = self._steps(cell, start, live, first, parameters["lag"], ctx.spec.eval_every)
        return asked, faults

    def _steps(self, cell: Record, state: TrainState, live: Any, first: int, last: int, every: int) -> list[str]:
        """Faults of the steps: the first at which the parameters are not those recorded, and the state at the end."""
        done = self.ctx.train(copy_state(state), live, start=first, steps=last - first, every=every)
        text = (self.ctx.run.cells / cell["id"] / "metrics.jsonl").read_text(encoding="utf-8")
        lines = [json.loads(line) for line in text.splitlines()]
        recorded = {line["step"]: line["params"] for line in lines if "step" in line}
        for number, words in enumerate(done.trace.params_digest):
            step = first + number + 1
            if recorded.get(step) != words_hex(total(words)):
                return [f"with its recorded draws injected, the parameters after step {step} are others"]
        same = state_digest(done.state) == cell["digests"]["state"]
        return [] if same else ["with its recorded draws injected, its state at the end is another"]
