"""What widening a large state costs: time against this machine's copy bandwidth, and memory.

    python -m experiments.widen_bench --out artifacts/widen-bench.json [--parameters 200] [--rounds 7]

Claim: widening a state of 200 M parameters, both moments included, takes no more memory than source, target and the
largest leaf, and runs at no less than half of the copy bandwidth. A source of so many million parameters is doubled by
`exact_copy` and by `lockstep`. The first call compiles, and is given apart. Then widening and plain copies take turns.
A fresh state needs fresh memory, so the copy to compare with is one of as many bytes into memory as fresh: XLA copies
the source's arrays again and again, all copies kept, until as much is written as the target holds. (How fast memory
that was written before is copied by NumPy is given too: what the kernel asks for a new page is most of the difference.)
Rates count bytes read and bytes written. Memory is the peak resident size above that of the process with the source in
it. About four minutes; needs 16 GB. Exits with 1 where the claim fails.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from growjax import runtime

NOTES = runtime.pin()
runtime.start()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from growjax.config import ModelConfig, TrainConfig  # noqa: E402
from growjax.files import write_text  # noqa: E402
from growjax.grow.plan import WidthPlan, default_target, make_plan  # noqa: E402
from growjax.grow.widen import widen  # noqa: E402
from growjax.model.decoder import Params, count_params, param_shapes  # noqa: E402
from growjax.schema import Record  # noqa: E402
from growjax.streams import root_key  # noqa: E402
from growjax.train.state import TrainState, fresh_state  # noqa: E402


def model(millions: int) -> ModelConfig:
    """A decoder of about so many million parameters."""
    layers = max(1, round((millions - 33) / 12.85))
    return ModelConfig(
        d_model=1024, n_layers=layers, n_heads=16, n_kv_heads=16, head_dim=64, d_ff=2816, vocab_size=32000
    )


def filled(config: TrainConfig) -> TrainState:
    """A state whose every array holds numbers, in memory of its own."""

    def fill(value: float) -> Params:
        return jax.tree.map(lambda s: jnp.full(s.shape, value, s.dtype), param_shapes(config.model))

    state = fresh_state(config, fill(0.5))
    opt_state: Any = state.opt_state._replace(mu=fill(0.25), nu=fill(0.125))
    return jax.block_until_ready(state.replace(opt_state=opt_state))


def nbytes(tree: object) -> int:
    """Bytes of all arrays."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def status(field: str) -> int:
    """A size from /proc/self/status, in bytes."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(field))
    return int(line.split()[1]) * 1024


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """(seconds, result); what came before is waited for."""
    began = time.perf_counter()
    made = jax.block_until_ready(work())
    return time.perf_counter() - began, made


def copies(source: TrainState, size: int) -> list[jax.Array]:
    """The source's arrays, copied until `size` bytes are written; the last may go a little beyond."""
    made, left = [], size
    while left > 0:
        for leaf in (x for x in jax.tree.leaves(source) if x.size > 1):
            made.append(_copy(leaf))
            left -= leaf.nbytes
            if left <= 0:
                break
    return made


def one_round(work: Callable[[], TrainState], source: TrainState, size: int) -> dict[str, float]:
    """Seconds of one widening, and of copies of as many bytes: into fresh memory, and into memory written before."""
    widening, wide = timed(work)
    del wide
    fresh, copied = timed(lambda: copies(source, size))
    written = sum(leaf.nbytes for leaf in copied)
    del copied
    largest = max(jax.tree.leaves(source), key=lambda leaf: leaf.nbytes)
    host = np.zeros(largest.shape, largest.dtype)
    np.copyto(host, np.asarray(largest))
    began = time.perf_counter()
    for _ in range(4):
        np.copyto(host, np.asarray(largest))
    touched = (time.perf_counter() - began) * size / (4 * host.nbytes)
    return {"widen": widening, "copy, fresh": fresh * size / written, "copy, touched": touched}


_copy = jax.jit(lambda x: x + 0)


def measure(source: TrainState, plan: WidthPlan, operator: str, rounds: int) -> Record:
    """Times, rates and memory of one operator."""

    def work() -> TrainState:
        return widen(source, plan, operator=operator, key=root_key(1, "study"))

    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    first, wide = timed(work)
    peak, target = status("VmHWM") - before, nbytes(wide)
    read, written = nbytes(source), target
    largest = max(leaf.nbytes for leaf in jax.tree.leaves(wide))
    del wide
    copies(source, read)  # compiles
    seconds: dict[str, list[float]] = {"widen": [], "copy, fresh": [], "copy, touched": []}
    for _ in range(rounds):
        for name, took in one_round(work, source, target).items():
            seconds[name].append(took)
    moved = {"widen": read + written, "copy, fresh": 2 * target, "copy, touched": 2 * target}
    rates = {name: [moved[name] / s / 1e9 for s in times[1:]] for name, times in seconds.items()}  # the first warms up
    ratios = [a / b for a, b in zip(rates["widen"], rates["copy, fresh"], strict=True)]
    return {
        "bytes": {"source": read, "target": written, "largest leaf": largest},
        "peak above the source": peak,
        "allowed above the source": written + largest,
        "first call, seconds": first,
        "seconds": {name: statistics.median(times[1:]) for name, times in seconds.items()},
        "GB per second": {name: statistics.median(values) for name, values in rates.items()},
        "ratio to a copy into fresh memory": [min(ratios), statistics.median(ratios), max(ratios)],
    }


def main() -> int:
    """Measures, prints and keeps the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("artifacts/widen-bench.json"))
    parser.add_argument("--parameters", type=int, default=200, help="in millions")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    config = TrainConfig(model=model(given.parameters))
    plan = make_plan(config.model, default_target(config.model))
    source = filled(config)
    rows = {op: measure(source, plan, op, given.rounds) for op in ("exact_copy", "lockstep")}
    sizes = {"source": count_params(config.model), "target": count_params(plan.target)}
    figures = {"parameters": sizes, "rows": rows, "environment": runtime.environment(), "pins": runtime.pins()}
    write_text(given.out, json.dumps(figures, indent=2, sort_keys=True) + "\n")
    print(json.dumps({"parameters": sizes, "rows": rows}, indent=2))
    memory = all(row["peak above the source"] <= row["allowed above the source"] for row in rows.values())
    speed = all(row["ratio to a copy into fresh memory"][1] >= 0.5 for row in rows.values())
    return 0 if memory and speed else 1


if __name__ == "__main__":
    raise SystemExit(main())
