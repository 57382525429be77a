"""The same bits: from fresh processes, beside other work, in whole studies, and by the rows of the contract."""

from __future__ import annotations

import concurrent.futures
import contextlib
import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

from experiments.accelerator.evidence import UNPINNED, Evidence, Record

NO_CACHE = {"JAX_ENABLE_COMPILATION_CACHE": "false"}
AT_ONCE = 10
"""Processes on one card at a time."""


class Job(NamedTuple):
    """A program in so many fresh processes."""

    name: str
    given: Record
    processes: int
    flags: str = ""
    same: bool = True
    """Whether its bits are claimed to be the same in all of them; else what comes is told and nothing is claimed."""


def jobs(small: bool) -> list[Job]:
    """The programs: one quiet process each, and the others beside other work."""
    if small:
        given = {"width": 16, "layers": 1, "head": 8, "batch": 4, "length": 16, "vocab": 300, "dtype": "float32"}
        return [Job("float32", given, 2)]
    one = {"width": 512, "layers": 2, "head": 64, "batch": 16, "length": 512, "vocab": 8192, "dtype": "bfloat16"}
    other = {**one, "width": 256, "dtype": "float32"}
    return [
        Job("bfloat16", one, 6),
        Job("float32", other, 6),
        Job("bfloat16, compiled by 16 threads", one, 2, "--xla_gpu_force_compilation_parallelism=16"),
        Job("bfloat16, no command buffers", one, 2, "--xla_gpu_enable_command_buffer="),
        Job("bfloat16, attention by scores", {**one, "attention": "scores"}, 2),
        Job("bfloat16, attention by cuDNN", {**one, "attention": "cudnn"}, 2, same=False),
        Job("bfloat16, not pinned", one, 3, UNPINNED, same=False),
    ]


STUDY = ("--preset", "smoke")
STUDY_SMALL = (
    "--preset", "smoke", "--source-steps", "10", "--regimes", "stochastic", "--stochastic-replicates", "1",
    "--operators", "exact_copy",
)  # fmt: skip
ROWS, ROWS_SMALL = ("B5", "B6", "B7", "B9"), ("B6",)
"""Rows of the contract that are quick enough here; `doctor` asks for all."""


def study_words(name: str, small: bool) -> list[str]:
    """The command of one of the two studies that are compared."""
    lanes = {"a": "1", "b": "2"}[name]
    return ["study", *(STUDY_SMALL if small else STUDY), "--out", f"study-{name}", "--lanes", lanes, "--json"]


def run(evidence: Evidence) -> None:
    """The stage: first one process of two claimed programs, with the card to themselves, then everything else beside
    work without end (and beside itself: a CPU has no other quiet)."""
    small = evidence.setting.small
    planned = jobs(small)
    quiet = [] if small else [job for job in planned if job.same][:2]
    seen: dict[str, list[Record]] = {job.name: [] for job in planned}

    def one(job: Job, busy: bool) -> None:
        if evidence.left() < 45:
            seen[job.name].append({"failed": "no time"})
            return
        env = evidence.environment(flags=job.flags, **NO_CACHE, **evidence.quick())
        made = evidence.worker("program", {**job.given, "hlo": str(evidence.work)}, env)
        seen[job.name].append({**made, "beside other work": busy})
        evidence.say(job.name, made.get("state"), made.get("module"), made.get("stderr", "")[-300:])

    with concurrent.futures.ThreadPoolExecutor(3 if small else AT_ONCE) as pool:
        list(pool.map(lambda job: one(job, False), quiet))
        with busy(evidence):
            rows = pool.submit(_doctor, evidence)  # the longest first
            studies = {name: pool.submit(_study, evidence, name) for name in "ab"}
            waiting = [pool.submit(one, job, True) for job in planned for _ in range(job.processes - (job in quiet))]
            concurrent.futures.wait(waiting)
            found = {"programs": seen, "distinct": {job.name: _distinct(seen[job.name]) for job in planned}}
            evidence.keep("bits", found)
            found["studies"] = {name: study.result() for name, study in studies.items()}
            found["rows"] = rows.result()
            evidence.keep("bits", found)
    for job in planned:
        _judge(evidence, job, seen[job.name])
    _keep_modules(evidence, seen)
    found["diff"] = _diff(evidence, found["studies"])
    evidence.keep("bits", found)
    _judge_rows(evidence, found["rows"])


@contextlib.contextmanager
def busy(evidence: Evidence) -> Iterator[None]:
    """Products without end on the device, inside the block."""
    nowhere = subprocess.DEVNULL
    words = [sys.executable, "-m", "growjax.preflight.busy"]
    process = subprocess.Popen(words, env=evidence.environment(), stdin=subprocess.PIPE, stdout=nowhere, stderr=nowhere)
    try:
        yield
        if process.poll() is not None:
            evidence.fault("bits", "the other work on the device had ended: nothing was beside it")
    finally:
        process.kill()
        process.communicate()


def _distinct(made: list[Record]) -> Record:
    fields = ("program", "module", "state", "losses")
    return {field: len({m[field] for m in made if field in m}) for field in fields}


def _judge(evidence: Evidence, job: Job, made: list[Record]) -> None:
    failed = [m for m in made if "failed" in m]
    if failed and job.same:
        evidence.fault(
            "bits", f"{job.name}: a process failed: {failed[0]['failed']} {failed[0].get('stderr', '')[-400:]}"
        )
    if not job.same:
        return
    whole = [m for m in made if "failed" not in m]
    for field in ("pins", "program", "state", "losses"):
        evidence.compare("bits", f"{job.name}: {field} of {len(whole)} processes", [m[field] for m in whole])
    if not (job.flags or evidence.quick()) and not all(m["pinned"] for m in whole):
        evidence.fault("bits", f"{job.name}: a process was not pinned")


def _keep_modules(evidence: Evidence, seen: dict[str, list[Record]]) -> None:
    """Where one program became two modules, both are kept, for whoever looks for the fusion that differs."""
    for made in seen.values():
        modules = {m["module"] for m in made if "module" in m}
        if len(modules) > 1:
            for module in sorted(modules)[:2]:
                path = evidence.work / f"module-{module}.txt"
                if path.exists():
                    (evidence.out / f"module-{module}.txt.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))


def _study(evidence: Evidence, name: str) -> Record:
    words = [sys.executable, "-m", "growjax", *study_words(name, evidence.setting.small)]
    made = evidence.child(words, evidence.environment(cache=f"cache-{name}"))
    return {key: made[key] for key in ("wall_s", "failed", "stderr", "root") if key in made}


def _doctor(evidence: Evidence) -> Record:
    rows = ROWS_SMALL if evidence.setting.small else ROWS
    words = [sys.executable, "-m", "growjax", "doctor", "--rows", *rows, "--json"]
    return evidence.child(words, evidence.environment(cache="cache-shared"))


def _judge_rows(evidence: Evidence, found: Record) -> None:
    if not found.get("rows"):
        evidence.fault("rows", f"no row was asked: {found.get('failed')} {found.get('stderr', '')[-400:]}")
    for row in found.get("rows", []):
        if row["verdict"] == "fails":
            evidence.fault("rows", f"{row['row']} {row['changes']}: {row['failed']}")
        elif row["verdict"] == "holds" and not row["compared"]:
            evidence.fault("rows", f"{row['row']} compared nothing")


def _diff(evidence: Evidence, studies: dict[str, Record]) -> Record:
    for name, study in studies.items():
        if "failed" in study:
            evidence.fault("studies", f"study {name}: {study['failed']} {study.get('stderr', '')[-400:]}")
    words = [sys.executable, "-m", "growjax", "diff", "study-a", "study-b", "--json"]
    made = evidence.child(words, evidence.environment(cache="cache-a"), limit=60)
    if "failed" in made or made.get("difference") is not None or not made.get("compared"):
        what = json.dumps({k: made.get(k) for k in ("compared", "difference", "failed")})
        evidence.fault("studies", f"diff of two studies: {what} {made.get('stderr', '')[-300:]}")
    return made
