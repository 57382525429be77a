"""The evidence as it grows: one document, kept whole after every stage, and the processes that it comes from."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from growjax import runtime
from growjax.files import write_text
from growjax.schema import Record

ROOT = Path(__file__).parents[2]
WORKER = "experiments.accelerator.workers"

UNPINNED = " ".join((
    "--xla_gpu_deterministic_ops=false", "--xla_gpu_autotune_level=4", "--xla_gpu_enable_triton_gemm=true",
    "--xla_allow_excess_precision=true",
))  # fmt: skip
"""What the pins for a GPU take away from jax's defaults."""


def all_cores() -> dict[str, str]:
    """XLA's pool of threads as jax has it by default."""
    count = str(os.cpu_count())
    return {"NPROC": count, "PJRT_NPROC": count}


def without_places(text: str) -> str:
    """What a process said, with no path of the machine in it: files by their place in growjax or in a package."""
    return re.sub(r'[^\s"\']*/site-packages/', "", text.replace(f"{ROOT}/", ""))


class Setting(NamedTuple):
    """What the user asked for."""

    small: bool
    torch: str | None
    stages: tuple[str, ...] = ()


class Evidence:
    """Stages put what they found here, and what does not hold."""

    def __init__(self, setting: Setting, out: Path, work: Path, budget: float):
        self.setting, self.out, self.work = setting, out, work
        self.began, self.budget = time.monotonic(), budget
        self.card = "cpu" if setting.small else "unknown"
        self.stages: Record = {}
        self.faults: list[str] = []
        self.not_reached: list[str] = []

    def left(self) -> float:
        """Seconds of the budget that are left."""
        return self.budget - (time.monotonic() - self.began)

    def say(self, *words: object) -> None:
        """A line of progress."""
        print(f"[{time.monotonic() - self.began:6.1f}s]", *words, flush=True)

    def keep(self, stage: str, found: object) -> None:
        """Keeps what a stage found, on disk too."""
        self.stages[stage] = found
        text = json.dumps(self.document(), indent=1, sort_keys=True, default=str)
        write_text(self.out / f"accelerator-{self.card}.json", text + "\n")

    def fault(self, stage: str, text: str) -> None:
        """Something that does not hold."""
        self.faults.append(f"{stage}: {text}")
        self.say("DOES NOT HOLD", self.faults[-1][:1000])

    def compare(self, stage: str, what: str, values: Sequence[object]) -> None:
        """All values must be there and the same; a comparison of fewer than two compares nothing, and fails."""
        if len(values) < 2 or any(v in (None, "", [], {}) for v in values):
            self.fault(stage, f"{what}: nothing was compared ({len(values)} values)")
        elif any(v != values[0] for v in values):
            self.fault(stage, f"{what}: {len({json.dumps(v, sort_keys=True) for v in values})} different values")

    def missed(self, stage: str) -> None:
        """A stage that the budget does not reach."""
        self.not_reached.append(stage)
        self.say("no time for", stage)

    def document(self) -> Record:
        """Everything as plain data."""
        return {
            "card": self.card,
            "small": self.setting.small,
            "seconds": round(time.monotonic() - self.began, 1),
            "stages": self.stages,
            "faults": self.faults,
            "not_reached": self.not_reached,
        }

    def finish(self, table: Callable[[Record], str]) -> Path:
        """Writes the table beside the document; returns its place."""
        self.keep("end", {"left_s": round(self.left(), 1)})
        place = self.out / f"accelerator-{self.card}.md"
        write_text(place, table(self.document()))
        return place

    def name_card(self, device_kind: str) -> None:
        """Names the files after the device, from its kind as jax gives it. Stages that are not asked for keep what an
        earlier document of this card says of them."""
        if not self.setting.small:
            self.card = re.sub(r"[^a-z0-9]+", "-", device_kind.lower()).strip("-") or "unknown"
        place = self.out / f"accelerator-{self.card}.json"
        if place.exists():
            earlier = json.loads(place.read_text(encoding="utf-8"))
            kept = set(earlier["stages"]) - {*self.setting.stages, "end"}
            self.stages = {name: earlier["stages"][name] for name in kept}
            self.faults += [fault for fault in earlier["faults"] if fault.partition(":")[0] in kept]

    # ------------------------------------------------------------ processes

    def environment(self, *, flags: str = "", cache: str = "", **more: str) -> dict[str, str]:
        """Surroundings of a process that sets its own pins. With no `cache` to share it has one of its own: growjax
        lets processes that share one compile a program one after the other. What is small shares the user's."""
        given = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
        paths = [str(ROOT), *map(os.path.abspath, given)]  # processes run in folders of their own
        own = {"PYTHONPATH": os.pathsep.join(paths), "TF_CPP_MIN_LOG_LEVEL": "2"}
        if not (cache and self.setting.small):
            own["XDG_CACHE_HOME"] = (
                str(self.work / cache) if cache else tempfile.mkdtemp(prefix="cache-", dir=self.work)
            )
        clean = {name: value for name, value in runtime.without_pins().items() if name != "JAX_COMPILATION_CACHE_DIR"}
        return {**clean, **own, **({"XLA_FLAGS": flags} if flags else {}), **more}

    def quick(self) -> dict[str, str]:
        """What is small, and compared only with what the same process computed, is compiled without the optimizations
        that take a compiler longest."""
        return {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"} if self.setting.small else {}

    def child(self, words: list[str], env: dict[str, str], limit: float = 240) -> Record:
        """One process to its end: the last document that it printed on a line; `failed` where it did not end well."""
        began, pipe = time.monotonic(), subprocess.PIPE
        process = subprocess.Popen(
            words, env=env, cwd=self.work, stdout=pipe, stderr=pipe, text=True, start_new_session=True
        )
        try:
            out, err = process.communicate(timeout=max(5, min(limit, self.left())))
            lines = [line for line in out.splitlines() if line.startswith("{")]
            made: Record = json.loads(lines[-1]) if lines else {}
            if process.returncode:
                made |= {"failed": process.returncode, "stderr": without_places(err)[-1500:]}
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # with its own children
            out, err = process.communicate()
            lines = [line for line in out.splitlines() if line.startswith("{") and line.endswith("}")]
            made = {
                **(json.loads(lines[-1]) if lines else {}),
                "failed": "timeout",
                "stderr": without_places(err)[-800:],
            }
        return {**made, "wall_s": round(time.monotonic() - began, 1)}

    def worker(self, name: str, given: Record, env: dict[str, str], limit: float = 240) -> Record:
        """A function of `experiments.accelerator.workers` in a process of its own."""
        words = [sys.executable, "-m", WORKER, name, json.dumps({**given, "small": self.setting.small})]
        return self.child(words, env, limit)


class Served:
    """A process that serves turns (`experiments.bench.setting.serve`), asked with a limit of time."""

    def __init__(self, words: list[str], env: dict[str, str], log: Path):
        pipe, self.log = subprocess.PIPE, log
        self.ended: Record = {}
        """Why it answers no more, once it does not."""
        with log.open("w") as errors:
            self.process = subprocess.Popen(words, env=env, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=errors, text=True)

    def answer(self, limit: float) -> Any:
        """Its next line; where none comes in time it is ended, and `ended` says so."""
        lines: list[str] = []
        stdout = self.process.stdout
        assert stdout is not None
        reader = threading.Thread(target=lambda: lines.append(stdout.readline()), daemon=True)
        reader.start()
        reader.join(max(1.0, limit))
        if lines and lines[0].strip():
            return json.loads(lines[0])
        self.close()
        self.ended = {
            "failed": "timeout" if not lines else "ended",
            "stderr": without_places(self.log.read_text())[-1200:],
        }
        return self.ended

    def send(self, *question: object) -> None:
        """Puts a question, whose answer is to be read."""
        with contextlib.suppress(OSError):
            assert self.process.stdin is not None
            self.process.stdin.write(json.dumps(question) + "\n")
            self.process.stdin.flush()

    def ask(self, limit: float, *question: object) -> Any:
        """What it answers to a question."""
        self.send(*question)
        return self.answer(limit)

    def close(self) -> None:
        """Ends it."""
        self.process.kill()
        self.process.wait()
