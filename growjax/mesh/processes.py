"""Several processes as one: how they find each other, and what is said where they do not.

`jax.distributed` ends a process without a word to Python where another does not come. So processes meet here first, at
the coordinator's address, and only when all are there does jax begin.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import wait
from typing import NamedTuple

from growjax.errors import UserError

TIMEOUT = 120
"""Seconds in which all processes are to come."""
_RETRY, _NAME, _GO = 0.2, "growjax", b"go\n"

WAITING = ("--xla_cpu_collective_timeout_seconds=3600", "--xla_cpu_collective_call_terminate_timeout_seconds=3600")
"""Flags of XLA: how long devices and processes wait for each other in what they do together. One that compiles keeps
the others waiting for longer than the half minute that XLA gives them. They change no bit."""


class Processes(NamedTuple):
    """Which process this is, of how many, and where they meet."""

    coordinator: str
    """HOST:PORT of process 0."""
    of: int
    """How many processes there are."""
    number: int


def found(environ: Mapping[str, str]) -> Processes | None:
    """What SLURM says of a step of several tasks, or Ray Train of its workers; None where neither says anything."""
    if int(environ.get("SLURM_NTASKS", 1)) > 1 and {"SLURM_STEP_NODELIST", "SLURM_PROCID"} <= environ.keys():
        # as srun starts it: the first node, and a port by the job's number
        port = 61440 + int(environ.get("SLURM_JOB_ID", 0)) % 4096
        host = _first_node(environ["SLURM_STEP_NODELIST"])
        return Processes(f"{host}:{port}", int(environ["SLURM_NTASKS"]), int(environ["SLURM_PROCID"]))
    if int(environ.get("WORLD_SIZE", 1)) > 1 and {"MASTER_ADDR", "MASTER_PORT", "RANK"} <= environ.keys():
        address = f"{environ['MASTER_ADDR']}:{environ['MASTER_PORT']}"
        return Processes(address, int(environ["WORLD_SIZE"]), int(environ["RANK"]))
    return None


def _first_node(nodes: str) -> str:
    """The first name of a list as SLURM writes it: `a1`, `a1,b2`, `a[01-04,7],b2`.

    >>> _first_node("node[007-015,020],other")
    'node007'
    """
    return re.sub(r"^([^,\[]+)(?:\[(\w+)[^\]]*\])?.*$", r"\1\2", nodes)


def given(coordinator: str | None, count: int | None, number: int | None) -> Processes | None:
    """What options say, completed by what SLURM or Ray set; None for one process. Raises `UserError` where something
    is missing or cannot be."""
    known = found(os.environ)
    if coordinator is None and count is None and number is None:
        return known
    coordinator = coordinator or (known and known.coordinator)
    count = count if count is not None else known and known.of
    number = number if number is not None else known and known.number
    if count == 1:
        return None
    for name, value in {"--coordinator": coordinator, "--processes": count, "--process-id": number}.items():
        if value is None:
            raise UserError(f"{name} is missing", "give --coordinator, --processes and --process-id together")
    assert coordinator is not None and count is not None and number is not None
    if not 0 <= number < count:
        raise UserError(f"there is no process {number} of {count}", f"choose --process-id from 0 to {count - 1}")
    _host_port(coordinator)
    return Processes(coordinator, count, number)


def _host_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UserError(f"{address!r} is no address of a coordinator", "write HOST:PORT of process 0")
    return host.strip("[]"), int(port)


def be_patient() -> None:
    """Sets `WAITING` for this process, before jax has a backend."""
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = " ".join([flags, *(f for f in WAITING if f.partition("=")[0] not in flags)])


def join(own: Processes, *, timeout: float = TIMEOUT) -> None:
    """Makes this process one of several, before jax has a backend. Raises `UserError` where the others do not come in
    time, or do not agree on how many they are."""
    deadline = time.monotonic() + timeout
    if own.number:
        _begin(own, timeout, _report(own, deadline))
    else:
        _begin(own, timeout, *_meet(own, {*range(1, own.of)}, deadline))


def enter(own: Processes, *, timeout: float = TIMEOUT) -> socket.socket:
    """`join` of a process that is led by one beside them (`lead`). Returns its connection to that one."""
    leader = _report(own, time.monotonic() + timeout)
    _begin(own, timeout)
    return leader


def lead(own: Processes, child: Sequence[str], *, timeout: float = TIMEOUT) -> list[socket.socket]:
    """Starts `child` as process 0 beside this one, waits for all, and lets them begin. Returns the connections to them,
    in their order. This process is none of them, so that its jax, and what it stores, are its own."""
    process = subprocess.Popen(child, stdout=sys.stderr, process_group=0)  # a terminal interrupts this one alone
    try:
        return _meet(own, {*range(own.of)}, time.monotonic() + timeout)
    except BaseException:
        process.kill()
        raise


def _begin(own: Processes, timeout: float, *met: socket.socket) -> None:
    import jax

    be_patient()
    jax.distributed.initialize(own.coordinator, own.of, own.number, initialization_timeout=max(10, int(timeout)))
    jax.devices()  # all must say at the same time which they have
    for connection in met:
        connection.close()


def first() -> bool:
    """Whether this is the process that writes what there is once."""
    import jax

    return jax.process_index() == 0


def together(name: str) -> None:
    """Waits until every process is here; nothing to wait for where there is one."""
    import jax
    from jax.experimental import multihost_utils

    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def _meet(own: Processes, awaited: set[int], deadline: float) -> list[socket.socket]:
    """Waits for processes of these numbers, then lets them go on together. Whoever else comes is not minded, and keeps
    nobody waiting."""
    there: dict[int, socket.socket] = {}
    heard: dict[socket.socket, bytes] = {}
    try:
        server = _server(_host_port(own.coordinator)[1])
    except OSError as error:
        fault = f"the port of the coordinator {own.coordinator} cannot be had ({error.strerror})"
        raise UserError(fault, "choose another --coordinator") from None
    with server, contextlib.ExitStack() as unless_all_came:
        while missing := awaited - there.keys():
            ready = wait([server, *heard], max(0.0, deadline - time.monotonic()))
            if not ready or time.monotonic() > deadline:
                fault = f"of {own.of} processes not all came in time; missing: {', '.join(map(str, sorted(missing)))}"
                raise UserError(fault, f"start them with --coordinator {own.coordinator}")
            for connection in ready:
                if connection is server:
                    with contextlib.suppress(OSError):  # gone again
                        come = server.accept()[0]
                        unless_all_came.callback(come.close)
                        come.setblocking(False)
                        heard[come] = b""
                elif isinstance(connection, socket.socket) and (words := _line(connection, heard)) is not None:
                    number = _number(words, own)
                    if number in awaited:
                        there[number] = connection
                    else:
                        connection.close()
        unless_all_came.pop_all()
    for connection in heard:
        connection.close()
    for number, connection in there.items():
        connection.setblocking(True)
        try:
            connection.sendall(_GO)
        except OSError:
            raise UserError(f"process {number} came, and is gone", "see what it said, and start again") from None
    return [there[number] for number in sorted(there)]


def _server(port: int) -> socket.socket:
    """Hears both kinds of addresses, where this machine has both."""
    if socket.has_dualstack_ipv6():
        with contextlib.suppress(OSError):
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


_LINE = 100
"""Bytes that a process says of itself, at most."""


def _line(connection: socket.socket, heard: dict[socket.socket, bytes]) -> list[bytes] | None:
    """The words of the line that a connection has said, and then no more is heard of it; None until it is whole."""
    try:
        more = connection.recv(_LINE)
    except OSError:
        more = b""
    heard[connection] += more
    if more and b"\n" not in heard[connection] and len(heard[connection]) < _LINE:
        return None
    return heard.pop(connection).partition(b"\n")[0].split()


def _number(words: list[bytes], own: Processes) -> int | None:
    """Which process has come; None where it is some other program."""
    if len(words) != 3 or words[0] != _NAME.encode() or not (words[1] + words[2]).isdigit():
        return None
    number, of = int(words[1]), int(words[2])
    if of != own.of or not 0 <= number < of:
        fault = f"a process takes itself for number {number} of {of}, and this one for 0 of {own.of}"
        raise UserError(fault, "give all the same --processes")
    return number


def _report(own: Processes, deadline: float) -> socket.socket:
    """Another process: says that it is there, and waits for the word to go on."""
    while time.monotonic() < deadline:
        try:
            there = socket.create_connection(_host_port(own.coordinator), max(0.1, deadline - time.monotonic()))
        except OSError:  # not there yet, or no such host yet
            time.sleep(_RETRY)
            continue
        there.settimeout(max(0.1, deadline - time.monotonic()))
        with contextlib.suppress(OSError):
            there.sendall(f"{_NAME} {own.number} {own.of}\n".encode())
            if there.recv(len(_GO)) == _GO:
                there.settimeout(None)
                return there
        there.close()
        raise UserError(
            f"process 0 at {own.coordinator} did not go on with {own.of} processes", "see what it said, and start again"
        )
    raise UserError(f"no process 0 came at {own.coordinator} in time", "start it there, with the same --processes")
