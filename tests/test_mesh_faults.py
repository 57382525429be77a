"""One process of several fails, ends or is killed, or a stranger comes: what the others say, and that none waits."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from growing import BASE, KEY, doubled, under_way

from growjax.cli import main
from growjax.errors import CheckFailed, UserError
from growjax.files import contents
from growjax.grow.widen import widen
from growjax.mesh import messages, processes
from growjax.mesh.messages import ENDED, Inbox, leave, receive, send, send_fault
from growjax.mesh.processes import Processes
from growjax.mesh.rules import MeshShape
from growjax.record.store import save_state, state_digest
from growjax.study import on_mesh
from growjax.study.on_mesh import OnMesh, Widening, follow, leading

pytestmark = pytest.mark.usefixtures("quickly")

ASKED = Widening("source", {}, "exact_copy", 1, "out")


@contextlib.contextmanager
def aside(work: Any, *arguments: Any) -> Iterator[threading.Thread]:
    """A function in a thread of its own, which has ended with the block."""
    thread = threading.Thread(target=work, args=arguments, daemon=True)
    thread.start()
    yield thread
    thread.join(10)
    assert not thread.is_alive()


def led() -> tuple[OnMesh, list[socket.socket], list[socket.socket]]:
    """The leader of two processes that have begun, its connections and theirs."""
    ours, theirs = zip(*(socket.socketpair() for _ in range(2)), strict=True)
    send(theirs[0], {})
    work = OnMesh(MeshShape(fsdp=2), ours)
    for one in theirs:
        receive(one)
    return work, list(ours), list(theirs)


def test_a_fault_of_one_process_ends_all(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Process 1 cannot read, and process 0 waits for it in what they do together."""
    monkeypatch.setattr(messages, "GRACE", 0.0)
    codes: list[int] = []
    monkeypatch.setattr(messages.os, "_exit", codes.append)
    work, ours, (zero, one) = led()
    waits = Inbox(zero, leave)
    send_fault(one, UserError("source/state cannot be read", "restore it"))
    with pytest.raises(UserError, match="process 1: source/state cannot be read: restore it") as found, leading(ours):
        work.widen(ASKED)
    assert "widen" in waits.receive()[0]
    until = time.monotonic() + 10
    while not codes and time.monotonic() < until:
        time.sleep(0.01)
    assert codes == [2] and capsys.readouterr().err == f"growjax: {found.value}\n"
    assert "widen" in receive(one)[0]
    with pytest.raises(UserError, match="process 1: source/state"):
        receive(one)


def test_each_process_reports_its_own_fault(tmp_path: Path):
    first, other = socket.socketpair()
    fault = f"process 0: {tmp_path} holds no growjax state"
    asked = Widening(str(tmp_path), {}, "exact_copy", 1, str(tmp_path / "out"))

    def process() -> None:
        with pytest.raises(UserError, match=fault):
            follow(other)

    with aside(process), pytest.raises(UserError, match=fault), leading([first]):
        OnMesh(MeshShape(), [first]).widen(asked)


@pytest.mark.parametrize("number", [0, 1])
def test_a_process_that_was_killed_is_named(number: int):
    """Between two runs, and while the leader waits for what comes of one."""
    work, ours, theirs = led()
    theirs[number].close()
    with pytest.raises(CheckFailed, match=f"process {number} ended|another process ended"), leading(ours):
        work.widen(ASKED)
    work, ours, theirs = led()
    dies, fault = aside(lambda: (receive(theirs[1]), theirs[number].close())), f"process {number} ended in the middle"
    with dies, pytest.raises(CheckFailed, match=fault), leading(ours):
        work.widen(ASKED)


def test_a_connection_that_breaks_is_no_traceback_and_no_closed_output():
    for broken in (lambda to: send(to, {}, [np.zeros(1 << 20)]), receive):
        with socket.create_server(("127.0.0.1", 0)) as server:
            here = socket.create_connection(server.getsockname())
            there = server.accept()[0]
        there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, as a kill leaves
        there.close()
        with pytest.raises(CheckFailed, match=ENDED):
            broken(here)
        here.close()


def test_what_follows_from_another_s_end_is_not_said(monkeypatch: pytest.MonkeyPatch):
    """Work that fails because another process is gone: that it is gone is what is said."""

    def gone(*_: object) -> None:
        first.close()
        raise RuntimeError("Connection closed by peer [127.0.0.1]")

    first, other = socket.socketpair()
    monkeypatch.setattr(on_mesh, "_widened", gone)
    send(first, {"mesh": [1, 1, 1], "widen": ASKED._asdict()})
    with pytest.raises(CheckFailed, match=ENDED):
        follow(other)


def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as there:
        return there.getsockname()[1]


def test_a_terminal_interrupts_the_leader_alone():
    """Process 0 beside it is in another group: it ends as its leader does."""
    number = port()
    child = f"""
import os, socket, time
while True:
    try:
        there = socket.create_connection(("127.0.0.1", {number}))
        break
    except OSError:
        time.sleep(0.01)
there.sendall(b"growjax 0 1\\n")
there.recv(3)
there.sendall(str(os.getpgrp()).encode())
"""
    (there,) = processes.lead(Processes(f"127.0.0.1:{number}", 1, 0), [sys.executable, "-S", "-c", child], timeout=20)
    with there:
        assert int(there.recv(20)) != os.getpgrp()


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_strangers_keep_nobody_waiting(host: str):
    """One says nothing, one what is no text, one a line of its own, one ends in the middle of a word; and then process
    1 comes."""
    if host == "[::1]" and not socket.has_dualstack_ipv6():
        host = "localhost"
    own = Processes(f"{host}:{port()}", 2, 0)
    address = processes._host_port(own.coordinator)

    def others() -> None:
        while True:
            try:
                strangers = [socket.create_connection(address, 5)]
                break
            except OSError:
                time.sleep(0.01)
        strangers += [socket.create_connection(address, 5) for _ in range(3)]
        for one, said in zip(strangers, (b"", b"\xff\xfe\n", b"GET / HTTP/1.1\r\n", b"growjax"), strict=True):
            one.sendall(said)
        strangers[-1].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        strangers.pop().close()
        processes._report(own._replace(number=1), time.monotonic() + 5).close()
        for one in strangers:
            one.close()

    began = time.monotonic()
    with aside(others):
        (met,) = processes._meet(own, {1}, began + 20)
    met.close()
    assert time.monotonic() - began < 15  # not until the deadline


def test_what_came_with_a_checkpoint_goes_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its config.json, dtype and tokenizer; and the source is named so that every process finds it."""
    source, sources, honest = tmp_path / "checkpoint", [], OnMesh.widen
    monkeypatch.setattr(OnMesh, "widen", lambda self, *asked: sources.append(asked[0].source) or honest(self, *asked))
    source.mkdir()
    for name, data in contents(ROOT / "tests" / "data" / "mistral").items():
        (source / name).write_bytes(data)
    (source / "tokenizer.json").write_text('{"model": {"vocab": {"a": 0}}}')
    monkeypatch.setenv("XLA_FLAGS", os.environ["XLA_FLAGS"])
    monkeypatch.chdir(tmp_path)
    assert main(["import", "checkpoint", "--out", "narrow"]) == 0
    assert main(["widen", "narrow", "--to.d-ff", "80", "--mesh.fsdp", "1", "--out", "wide"]) == 0
    assert sources == [str(tmp_path / "narrow")]
    kept = contents(tmp_path / "wide" / "checkpoint")
    assert kept == contents(tmp_path / "narrow" / "checkpoint") and kept["tokenizer.json"]
    said = json.loads((tmp_path / "wide" / "widen.json").read_text())
    assert {"operator", "plan", "before", "after", "schedule", "bfloat16", "origin", "digest"} <= said.keys()
    assert said["origin"] == {"tokens": None, "tokenizer": None} and said["after"]["state_bytes"]


def test_an_operator_that_trains_is_given_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """By the leader, whose files alone are read."""
    state = under_way(BASE)
    plan, given = doubled(state), []
    (tmp_path / "source").mkdir()
    (tmp_path / "out").mkdir()
    save_state(tmp_path / "source", state)

    def spied(*arguments: Any, data: Any, **others: Any) -> Any:
        given.append(data)
        return widen(*arguments, **others)

    monkeypatch.setattr(on_mesh, "widen", spied)
    windows = np.arange(12, dtype=np.uint16).reshape(4, 3)
    first, other = socket.socketpair()
    target = plan.target.to_dict()
    asked = Widening(str(tmp_path / "source"), target, "exact_copy", 1, str(tmp_path / "out"), batch_size=2)
    with aside(follow, other), leading([first]):
        done = OnMesh(MeshShape(), [first]).widen(asked, windows)
    assert done["digest"] == state_digest(widen(state, plan, key=KEY))
    np.testing.assert_array_equal(given[0].windows, windows)
    assert given[0].batch_size == 2
