"""SIGINT and SIGTERM at any moment: one line, the exit code of the signal, no orphan, and the same command goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT

from experiments.kills import members
from growjax.interrupts import LINE


def started(out: Path) -> subprocess.Popen[str]:
    """A study in a session of its own, once it has taken over SIGTERM."""
    words = [
        sys.executable,
        "-m",
        "growjax",
        "study",
        "--preset",
        "smoke",
        "--workers",
        "2",
        "--out",
        str(out),
        "--json",
    ]
    pipe = subprocess.PIPE
    process = subprocess.Popen(words, cwd=ROOT, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
    while True:
        (mask,) = [x for x in Path(f"/proc/{process.pid}/status").read_text().splitlines() if x.startswith("SigCgt")]
        if int(mask.split()[1], 16) >> (signal.SIGTERM - 1) & 1:
            return process
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("number", "moment"),
    [(signal.SIGINT, "imports"), (signal.SIGTERM, "imports"), (signal.SIGINT, "cells"), (signal.SIGTERM, "cells")],
)
def test_a_signal_ends_it_in_one_line(tmp_path: Path, number: signal.Signals, moment: str):
    out = tmp_path / "run"
    process = started(out)
    if moment == "cells":
        while len(list(out.glob("cells/*/result.json"))) < 2:
            assert process.poll() is None
            time.sleep(0.02)
    os.killpg(process.pid, number)  # as a terminal does
    said, error = process.communicate(timeout=60)
    assert (process.returncode, said, error) == (128 + number, "", f"{LINE}\n")
    until = time.monotonic() + 5
    while members(process.pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert members(process.pid) == []
    assert not list(out.glob("cells/.*.tmp"))


def test_a_program_that_does_not_end_is_ended():
    """The main thread is in a call that no signal reaches."""
    script = (
        "import ctypes, signal; from growjax.interrupts import Interrupts\n"
        "interrupts = Interrupts(); interrupts.working()\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]); print('ready', flush=True)\n"
        "ctypes.CDLL(None).poll(None, 0, 60_000)\n"
    )
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=pipe, stderr=pipe, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    time.sleep(1)  # it is in the call by then
    process.terminate()
    _, error = process.communicate(timeout=30)
    assert (process.returncode, error) == (143, f"{LINE}\n")


def test_a_second_signal_ends_it_at_once():
    """Who asks twice does not wait for what is being closed, nor sees where it was."""
    script = (
        "import signal, sys, time; from growjax.interrupts import Interrupts\n"
        "interrupts = Interrupts(); interrupts.working()\n"
        "try: print('ready', flush=True); time.sleep(60)\n"
        "finally: print('closing', flush=True); time.sleep(60)\n"
    )
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=pipe, stderr=pipe, text=True)
    assert process.stdout is not None
    for said in ("ready\n", "closing\n"):
        assert process.stdout.readline() == said
        process.terminate()
    _, error = process.communicate(timeout=30)
    assert (process.returncode, error) == (143, f"{LINE}\n")


def test_a_signal_while_python_starts_again_waits(tmp_path: Path):
    """Where a process starts itself again for large pages, signals are blocked until they are seen to."""
    script = (
        "import os, signal; from growjax import large_pages\n"
        "large_pages.os.execve = lambda *_: os.kill(os.getpid(), signal.SIGTERM)\n"
        "os.environ.pop('GLIBC_TUNABLES', None); large_pages.start_again()\n"
        "print(sorted(signal.sigpending()) and 'waits', flush=True)\n"
        "from growjax.interrupts import Interrupts; Interrupts()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (143, "waits\n", f"{LINE}\n")
