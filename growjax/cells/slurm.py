"""An executor of jobs on a SLURM cluster, through submitit: units that become ready together are one array of jobs.

Jobs and this process share a disk, as SLURM has it: the files of cells are read where they lie. What comes back is
written by this process all the same. A process that is killed leaves its jobs behind; the next one in its place ends
them, since nobody waits for what they do.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import shutil
import signal
import subprocess
import time
import uuid
from pathlib import Path
from typing import Any

from growjax.cells.executor import Delivery
from growjax.cells.remote import Answer, Order, Remote, RemoteUnits, refused, work
from growjax.errors import UserError
from growjax.files import contents

POLL = {"slurm": 2.0, "local": 0.1}
"""Seconds between looks at jobs, by the kind of cluster."""

CANCELS = 60.0
"""Seconds that SLURM has to cancel jobs."""

GRACE = 3.0
"""Seconds that a job of this machine has to end by itself."""


def library(cluster: str) -> Any:
    """submitit, or one line on what is missing for a kind of cluster."""
    try:
        found = importlib.import_module("submitit")
    except ImportError:
        raise UserError("submitit is not installed", "pip install -e '.[slurm]' in growjax's folder") from None
    if cluster == "slurm" and shutil.which("sbatch") is None:
        raise UserError(
            "there is no SLURM on this machine (no sbatch)", "run where jobs are submitted, or give --cluster local"
        )
    return found


def _task(order: Order, folders: dict[str, str]) -> Answer:
    """What a job runs."""
    return work(order, lambda name: contents(Path(folders[name])))


def _end(folder: Path, cluster: str) -> None:
    """Cancels the jobs whose files lie in a folder, and removes it: one that has no number yet finds nothing to do."""
    numbers = [path.name.partition("_submitted")[0] for path in folder.glob("*_submitted.pkl")]
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        if cluster == "slurm" and numbers:
            subprocess.run(["scancel", *numbers], capture_output=True, timeout=CANCELS)
    for number in numbers if cluster == "local" else ():
        with contextlib.suppress(OSError):  # it has ended
            _end_here(int(number), folder.name.encode())
    shutil.rmtree(folder, ignore_errors=True)


def _end_here(number: int, named: bytes) -> None:
    """Ends a job of this machine, and what it started: by an interrupt, or where that is ignored, as what is begun in a
    shell's background does, by force. Its number may be another process's now, which does not have this name."""
    place, until = Path(f"/proc/{number}"), time.monotonic() + GRACE
    begun = named in (place / "cmdline").read_bytes()
    if begun:
        os.kill(number, signal.SIGINT)
    while begun and named in (place / "cmdline").read_bytes():
        if time.monotonic() > until:
            for one in (*(place / "task" / str(number) / "children").read_text().split(), number):
                os.kill(int(one), signal.SIGKILL)
        time.sleep(0.05)


class Slurm(RemoteUnits):
    """Fills units as jobs, each in a process of its own."""

    def __init__(
        self,
        remote: Remote,
        folder: Path,
        *,
        cluster: str = "slurm",
        partition: str = "",
        minutes: int = 60,
        cores: int = 1,
        gpus: int = 0,
        most: int = 64,
    ):
        """A job has so many minutes, cores and GPUs; `most` are under way at once. submitit's own files lie below
        `folder`, in which one process may be at work at a time. `cluster` is `slurm`, or `local` for processes of this
        machine."""
        super().__init__(remote)
        self.capacity, self._folder, self._cluster, self._minutes = most, folder, cluster, minutes
        self._jobs_of = f"jobs-{cluster}-"  # which kind of jobs a folder holds
        self._wanted: dict[str, Any] = {"timeout_min": minutes, "cpus_per_task": cores}
        self._wanted |= {"gpus_per_node": gpus} if gpus else {}
        self._wanted |= {"slurm_partition": partition} if partition else {}
        self._waiting: list[tuple[str, Order]] = []
        self._jobs: dict[str, Any] = {}

    def start(self) -> None:
        self._submitit = library(self._cluster)
        self._end_all()
        own = self._folder / f"{self._jobs_of}{uuid.uuid4().hex}"
        self._executor = self._submitit.AutoExecutor(folder=own, cluster=self._cluster)
        self._executor.update_parameters(name="growjax", **self._wanted)

    def _send(self, name: str, order: Order) -> None:
        self._waiting.append((name, order))

    def _submit_waiting(self) -> None:
        """All that is ready now, as one array."""
        jobs, errors = [], self._submitit.core.utils
        try:
            with contextlib.redirect_stderr(io.StringIO()), self._executor.batch():  # it would say the error as well
                for _, order in self._waiting:
                    folders = {name: str(self._remote.folder(name).absolute()) for name in order.parcels}
                    jobs.append(self._executor.submit(_task, order, folders))
        except (errors.FailedSubmissionError, errors.FailedJobError, OSError) as error:
            hint = "correct --partition, --time, --cores and --gpus"
            raise UserError(refused("SLURM does not take the jobs", error), hint) from None
        self._jobs |= {name: job for (name, _), job in zip(self._waiting, jobs, strict=True)}
        self._waiting.clear()

    def next(self) -> Delivery:
        if self._waiting and not self._ended:
            self._submit_waiting()
        while not self._ended:
            for name, job in self._jobs.items():
                if job.done():
                    return self._read(name, self._jobs.pop(name))
            time.sleep(POLL[self._cluster])
        return self._ended.pop(0)

    def _read(self, name: str, job: Any) -> Delivery:
        try:
            answer: Answer = job.result()
        except self._submitit.core.utils.FailedJobError as error:
            lines = [line for line in str(error).splitlines() if "Error" in line]
            fault = f"a job could not begin ({lines[-1] if lines else error})"
            return Delivery(name, error=UserError(fault, "install on every node what is installed here"))
        except self._submitit.core.utils.UncompletedJobError:  # its process or its node has ended
            return Delivery(name, lost=True)
        if answer.error is not None and "timed-out" in str(answer.error):  # raised by submitit amid the work
            hint = "give its jobs longer with --time; finished cells are kept"
            return Delivery(name, error=UserError(f"{name} took longer than {self._minutes} minutes", hint))
        if answer.error is not None and "UncompletedJobError" in str(answer.error):  # another job took its place
            return Delivery(name, lost=True)
        return self._answered(name, answer)

    def _end_all(self) -> None:
        """Cancels the jobs of this run, an earlier head's among them."""
        for folder in self._folder.glob(f"{self._jobs_of}*"):
            _end(folder, self._cluster)

    def stop(self, *, failed: bool) -> None:
        self._end_all()
        shutil.rmtree(self._folder, ignore_errors=True)
