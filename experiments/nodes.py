"""Ray nodes of this machine alone, on its loopback and behind a token, each a process that is a node as long as it
lives."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from growjax import runtime

# Ray takes this machine's outer address even where it is given the loopback's.
_RAY = """
from ray._private import services
services.node_ip_address_from_perspective = lambda address=None: "127.0.0.1"
from ray.scripts.scripts import main
main()
"""

STARTS = 60.0
"""Seconds that a node may take to start."""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Nodes:
    """Nodes that are started by the words of a `ray start`, and end with the block."""

    def __init__(self) -> None:
        self._token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        self.client = {**self._token, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
        """Variables of who connects: the token, and that nodes are on the loopback."""
        self.folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # paths of sockets may not be long
        self.started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Nodes:
        return self

    def start(self, words: Sequence[str], env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        """A node by `ray start WORDS`, once it is there."""
        more = ["--block", "--object-store-memory=100000000"]
        more += [f"--temp-dir={self.folder}"] if "--head" in words else []
        log = self.folder / f"node-{len(self.started)}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-c", _RAY, *words, *more],
                env={**runtime.without_pins(), **(env or {}), **self._token, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"},
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started.append(process)
        until = time.monotonic() + STARTS
        while b"runtime started" not in log.read_bytes():
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(log.read_text(errors="replace"))
            time.sleep(0.1)
        return process

    def below(self, node: subprocess.Popen[bytes]) -> list[tuple[int, str]]:
        """Number and name of each process that a node has started, with those that these have started."""
        parents: dict[int, list[int]] = {}
        for place in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
                parents.setdefault(parent, []).append(int(place.name))
        found, left = [], [node.pid]
        while left:
            for pid in parents.get(left.pop(), []):
                with contextlib.suppress(OSError):
                    name = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    found.append((pid, name))
                left.append(pid)
        return found

    def at_work(self, *nodes: subprocess.Popen[bytes]) -> list[int]:
        """Processes of these nodes, or of all, that fill a unit now."""
        there = [node for node in nodes or self.started if node.poll() is None]
        return [pid for node in there for pid, name in self.below(node) if name.startswith("ray::_task")]

    def _with_token(self) -> list[int]:
        """Other processes that were given the token of these nodes: whatever belongs to them, and whoever uses them."""
        found, own = [], self._token["RAY_AUTH_TOKEN"].encode()
        for place in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if int(place.name) != os.getpid() and own in (place / "environ").read_bytes():
                    found.append(int(place.name))
        return found

    def kill(self, node: subprocess.Popen[bytes]) -> None:
        """SIGKILL to a node, and to all that it has started."""
        for pid in [node.pid, *(pid for pid, _ in self.below(node))]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        node.wait()

    def __exit__(self, *error: object) -> None:
        for node in reversed(self.started):
            if node.poll() is None:
                self.kill(node)
        for _ in range(50):  # what was started while these ended, or by a node that had ended by itself
            left = self._with_token()
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if not left:
                break
            time.sleep(0.1)
        shutil.rmtree(self.folder, ignore_errors=True)
