"""Lanes: cells side by side, each lane a process of its own with XLA's pool of one thread.

Threads of one process would queue behind that one pool thread. Where there are several accelerators every lane computes
on one of them, taken in turn. A lane knows the study by its specification and run
directory alone, fills cells and hands their records back, so what runs beside a cell cannot change it.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import TracebackType
from typing import Any

import jax

from growjax import runtime
from growjax.data.tokens import open_tokens
from growjax.errors import CheckFailed, UserError
from growjax.files import explain
from growjax.measure import registry
from growjax.measure.measure import Measure
from growjax.record.rundir import RunDir
from growjax.study.context import Context, make_context
from growjax.study.spec import StudySpec

_lane: Context | None = None
"""What a lane's process computes from; set once when it starts, and never in the process that the user started."""


class Lanes:
    """Runs functions of (context, argument) over arguments, on this process or on several beside it."""

    def __init__(self, lanes: int, context: Context):
        self._context = context
        self._pool: ProcessPoolExecutor | None = None
        if lanes > 1:
            processes = multiprocessing.get_context("spawn")
            numbers, devices = processes.SimpleQueue(), jax.local_devices()
            for number in range(lanes):
                numbers.put(devices[number % len(devices)].local_hardware_id or 0)
            self._pool = ProcessPoolExecutor(
                max_workers=lanes,
                mp_context=processes,
                initializer=_begin,
                initargs=(context.spec.to_dict(), str(context.run.path), numbers, registry.portable()),
            )

    def __enter__(self) -> Lanes:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._pool is None:
            return
        if error is not None:
            for process in multiprocessing.active_children():
                process.kill()  # its cell is not written; what was written is whole
        self._pool.shutdown(wait=True, cancel_futures=True)

    def run(
        self, function: Callable[[Context, Any], Any], arguments: Iterable[Any], done: Callable[[Any, Any], None]
    ) -> None:
        """Calls `done(argument, result)` here for every argument, as they end. The first error ends the whole."""
        arguments = list(arguments)
        if self._pool is None:
            for argument in arguments:
                done(argument, function(self._context, argument))
            return
        futures = {self._pool.submit(_work, function, argument): argument for argument in arguments}
        try:
            for future in as_completed(futures):
                done(futures[future], future.result())
        except BrokenProcessPool:
            raise UserError(
                "a lane was killed from outside (out of memory?)", "run the same command again, with fewer --lanes"
            ) from None


def _begin(spec: dict[str, Any], path: str, numbers: Any, measures: list[Measure]) -> None:
    """Starts a lane on the device whose number comes next: pins are inherited, interrupts are the first process's
    business, and it ends when that ends."""
    global _lane
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()
    jax.config.update("jax_cuda_visible_devices", str(numbers.get()))  # read when jax looks for its devices
    runtime.start()
    registry.adopt(measures)
    run, study = RunDir(Path(path)), StudySpec.from_dict(spec)
    _lane = make_context(study, run, open_tokens(run.data))


def _follow(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)


def _work(function: Callable[[Context, Any], Any], argument: Any) -> Any:
    assert _lane is not None
    try:
        return function(_lane, argument)
    except (UserError, CheckFailed):
        raise
    except Exception as error:
        told = explain(error)
        if told is not None:
            raise told from None
        raise RuntimeError(traceback.format_exc()) from None
