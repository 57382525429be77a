"""The bits contract, row by row, on this machine's own device: each row runs the reference run, or a small study, in
other surroundings and compares every digest with those of the plain run. No row has a tolerance.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from growjax.errors import CheckFailed
from growjax.mesh.rules import MeshShape, meshes
from growjax.proof.bench import POOL, Bench, Changes
from growjax.schema import Record

Compared = Iterator[tuple[str, object, object]]
"""(what was changed, what the plain run gave, what this one gave)."""


class Row(NamedTuple):
    """A row of the contract."""

    name: str
    changes: str
    """What may change without changing bits."""
    compare: Callable[[Bench, Record], Compared] | None
    """Yields what is to be equal; None where nothing here can prove the row."""
    why: str = ""
    """Why a row is not proved here."""
    applies: bool = True
    """Whether it can be asked on this device at all."""


class Result(NamedTuple):
    """What came of a row."""

    row: str
    changes: str
    verdict: str
    """`holds`, `fails`, `open` (nothing can prove it yet) or `does not apply` (this device cannot be asked)."""
    compared: list[str]
    failed: str | None
    """What differed, or why the row is not proved."""


def _again(bench: Bench, plain: Record) -> Compared:
    first, second = bench.reference_run("twice in one process", {"again": True})
    yield "twice in one process", first, second
    yield "a new process", plain, bench.reference_run("a new process")[0]


def _fresh(bench: Bench, plain: Record) -> Compared:
    """On an accelerator: what a compiler may choose anew each time is compiled anew each time."""
    yield from _again(bench, plain)
    for number in range(6):
        what = f"fresh process {number + 1} of 6, without a compilation cache"
        yield what, plain, bench.reference_run(what, env={"JAX_ENABLE_COMPILATION_CACHE": "false"})[0]


def _killed(bench: Bench, plain: Record) -> Compared:
    """Moments are drawn over what a study takes that has nothing to compile, as broken ones have not."""
    kills, whole = 20 if bench.thorough else 2, bench.study("an unbroken study", "whole")
    began = time.monotonic()
    again = bench.study("an unbroken study again", "again")
    takes = time.monotonic() - began
    yield "an unbroken study again", whole, again
    # of this seed the first two moments come while cells are filled, not while jax is imported or the report written
    made, broken = bench.broken_studies(f"{kills} kills", kills, takes=takes, seed=10)
    if broken:
        yield f"killed {made} times and continued", [whole] * len(broken), broken
    if made < kills:
        raise CheckFailed(
            f"{made} of {kills} kills came about: other studies had ended before the moment drawn for them"
        )


def _pool(bench: Bench, plain: Record) -> Compared:
    """Pools of other sizes, in other orders, on other numbers of workers: the cells that they share."""
    sizes = (7, 3, 2, 1) if bench.thorough else (3, 1)
    runs = []
    for number, size in enumerate(sizes):
        pool = random.Random(number).sample(POOL[:size], size)
        words = ("--workers", str(1 + number % 3))
        runs.append(bench.study(f"a pool of {size}", f"pool-{size}", operators=pool, words=words))
    for size, smaller in zip(sizes[1:], runs[1:], strict=True):
        shared = sorted(smaller.keys() & runs[0].keys())
        what = f"{len(shared)} cells of a pool of {size} beside one of {sizes[0]}, shuffled, on other workers"
        yield what, [runs[0][i] for i in shared], [smaller[i] for i in shared]


def _cores(bench: Bench, plain: Record) -> Compared:
    own = sorted(os.sched_getaffinity(0))
    yield "one core", plain, bench.reference_run("one core", cores=own[:1])[0]
    yield f"all {len(own)} cores", plain, bench.reference_run("all cores", cores=own)[0]


def _devices(bench: Bench, plain: Record) -> Compared:
    one = bench.reference_run("8 shards on 1 device", {"shards": 8})[0]
    for number in (2, 4, 8):
        what, flags = f"8 shards on {number} devices", f"--xla_force_host_platform_device_count={number}"
        yield what, one, bench.reference_run(what, {"shards": 8}, env={"XLA_FLAGS": flags})[0]
    yield from _meshes(bench, one)


def _meshes(bench: Bench, plain: Record) -> Compared:
    """8 shards on a mesh in two processes; where it is asked for, on every mesh of 8 devices, in 1, 2 and 4."""
    every = list(itertools.product((1, 2, 4), meshes(8)))
    for processes, mesh in every if bench.thorough else [(2, MeshShape(fsdp=2))]:
        what = f"8 shards on a mesh of {mesh} in {processes} processes"
        options = {"shards": 8, "mesh": mesh}
        yield what, plain, bench.processes_run(what, options, processes=processes, devices=mesh.size)


def _real_devices(bench: Bench, plain: Record, *, devices: int) -> Compared:
    """The same with the accelerators there are, as many as can be seen at a time: of those that the user has chosen."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = chosen.split(",") if chosen else [str(n) for n in range(devices)]

    def on(number: int) -> Record:
        seen = {"CUDA_VISIBLE_DEVICES": ",".join(names[:number])}
        return bench.reference_run(f"{number} devices", {"shards": 8}, env=seen)[0]

    first = on(1)
    for number in (n for n in (1, 2, 4, 8) if n <= devices):
        yield f"8 shards on {number} devices", first, on(number)


def _stored(bench: Bench, plain: Record) -> Compared:
    places = {"stored": str(bench.folder / "state"), "moved": str(bench.folder / "elsewhere")}
    yield "stored, moved and loaded", plain, bench.reference_run("stored, moved and loaded", places)[0]


def _surroundings(bench: Bench, plain: Record) -> Compared:
    there = bench.folder / "another directory"
    there.mkdir()
    changes: dict[str, Changes] = {f"hash seed {n}": {"PYTHONHASHSEED": n} for n in ("0", "1", "77", "12345")}
    changes |= {
        "time zone Kathmandu": {"TZ": "Asia/Kathmandu"},
        "time zone Chatham, locale C": {"TZ": "Pacific/Chatham", "LC_ALL": "C"},
        "memory in small pages": {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"},
        "an empty compilation cache": {
            "XDG_CACHE_HOME": str(bench.folder / "cache"),
            "JAX_COMPILATION_CACHE_DIR": None,
        },
    }
    for name, env in changes.items():
        yield name, plain, bench.reference_run(name, env={"PYTHONHASHSEED": "random", **env}, cwd=there)[0]
    for python in bench.pythons:
        version = subprocess.run([python, "-V"], capture_output=True, text=True).stdout.strip() or python
        yield version, plain, bench.reference_run(version, program=(python, *bench.program[1:]))[0]


def _executors(bench: Bench, plain: Record) -> Compared:
    """Cells filled in one process, in several, and, where those are installed, on a Ray cluster of this machine alone
    and as jobs of submitit's."""
    here = bench.study("cells filled in one process", "one", words=("--workers", "1"))
    for module, name, words in EXECUTORS:
        if module is None or importlib.util.find_spec(module):
            yield name, here, bench.study(name, words[1], words=(*words, "--workers", "2"))


EXECUTORS = (
    (None, "2 processes beside each other", ("--executor", "processes")),
    ("ray", "2 workers on Ray", ("--executor", "ray", "--address", "local")),
    ("submitit", "2 jobs at a time", ("--executor", "slurm", "--cluster", "local")),
)
"""(the module that it needs, a name, options) of each executor."""


def _watching(bench: Bench, plain: Record) -> Compared:
    kept = [name for name in plain if name != "programs"]
    for every in (1, 2, 12):
        other = bench.reference_run(f"an evaluation every {every} steps", {"every": every})[0]
        yield f"an evaluation every {every} steps", [plain[k] for k in kept], [other[k] for k in kept]
    loud = {"TF_CPP_MIN_LOG_LEVEL": "0", "JAX_LOG_COMPILES": "1", "FORCE_COLOR": "1", "TERM": "xterm"}
    quiet, shows = bench.study("a quiet study", "quiet", operators=POOL[:1]), ("100 %", "Compiling")
    watched = bench.study("logging and progress", "watched", operators=POOL[:1], env=loud, shows=shows)
    yield "logging and progress", quiet, watched


ROWS = (
    Row("B1", "run again: same process, new process", _again),
    Row("B2", "killed at any moment, and continued", _killed),
    Row("B3", "the pool: which candidates run beside it, in what order, on how many workers", _pool),
    Row("B4", "cores", _cores),
    Row("B5", "devices: 1, 2, 4, 8, in one process or several, and how a model is cut over them", _devices),
    Row("B6", "states stored and loaded, moved", _stored),
    Row(
        "B7",
        "hash seed, time zone, locale, working directory, pages of memory, compilation cache, Python",
        _surroundings,
    ),
    Row("B8", "the executor: one process, several, Ray and SLURM jobs where those are installed", _executors),
    Row("B9", "watching: logging, progress, more frequent evaluation", _watching),
    Row("B10", "the CPU model", None, "one machine cannot show it: compare receipts of two with `diff`"),
)


def rows_here(backend: str, devices: int) -> tuple[Row, ...]:
    """The rows as a device of that kind can prove them."""
    if backend == "cpu":
        return ROWS
    several = partial(_real_devices, devices=devices) if devices > 1 else None
    own = {
        "B1": Row("B1", "run again: same process, six new ones that compile anew", _fresh),
        "B5": Row("B5", f"devices: those here, {devices}", several, "there is one device here", applies=devices > 1),
        "B10": Row("B10", "the CPU model", None, "the bits are an accelerator's", applies=False),
    }
    return tuple(own.get(row.name, row) for row in ROWS)


def examine(bench: Bench, rows: tuple[Row, ...], done: Callable[[Result], None]) -> list[Result]:
    """Runs every row; `done` gets each result as it ends."""
    plain, results = bench.reference_run("the plain run")[0], []
    for row in rows:
        results.append(_examine(bench, row, plain))
        done(results[-1])
    return results


def _examine(bench: Bench, row: Row, plain: Record) -> Result:
    if row.compare is None:
        return Result(row.name, row.changes, "open" if row.applies else "does not apply", [], row.why)
    compared: list[str] = []
    try:
        for what, expected, found in row.compare(bench, plain):
            compared.append(what)
            if found != expected:
                return Result(row.name, row.changes, "fails", compared, f"{what}: {_where(expected, found)}")
    except CheckFailed as error:
        return Result(row.name, row.changes, "fails", compared, str(error))
    return Result(row.name, row.changes, "holds", compared, None)


def _where(expected: object, found: object) -> str:
    """The first field that differs."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for name in expected:
            if found.get(name) != expected[name]:
                inner = _where(expected[name], found.get(name))
                return f"{name} {inner}".strip()
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for number, (a, b) in enumerate(zip(expected, found, strict=True)):
            if a != b:
                return f"[{number}] {_where(a, b)}".strip()
    return f"was {str(expected)[:20]}, is {str(found)[:20]}"


def document(results: list[Result], here: Record) -> Record:
    """All results as plain data, with what the device is."""
    return {"rows": [result._asdict() for result in results], **here}
