"""Progress on stderr, only where it is a terminal: what is running, how far it is, how long it will take."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from growjax.errors import one_line

if TYPE_CHECKING:
    from growjax.cells.scheduler import Use


class ProgressWatch:
    """A `growjax.study.runner.Watch` that draws one bar for each phase."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description:<34}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> ProgressWatch:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._bars.stop()

    def phase(self, name: str, cells: int, work: float) -> None:
        text = name if cells == 1 else f"{name} ({cells} cells)"
        self._task = self._bars.add_task(text, total=work) if work else None

    def done(self, work: float, note: str = "") -> None:
        if self._task is not None:
            self._bars.advance(self._task, work)
            if note:
                self._bars.update(self._task, description=note)

    def say(self, text: str) -> None:
        line = f"growjax: {one_line(text)}"
        if self._bars.console.is_terminal:
            self._bars.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, file=sys.stderr)

    def used(self, use: Use) -> None:
        if use.workers > 1 and self._bars.console.is_terminal:
            self._bars.console.print(
                f"{use.workers} workers had cells to fill in {use.busy:.0%} of {use.seconds:.0f} s"
            )
