"""The same bits from fresh processes, alone and beside other work, under the pins and without them."""

from __future__ import annotations

import concurrent.futures
import gzip
from typing import NamedTuple

from experiments.accelerator.evidence import UNPINNED, Evidence, Record, all_cores
from experiments.bench.setting import Size
from growjax.errors import CheckFailed
from growjax.preflight.busy import busy_device

NO_CACHE = {"JAX_ENABLE_COMPILATION_CACHE": "false"}
AT_ONCE = 10
"""Processes on one card at a time."""


SMALL = Size(16, 1, 4, 16, 300, 8)
"""A model for a rehearsal."""


class Job(NamedTuple):
    """A program in so many fresh processes."""

    name: str
    given: Record
    processes: int
    flags: str = ""
    cores: bool = False
    """Whether XLA may use all cores."""
    same: bool = True
    """Whether its bits are claimed to be the same in all of them; else what comes is recorded and not judged."""


def jobs(small: bool) -> list[Job]:
    """The programs: one quiet process each, and the others beside other work."""
    if small:
        return [Job("float32", {"size": SMALL}, 2)]
    one = {"size": Size(512, 2, 16, 512, 8192, 64, 16)}
    other = {"size": Size(256, 2, 16, 512, 8192, 64, 32)}
    return [
        Job("bfloat16", one, 6),
        Job("float32", other, 6),
        Job("bfloat16, compiled by one thread", one, 2, "--xla_gpu_force_compilation_parallelism=1"),
        Job("bfloat16, no command buffers", one, 2, "--xla_gpu_enable_command_buffer="),
        Job("bfloat16, attention by scores", {**one, "attention": "scores"}, 2),
        Job("bfloat16, attention by cuDNN", {**one, "attention": "cudnn"}, 2, same=False),
        Job("bfloat16, not pinned", one, 3, UNPINNED, cores=True, same=False),
    ]


def run(evidence: Evidence) -> None:
    """The stage: first one process of two claimed programs, with the card to themselves, then everything else beside
    work without end and beside each other."""
    small = evidence.setting.small
    planned = jobs(small)
    quiet = [] if small else [job for job in planned if job.same][:2]
    seen: dict[str, list[Record]] = {job.name: [] for job in planned}

    def one(job: Job, beside: bool) -> None:
        if evidence.left() < 45:
            seen[job.name].append({"failed": "no time"})
            return
        env = evidence.environment(
            flags=job.flags, **NO_CACHE, **evidence.quick(), **(all_cores() if job.cores else {})
        )
        made = evidence.worker("program", {**job.given, "hlo": str(evidence.work)}, env)
        seen[job.name].append({**made, "beside other work": beside})
        evidence.say(job.name, made.get("state"), made.get("module"), made.get("stderr", "")[-300:])

    with concurrent.futures.ThreadPoolExecutor(3 if small else AT_ONCE) as pool:
        list(pool.map(lambda job: one(job, False), quiet))
        found: Record = {"programs": seen}
        try:
            with busy_device(env=evidence.environment()):
                list(
                    pool.map(
                        lambda job: one(job, True), [j for j in planned for _ in range(j.processes - (j in quiet))]
                    )
                )
        except CheckFailed as error:  # what was computed is kept, and was beside nothing
            evidence.fault("bits", str(error))
    found["distinct"] = {job.name: _distinct(seen[job.name]) for job in planned}
    evidence.keep("bits", found)
    for job in planned:
        _judge(evidence, job, seen[job.name])
    _keep_modules(evidence, seen)


def _distinct(made: list[Record]) -> Record:
    fields = ("program", "module", "state", "losses")
    return {field: len({m[field] for m in made if field in m}) for field in fields}


def _judge(evidence: Evidence, job: Job, made: list[Record]) -> None:
    if not job.same:
        return
    failed = [m for m in made if "failed" in m]
    if failed:
        said = f"{failed[0]['failed']} {failed[0].get('stderr', '')[-400:]}"
        evidence.fault("bits", f"{job.name}: a process failed: {said}")
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
