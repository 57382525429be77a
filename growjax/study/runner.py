"""Runs a study: fills every cell that is not full yet, writes the receipt, and sums it up."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import jax

from growjax import runtime
from growjax.errors import UserError
from growjax.grow.plan import make_plan
from growjax.grow.registry import parse_operator
from growjax.measure.registry import described, measures
from growjax.preflight.verdict import preflight
from growjax.record.cells import Recipe
from growjax.record.rundir import RunDir
from growjax.schema import SCHEMA
from growjax.source import source_digests
from growjax.streams import Streams, root_key
from growjax.study.checks import require_room_for_study
from growjax.study.context import Context, make_context, prepare_tokens
from growjax.study.crossing import fill_crossed
from growjax.study.fill import Record, fill_candidate, fill_data, fill_source, fill_trajectory
from growjax.study.lanes import Lanes
from growjax.study.recipes import Crossed, StudyCells, Trajectory
from growjax.study.spec import REGIMES, UNWIDENED, StudySpec
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


def check(spec: StudySpec) -> None:
    """Refuses at once what could only fail later: an operator that is not known, a target that cannot be reached, a
    package whose measure is none."""
    measures()
    require_room_for_study(spec)
    source = spec.train_config(spec.data.vocab_size).model
    plan = make_plan(source, spec.to.of(source))
    for operator in spec.operators:
        parse_operator(operator).check(plan, spec.optim)


def header(spec: StudySpec) -> dict[str, Any]:
    """What a receipt says of a run before its first cell; of measures, where there are other people's."""
    others = described()
    return {
        "schema": SCHEMA,
        "environment": runtime.environment(),
        "pins": runtime.pins(),
        "config": spec.to_dict(),
        "source_code": dict(source_digests()),
        "preflight": preflight(),
        **({"measures": others} if others else {}),
    }


def run_study(
    spec: StudySpec,
    run: RunDir,
    *,
    lanes: int = 1,
    force: bool = False,
    watch: Watch | None = None,
    only: set[str] | None = None,
    corpus: str | None = None,
    keep: Path | None = None,
) -> dict[str, Any]:
    """Fills the run directory with all cells of a study and returns its receipt. Full cells are taken as they are.

    `only` fills the cells of these ids and their ancestors, and no others. `corpus` says where the stories lie now, if
    they are not where the specification has them. `keep` is a folder of tokens kept between runs; without it they are
    made anew.
    """
    watch = watch or Nobody()
    check(spec)
    runtime.start()
    head = header(spec)
    run.begin(head, force=force)
    new = not (run.data / "tokens.json").exists()
    try:
        watch.phase("reading and tokenizing stories", 1, 1)
        tokens = prepare_tokens(run.data, spec, corpus, keep=keep)
        watch.done(1)
        ctx = make_context(spec, run, tokens)
    except UserError:
        if new:
            run.forget()  # so that it is not in the way of the same command with another corpus
        raise
    cells = ctx.cells if only is None else ctx.cells.only(only)
    full = all((run.cells / recipe.id / "result.json").exists() for recipe in cells.all())
    work = Work(ctx, cells, watch)
    with Lanes(1 if full else lanes, ctx) as pool:
        work.sources(pool, ahead=not full and lanes > len(spec.source_seeds) and spec.shards == 1)
        work.candidates(pool)
        work.trajectories(pool)
        work.crossed(pool)
    inputs = {"corpus": tokens.info["source"], "corpus_digest": tokens.info["corpus_digest"], "tokens": tokens.digest}
    run.write_receipt({**head, "inputs": inputs, "programs": work.programs()}, work.records.values())
    return run.receipt()


class Work:
    """The phases of a study: what is filled, and what is still to do."""

    def __init__(self, ctx: Context, cells: StudyCells, watch: Watch):
        self.ctx, self.cells, self.watch = ctx, cells, watch
        self.records: dict[str, Record] = {ctx.cells.data.id: fill_data(ctx)}

    def sources(self, pool: Lanes, *, ahead: bool) -> None:
        """Every seed's chain, one step after the other; with a lane to spare, candidates' programs are compiled."""
        chains, steps = list(self.cells.sources.values()), self.ctx.spec.source_steps
        work = sum(chain[-1].parameters["step"] for chain in chains)
        self.watch.phase("training sources", sum(map(len, chains)), work)
        for number, step in enumerate(steps):
            length = step - (steps[number - 1] if number else 0)
            tasks: list[Any] = [(c[number], self.records[c[number].parents[0]]) for c in chains if number < len(c)]
            if ahead and number == 0 and self.cells.candidates:
                tasks += [(regime, None) for regime in self.ctx.spec.regimes]
            pool.run(source_or_ahead, tasks, lambda task, record, work=length: self._take(record, work))

    def candidates(self, pool: Lanes) -> None:
        """Every source widened by every operator."""
        recipes = self.cells.candidates
        self.watch.phase("widening", len(recipes), len(recipes))
        tasks = [(recipe, self.records[recipe.parents[0]]) for recipe in recipes]
        pool.run(_candidate, tasks, lambda task, record: self._take(record, 1))

    def trajectories(self, pool: Lanes) -> None:
        """The unwidened control's trajectories first, since other probes are measured against them, then all others."""
        runs, narrow = self.cells.trajectories, 1 / 3  # a source's step costs about a third of a candidate's
        work = [t.final_lag * (narrow if t.probe.label["operator"] == UNWIDENED else 1) for t in runs]
        self.watch.phase("probing and continuing", 2 * len(runs), sum(work))

        def take(task: Any, cells: list[Record]) -> None:
            for number, cell in enumerate(cells):
                self._take(cell, 0 if number else work[runs.index(task[0])])

        for control in (True, False):
            group = [t for t in runs if (t.probe.label["operator"] == UNWIDENED) == control]
            pool.run(_trajectory, [self._task(t) for t in group], take)

    def crossed(self, pool: Lanes) -> None:
        """Every candidate under every level of each luck, where luck is crossed."""
        if not self.cells.crossed:
            return
        lag = self.ctx.spec.continuation_lag
        self.watch.phase("crossing luck", len(self.cells.crossed), lag * len(self.cells.crossed))
        tasks = [(c, self.records[c.candidate.id]) for c in self.cells.crossed]
        pool.run(_crossed, tasks, lambda task, record: self._take(record, lag))

    def _task(self, trajectory: Trajectory) -> tuple[Trajectory, str, Record, Record | None]:
        parents = trajectory.probe.parents
        control = self.records[parents[1]] if len(parents) > 1 else None
        candidate = trajectory.candidate
        source = candidate.id if control is None else candidate.parents[0]
        return trajectory, source, self.records[candidate.id], control

    def _take(self, record: Record | None, work: float) -> None:
        if record is not None:
            self.records[record["id"]] = record
            self.watch.done(work)

    def programs(self) -> dict[str, list[str]]:
        """Fingerprints of the programs that filled the cells, by their name."""
        prints = {cell["digests"]["program"] for cell in self.records.values() if "program" in cell["digests"]}
        return {"run": sorted(prints)}


def source_or_ahead(ctx: Context, task: tuple[Any, Record | None]) -> Record | None:
    """Fills a source's cell; or compiles a regime's program for states of a fresh candidate's shape."""
    what, parent = task
    if parent is not None:
        return fill_source(ctx, what, parent)
    shapes = jax.eval_shape(lambda: init_state(ctx.target, key=Streams(root_key(0)).at("init", 0)))
    batch_size, live = ctx.spec.data.batch_size, ctx.luck_of(REGIMES[what], 0, {})
    compile_run(shapes, ctx.feed, live, batch_size=batch_size, programs=ctx.programs, **ctx.sizes)
    return None


def _candidate(ctx: Context, task: tuple[Recipe, Record]) -> Record:
    return fill_candidate(ctx, *task)


def _crossed(ctx: Context, task: tuple[Crossed, Record]) -> Record:
    return fill_crossed(ctx, *task)


def _trajectory(ctx: Context, task: tuple[Trajectory, str, Record, Record | None]) -> list[Record]:
    trajectory, source_id, candidate, control = task
    return fill_trajectory(ctx, trajectory, candidate, source_id, control)
