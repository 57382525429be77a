"""What workers elsewhere do in tests, without jax."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

from growjax.cells.remote import Files


def copied(name: str, parcel: Callable[[str], Files]) -> dict[str, Files]:
    """A cell that holds what the parcel does."""
    return {name: parcel("parcel")}


def killed_once(name: str, mark: Path, parcel: Callable[[str], Files]) -> dict[str, Files]:
    """The same; the first time the process ends before."""
    if not mark.exists():
        mark.write_text("")
        os.kill(os.getpid(), signal.SIGKILL)
    return copied(name, parcel)


def given_up(reason: str, parcel: Callable[[str], Files]) -> dict[str, Files]:
    """What submitit raises amid the work where a job's time is over, or another job takes its place."""
    from submitit.core.utils import UncompletedJobError

    raise UncompletedJobError(f"Job not requeued because: {reason} and not checkpointable.")
