"""The backend that is wrong by default, and the canaries that stop it.

    python -m experiments.canaries --out artifacts/canaries.json [--calls 100000] [--processes 20]

Claim: under the pins no canary call errs; without the pin of the YNNPACK fusions preflight refuses in every fresh
process. The racing sum (2 x 1024 x 1024 ones) is called so many times under all pins, and some thousand times under
jax's defaults, where it comes out wrong on more than one thread; every canary is run again and again under the pins and
must give one digest; products are called on a pool of several threads, where they must give the bits of one. About six
minutes on two cores. Exits with 1 where the claim fails.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from growjax import runtime
from growjax.files import write_text

SUMS = """
import sys, jax, jax.numpy as jnp
total = jax.jit(lambda x: jnp.sum(jnp.broadcast_to(x, (2, 1024, 1024))))
column = jnp.ones((1024, 1), jnp.float32)
print(sum(float(total(column)) != 2 * 1024 * 1024 for _ in range(int(sys.argv[1]))))
"""
CANARIES = """
import sys
from growjax.digests import digest
from growjax.preflight.canaries import CANARIES
def one(canary):
    seen = canary()
    return seen.fault, digest(seen.value)
seen = [{name: one(canary) for name, canary in CANARIES.items()} for _ in range(int(sys.argv[1]))]
print(sum(one != seen[0] or any(fault for fault, _ in one.values()) for one in seen))
"""
PRODUCTS = """
import sys, jax, jax.numpy as jnp, numpy as np
rng = np.random.default_rng(0)
pairs = [(rng.normal(size=(m, k)).astype(np.float32), rng.normal(size=(k, n)).astype(np.float32))
         for m, k, n in ((8, 16384, 8), (64, 2048, 64), (128, 2048, 384), (384, 512, 128))]
product = jax.jit(jnp.matmul)
calls = [b"".join(np.asarray(product(a, b)).tobytes() for a, b in pairs) for _ in range(int(sys.argv[1]))]
import hashlib
print(sum(c != calls[0] for c in calls), hashlib.sha256(calls[0]).hexdigest())
"""
PREFLIGHT = """
from growjax.errors import CheckFailed
from growjax.preflight.verdict import preflight
try:
    preflight()
    print(0)
except CheckFailed as error:
    print(int("racing sum" in str(error)))
"""


def run(program: str, pins: dict[str, str], *arguments: str) -> list[str]:
    """What a program prints in a fresh process of these pins and no others."""
    clean = runtime.without_pins()
    words = [sys.executable, "-c", program, *arguments]
    nowhere = {"XDG_CACHE_HOME": "/proc/nowhere"}  # so that no verdict is kept
    done = subprocess.run(words, env={**clean, **nowhere, **pins}, capture_output=True, text=True, check=True)
    return done.stdout.split()


def without(pins: dict[str, str], flag: str) -> dict[str, str]:
    """The pins but for one of XLA's flags."""
    kept = [word for word in pins["XLA_FLAGS"].split() if not word.startswith(flag)]
    return {**pins, "XLA_FLAGS": " ".join(kept)}


def main() -> int:
    """Measures, prints and keeps the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("artifacts/canaries.json"))
    parser.add_argument("--calls", type=int, default=100000)
    parser.add_argument("--processes", type=int, default=20)
    given = parser.parse_args()
    pinned: dict[str, str] = {}
    runtime.pin(pinned)
    unpinned = without(pinned, "--xla_cpu_experimental_ynn_fusion_type")
    threads = [{**pinned, "NPROC": str(n), "PJRT_NPROC": str(n)} for n in (1, 2, 4)]
    products = [run(PRODUCTS, pins, "200") for pins in threads]
    figures = {
        "sums": given.calls,
        "wrong sums, all pins": int(run(SUMS, pinned, str(given.calls))[0]),
        "wrong sums of 2000, jax's defaults": int(run(SUMS, {}, "2000")[0]),
        "rounds of all canaries that err or differ, of 50, all pins": int(run(CANARIES, pinned, "50")[0]),
        "products that differ on 1, 2 and 4 threads, of 200": [int(p[0]) for p in products],
        "products agree between 1, 2 and 4 threads": len({p[1] for p in products}) == 1,
        "processes": given.processes,
        "processes refused without the pin": sum(int(run(PREFLIGHT, unpinned)[0]) for _ in range(given.processes)),
        "processes refused with all pins": sum(int(run(PREFLIGHT, pinned)[0]) for _ in range(2)),
    }
    runtime.start()
    figures |= {"cores": runtime.cores(), "environment": runtime.environment()}
    write_text(given.out, json.dumps(figures, indent=2, sort_keys=True) + "\n")
    print(json.dumps({k: v for k, v in figures.items() if k != "environment"}, indent=2))
    holds = (
        figures["wrong sums, all pins"] == 0
        and figures["rounds of all canaries that err or differ, of 50, all pins"] == 0
        and figures["products agree between 1, 2 and 4 threads"]
        and figures["processes refused without the pin"] == given.processes
        and figures["processes refused with all pins"] == 0
    )
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
