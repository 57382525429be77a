"""How fast growjax is beside its peers on the same cores, and how near the machine's own limits.

    python -m venv /tmp/peers && /tmp/peers/bin/pip install torch numpy
    python -m experiments.bench --torch /tmp/peers/bin/python [--out artifacts/bench-cpu.json] [--rounds 5]

PyTorch lives in an environment of its own, so that it changes nothing in growjax's. Every row is measured in turns
(each peer once a round, all workers compiled and waiting before the first), and a ratio is the median over rounds of
the peer's time over growjax's in the same round: above 1 growjax is faster. Rows:

- a training step side by side: two processes of one thread each, at several sizes, against PyTorch (eager, compiled)
  and plain Flax under the same pins; the losses of five steps without dropout are compared first;
- one training over both cores: growjax over two virtual shards, PyTorch with two threads; and what a step of
  growjax's is made of there, each part measured alone;
- a continuation of 128 steps with evaluations; a pool of 8 candidates in both regimes, process start and compilation
  included, against one process that makes a jitted step for every candidate;
- cold starts, memory, and the share of this machine's own matrix-product rate.

About 35 minutes on two quiet cores.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from experiments.bench.setting import Size
from growjax import runtime
from growjax.files import write_text

SIZES = {"128": Size(128), "256": Size(256), "64": Size(64), "128, 8 layers": Size(128, layers=8)}
QUICK = Size(96, layers=2, batch=12, length=64, vocab=512)
"""The quick study's target."""
Figures = dict[str, Any]


class Worker:
    """A peer in a process of its own."""

    def __init__(self, words: list[str], env: dict[str, str]):
        self.process = subprocess.Popen(words, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, *question: Any) -> None:
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
        clean = {**runtime.without_pins(), "PYTHONPATH": str(Path(__file__).parents[2])}
        plain = {**clean, "XLA_FLAGS": "--xla_cpu_experimental_ynn_fusion_type="}
        one_thread = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        two_devices = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
        ours, torch_words = (
            [sys.executable, "-m", "experiments.bench.ours"],
            [torch, "-m", "experiments.bench.torch_peer"],
        )
        self.kinds: dict[str, tuple[list[str], list[str], dict[str, str]]] = {
            # words before the size and the shared file, words after, environment
            "growjax": (ours, ["read", "1"], clean),
            "growjax, writing": (ours, ["write", "1"], clean),
            "growjax, 2 shards": (ours, ["read", "2"], {**clean, **two_devices}),
            "plain Flax, same pins": ([sys.executable, "-m", "experiments.bench.plain"], [], {**clean, **pinned}),
            "plain Flax, jax's defaults": ([sys.executable, "-m", "experiments.bench.plain"], [], plain),
            "PyTorch eager": (torch_words, ["eager", "1"], {**clean, **one_thread}),
            "PyTorch compiled": (torch_words, ["compiled", "1"], {**clean, **one_thread}),
            "PyTorch eager, 2 threads": (torch_words, ["eager", "2"], clean),
            "PyTorch compiled, 2 threads": (torch_words, ["compiled", "2"], clean),
        }

    def start(self, kind: str, size: Size, env: dict[str, str] | None = None) -> Worker:
        """A worker that is ready, or will be."""
        before, after, surroundings = self.kinds[kind]
        words = [*before, ",".join(map(str, size)), self.file, *after]
        return Worker(words, {**surroundings, **(env or {})})

    def share(self, size: Size) -> None:
        """Writes the first parameters of a size for all peers."""
        worker = self.start("growjax, writing", size)
        worker.answer()
        worker.close()


def together(workers: list[Worker], *question: Any) -> float:
    """Seconds until all have done what they were asked, all at the same time."""
    for worker in workers:
        worker.ask(*question)
    return max(worker.answer()["seconds"] for worker in workers)


def turns(teams: dict[str, list[Worker]], rounds: int, *question: Any) -> dict[str, list[float]]:
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


def row(peers: Peers, size: Size, kinds: list[str], count: int, rounds: int, steps: int, own: str) -> Figures:
    """One size: `count` processes of every kind at once, in turns."""
    peers.share(size)
    teams = {kind: [peers.start(kind, size) for _ in range(count)] for kind in kinds}
    for team in teams.values():
        for worker in team:
            worker.answer()
    found: dict[str, list[float]] = {}
    for kind, team in teams.items():
        team[0].ask("losses")
        found[kind] = team[0].answer()["made"]
    seconds = turns(teams, rounds, "steps", steps)
    rates, memory = [], None
    if own == "growjax":
        for worker in teams[own]:
            worker.ask("rate")
        rates = [worker.answer()["made"] for worker in teams[own]]
        teams[own][0].ask("memory")
        memory = teams[own][0].answer()["made"]
    parts = None
    if own == "growjax, 2 shards":
        teams[own][0].ask("parts")
        parts = teams[own][0].answer()["made"]
    for team in teams.values():
        for worker in team:
            worker.close()
    step = {kind: statistics.median(values) / steps for kind, values in seconds.items()}
    figures: Figures = {
        "processes": count,
        "seconds per step": step,
        "tokens per second, all processes": {kind: count * size.tokens / s for kind, s in step.items()},
        "their time over growjax's": ratios(seconds, own),
        "largest difference of the losses": {
            kind: max(abs(a - b) for a, b in zip(values, found[own], strict=True)) for kind, values in found.items()
        },
        "seconds, round by round": seconds,
    }
    if rates:
        product = statistics.mean(r["product GFLOP/s"] for r in rates)
        figures["this machine, in each process"] = {k: statistics.mean(r[k] for r in rates) for k in rates[0]}
        figures["share of the product rate"] = size.flops / step[own] / 1e9 / product
    if parts:
        figures["growjax by parts, each alone, seconds"] = parts
    if memory:
        counted = memory["state"] + memory["gradients"] + memory["saved activations"]
        figures["memory"] = {**memory, "program over the count": memory["program"] / counted}
    return figures


def continuation(peers: Peers, rounds: int) -> Figures:
    """128 steps with 17 evaluations at the quick study's size, side by side."""
    peers.share(QUICK)
    kinds = ["growjax", "plain Flax, same pins", "PyTorch eager", "PyTorch compiled"]
    teams = {kind: [peers.start(kind, QUICK) for _ in range(2)] for kind in kinds}
    for team in teams.values():
        for worker in team:
            worker.answer()
    seconds = turns(teams, rounds, "continuation", 128, 8)
    for team in teams.values():
        for worker in team:
            worker.close()
    return {
        "seconds": {k: statistics.median(v) for k, v in seconds.items()},
        "their time over growjax's": ratios(seconds),
    }


def pool(peers: Peers, rounds: int) -> Figures:
    """8 candidates in both regimes, from the start of the processes to the end."""
    peers.share(QUICK)
    seconds: dict[str, list[float]] = {"growjax": [], "growjax, programs kept": [], "the obvious script": []}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as cache:
            for name in ("growjax", "growjax, programs kept"):
                began = time.perf_counter()
                lanes = [peers.start("growjax", QUICK, {"XDG_CACHE_HOME": cache}) for _ in range(2)]
                for number, lane in enumerate(lanes):
                    lane.answer()
                    lane.ask("pool", 8, 128, 8, number, 2)
                for lane in lanes:
                    lane.answer()
                seconds[name].append(time.perf_counter() - began)
                for lane in lanes:
                    lane.close()
        began = time.perf_counter()
        script = peers.start("plain Flax, jax's defaults", QUICK)
        script.answer()
        together([script], "pool", 8, 128, 8)
        seconds["the obvious script"].append(time.perf_counter() - began)
        script.close()
    medians = {k: statistics.median(v) for k, v in seconds.items()}
    return {"seconds": medians, "their time over growjax's": ratios(seconds), "round by round": seconds}


FIRST_STEP = """
import sys, time
began = time.perf_counter()
import os
from growjax import runtime
runtime.pin()
from growjax.cli import main
def stop(*words, **named):
    print(time.perf_counter() - began, sum(os.times()[:2]), flush=True)
    os._exit(0)
from growjax.train import loop
real = loop.Programs.get
def get(self, *words):
    made = real(self, *words)
    if words[0] == "run":
        stop()
    return made
loop.Programs.get = get
main(["study", "--lanes", "1", "--out", sys.argv[1]])
"""


def starts(rounds: int) -> Figures:
    """Seconds until the help is there, and until a quick study's first training step can begin (one lane)."""
    clean = {**runtime.without_pins(), "PYTHONPATH": str(Path(__file__).parents[2])}
    helps = []
    for _ in range(rounds):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "growjax", "--help"], env=clean, check=True, stdout=subprocess.DEVNULL)
        helps.append(time.perf_counter() - began)
    first: list[list[float]] = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds + 1):
            env = {**clean, "XDG_CACHE_HOME": f"{folder}/cache"}
            words = [sys.executable, "-c", FIRST_STEP, f"{folder}/run{number}"]
            done = subprocess.run(words, env=env, check=True, capture_output=True, text=True)
            first.append([float(x) for x in done.stdout.split()[-2:]])
    return {
        "--help, seconds": statistics.median(helps),
        "first start, seconds to the first step": first[0][0],
        "second start, seconds to the first step": statistics.median(s for s, _ in first[1:]),
        "second start, seconds of computing": statistics.median(s for _, s in first[1:]),
    }


def main() -> int:
    """Measures, prints and keeps the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("artifacts/bench-cpu.json"))
    parser.add_argument("--torch", required=True, help="a Python that has torch and numpy")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", nargs="*", default=None, help="only rows whose names begin so")
    given = parser.parse_args()
    figures: Figures = json.loads(given.out.read_text()) if given.out.exists() and given.rows else {"rows": {}}
    sides = ["growjax", "plain Flax, same pins", "PyTorch eager", "PyTorch compiled"]
    shards = ["growjax, 2 shards", "PyTorch eager, 2 threads", "PyTorch compiled, 2 threads"]
    with tempfile.TemporaryDirectory() as folder:
        peers = Peers(given.torch, Path(folder))
        rows: dict[str, Any] = {"starts": lambda: starts(given.rounds)}
        for name, size in SIZES.items():
            steps = 12  # enough that what a call costs (fresh memory above all) weighs little
            rows[f"step side by side, {name}"] = lambda s=size, n=steps: row(
                peers, s, sides, 2, given.rounds, n, "growjax"
            )
        for name in ("128", "256"):
            steps = 12
            rows[f"step on both cores, {name}"] = lambda s=SIZES[name], n=steps: row(
                peers, s, shards, 1, given.rounds, n, "growjax, 2 shards"
            )
        rows["continuation"] = lambda: continuation(peers, given.rounds)
        rows["pool"] = lambda: pool(peers, given.rounds)
        for name, measure in rows.items():
            if given.rows and not name.startswith(tuple(given.rows)):
                continue
            figures["rows"][name] = measure()
            print(name, json.dumps(_short(figures["rows"][name]), indent=1), flush=True)
            _keep(figures, given)
    return 0


def _keep(figures: Figures, given: argparse.Namespace) -> None:
    version = [given.torch, "-c", "import torch; print(torch.__version__)"]
    torch = subprocess.run(version, capture_output=True, text=True, check=True).stdout.strip()
    runtime.start()
    environment = {**runtime.environment(), "torch": torch}
    figures |= {
        "rounds": given.rounds,
        "cores": runtime.cores(),
        "load": os.getloadavg()[0],
        "environment": environment,
    }
    write_text(given.out, json.dumps(figures, indent=2, sort_keys=True) + "\n")


def _short(figures: Figures) -> Figures:
    return {name: value for name, value in figures.items() if "round by round" not in name}


if __name__ == "__main__":
    sys.exit(main())
