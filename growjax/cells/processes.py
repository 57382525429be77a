"""An executor of processes beside this one, each with XLA's pool of one thread.

Threads of one process would queue behind that one pool thread. Where there are several accelerators every process
computes on one of them, taken in turn.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection

from growjax.cells.executor import KILLED, Delivery, Fill, described
from growjax.cells.graph import Unit
from growjax.errors import UserError
from growjax.schema import Record

LOSSES = 5
"""How many ends of processes, for each of them, are taken for accidents, with no unit finished in between."""

PATIENCE = 30
"""Seconds that a process has to end by itself once there is nothing more to do."""

_SPAWN = multiprocessing.get_context("spawn")


class Worker:
    """A process, and the unit that it has."""

    def __init__(self, arguments: tuple[object, ...]):
        self.pipe, end = _SPAWN.Pipe()
        self.unit: str | None = None
        self.process = _SPAWN.Process(target=_main, args=(end, *arguments), daemon=True)
        resource_tracker.ensure_running()  # it would lift the block
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
        try:
            self.process.start()  # with interrupts blocked, which are the first process's business
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        end.close()  # this process's copy: its own end says now when the other's is gone


class Processes:
    """Fills units in processes. Each makes what it computes from by `begin(*arguments)`, once."""

    def __init__(self, devices: Sequence[int], begin: Callable[..., object], arguments: tuple[object, ...], fill: Fill):
        """`devices` holds for each process the number of the device it computes on."""
        self.capacity = len(devices)
        self._arguments = [(device, begin, arguments, fill) for device in devices]
        self._workers: list[Worker] = []
        self._losses = 0

    def start(self) -> None:
        self._workers = [Worker(arguments) for arguments in self._arguments]

    def submit(self, unit: Unit, given: Mapping[str, Record]) -> None:
        worker = next(worker for worker in self._workers if worker.unit is None)
        worker.unit = unit.name
        with contextlib.suppress(OSError):  # where it has just ended, `next` finds out
            worker.pipe.send((unit.name, unit.argument, dict(given)))

    def next(self) -> Delivery:
        while True:
            ready = multiprocessing.connection.wait([worker.pipe for worker in self._workers])
            for number, worker in enumerate(self._workers):
                if worker.pipe in ready:
                    found = self._read(number, worker)
                    if found is not None:
                        return found

    def _read(self, number: int, worker: Worker) -> Delivery | None:
        """What a process said; that its unit is lost where it has ended. Another takes its place."""
        try:
            delivery: Delivery = worker.pipe.recv()
        except (EOFError, OSError):
            worker.process.join()
            self._losses += 1
            if self._losses > LOSSES * self.capacity:
                raise UserError(*KILLED) from None
            self._workers[number] = Worker(self._arguments[number])
            return None if worker.unit is None else Delivery(worker.unit, lost=True)
        worker.unit, self._losses = None, 0
        return delivery

    def stop(self, *, failed: bool) -> None:
        for worker in self._workers:
            worker.pipe.close()  # it ends once it looks for its next unit
            if failed:
                worker.process.kill()  # a cell under way is not written; what is written is whole
        for worker in self._workers:
            worker.process.join(None if failed else PATIENCE)
            worker.process.kill()
            worker.process.join()


def _main(
    pipe: Connection, device: int, begin: Callable[..., object], arguments: tuple[object, ...], fill: Fill
) -> None:
    """A process: the pins are inherited, and it ends when the first process ends."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()
    context, failed = None, None
    try:
        import jax

        jax.config.update("jax_cuda_visible_devices", str(device))  # read when jax looks for its devices
        context = begin(*arguments)
    except Exception as error:
        failed = described(error)
    with contextlib.suppress(EOFError, OSError):
        while True:
            name, argument, given = pipe.recv()
            try:
                delivery = Delivery(name, error=failed) if failed else Delivery(name, fill(context, argument, given))
            except Exception as error:
                delivery = Delivery(name, error=described(error))
            pipe.send(delivery)


def _follow(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
