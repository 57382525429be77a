"""A study's cells filled by workers that do not see its run directory: what they are sent, and how they begin.

A worker gets the specification, the tokens, and the cells that a unit descends from. It fills the unit in a run
directory of its own, which is for nobody else, and hands back the files of each cell. It refuses to begin where its
environment is not the run's.
"""

from __future__ import annotations

import atexit
import pickle
import platform
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock

from growjax import runtime
from growjax.cells.graph import Unit
from growjax.cells.remote import Files, Order
from growjax.errors import CheckFailed, UserError
from growjax.files import contents, whole_directory, write_contents
from growjax.measure import registry
from growjax.measure.measure import Measure
from growjax.preflight.verdict import preflight
from growjax.record.comparison import first_difference, other_registered
from growjax.record.integrity import is_going
from growjax.record.rundir import COMPARABLE, LOCAL, LOCK, RunDir
from growjax.schema import Record
from growjax.source import source_digests
from growjax.study.context import Context
from growjax.study.runner import registered
from growjax.study.selection import read_spec
from growjax.study.units import begin_worker, fill_unit

TOKENS = "tokens"
"""The name of the parcel that every worker needs; the others are cells, by id, and ends of rungs."""

PARTIAL = "partial/"
"""Before a rung's id: the parcel of the state it ended with, which the next rung goes on from."""

_PREFIX = "growjax-worker-"


class Job(NamedTuple):
    """What every worker of a study is given."""

    key: str
    """Another for each process that hands units out."""
    spec: Record
    measures: list[Measure]
    registered: Record
    """What the run's receipt says of measures and operators that are not growjax's own."""
    expected: Record
    """The run's `surroundings`."""


def surroundings() -> Iterator[tuple[str, object]]:
    """What a worker must share with the run, part by part: first what is known before a device is looked for, and last
    what the canaries compute."""
    yield "packages", {name: metadata.version(name) for name in runtime.PACKAGES}
    yield "source_code", dict(source_digests())
    yield "pins", runtime.pins()
    environment = runtime.environment()
    yield "environment", {name: environment.get(name) for name in (*COMPARABLE, *LOCAL)}
    yield "canaries", preflight()["canaries"]


class StudyRemote:
    """The head's side of a study that remote workers fill (`growjax.cells.remote.Remote`)."""

    def __init__(self, ctx: Context):
        self._ctx = ctx
        self._job = Job(uuid.uuid4().hex, ctx.spec.to_dict(), registry.portable(), registered(ctx.spec),
                        dict(surroundings()))  # fmt: skip
        self._environ = runtime.carried()

    def here(self, unit: Unit, given: Mapping[str, Record]) -> Sequence[Record] | None:
        full = all((self._ctx.run.cells / name / "result.json").exists() for name in unit.fills)
        return fill_unit(self._ctx, unit.argument, given) if unit.fills and full else None

    def order(self, unit: Unit, given: Mapping[str, Record]) -> Order:
        """A candidate's source comes along: what goes on from the candidate is measured against it."""
        sources = [given[name]["parents"][0] for name in unit.needs if given[name]["kind"] == "candidate"]
        ends = [f"{PARTIAL}{name}" for name in unit.needs if self.folder(f"{PARTIAL}{name}").is_dir()]
        cells = tuple(dict.fromkeys((*unit.needs, *sources, *ends)))
        task = (fill_remote, self._job, unit.argument, dict(given), cells)
        return Order(self._environ, (TOKENS, *cells), pickle.dumps(task))

    def folder(self, name: str) -> Path:
        return self._ctx.run.data if name == TOKENS else _place(self._ctx.run, name)

    def store(self, unit: Unit, given: Mapping[str, Record], made: Mapping[str, Files]) -> Sequence[Record]:
        ends = {f"{PARTIAL}{name}" for name in unit.fills} & set(made)
        if set(made) - ends != set(unit.fills):
            raise CheckFailed(f"a worker handed back other cells than those of {unit.name}")
        for name in unit.fills:
            self._ctx.run.adopt(name, made[name])
        for name in ends:  # checked where it is read: it is only worth steps
            with whole_directory(self.folder(name), replace=True) as folder:
                write_contents(folder, made[name])
        for name in unit.needs:
            shutil.rmtree(self.folder(f"{PARTIAL}{name}"), ignore_errors=True)
        return self.here(unit, given) or []  # each is found, and was made of what it should be


def fill_remote(
    job: Job, argument: Any, given: Mapping[str, Record], cells: Sequence[str], parcel: Callable[[str], Files]
) -> dict[str, Files]:
    """In a worker: the files of a unit's cells."""
    ctx = _begun(job, parcel)
    try:
        for name in cells:
            write_contents(_place(ctx.run, name), parcel(name))
        filled = [record["id"] for record in fill_unit(ctx, argument, given)]
        ends = [f"{PARTIAL}{name}" for name in filled if _place(ctx.run, f"{PARTIAL}{name}").is_dir()]
        return {name: contents(_place(ctx.run, name)) for name in (*filled, *ends)}
    finally:
        for folder in (ctx.run.cells, ctx.run.path / "partial"):
            shutil.rmtree(folder, ignore_errors=True)


def _place(run: RunDir, name: str) -> Path:
    """Where a parcel of cells lies in a run directory."""
    return (run.path if name.startswith(PARTIAL) else run.cells) / name


class _Worker(NamedTuple):
    """In a worker: where it fills cells of a study."""

    context: Context
    lock: FileLock
    """Held as long as this process lives, so that others know whether they may remove its folder."""


_at_work: dict[str, _Worker] = {}
"""By the job's key; one at a time."""


def _begun(job: Job, parcel: Callable[[str], Files]) -> Context:
    """What cells are filled from here, made once: after this environment has been found to be the run's."""
    if job.key not in _at_work:
        runtime.start()
        require_same(job.expected)
        registry.adopt(job.measures)
        _require_registered(job)
        for old in _at_work.values():
            shutil.rmtree(old.context.run.path, ignore_errors=True)
        _at_work.clear()
        folder = _own_folder()
        lock = FileLock(folder / LOCK)
        lock.acquire()
        write_contents(RunDir(folder).data, parcel(TOKENS))
        _at_work[job.key] = _Worker(begin_worker(job.spec, str(folder), job.measures), lock)
    return _at_work[job.key].context


def require_same(expected: Record) -> None:
    """Raises `UserError` with the first thing that this process does not share with a run."""
    for part, found in surroundings():
        if found != expected[part]:
            where = first_difference(expected[part], found, part)
            raise UserError(
                f"a worker on {platform.node()} is not in the run's environment ({where})",
                "give every worker the packages, the device and the variables that the command itself has",
            )


def _require_registered(job: Job) -> None:
    """Raises `UserError` with the measure or operator that is not the run's."""
    fault = other_registered(job.registered, registered(read_spec(job.spec)))
    if fault is not None:
        raise UserError(
            f"a worker on {platform.node()} has other packages ({fault})", "give every worker the same ones"
        )


def _own_folder() -> Path:
    """A new folder for this process, which goes when it ends; those that killed processes left behind go now."""
    base = Path(tempfile.gettempdir())
    for old in base.glob(f"{_PREFIX}*"):
        if (old / LOCK).is_file() and not is_going(old):
            shutil.rmtree(old, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
