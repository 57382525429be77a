"""The rows of the bench: each measures one thing and returns its figures."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from experiments.bench.setting import RATIO, Figures, Size
from experiments.bench.workers import CLEAN, ROOT, Peers, asked, ratios, together, turns

QUICK = Size(96, layers=2, batch=12, length=64, vocab=512)
"""The quick study's target."""


def row(peers: Peers, size: Size, kinds: list[str], count: int, rounds: int, steps: int) -> Figures:
    """One size: `count` processes of every kind at once, in turns; growjax's is the first of the kinds."""
    own, found = kinds[0], {}
    with peers.teams(size, kinds, count) as teams:
        for kind, team in teams.items():
            found[kind] = asked(team[:1], "losses")[0]
        seconds = turns(teams, rounds, "steps", steps)
        if own == "growjax":
            described = {"rates": asked(teams[own], "rate"), "memory": asked(teams[own][:1], "memory")[0]}
        else:
            described = {"parts": asked(teams[own][:1], "parts")[0]}
    step = {kind: statistics.median(values) / steps for kind, values in seconds.items()}
    figures: Figures = {
        "processes": count,
        "seconds per step": step,
        "tokens per second, all processes": {kind: count * size.tokens / s for kind, s in step.items()},
        RATIO: ratios(seconds, own),
        "largest difference of the losses": {
            kind: max(abs(a - b) for a, b in zip(values, found[own], strict=True)) for kind, values in found.items()
        },
        "seconds, round by round": seconds,
    }
    if "parts" in described:
        return {**figures, "growjax by parts, each alone, seconds": described["parts"]}
    rates, memory = described["rates"], described["memory"]
    product = statistics.mean(r["product GFLOP/s"] for r in rates)
    counted = memory["state"] + memory["gradients"] + memory["saved activations"]
    return {
        **figures,
        "this machine, in each process": {k: statistics.mean(r[k] for r in rates) for k in rates[0]},
        "share of the product rate": size.flops / step[own] / 1e9 / product,
        "memory": {**memory, "program over the count": memory["program"] / counted},
    }


def continuation(peers: Peers, rounds: int) -> Figures:
    """128 steps with 17 evaluations at the quick study's size, side by side."""
    kinds = ["growjax", "plain Flax, same pins", "PyTorch eager", "PyTorch compiled"]
    with peers.teams(QUICK, kinds, 2) as teams:
        seconds = turns(teams, rounds, "continuation", 128, 8)
    return {
        "seconds": {k: statistics.median(v) for k, v in seconds.items()},
        RATIO: ratios(seconds),
    }


def pool(peers: Peers, rounds: int) -> Figures:
    """8 candidates in both regimes, from the start of the processes to the end."""
    peers.share(QUICK)
    seconds: dict[str, list[float]] = {"growjax": [], "growjax, programs kept": [], "the obvious script": []}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as cache:
            for name in ("growjax", "growjax, programs kept"):
                seconds[name].append(_pool_of(peers, cache, 8, 2))
        began = time.perf_counter()
        script = peers.start("plain Flax, jax's defaults", QUICK)
        script.answer()
        together([script], "pool", 8, 128, 8)
        seconds["the obvious script"].append(time.perf_counter() - began)
        script.close()
    medians = {k: statistics.median(v) for k, v in seconds.items()}
    return {
        "seconds": medians,
        RATIO: ratios(seconds),
        "round by round": seconds,
    }


def pool_sizes(peers: Peers, rounds: int) -> Figures:
    """How a pool's time grows with candidates and cores, its programs kept from a run before."""
    peers.share(QUICK)
    settings = {"2 candidates, 2 workers": (2, 2), "4 candidates, 2 workers": (4, 2), "4 candidates, 1 worker": (4, 1)}
    seconds: dict[str, list[float]] = {name: [] for name in settings}
    with tempfile.TemporaryDirectory() as cache:
        for number in range(rounds + 1):
            for name, (candidates, side_by_side) in settings.items():
                took = _pool_of(peers, cache, candidates, side_by_side)
                if number:
                    seconds[name].append(took)
    return {"growth, seconds": {k: statistics.median(v) for k, v in seconds.items()}, "round by round": seconds}


def _pool_of(peers: Peers, cache: str, candidates: int, side_by_side: int) -> float:
    """Seconds of a pool over so many processes, from their start to the end of the last."""
    began = time.perf_counter()
    workers = [peers.start("growjax", QUICK, {"XDG_CACHE_HOME": cache}) for _ in range(side_by_side)]
    for number, worker in enumerate(workers):
        worker.answer()
        worker.ask("pool", candidates, 128, 8, number, side_by_side)
    for worker in workers:
        worker.answer()
    took = time.perf_counter() - began
    for worker in workers:
        worker.close()
    return took


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
main(["study", "--workers", "1", "--out", sys.argv[1]])
"""


def starts(rounds: int) -> Figures:
    """Seconds until the help is there, and until a quick study's first training step can begin (one worker)."""
    helps = []
    for _ in range(rounds):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "growjax", "--help"], env=CLEAN, check=True, stdout=subprocess.DEVNULL)
        helps.append(time.perf_counter() - began)
    first: list[list[float]] = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds + 1):
            env = {**CLEAN, "XDG_CACHE_HOME": f"{folder}/cache"}
            words = [sys.executable, "-c", FIRST_STEP, f"{folder}/run{number}"]
            done = subprocess.run(words, env=env, check=True, capture_output=True, text=True)
            first.append([float(x) for x in done.stdout.split()[-2:]])
    return {
        "--help, seconds": statistics.median(helps),
        "first start, seconds to the first step": first[0][0],
        "second start, seconds to the first step": statistics.median(s for s, _ in first[1:]),
        "second start, seconds of computing": statistics.median(s for _, s in first[1:]),
    }


def module(name: str, *words: str) -> Figures:
    """The figures of an experiment that measures by itself: `python -m experiments.NAME`."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "figures.json"
        command = [sys.executable, "-m", f"experiments.{name}", "--out", str(file), *words]
        done = subprocess.run(command, env=CLEAN, cwd=ROOT, stdout=subprocess.DEVNULL)
        if not file.exists():
            raise SystemExit(f"experiments.{name} ended with {done.returncode} and no figures")
        figures = json.loads(file.read_text())
    once = ("environment", "cores")  # the table says them
    return {"claims hold": done.returncode == 0, **{k: v for k, v in figures.items() if k not in once}}
