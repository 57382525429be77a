"""Row B10: the bits of one CPU model on another, by emulation.

    python -m experiments.cpu_models --out artifacts/cpu-models.json [--models Haswell EPYC]

Needs the emulator `qemu-x86_64` (Debian's qemu-user). Claim: under the pins every operation of a training step, and a
whole continuation (train, widen, go on under dropout; weight gradients contract over 1024 tokens), give the same bits
natively and on each emulated CPU; with the pins of products and of mathematics taken out some do not. What is emulated
has the instructions, the vector length and the caches of its model, so whatever chooses a kernel by them chooses
differently. About half an hour for each model, on one core. Exits with 1 where the claim fails.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from growjax import runtime
from growjax.files import write_text

BATTERY = """
import hashlib, json, sys
import jax, jax.numpy as jnp, numpy as np
rng = np.random.Generator(np.random.PCG64(0))
def numbers(*shape):
    return (rng.integers(-2**23, 2**23, shape) / 2**23).astype(np.float32)
ops = {}
small = ((3, 5, 7), (8, 8, 8), (661, 16, 437), (200, 200, 200), (32, 32, 96))
for m, k, n in (*small, (64, 384, 64), (96, 512, 32), (32, 1024, 96), (16, 2048, 16), (8, 16384, 8)):
    ops[f"product {m}x{k}x{n}"] = (jnp.matmul, numbers(m, k), numbers(k, n))
ops["batched products 4x64x512x64"] = (jnp.matmul, numbers(4, 64, 512), numbers(4, 512, 64))
ops["matrix times vector, 1024"] = (jnp.matmul, numbers(64, 1024), numbers(1024))
wide = numbers(64, 1000)
for name, fn in {
    "sum of all": jnp.sum, "sum by row": lambda x: jnp.sum(x, -1), "sum by column": lambda x: jnp.sum(x, 0),
    "exp": jnp.exp, "log": lambda x: jnp.log(jnp.abs(x) + 1e-3), "tanh": jnp.tanh, "sigmoid": jax.nn.sigmoid,
    "rsqrt": lambda x: jax.lax.rsqrt(jnp.abs(x) + 1e-3), "sqrt": lambda x: jnp.sqrt(jnp.abs(x)),
    "division": lambda x: 1 / (x + 2), "softmax": lambda x: jax.nn.softmax(x, -1), "cosine": jnp.cos,
    "rms norm": lambda x: x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-5),
    "normal draws": lambda x: jax.random.normal(jax.random.key(0), x.shape, jnp.float32),
    "log-softmax, float64": lambda x: jax.nn.log_softmax(x.astype(jnp.float64)),
}.items():
    ops[name] = (fn, wide)
def described(fn, *args):
    return hashlib.sha256(np.asarray(jax.jit(fn)(*args)).tobytes()).hexdigest()[:16]
print(json.dumps({name: described(*op) for name, op in ops.items()}))
"""
FREED = ("--xla_cpu_experimental_ynn_fusion_type", "--xla_cpu_enable_platform_dependent_math")


def run(words: list[str], model: str | None, pins: dict[str, str]) -> tuple[list[str], float]:
    """(lines printed, seconds) of Python with these arguments, natively or on an emulated CPU."""
    clean = runtime.without_pins()
    # no compiled program of another CPU may be found
    clean |= {"XDG_CACHE_HOME": "/proc/nowhere", **pins}
    before = [] if model is None else ["qemu-x86_64", "-cpu", model]
    began = time.monotonic()
    done = subprocess.run([*before, sys.executable, *words], env=clean, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{model}: {done.stderr[-2000:]}")
    return done.stdout.splitlines(), time.monotonic() - began


def main() -> int:
    """Measures, prints and keeps the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("artifacts/cpu-models.json"))
    parser.add_argument("--models", nargs="+", default=["Haswell", "EPYC"])
    given = parser.parse_args()
    pinned: dict[str, str] = {}
    runtime.pin(pinned)
    freed = {**pinned, "XLA_FLAGS": " ".join(w for w in pinned["XLA_FLAGS"].split() if not w.startswith(FREED))}
    freed["XLA_FLAGS"] += " --xla_cpu_experimental_ynn_fusion_type="  # the racing sums stay out
    del freed["ONEDNN_MAX_CPU_ISA"]
    settings = {"all pins": pinned, "without the pins of products and mathematics": freed}
    reference_run = ["-m", "growjax.proof.reference_run", json.dumps({"rows": 32})]
    table: dict[str, dict[str, dict[str, bool]]] = {}
    whole: dict[str, dict[str, object]] = {}
    for name, pins in settings.items():
        here = json.loads(run(["-c", BATTERY], None, pins)[0][-1])
        table[name] = {op: {} for op in here}
        for model in given.models:
            there = json.loads(run(["-c", BATTERY], model, pins)[0][-1])
            for op, described in here.items():
                table[name][op][model] = described == there[op]
    runtime.start()
    figures = {"operations": table, "continuation": whole, "environment": runtime.environment()}
    write_text(given.out, json.dumps(figures, indent=2, sort_keys=True) + "\n")
    here, native = run(reference_run, None, pinned)
    for model in given.models:
        there, seconds = run(reference_run, model, pinned)
        whole[model] = {
            "same": here[-1] == there[-1],
            "seconds": round(seconds, 1),
            "seconds, native": round(native, 1),
        }
        write_text(given.out, json.dumps(figures, indent=2, sort_keys=True) + "\n")
    for name, rows in table.items():
        differ = {op: [m for m, same in by.items() if not same] for op, by in rows.items()}
        print(f"{name}: {len(rows)} operations; other bits: {({op: ms for op, ms in differ.items() if ms}) or 'none'}")
    print(f"whole continuation: {whole}")
    same = all(all(by.values()) for by in table["all pins"].values()) and all(row["same"] for row in whole.values())
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
