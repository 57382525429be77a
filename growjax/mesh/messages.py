"""Messages between a process that leads and those that compute: plain data, and arrays behind it.

Who computes with others does not see that one of them is gone, and waits for it. So what the leader sends is read as it
comes: an end is known at once, whatever else goes on.
"""

from __future__ import annotations

import json
import os
import queue
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from growjax.errors import CheckFailed, UserError, one_line
from growjax.schema import Record

Message = tuple[Any, list[np.ndarray]]

ENDED = "another process ended in the middle of its work: see what it said"
GRACE = 5.0
"""Seconds that a process has to end by itself."""


def send(to: socket.socket, said: Record, arrays: Sequence[np.ndarray] = ()) -> None:
    """Sends plain data and arrays. Raises `CheckFailed` where nobody is there to read them."""
    text = json.dumps({"said": said, "arrays": [[x.dtype.name, x.shape] for x in arrays]}).encode()
    try:
        to.sendall(len(text).to_bytes(8, "little") + text)
        for array in arrays:
            to.sendall(np.ascontiguousarray(array).tobytes())
    except OSError:  # no BrokenPipeError either: that would be taken for one of standard output
        raise CheckFailed(ENDED) from None


def receive(of: socket.socket) -> Message:
    """What was sent. Raises the fault that the other side reports, and `CheckFailed` where that is gone."""
    body = json.loads(_bytes(of, int.from_bytes(_bytes(of, 8), "little")))
    arrays = []
    for name, shape in body["arrays"]:
        dtype = jnp.dtype(name)
        arrays.append(np.frombuffer(_bytes(of, int(np.prod(shape)) * dtype.itemsize), dtype).reshape(shape))
    if "fault" in body["said"]:
        raise UserError(body["said"]["fault"], body["said"]["hint"])
    return body["said"], arrays


def send_fault(to: socket.socket, error: UserError) -> None:
    """Sends what `receive` raises."""
    send(to, {"fault": error.fault, "hint": error.hint})


def _bytes(of: socket.socket, count: int) -> bytearray:
    found, at = bytearray(count), 0
    while at < count:
        try:
            got = of.recv_into(memoryview(found)[at:])
        except OSError:
            got = 0
        if not got:
            raise CheckFailed(ENDED)
        at += got
    return found


class Inbox:
    """What a process is sent by its leader, read by a thread of its own."""

    def __init__(self, of: socket.socket, over: Callable[[Inbox], None] = lambda inbox: None):
        """`over` is called, in that thread, once the leader has ended badly or is gone."""
        self._of, self._over = of, over
        self._kept: queue.SimpleQueue[Message | Exception] = queue.SimpleQueue()
        self._last = threading.Event()
        self.end: Exception | None = None
        """How the leader ended, where it did badly."""
        self.known = False
        """Whether who calls `receive` knows of it."""
        threading.Thread(target=self._read, daemon=True).start()

    def receive(self) -> Message:
        """The next message; raises `end` where the leader is gone, or reports a fault."""
        got = self._kept.get()
        if isinstance(got, Exception):
            self.known = True
            raise got
        self.known = "end" in got[0]
        return got

    def ended(self, within: float) -> Exception | None:
        """`end`, if it comes within so many seconds."""
        self._last.wait(within)
        self.known = self.known or self.end is not None
        return self.end

    def _read(self) -> None:
        try:
            while "end" not in (got := receive(self._of))[0]:
                self._kept.put(got)
            self.end = CheckFailed(ENDED) if got[0]["end"] else None
            self._kept.put(got)
        except (UserError, CheckFailed) as error:
            self.end = error
            self._kept.put(error)
        self._last.set()
        if self.end is not None:
            self._over(self)


def leave(inbox: Inbox, *, quietly: bool = False) -> None:
    """Ends this process some seconds after its leader ended badly, if it is there then: it waits for others that are
    gone, and says so unless it has been said."""
    time.sleep(GRACE)
    if not (inbox.known or quietly):
        print(f"growjax: {one_line(inbox.end)}", file=sys.stderr, flush=True)
    os._exit(2 if isinstance(inbox.end, UserError) else 1)
