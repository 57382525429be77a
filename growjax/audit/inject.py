"""Cells run again with their recorded draws as data instead of keys: the state digests say whether the bits agree.

Words that come from the host make another program. A CPU's bits do not depend on that. An accelerator's compiler fuses
around a draw, and not around a call of the host, so there the keys that asked and the words they got are what can be
compared, and states are not.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import jax
import numpy as np

from growjax.audit.interceptor import Interceptor, Recorded
from growjax.audit.shared import described
from growjax.audit.threefry import Key
from growjax.digests import total, words_hex
from growjax.errors import CheckFailed
from growjax.grow.operator import GrowthData
from growjax.grow.widen import widen
from growjax.record.cells import Recipe
from growjax.record.integrity import state_of
from growjax.record.store import state_digest
from growjax.record.traces import read_trace
from growjax.schema import Record
from growjax.streams import root_key
from growjax.study.account import Account, recipe_of
from growjax.study.context import Context
from growjax.study.replay import origin_state, state_at
from growjax.train.loop import copy_state
from growjax.train.state import TrainState

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
        self.states = jax.default_backend() == "cpu"
        """Whether an injected program's states have the recorded bits on this device."""

    @cached_property
    def interceptor(self) -> Interceptor:
        """Made when the first cell is run: an audit that runs none asks nothing of jax's inside."""
        return Interceptor()

    def cell(self, recipe: Recipe, altered: Altered | None = None) -> Injected:
        """One cell again. `altered` replaces recorded words by key: what a test plants."""
        cell = self.cells[recipe.id]
        recorded = Recorded(cell["digests"]["ledger"], altered)
        asked, faults = (self._candidate if recipe.kind == "candidate" else self._trained)(cell, recorded)
        faults = faults if self.states else []
        found = [f"{described(cell)}: {fault}" for fault in (*recorded.faults(asked), *faults)]
        return Injected(len(asked), self.states, found)

    def _candidate(self, cell: Record, recorded: Recorded) -> tuple[list[Key], list[str]]:
        ctx, parameters = self.ctx, cell["parameters"]
        before = state_of(ctx.run.cells, cell["parents"][0])
        with self.interceptor.watching(recorded.give) as asked:
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

    def _trained(self, cell: Record, recorded: Recorded) -> tuple[list[Key], list[str]]:
        """A cell that trains, from its own first step: what lies before it is run as it was, with its keys."""
        ctx, recipe = self.ctx, recipe_of(cell)
        run, before = ctx.account(recipe), None
        if run.first > run.begun:
            before, parent = state_at(ctx, recipe, run.first), self.cells[cell["parents"][0]]
            if state_digest(before) != parent["digests"]["state"]:
                raise CheckFailed(f"{described(parent)} does not come out here as it was recorded: see verify")
        elif run.origin is not None:
            before = origin_state(ctx, run)
        with self.interceptor.watching(recorded.give) as asked:
            start = origin_state(ctx, run) if before is None else before  # a first state is drawn under watch
            faults = self._steps(cell, start, run)
        return asked, faults

    def _steps(self, cell: Record, state: TrainState, run: Account) -> list[str]:
        """Faults of the steps: the first at which the parameters are not those recorded, and the state at the end."""
        steps, first = run.last - run.first, run.first
        done = self.ctx.train(copy_state(state), self.ctx.keys(run), start=first, steps=steps, every=run.every)
        path = self.ctx.run.cells / cell["id"] / "metrics.jsonl"
        trace = read_trace(path)
        if trace is None:
            raise CheckFailed(f"{described(cell)}: {path} is gone")
        for number, words in enumerate(done.trace.params_digest):
            step = first + number + 1
            if step not in trace.steps or trace.steps[step]["params"] != words_hex(total(words)):
                return [f"with its recorded draws injected, the parameters after step {step} are others"]
        same = state_digest(done.state) == cell["digests"]["state"]
        return [] if same else ["with its recorded draws injected, its state at the end is another"]
