"""What pins and digests cost: a pair of continuations side by side, in alternating runs.

    python -m experiments.pins_cost --out artifacts/pins-cost.json [--rounds 9]

Claim: under all pins two continuations side by side take at most 3 % longer than under jax's defaults with only the
YNNPACK fusions off, and digests after every step take at most 2.5 % of a step. Two processes run a training of 24 steps
at d_model 128 (4 layers, vocabulary 2048, batch 16 x 128, dropout on) at the same time; the settings take turns, and
each round gives one ratio of the pair's times. The interval is of the mean of the ratios' logarithms (t, 95 %). About
ten minutes on two quiet cores.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
from pathlib import Path

from growjax import runtime
from growjax.files import write_text

WORKER = """
import sys, time
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_enable_x64", True)
from growjax.config import ModelConfig, OptimConfig, TrainConfig
from growjax.streams import Streams, root_key
from growjax.train import loop
from growjax.train.programs import Programs
from growjax.train.state import init_state
if sys.argv[2] == "no":
    loop.leaf_digests = lambda tree: jnp.zeros((len(jax.tree.leaves(tree)), 2), jnp.uint32)
width = int(sys.argv[1])
model = ModelConfig(d_model=width, n_layers=4, n_heads=width // 32, n_kv_heads=width // 32, head_dim=32,
                    d_ff=3 * width, vocab_size=2048, max_seq_len=128)
rng = np.random.default_rng(0)
train, held_out = rng.integers(0, 2048, (400, 129)), rng.integers(0, 2048, (1, 4, 129))
feed = loop.Feed(jnp.asarray(train, jnp.uint16), jnp.asarray(held_out, jnp.uint16))
state = init_state(TrainConfig(model, OptimConfig(warmup_steps=2)), key=Streams(root_key(0)).at("init", 0))
live = loop.run_keys(Streams(root_key(0)), ("order", "dropout"))
programs = Programs()
def go(steps):
    done = loop.advance(state, steps, feed=feed, run_keys=live, batch_size=16, programs=programs)
    return jax.block_until_ready(done.params)
go(1)
print("ready", flush=True)
for line in sys.stdin:
    began = time.perf_counter()
    go(int(line))
    print(time.perf_counter() - began, flush=True)
"""
Pair = list["subprocess.Popen[str]"]


def start(pins: dict[str, str], d_model: int, digests: str) -> Pair:
    """Two processes that have compiled and wait."""
    clean = runtime.without_pins()
    words = [sys.executable, "-c", WORKER, str(d_model), digests]
    pair = [
        subprocess.Popen(words, env={**clean, **pins}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in pair:
        assert process.stdout and process.stdout.readline() == "ready\n"
    return pair


def turn(pair: Pair, steps: int) -> float:
    """Seconds until both of a pair have made so many steps."""
    for process in pair:
        assert process.stdin
        process.stdin.write(f"{steps}\n")
        process.stdin.flush()
    return max(float(p.stdout.readline()) for p in pair if p.stdout)


def interval(ratios: list[float]) -> dict[str, float]:
    """Mean ratio and its 95 % interval, by logarithms."""
    from scipy import stats

    logs = [math.log(r) for r in ratios]
    mean, half = statistics.mean(logs), 0.0
    half = float(stats.t.ppf(0.975, len(logs) - 1)) * statistics.stdev(logs) / math.sqrt(len(logs))
    return {"low": math.exp(mean - half), "ratio": math.exp(mean), "high": math.exp(mean + half)}


def compare(settings: dict[str, tuple[dict[str, str], str]], base: str, d_model: int, steps: int, rounds: int) -> dict:
    """Every setting's time over the base's, round by round."""
    pairs = {name: start(pins, d_model, digests) for name, (pins, digests) in settings.items()}
    times = {name: [] for name in settings}
    for _ in range(rounds + 1):
        for name, pair in pairs.items():
            times[name].append(turn(pair, steps))
    for pair in pairs.values():
        for process in pair:
            process.kill()
    kept = {name: values[1:] for name, values in times.items()}  # the first round warms up
    rows = {
        name: interval([a / b for a, b in zip(v, kept[base], strict=True)]) for name, v in kept.items() if name != base
    }
    return {"d_model": d_model, "base": base, "seconds": kept, "over the base": rows}


def main() -> int:
    """Measures, prints and keeps the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("artifacts/pins-cost.json"))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=24)
    given = parser.parse_args()
    pinned: dict[str, str] = {}
    runtime.pin(pinned)
    safe = {"XLA_FLAGS": "--xla_cpu_experimental_ynn_fusion_type="}
    pins = compare({"defaults, fusions off": (safe, "yes"), "all pins": (pinned, "yes")}, "defaults, fusions off", 128,
                   given.steps, given.rounds)  # fmt: skip
    digests = [
        compare({"no digests": (pinned, "no"), "digests": (pinned, "yes")}, "no digests", d, given.steps, given.rounds)
        for d in (128,)
    ]
    runtime.start()
    figures = {"pins": pins, "digests": digests, "environment": runtime.environment(), "cores": runtime.cores()}
    write_text(given.out, json.dumps(figures, indent=2, sort_keys=True) + "\n")
    print(json.dumps({"pins": pins["over the base"], "digests": [d["over the base"] for d in digests]}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
