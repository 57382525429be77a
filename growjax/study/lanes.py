"""Lanes: cells side by side, each on a thread of its own. A program runs on the thread that calls it (see the pins), so
a lane is a core, and what runs beside a cell cannot change it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import Any


def side_by_side(tasks: Iterable[Callable[[], Any]], lanes: int) -> list[Any]:
    """Runs tasks on `lanes` threads, started in order; returns their results in order.

    The first error ends the whole: tasks not yet begun are dropped, those at work finish their cell, and the error is
    raised.
    """
    with ThreadPoolExecutor(max_workers=lanes) as pool:
        futures: list[Future[Any]] = [pool.submit(task) for task in tasks]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
            failed = [f for f in futures if f.done() and not f.cancelled() and f.exception() is not None]
            if failed:
                raise failed[0].exception()  # pyright: ignore[reportGeneralTypeIssues]
            return [f.result() for f in futures]
        except BaseException:
            for future in futures:
                future.cancel()
            raise
