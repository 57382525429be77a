"""SIGINT and SIGTERM: one line, exit code 130 or 143, at any moment.

While modules are still imported nothing has been begun, and the process ends at once. Later the main thread gets an
exception, so that what is open is closed and what is half-written is taken away. A compiled program cannot be
interrupted: where the main thread is in one for longer than `GRACE` seconds, the process ends all the same; so it does
at a second signal. Nothing here imports more than Python's own.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

GRACE = 2.0
"""Seconds that the main thread has to end by itself."""

LINE = "growjax: interrupted: finished cells are kept, and the same command goes on"

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A signal came. `code` is the exit code that it asks for; `say` writes the one line, if nobody has."""

    def __init__(self, number: int, say: Callable[[], None]):
        super().__init__()
        self.code, self.say = 128 + number, say


class Interrupts:
    """Takes over the signals of this process."""

    def __init__(self) -> None:
        self._working = False
        self.came: Interrupted | None = None
        """What the main thread was given, if a signal came while it worked."""
        self._said = False
        self._lock = threading.RLock()  # a second signal may come while the line is written
        read, write = os.pipe()
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        atexit.register(self._too_late)  # the first to be registered is the last to run
        for number in _SIGNALS:
            signal.signal(number, self._raise)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)  # blocked where this process was started again
        threading.Thread(target=self._follow, args=(read,), daemon=True).start()
        honest = sys.unraisablehook

        def hook(unraisable: sys.UnraisableHookArgs) -> None:
            if not isinstance(unraisable.exc_value, Interrupted):  # raised where it is lost: `_follow` sees to the rest
                honest(unraisable)

        sys.unraisablehook = hook

    def working(self) -> None:
        """From here on there is something to close."""
        self._working = True

    def ended(self) -> None:
        """Everything is closed."""
        self._working = False

    def _too_late(self) -> None:
        """The last that Python does before it takes handlers down, where a signal would kill it: from here on one is
        ignored, and the exit code stays that of the command."""
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def _raise(self, number: int, frame: FrameType | None) -> None:
        if not self._working or self.came is not None:  # who asks twice does not want to wait
            self._end(number)
        self.came = Interrupted(number, self._say)
        raise self.came

    def _follow(self, pipe: int) -> None:
        """Sees each signal as it comes, whatever the main thread does."""
        while data := os.read(pipe, 1):
            if data[0] in _SIGNALS:
                if self._working:
                    time.sleep(GRACE)
                self._end(data[0])

    def _say(self) -> None:
        with self._lock:
            if not self._said:
                with contextlib.suppress(OSError):
                    os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"{LINE}\n".encode())
            self._said = True

    def _end(self, number: int) -> None:
        self._say()
        os._exit(128 + number)
