"""An executor of workers on a Ray cluster: one task for each unit, and no disk that they share.

Files of cells go through Ray's object store, put there once. A task is never tried again by Ray: what a killed worker
or a node that leaves had is lost, and handed out again by the scheduler.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

from growjax.cells.executor import AGAIN, Delivery
from growjax.cells.remote import Answer, Order, Remote, RemoteUnits, refused, work
from growjax.errors import UserError
from growjax.files import contents

ANSWERS = 5.0
"""Seconds in which a cluster must answer."""

PATIENCE = 120.0
"""Seconds for which no node of a cluster may have room for a unit."""

POLL = 1.0
"""Seconds between looks at which nodes are there."""

KEPT = 64
"""Parcels that stay in the object store for the next unit."""


def library() -> Any:
    """Ray, or one line on how to get it."""
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise UserError("Ray is not installed", "pip install -e '.[ray]' in growjax's folder") from None


def connect(address: str) -> None:
    """Makes this process a client of a cluster: of the one at HOST:PORT, of the one that runs on this machine (`auto`),
    or of a new one of this machine alone, on its loopback, that ends with this process (`local`). Raises `UserError`
    where none answers."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address == "local":
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # by this Ray stays on the loopback
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    ray = library()
    if ray.is_initialized():
        return
    hint = "start one with `ray start --head`, or correct --address"
    if address not in ("auto", "local"):
        _require_answer(address, hint)
        os.environ.setdefault("RAY_gcs_server_port_wait_time_s", f"{ANSWERS:.0f}")  # for whom it does not let in
    before = signal.getsignal(signal.SIGTERM)  # Ray takes it
    more = {"include_dashboard": False} if address == "local" else {}
    _quietly()
    try:
        with _no_stderr():
            ray.init(address=address, log_to_driver=False, logging_level="ERROR", **more)
    except Exception as error:
        fault = refused(f"no Ray cluster can be used at {address}", error)
        raise UserError(fault, f"{hint}; this machine must be one of its nodes, and have its token") from None
    finally:
        with contextlib.suppress(ValueError):  # not in the main thread
            signal.signal(signal.SIGTERM, before)


def _quietly() -> None:
    """Keeps what Ray says of nodes and workers that end from stdout, where results go. It has no option for that."""
    inside: Any = importlib.import_module("ray._private.worker")
    inside.print_to_stdstream = lambda *given, **more: None


@contextlib.contextmanager
def _no_stderr() -> Iterator[None]:
    """Lets go of what a library writes to stderr, whatever language it is written in."""
    sys.stderr.flush()
    before = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(before, 2)
        os.close(before)


_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""How HTTP/2 begins, by which Ray speaks; who speaks it answers with a frame of type 4."""


def _require_answer(address: str, hint: str) -> None:
    """Raises `UserError` where nobody who could be Ray answers. Ray itself would wait for minutes."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or "/" in host or not port.isdecimal():
        raise UserError(f"{address!r} is no address of a Ray cluster", "give HOST:PORT, auto or local")
    try:
        with socket.create_connection((host, int(port)), timeout=ANSWERS) as there:
            there.sendall(_HELLO)
            if there.recv(9, socket.MSG_WAITALL)[3:4] != b"\4":
                raise ConnectionError("something else does")
    except (OSError, OverflowError) as error:
        raise UserError(refused(f"no Ray cluster answers at {address}", error), hint) from None


def slots(cores: float, gpus: float) -> int:
    """How many units the nodes of the cluster have room for at once."""
    needs = {name: amount for name, amount in (("CPU", cores), ("GPU", gpus)) if amount}
    nodes = [node["Resources"] for node in library().nodes() if node["Alive"]]
    return sum(min(int(node.get(name, 0) // amount) for name, amount in needs.items()) for node in nodes)


def _task(order: Order, parcels: dict[str, Any]) -> Answer:
    """What a worker runs. Parcels are references, which it follows only where it needs the files."""
    ray = library()
    return work(order, lambda name: ray.get(parcels[name]))


class Ray(RemoteUnits):
    """Fills units on a cluster."""

    def __init__(self, remote: Remote, *, address: str = "auto", cores: float = 1, gpus: float = 0, most: int = 0):
        """A unit takes so many cores and GPUs of a node; `most` units are under way at once, as many as there is room
        for where it is 0."""
        super().__init__(remote)
        self._address, self._cores, self._gpus, self._most = address, cores, gpus, most
        self._units: dict[Any, str] = {}
        """Names of those under way, by the reference to their answer."""
        self._parcels: dict[str, Any] = {}
        self._room, self._looked, self._empty_since = 1, 0.0, None

    @property
    def capacity(self) -> int:
        return max(1, min(self._room, self._most or self._room))

    def start(self) -> None:
        connect(self._address)
        self._ray = library()
        self._run = self._ray.remote(num_cpus=self._cores, num_gpus=self._gpus, max_retries=0)(_task)
        self._look()

    def _send(self, name: str, order: Order) -> None:
        parcels = {parcel: self._reference(parcel) for parcel in order.parcels}
        self._units[self._run.remote(order, parcels)] = name

    def _reference(self, name: str) -> Any:
        """Where in the object store a parcel is, which is put there if it is not. What is not asked for goes again."""
        found = self._parcels.pop(name, None) or self._ray.put(contents(self._remote.folder(name)))
        self._parcels[name] = found
        if len(self._parcels) > KEPT:
            self._parcels.pop(next(iter(self._parcels)))
        return found

    def next(self) -> Delivery:
        while not self._ended:
            if self._look():  # first: where units end within a second of each other, a node that joined has work too
                return AGAIN
            done, _ = self._ray.wait(list(self._units), timeout=POLL)
            if done:
                return self._read(done[0])
        return self._ended.pop(0)

    def _read(self, reference: Any) -> Delivery:
        name, errors = self._units.pop(reference), self._ray.exceptions
        try:
            answer: Answer = self._ray.get(reference)
        except (errors.RayTaskError, errors.RaySystemError) as error:
            fault = f"a worker could not begin ({str(error).strip().splitlines()[-1]})"
            return Delivery(name, error=UserError(fault, "install on every node what is installed here"))
        except errors.RayError:  # its process or its node has ended, or its memory
            return Delivery(name, lost=True)
        return self._answered(name, answer)

    def _look(self) -> bool:
        """Sees how much room there is; returns whether there is more than before."""
        now, before = time.monotonic(), self._room
        if now - self._looked < POLL:
            return False
        self._looked = now
        self._require_first_node()
        self._room = slots(self._cores, self._gpus)
        self._empty_since = None if self._room else (self._empty_since or now)
        if self._empty_since is not None and now - self._empty_since > PATIENCE:
            raise UserError(
                f"no node of the Ray cluster has had {self._needs()} for {PATIENCE:.0f} s",
                "start nodes with `ray start --address`, or ask for less with --cores and --gpus",
            )
        return self._room > before

    def _require_first_node(self) -> None:
        """Raises `UserError` where it does not answer. Ray would wait for a minute, and then end this process."""
        host, _, port = self._ray.get_runtime_context().gcs_address.rpartition(":")
        until = time.monotonic() + ANSWERS
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                socket.create_connection((host, int(port)), timeout=POLL).close()
                return
            time.sleep(POLL / 4)
        self._units.clear()  # nobody is left to cancel them
        raise UserError("the first node of the Ray cluster has ended", "start the cluster and the same command again")

    def _needs(self) -> str:
        return f"{self._cores:g} cores" + (f" and {self._gpus:g} GPUs" if self._gpus else "")

    def stop(self, *, failed: bool) -> None:
        for reference in self._units:
            with contextlib.suppress(Exception):  # a worker that has just ended
                self._ray.cancel(reference, force=True)
        self._units.clear()
        self._parcels.clear()
