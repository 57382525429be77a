"""Runs a study: fills every cell that is not full yet, writes the receipt, and sums it up."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any, Protocol

import jax

from growjax import runtime
from growjax.record.cells import Recipe
from growjax.record.rundir import SCHEMA, RunDir
from growjax.study.context import Context, make_context, prepare_tokens
from growjax.study.fill import Record, fill_candidate, fill_data, fill_sources, fill_trajectory
from growjax.study.lanes import side_by_side
from growjax.study.spec import UNWIDENED, StudySpec
from growjax.streams import Streams, root_key
from growjax.train.loop import compile_run
from growjax.train.state import init_state


class Watch(Protocol):
    """Who looks on: told what is being done, never asked."""

    def phase(self, name: str, cells: int, work: float) -> None:
        """A phase begins, of so many cells and so much work."""

    def done(self, work: float) -> None:
        """So much work is behind."""


class Nobody:
    """The watch that does not look."""

    def phase(self, name: str, cells: int, work: float) -> None: ...

    def done(self, work: float) -> None: ...


def header(spec: StudySpec) -> dict[str, Any]:
    """What a receipt says of a run before its first cell."""
    return {
        "schema": SCHEMA,
        "environment": runtime.environment(),
        "pins": runtime.pins(),
        "config": spec.to_dict(),
        "source_code": runtime.source_digest(),
    }


def run_study(
    spec: StudySpec, run: RunDir, *, lanes: int = 1, force: bool = False, watch: Watch | None = None
) -> dict[str, Any]:
    """Fills the run directory with all cells of a study and returns its receipt. Full cells are taken as they are."""
    watch = watch or Nobody()
    runtime.start()
    head = header(spec)
    run.begin(head, force=force)
    watch.phase("reading and tokenizing stories", 1, 1)
    tokens = prepare_tokens(run.data, spec)
    watch.done(1)
    ctx = make_context(spec, run, tokens)
    records = {ctx.cells.data.id: fill_data(ctx)}
    records |= _sources(ctx, lanes, watch)
    records |= _candidates(ctx, records, lanes, watch)
    records |= _trajectories(ctx, records, lanes, watch)
    inputs = {"corpus": tokens.info["source"], "corpus_digest": tokens.info["corpus_digest"], "tokens": tokens.digest}
    programs = {name: sorted(texts) for name, texts in sorted(ctx.programs.fingerprints.items())}
    if not programs and (old := run.receipt()).get("cells"):
        programs = old["programs"]  # nothing was computed anew
    run.write_receipt({**head, "inputs": inputs, "programs": programs}, records.values())
    return run.receipt()


def _sources(ctx: Context, lanes: int, watch: Watch) -> dict[str, Record]:
    spec = ctx.spec
    watch.phase("training sources", len(spec.source_seeds) * len(spec.source_steps),
                len(spec.source_seeds) * spec.source_steps[-1])  # fmt: skip
    previous = dict(zip(spec.source_steps, (0, *spec.source_steps), strict=False))

    def done(recipe: Recipe) -> None:
        step = recipe.parameters["step"]
        watch.done(step - previous[step])

    tasks: list[Any] = [partial(fill_sources, ctx, seed, done) for seed in spec.source_seeds]
    if lanes > 1 and not all((ctx.run.cells / recipe.id).exists() for recipe in ctx.cells.all()):
        tasks.append(partial(_compile_ahead, ctx))
    records: dict[str, Record] = {}
    for chain in side_by_side(tasks, lanes):
        records |= chain
    return records


def _compile_ahead(ctx: Context) -> dict[str, Record]:
    """Compiles the candidates' programs while sources train: most candidates have the shape of a fresh state."""
    shapes = jax.eval_shape(lambda: init_state(ctx.target, key=Streams(root_key(0)).at("init", 0)))
    for regime in ctx.spec.regimes if ctx.cells.candidates else ():
        compile_run(shapes, ctx.feed, ctx.continuation_luck(regime, 0), batch_size=ctx.spec.data.batch_size,
                    programs=ctx.programs, **ctx.sizes)  # fmt: skip
    return {}


def _candidates(ctx: Context, records: dict[str, Record], lanes: int, watch: Watch) -> dict[str, Record]:
    watch.phase("widening", len(ctx.cells.candidates), len(ctx.cells.candidates))

    def one(recipe: Recipe) -> Record:
        record = fill_candidate(ctx, recipe, records[recipe.parents[0]])
        watch.done(1)
        return record

    filled = side_by_side([partial(one, recipe) for recipe in ctx.cells.candidates], lanes)
    return {record["id"]: record for record in filled}


def _trajectories(ctx: Context, records: dict[str, Record], lanes: int, watch: Watch) -> dict[str, Record]:
    runs = ctx.cells.trajectories
    narrow = 1 / 3  # a source's step costs about so much of a candidate's
    work = {id(t): t.final_lag * (narrow if t.probe.label["operator"] == UNWIDENED else 1) for t in runs}
    watch.phase("probing and continuing", 2 * len(runs), sum(work.values()))
    filled: dict[str, Record] = {}
    lock = threading.Lock()

    def one(trajectory) -> None:
        recipe = trajectory.candidate
        control = filled[trajectory.probe.parents[1]] if len(trajectory.probe.parents) > 1 else None
        source_id = recipe.id if control is None else recipe.parents[0]
        cells = fill_trajectory(ctx, trajectory, records[recipe.id], source_id, control)
        with lock:
            filled.update({cell["id"]: cell for cell in cells})
        watch.done(work[id(trajectory)])

    first = [t for t in runs if t.probe.label["operator"] == UNWIDENED]
    rest = [t for t in runs if t.probe.label["operator"] != UNWIDENED]
    for group in (first, rest):  # probes are measured against the unwidened control's
        side_by_side([partial(one, t) for t in group], lanes)
    return filled
