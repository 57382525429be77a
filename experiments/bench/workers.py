"""Peers of the bench in processes of their own, and how they take turns."""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.bench.setting import Size
from growjax import large_pages, runtime

ROOT = Path(__file__).parents[2]
CLEAN = {**runtime.without_pins(), "PYTHONPATH": str(ROOT)}
"""The surroundings of a process that sets its own pins, or none."""


class Worker:
    """A peer in a process of its own."""

    def __init__(self, words: list[str], env: dict[str, str]):
        self.process = subprocess.Popen(words, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, *question: object) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"a worker ended: {self.process.args}")
        return json.loads(line)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


class Peers:
    """Starts workers of every kind, each in its own surroundings."""

    def __init__(self, torch: str, folder: Path):
        self.torch, self.file = torch, str(folder / "shared.npz")
        pinned: dict[str, str] = {}
        runtime.pin(pinned)
        plain = {**CLEAN, "XLA_FLAGS": "--xla_cpu_experimental_ynn_fusion_type="}
        one_thread = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        two_devices = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
        own = {**CLEAN, "GLIBC_TUNABLES": large_pages.with_large_pages()}  # as its commands give themselves
        ours, torch_words = (
            [sys.executable, "-m", "experiments.bench.ours"],
            [torch, "-m", "experiments.bench.torch_peer"],
        )
        self.kinds: dict[str, tuple[list[str], list[str], dict[str, str]]] = {
            # words before the size and the shared file, words after, environment
            "growjax": (ours, ["read", "1"], own),
            "growjax, writing": (ours, ["write", "1"], own),
            "growjax, 2 shards": (ours, ["read", "2"], {**own, **two_devices}),
            "plain Flax, same pins": ([sys.executable, "-m", "experiments.bench.plain"], [], {**CLEAN, **pinned}),
            "plain Flax, jax's defaults": ([sys.executable, "-m", "experiments.bench.plain"], [], plain),
            "PyTorch eager": (torch_words, ["eager", "1"], {**CLEAN, **one_thread}),
            "PyTorch compiled": (torch_words, ["compiled", "1"], {**CLEAN, **one_thread}),
            "PyTorch eager, 2 threads": (torch_words, ["eager", "2"], CLEAN),
            "PyTorch compiled, 2 threads": (torch_words, ["compiled", "2"], CLEAN),
        }

    def start(self, kind: str, size: Size, env: dict[str, str] | None = None) -> Worker:
        """A worker that is ready, or will be."""
        before, after, surroundings = self.kinds[kind]
        words = [*before, ",".join(map(str, size)), self.file, *after]
        return Worker(words, {**surroundings, **(env or {})})

    @contextlib.contextmanager
    def teams(self, size: Size, kinds: list[str], count: int) -> Iterator[dict[str, list[Worker]]]:
        """So many workers of every kind, all of them ready; ended afterwards."""
        self.share(size)
        teams = {kind: [self.start(kind, size) for _ in range(count)] for kind in kinds}
        workers = [worker for team in teams.values() for worker in team]
        for worker in workers:
            worker.answer()
        try:
            yield teams
        finally:
            for worker in workers:
                worker.close()

    def share(self, size: Size) -> None:
        """Writes the first parameters of a size for all peers."""
        worker = self.start("growjax, writing", size)
        worker.answer()
        worker.close()


def together(workers: list[Worker], *question: object) -> float:
    """Seconds until all have done what they were asked, all at the same time."""
    for worker in workers:
        worker.ask(*question)
    return max(worker.answer()["seconds"] for worker in workers)


def asked(workers: list[Worker], *question: object) -> list[Any]:
    """What each made of a question, all asked at the same time."""
    for worker in workers:
        worker.ask(*question)
    return [worker.answer()["made"] for worker in workers]


def turns(teams: dict[str, list[Worker]], rounds: int, *question: object) -> dict[str, list[float]]:
    """Seconds of every team in every round; the first round warms up and is not kept."""
    seconds: dict[str, list[float]] = {name: [] for name in teams}
    for number in range(rounds + 1):
        for name, workers in teams.items():
            took = together(workers, *question)
            if number:
                seconds[name].append(took)
    return seconds


def ratios(seconds: dict[str, list[float]], own: str = "growjax") -> dict[str, dict[str, float]]:
    """Of every peer: its time over growjax's in the same round."""
    found = {}
    for name, values in seconds.items():
        if name != own:
            parts = [a / b for a, b in zip(values, seconds[own], strict=True)]
            found[name] = {"low": min(parts), "median": statistics.median(parts), "high": max(parts)}
    return found
