"""The race of a selection over its cells: the same whether they are filled now, or are those of a receipt."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import NamedTuple

from growjax.config import ModelConfig
from growjax.errors import UserError
from growjax.record.receipt_types import Receipt
from growjax.schema import Fields, Record
from growjax.select.race import Rules, Verdict, race
from growjax.select.trust import Outlook
from growjax.study.context import Context
from growjax.study.finalists import with_finalists
from growjax.study.receipt import cells_of, check_cells, check_whole, models
from growjax.study.recipes import Extension, Rung, StudyCells
from growjax.study.replicates import losses
from growjax.study.rungs import end_of
from growjax.study.selection import OUTLOOK, Selection
from growjax.study.spec import StudySpec


class Excluded(NamedTuple):
    """A candidate that was left out before the race."""

    candidate: str
    why: str


def rules_of(spec: Selection) -> Rules:
    """The race's rules."""
    return Rules(spec.horizon, spec.budget, spec.rungs, spec.eval_every, spec.replicates_at_most, spec.making)


def outlook_of(spec: Selection, lag: int) -> Outlook:
    """What a rung says of the horizon, as the selection's specification has it."""
    at = spec.rungs.index(lag) * OUTLOOK
    return Outlook(*spec.outlooks[at : at + OUTLOOK])


def entrants(spec: Selection, candidates: Mapping[str, Fields], model: ModelConfig) -> tuple[list[str], list[Excluded]]:
    """Who races, and who is left out by what is known at step 0: a loss that is no number, or not under that of a guess
    among all tokens (ln V); or the very state of another candidate, which would train as that one does.

    `candidates` are the records of the widened states, by name; `model` is the source's, whose table of V rows may be
    padded beyond the tokenizer's ids.
    """
    seen: dict[tuple[str, str], str] = {}
    chosen, excluded = [], []
    for name in spec.candidates:
        cell = candidates[name]
        loss, state = cell["metrics"]["loss"], (cell["digests"]["state"], cell["digests"]["config"])
        if loss is None:
            excluded.append(Excluded(name, "its loss at step 0 is no finite number"))
        elif loss >= math.log(model.vocab_size):
            excluded.append(Excluded(name, f"its loss at step 0, {loss:.3f}, is that of a guess among all tokens"))
        elif state in seen:
            excluded.append(Excluded(name, f"its state is that of {seen[state]}"))
        else:
            seen[state] = name
            chosen.append(name)
    if not chosen:
        raise UserError("no candidate is left after step 0", "name other operators")
    return chosen, excluded


Way = Generator[list[Rung], None, Verdict]


def raced(spec: Selection, cells: StudyCells, records: Mapping[str, Fields], model: ModelConfig) -> Way:
    """Runs the race: yields the rungs to fill next, finds them in `records` afterwards, returns the verdict."""
    ways: dict[tuple[str, int], list[Rung]] = {}
    for rung in cells.possible:
        if isinstance(rung, Rung):
            ways.setdefault((rung.recipe.label["operator"], rung.recipe.label["replicate"]), []).append(rung)
    named = {recipe.label["operator"]: records[recipe.id] for recipe in cells.candidates}
    names, _ = entrants(spec, named, model)
    running = race(names, rules_of(spec), lambda lag: outlook_of(spec, lag))
    request, asked = next(running), set[str]()
    while True:
        upto = {place: spec.rungs.index(request.lag) for place in request.places}
        wanted = [rung for place, at in upto.items() for rung in ways[place][: at + 1]]
        yield [rung for rung in wanted if rung.recipe.id not in asked]
        asked |= {rung.recipe.id for rung in wanted}
        curves = {place: losses(records[ways[place][at].recipe.id]["metrics"]) for place, at in upto.items()}
        try:
            request = running.send(curves)
        except StopIteration as stop:
            return stop.value


def race_phases(ctx: Context, records: dict[str, Record]) -> Iterator[Sequence[Extension | Rung]]:
    """The phases of a selection at work (`growjax.study.runner.Phases`). What is kept of a candidate that has left is
    let go."""
    spec = ctx.spec
    assert isinstance(spec, Selection)
    last: dict[tuple[str, int], Record] = {}
    for rungs in raced(spec, ctx.cells, records, ctx.config.model):
        yield rungs
        names = {rung.candidate.label["operator"] for rung in rungs}
        for place in [place for place in last if place[0] not in names]:
            end_of(ctx, last.pop(place)).drop()
        for rung in rungs:
            label = rung.recipe.label
            last[label["operator"], label["replicate"]] = records[rung.recipe.id]


class Played(NamedTuple):
    """A race that is over."""

    verdict: Verdict
    rungs: list[Rung]
    """All that it asked for."""


def played(spec: Selection, cells: StudyCells, records: Mapping[str, Fields], model: ModelConfig) -> Played:
    """The race over cells that are full. Raises `UserError` where one that it asks for is missing."""
    asked = list[Rung]()
    way = raced(spec, cells, records, model)
    try:
        while True:
            asked += next(way)
    except StopIteration as stop:
        return Played(stop.value, asked)
    except KeyError as missing:
        raise UserError(
            f"the race asks for cell {missing}, which is not there", "take a selection that has ended"
        ) from None


def asked_for(cells: StudyCells, spec: StudySpec, records: Sequence[Fields], model: ModelConfig) -> StudyCells:
    """The cells of a study or a selection, with those that its results asked for."""
    if not isinstance(spec, Selection):
        return with_finalists(cells, spec, records)
    known = {record["id"]: record for record in records}
    return dataclasses.replace(cells, extensions=list(played(spec, cells, known, model).rungs))


def check_ended(receipt: Receipt, spec: StudySpec) -> None:
    """Raises `UserError` where a receipt's cells are not, one by one, those of its study, or of its selection."""
    if not isinstance(spec, Selection):
        return check_whole(receipt, spec)
    check_cells(receipt, spec, asked_for(cells_of(receipt, spec), spec, receipt["cells"], models(receipt)[0]))
