"""Options of a mesh and of several processes, for the verbs that compute on one."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from growjax import runtime
from growjax.cli.arguments import option_value
from growjax.config import ModelConfig
from growjax.errors import UserError, require
from growjax.mesh.processes import TIMEOUT, Processes, be_patient, enter, given, lead
from growjax.mesh.rules import AXES, MeshShape, require_shards
from growjax.values import shown

if TYPE_CHECKING:
    from growjax.study.on_mesh import OnMesh


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeshOptions:
    """What says on how many devices, in how many processes, a model is cut."""

    mesh: MeshShape = MeshShape()
    """Devices along each axis of a mesh. fsdp and tensor cut what is stored (parameters, moments, factors), as ZeRO
    does; no product is split: every device computes virtual shards of a batch, with whole parameters. No result depends
    on it."""
    coordinator: str | None = None
    """HOST:PORT of process 0, where several processes meet; under SLURM and Ray Train found by itself."""
    processes: int | None = None
    """How many processes there are, all started with the same command but --process-id."""
    process_id: int | None = None
    """Which of them this is, from 0."""
    join_timeout: int = TIMEOUT
    """Seconds in which all processes must come."""


class MeshHere:
    """This process's part in it."""

    def __init__(self, asked: bool, own: Processes | None = None, connections: Sequence[socket.socket] = ()):
        self.asked, self._own, self._connections = asked, own, connections

    @property
    def following(self) -> bool:
        """Whether this process only computes."""
        return self._own is not None and self._own.number > 0

    def follow(self) -> int:
        """Until the leader ends; returns the exit code."""
        from growjax.mesh.messages import leave
        from growjax.study.on_mesh import follow

        runtime.start()
        return follow(self._connections[0], leave)

    def runs(self, shape: MeshShape, shards: int, model: ModelConfig) -> dict[str, Any]:
        """What `run_study` is given for it. Raises `UserError` where devices, mesh, shards and model do not go
        together."""
        if not self.asked:
            return {}
        from growjax.mesh.cutting import require_model

        work = self.at_work(shape)
        hint = f"choose --shards among the multiples of {max(2, shape.size)}"
        require(shards > 1, "a mesh computes virtual shards of a batch, and --shards is 1", hint)
        require_shards(shape, shards)
        require_model(shape, model)
        return {"sharded": work}

    def at_work(self, shape: MeshShape) -> OnMesh:
        """A mesh, of this process's devices or those of all that compute. Raises `UserError` where they are too few."""
        from growjax.study.on_mesh import OnMesh

        runtime.start()
        return OnMesh(shape, self._connections)


@contextlib.contextmanager
def on_mesh(argv: list[str]) -> Iterator[MeshHere]:
    """This process as one of those that the options name, before jax has a device; they end together."""
    names = [f"--mesh.{axis}" for axis in AXES] + ["--coordinator", "--processes", "--process-id"]
    if {"-h", "--help"} & {*argv} or not any(option_value(argv, name) for name in names):
        yield MeshHere(False)
        return
    of, number = (_number(argv, name) for name in ("--processes", "--process-id"))
    own = given(option_value(argv, "--coordinator"), of, number)
    if own is None:
        be_patient()
        yield MeshHere(True)
        return
    timeout = _number(argv, "--join-timeout") or TIMEOUT
    if own.number:
        yield MeshHere(True, own, [enter(own, timeout=timeout)])
        return
    child = (sys.executable, "-m", "growjax.study.on_mesh", own.coordinator, str(own.of), str(timeout))
    connections = lead(own, child, timeout=timeout)
    from growjax.study.on_mesh import leading

    with leading(connections):
        yield MeshHere(True, own, connections)


def _number(argv: list[str], name: str) -> int | None:
    text = option_value(argv, name)
    if text is None or text.isdecimal():
        return None if text is None else int(text)
    raise UserError(f"{name} is {shown(text)!r}", "give a whole number")
