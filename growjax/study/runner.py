"""Runs a study: fills every cell that is not full yet, writes the receipt, and sums it up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

import jax

from growjax import runtime
from growjax.cells.executor import Executor, InProcess, Running
from growjax.cells.graph import Graph, Unit
from growjax.cells.processes import Processes
from growjax.cells.scheduler import Use, fill
from growjax.data.tokens import INFO, open_tokens
from growjax.errors import UserError
from growjax.grow.plan import make_plan
from growjax.grow.registry import described_operators, parse_operator
from growjax.measure.registry import described, measures, portable
from growjax.preflight.verdict import preflight
from growjax.record.checksums import read_checked
from growjax.record.rundir import RunDir
from growjax.schema import SCHEMA, Record
from growjax.source import source_digests
from growjax.streams import Streams, root_key
from growjax.study.checks import require_room_for_study
from growjax.study.context import Context, Sharded, make_context, prepare_tokens
from growjax.study.estimate import LONG, estimate
from growjax.study.finalists import with_finalists
from growjax.study.given import fill_data, fill_given
from growjax.study.growing import extends
from growjax.study.receipt import check_sources
from growjax.study.recipes import Extension, Rung, data_recipe
from growjax.study.recordable import require_recordable
from growjax.study.repair import check_repaired, repair_cells, repair_tokens, say_of_report
from growjax.study.reuse import reusable, reuse
from growjax.study.selection import read_spec
from growjax.study.sources import resolve
from growjax.study.spec import StudySpec
from growjax.study.units import Filling, extension_units, fill_unit, filling, study_units
from growjax.train.shards import run_sharded


class Watch(Protocol):
    """Who looks on: shown what is being done, and never asked."""

    def phase(self, name: str, cells: int, work: float) -> None:
        """A phase begins, of so many cells and so much work."""

    def done(self, work: float, note: str = "") -> None:
        """So much more work is behind; `note` says what, in all."""

    def used(self, use: Use) -> None:
        """How busy the workers were."""

    def say(self, text: str) -> None:
        """What the user has to know, in a line."""


Phases = Callable[[Context, dict[str, Record]], Iterable[Sequence[Extension | Rung]]]
"""Of a study at work and the records of its full cells: what to run next, again and again. Records of what was asked
for stand there before the next is asked."""


def finalists_of(ctx: Context, records: dict[str, Record]) -> Iterator[Sequence[Extension | Rung]]:
    """The one phase behind a study's own cells: its finalists, to the long lag."""
    if ctx.spec.long_lag:
        yield with_finalists(ctx.cells, ctx.spec, records.values()).extensions


class Nobody:
    """The watch that does not look."""

    def phase(self, name: str, cells: int, work: float) -> None: ...

    def done(self, work: float, note: str = "") -> None: ...

    def used(self, use: Use) -> None: ...

    def say(self, text: str) -> None: ...


def check(spec: StudySpec) -> None:
    """Refuses at once what could only fail later: an operator that is not known, a target that cannot be reached, a
    package whose measure is none."""
    measures()
    require_room_for_study(spec)
    source = spec.train_config(spec.data.vocab_size).model
    plan = make_plan(source, spec.to.of(source))
    streams = Streams(root_key(spec.study_seed, "study"))
    for operator in spec.candidates:
        parse_operator(operator).follow(plan, spec.optim, streams=streams)


def header(spec: StudySpec) -> Record:
    """What a receipt says of a run before its first cell; of measures and operators, where some are not growjax's."""
    return {
        "schema": SCHEMA,
        "environment": runtime.environment(),
        "pins": runtime.pins(),
        "config": spec.to_dict(),
        "source_code": dict(source_digests()),
        "preflight": preflight(),
        **{name: found for name, found in registered(spec).items() if found},
    }


def registered(spec: StudySpec) -> Record:
    """The measures, and the operators that a study uses, that are not growjax's own."""
    return {"measures": described(), "operators": described_operators(spec.candidates)}


def run_study(
    spec: StudySpec,
    run: RunDir,
    *,
    workers: int = 1,
    force: bool = False,
    watch: Watch | None = None,
    only: set[str] | None = None,
    corpus: str | None = None,
    keep: Path | None = None,
    executor: Callable[[Filling], Executor] | None = None,
    sources: Sequence[Path] = (),
    tokenizer: Path | None = None,
    phases: Phases | None = None,
    others: Sequence[Path] = (),
    sharded: Sharded = run_sharded,
) -> Record:
    """Fills the run directory with all cells of a study and returns its receipt. Full cells are taken as they are.

    `only` fills the cells of these ids and their ancestors, and no others. `corpus` says where the stories lie now, if
    they are not where the specification has them. `keep` is a folder of tokens kept between runs; without it they are
    made anew. `workers` processes fill cells side by side (one: this process), or `executor` makes one's own of how
    units are filled; no result depends on either. `sources` and `tokenizer` say where that lies which the specification
    names by digest; one that names paths says so itself. `phases` is what is asked for where results decide that;
    without it a study's finalists are. `others` are runs whose sources and candidates are taken where they are this
    run's (`growjax.study.reuse`). `sharded` runs virtual shards where this process fills cells
    (`growjax.study.on_mesh.OnMesh`). With `force` the run that stands there is deleted, once tokens are made and all
    that can be refused is known not to be.
    """
    watch = watch or Nobody()
    runtime.start()
    spec, places = resolve(spec, sources=sources, tokenizer=tokenizer, corpus=corpus)
    check(spec)
    if workers > 1 or executor:
        portable()
    if only is None:
        require_recordable(spec)
    with run.alone():
        if spec.source:
            check_sources(spec, {*places.sources, *_recorded(run)})
        head = header(spec)
        open_ = partial(_opened, spec, run, watch, sharded, corpus=places.corpus, keep=keep, tokenizer=places.tokenizer)
        if force:
            recorded, ctx = {}, _anew(run, head, open_, others, [one.folder for one in places.sources.values()])
            if only is None:
                _say_estimate(spec, run, workers, watch)
        else:
            recorded, corpus_then = run.recorded()
            run.begin(head, follows=lambda c: extends(spec, read_spec(c)), say=watch.say)
            if only is None:
                _say_estimate(spec, run, workers, watch)
            at_hand = not spec.data.tokenizer or places.tokenizer is not None
            repair_tokens(run, data_recipe(spec), recorded, watch.say, corpus=corpus_then, can=at_hand)
            ctx = _gone_on_with(run, open_)
        cells = ctx.cells if only is None else ctx.cells.only(only)
        later = only is None and bool(ctx.cells.possible)
        finished = not later or run.has_ended(head)
        possible = [e.recipe for e in ctx.cells.possible] if later else []
        repaired = repair_cells(run, [*cells.all(), *possible], recorded, watch.say, at_hand=places.sources)
        for other in others:
            watch.say(f"{reuse(run, other, head, ctx.tokens.digest, cells.all())} cells are taken from {other}")
        full = finished and all((run.cells / recipe.id / "result.json").exists() for recipe in cells.all())
        ahead = not full and executor is None and workers > len(spec.source_seeds) and spec.shards == 1
        records = {ctx.cells.data.id: fill_data(ctx)}
        records |= {one.id: fill_given(ctx, one, places.sources.get(one.parameters["state"])) for one in cells.given}
        graph = Graph(study_units(ctx, cells, ahead=ahead), full=records)
        chosen = executor(filling(ctx)) if executor and not full else _executor(ctx, 1 if full else workers)
        with Running(chosen) as running:
            watch.used(_fill(graph, running, records, run, watch))
            for further in (phases or finalists_of)(ctx, records) if later else ():
                watch.used(_fill(Graph(extension_units(further), full=records), running, records, run, watch))
        check_repaired(repaired, records, recorded)
        say_of_report(run, watch.say)
        info = ctx.tokens.info
        inputs = {"corpus": info["source"], "corpus_digest": info["corpus_digest"], "tokens": ctx.tokens.digest}
        inputs |= places.inputs()
        run.write_receipt({**head, "inputs": inputs, "programs": programs_of(records.values())}, records.values())
        run.close()
    return run.receipt()


def _recorded(run: RunDir) -> set[str]:
    """Digests of the given sources whose cells are full in a run directory."""
    found: list[Record] = [read_checked(path) or {} for path in run.cells.glob("*/result.json")]
    return {cell["parameters"]["state"] for cell in found if cell.get("kind") == "given"}


def _say_estimate(spec: StudySpec, run: RunDir, workers: int, watch: Watch) -> None:
    """How long a long study takes."""
    expected = estimate(spec, run.path, workers=workers)
    if expected.seconds > LONG:
        watch.say(str(expected))


def _opened(
    spec: StudySpec,
    run: RunDir,
    watch: Watch,
    sharded: Sharded,
    data: Path,
    *,
    corpus: str | None,
    keep: Path | None,
    tokenizer: Path | None,
) -> Context:
    """The tokens, in the folder `data`, and what cells are computed from."""
    watch.phase("reading and tokenizing stories", 1, 1)
    tokens = prepare_tokens(data, spec, corpus, keep=keep, tokenizer=tokenizer)
    watch.done(1)
    return make_context(spec, run, tokens, sharded)


def _gone_on_with(run: RunDir, open_: Callable[[Path], Context]) -> Context:
    """What a run's cells are computed from; a directory that gets no tokens is left as if nothing had been."""
    new = not (run.data / INFO).exists()
    try:
        return open_(run.data)
    except UserError:
        if new:
            run.forget()  # so that it is not in the way of the same command with another corpus
        raise


def _anew(
    run: RunDir, head: Record, open_: Callable[[Path], Context], others: Sequence[Path], sources: Sequence[Path]
) -> Context:
    """The same of a run in place of the one that stands there, which is deleted once nothing is left to refuse."""
    for read in (*others, *sources):
        if read.resolve().is_relative_to(run.path.resolve()):
            raise UserError(f"--force would delete {read}, which this command reads", "choose another --out")
    with run.anew(head) as data:
        ctx = open_(data)
        for other in others:
            reusable(other, head, ctx.tokens.digest, ctx.cells.all())
    return replace(ctx, tokens=open_tokens(run.data))


def _executor(ctx: Context, workers: int) -> Executor:
    """This process, or processes beside it."""
    if workers == 1:
        return InProcess(ctx, fill_unit)
    devices = jax.local_devices()
    numbers = [devices[number % len(devices)].local_hardware_id or 0 for number in range(workers)]
    given = filling(ctx)
    return Processes(numbers, given.begin, given.arguments, given.fill)


def _fill(graph: Graph, running: Running, records: dict[str, Record], run: RunDir, watch: Watch) -> Use:
    """Fills the graph; progress counts units by their kind, and work by their cost."""
    units = [unit for unit in graph.units.values() if not unit.optional]
    of_kind, ended = Counter(unit.kind for unit in units), Counter[str]()
    watch.phase("filling cells", sum(len(unit.fills) for unit in units), sum(unit.cost for unit in units))

    def done(unit: Unit) -> None:
        ended[unit.kind] += 1
        if not unit.optional:
            cells = ", ".join(f"{ended[kind]}/{count} {kind}" for kind, count in of_kind.items())
            workers = running.capacity
            watch.done(unit.cost, cells if workers == 1 else f"{cells} on {workers} workers")

    return fill(graph, running, records, accept=run.check, done=done)


def programs_of(records: Iterable[Record]) -> dict[str, list[str]]:
    """Fingerprints of the programs that filled the cells, by their name."""
    prints = {cell["digests"]["program"] for cell in records if "program" in cell["digests"]}
    return {"run": sorted(prints)}
