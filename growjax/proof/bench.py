"""Runs reference runs and small studies in processes of their own, in surroundings that a row of the contract names."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from growjax import runtime
from growjax.errors import CheckFailed
from growjax.record.integrity import read_receipt
from growjax.schema import Record

STUDY = (
    "study", "--preset", "smoke", "--source-steps", "10", "--regimes", "deterministic", "stochastic",
    "--stochastic-replicates", "1",
)  # fmt: skip
POOL = ("exact_copy", "perturbed", "structured", "asymmetric_reset", "scratch", "net2net", "lemon")
"""Candidates that a study's pool is taken from."""
TRIES = 4
"""Times that a study may be started for each kill that is asked for."""

LIMIT = 3600.0
"""Seconds that processes of one group may take together."""

Changes = Mapping[str, str | None]
"""Variables of a process's environment; None: it does not have that one."""


_BIND = """
import os, sys
os.sched_setaffinity(0, map(int, sys.argv[1].split(",")))
os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclasses.dataclass(frozen=True)
class Bench:
    """Where and how the rows' processes run. Only `folder` is written to."""

    folder: Path
    program: tuple[str, ...] = (sys.executable, "-m")
    """What stands before the module's name."""
    pythons: tuple[str, ...] = ()
    """Other interpreters, for the row that changes Python."""
    thorough: bool = False
    """Twenty kills instead of two, pools of 1, 2, 3 and 7 instead of two."""
    watch: Callable[[str], None] = lambda _: None
    """Given a line on what is being run."""

    def environment(self, changes: Changes | None = None) -> dict[str, str]:
        """This process's own, without pins: every process sets its own."""
        clean = runtime.without_pins()
        package = str(Path(__file__).parents[2])
        paths = [package, *filter(None, clean.get("PYTHONPATH", "").split(os.pathsep))]
        changed = {**clean, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)), **(changes or {})}
        return {name: value for name, value in changed.items() if value is not None}

    def ask(self) -> Record:
        """What the device here is, from a process of its own. Raises `CheckFailed` where a canary does not pass."""
        self.watch("the canaries")
        return self._run("the canaries", [*self.program, "growjax.proof.reference_run", '{"ask": true}'])

    def reference_run(
        self,
        what: str,
        options: Record | None = None,
        *,
        env: Changes | None = None,
        cores: Sequence[int] | None = None,
        cwd: Path | None = None,
        program: tuple[str, ...] | None = None,
    ) -> list[Record]:
        """The digests of one process's reference runs. Raises `CheckFailed` where it does not come to its end."""
        self.watch(what)
        words = [*(program or self.program), "growjax.proof.reference_run", json.dumps(options or {})]
        if cores is not None:
            words = [sys.executable, "-c", _BIND, ",".join(map(str, cores)), *words]
        return self._run(what, words, env=env, cwd=cwd)

    def processes_run(self, what: str, options: Record, *, processes: int, devices: int) -> Record:
        """The digests of one reference run in several processes, which have so many devices in all. Raises
        `CheckFailed` where one of them does not come to its end, or where they differ."""
        found = self.each_of_processes(what, "growjax.proof.reference_run", options, processes, devices)
        if any(other != found[0] for other in found):
            raise CheckFailed(f"{what}: the processes differ from each other")
        return found[0]

    def each_of_processes(
        self,
        what: str,
        module: str,
        options: Record,
        processes: int,
        devices: int,
        *,
        limit: float = LIMIT,
        logs: Path | None = None,
    ) -> list[Any]:
        """What every process of a group says that runs a module together, given options as JSON. `logs`: a folder in
        which what they write on stderr stays. Raises `CheckFailed` of the first that fails, and where they have not all
        ended after `limit` seconds."""
        self.watch(what)
        with socket.create_server(("127.0.0.1", 0)) as free:
            address = f"127.0.0.1:{free.getsockname()[1]}"
        env = self.environment({"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices // processes}"})
        begun: list[tuple[subprocess.Popen[bytes], IO[str], IO[str]]] = []
        words = [*self.program, module]
        with contextlib.ExitStack() as ends:
            for number in range(processes):
                joined = {"processes": [address, processes, number]} if processes > 1 else {}
                own = json.dumps({**options, **joined})
                out = ends.enter_context(tempfile.TemporaryFile("w+"))
                name = f"{what}, process {number} of {processes}.err"
                own_log = (logs / name).open("w+") if logs else tempfile.TemporaryFile("w+")  # noqa: SIM115
                err = ends.enter_context(own_log)
                process = subprocess.Popen([*words, own], env=env, cwd=self.folder, stdout=out, stderr=err)
                ends.callback(process.kill)
                begun.append((process, out, err))
            until = time.monotonic() + limit
            while (codes := [process.poll() for process, *_ in begun]) != [0] * processes:
                for number, code in enumerate(codes):
                    if code:
                        err = begun[number][2]
                        err.seek(0)
                        raise CheckFailed(f"{what}: process {number} ended with {code}: {_last_line(err.read())}")
                if time.monotonic() > until:
                    late = ", ".join(str(number) for number, code in enumerate(codes) if code is None)
                    raise CheckFailed(f"{what}: not ended after {limit:.0f} s: process {late} of {processes}")
                time.sleep(0.05)
            for _, out, _ in begun:
                out.seek(0)
            return [json.loads(out.read().splitlines()[-1])[0] for _, out, _ in begun]

    def _run(self, what: str, words: Sequence[str], *, env: Changes | None = None, cwd: Path | None = None) -> Any:
        done = subprocess.run(words, env=self.environment(env), cwd=cwd or self.folder, capture_output=True, text=True)
        if done.returncode:
            raise CheckFailed(f"{what}: the process ended with {done.returncode}: {_last_line(done.stderr)}")
        return json.loads(done.stdout.splitlines()[-1])

    def study(
        self,
        what: str,
        name: str,
        *,
        operators: Sequence[str] = POOL[:2],
        words: Sequence[str] = (),
        env: Changes | None = None,
        shows: Sequence[str] = (),
    ) -> Record:
        """The cells of a small study, by id: digests and exact figures. Raises `CheckFailed` where it does not come to
        its end, or where what it writes on stderr lacks one of `shows`."""
        self.watch(what)
        out = self.folder / name
        command = [*self._study(out, operators), *words]
        done = subprocess.run(command, env=self.environment(env), capture_output=True, text=True)
        if done.returncode:
            raise CheckFailed(f"{what}: the study ended with {done.returncode}: {_last_line(done.stderr)}")
        for text in shows:
            if text not in done.stderr:
                raise CheckFailed(f"{what}: the study showed no {text!r}")
        return _cells(out)

    def broken_studies(self, what: str, kills: int, *, takes: float, seed: int) -> tuple[int, list[Record]]:
        """Kills a small study (SIGKILL, every process of it) at a moment drawn from `seed` over the `takes` seconds
        that it needs unbroken, starts it again and kills that, and so on; one that had ended before its moment begins
        anew. Returns how many kills there were, at most `kills`, and the cells of every study that was killed, once it
        has come to its end."""
        self.watch(what)
        out, moments = self.folder / "killed", random.Random(seed)
        made, broken, found = 0, False, []
        for _ in range(TRIES * kills):
            if self._killed(what, self._study(out), moments.uniform(0, takes)):
                made, broken = made + 1, True
            else:
                found += [_cells(out)] if broken else []
                shutil.rmtree(out)
                broken = False
            if made == kills:
                break
        found += [self.study(what, out.name)] if broken else []
        return made, found

    def _study(self, out: Path, operators: Sequence[str] = POOL[:2]) -> list[str]:
        return [*self.program, "growjax", *STUDY, "--operators", *operators, "--out", str(out), "--json"]

    def _killed(self, what: str, command: Sequence[str], seconds: float) -> bool:
        """Whether a process was still there to be killed after so many seconds."""
        quiet = subprocess.DEVNULL
        with tempfile.TemporaryFile("w+") as err:
            process = subprocess.Popen(
                command, env=self.environment(), start_new_session=True, stdout=quiet, stderr=err
            )
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                pass
            finally:
                if process.returncode is None:
                    os.killpg(process.pid, signal.SIGKILL)
                code = process.wait()
            if code not in (0, -signal.SIGKILL):
                err.seek(0)
                raise CheckFailed(f"{what}: the study ended with {code}: {_last_line(err.read())}")
        return code == -signal.SIGKILL


def _cells(out: Path) -> Record:
    cells = read_receipt(out)["cells"]
    return {cell["id"]: {"digests": cell["digests"], "exact": cell["exact"]} for cell in cells}


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
