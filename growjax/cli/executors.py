"""Where cells are filled: options, and the executor that they name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

from growjax import runtime
from growjax.cells.executor import Executor
from growjax.cli.arguments import Common
from growjax.errors import UserError
from growjax.study.units import Filling

Make = Callable[[Filling], Executor]

OF = {"address": "ray", "cluster": "slurm", "partition": "slurm", "time": "slurm"}
"""The executor that an option belongs to; cores and GPUs belong to both of these."""

JOBS = 64
"""SLURM jobs under way at once, where the user does not say."""


@dataclasses.dataclass(frozen=True)
class Where(Common):
    """What a verb takes that can have its cells filled elsewhere."""

    executor: Literal["processes", "ray", "slurm"] = "processes"
    """Where cells are filled: here, on a Ray cluster, or as SLURM jobs. No result depends on it."""
    address: str = "auto"
    """The Ray cluster: HOST:PORT, the one that runs here (auto), or a new one of this machine alone (local)."""
    cluster: Literal["slurm", "local"] = "slurm"
    """SLURM itself, or processes of this machine in its stead."""
    partition: str = ""
    """SLURM's partition; its default one if not given."""
    time: int = 60
    """Minutes that a SLURM job has to fill a cell, and the one that goes on from it."""
    cores: int = 1
    """Cores that a cell takes, on Ray and SLURM."""
    gpus: int | None = None
    """GPUs that a cell takes there; one if not given, and none where this process has none."""


def chosen(given: Where, shards: int) -> tuple[int, Make | None]:
    """How many cells are filled side by side, and how the executor is made; None: processes of this machine. A cluster
    is asked at once, before anything is written."""
    for field in dataclasses.fields(Where):
        other = OF.get(field.name, "ray or slurm" if field.name in ("cores", "gpus") else "")
        if other and given.executor not in other.split(" or ") and getattr(given, field.name) != field.default:
            raise UserError(f"--{field.name} is given for --executor {given.executor}", f"give --executor {other}")
    if given.executor == "processes":
        return given.workers or runtime.workers(shards), None
    import jax

    from growjax.study.remote import StudyRemote

    runtime.start()
    gpus = given.gpus if given.gpus is not None else int(jax.default_backend() != "cpu")
    if given.executor == "ray":
        from growjax.cells import ray

        ray.connect(given.address)
        room = ray.slots(given.cores, gpus)
        return max(1, min(room, given.workers or room)), lambda filling: ray.Ray(
            StudyRemote(filling.context), address=given.address, cores=given.cores, gpus=gpus, most=given.workers
        )
    from growjax.cells import slurm

    slurm.library(given.cluster)
    most = given.workers or (runtime.cores() if given.cluster == "local" else JOBS)
    return most, lambda filling: slurm.Slurm(
        StudyRemote(filling.context),
        filling.context.run.path / "partial" / "jobs",
        cluster=given.cluster,
        partition=given.partition,
        minutes=given.time,
        cores=given.cores,
        gpus=gpus,
        most=most,
    )
