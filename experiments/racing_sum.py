"""The sum that jaxlib 0.10.2 gets wrong on a CPU by default, and that the pins cure.

    python -m experiments.racing_sum --out artifacts/racing-sum.json [--calls 2000]

Each row is a fresh process that sums 2 x 1024 x 1024 ones, broadcast from a column, many times. Exits with 1 where a
call is wrong under growjax's pins. Upstream: XNNPACK issue 11243, xla 49085, tensorflow 126812.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from growjax import runtime
from growjax.files import write_text

PROGRAM = """
import sys, jax, jax.numpy as jnp
total = jax.jit(lambda x: jnp.sum(jnp.broadcast_to(x, (2, 1024, 1024))))
column = jnp.ones((1024, 1), jnp.float32)
print(sum(float(total(column)) != 2 * 1024 * 1024 for _ in range(int(sys.argv[1]))))
"""


def wrong(calls: int, pins: dict[str, str]) -> int:
    """Wrong results among so many calls, in a fresh process of this environment."""
    clean = {k: v for k, v in os.environ.items() if k not in runtime.ENV_PINS and k != "XLA_FLAGS"}
    words = [sys.executable, "-c", PROGRAM, str(calls)]
    done = subprocess.run(words, env={**clean, **pins}, capture_output=True, text=True, check=True)
    return int(done.stdout)


def main() -> int:
    """Measures, prints and keeps the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("artifacts/racing-sum.json"))
    parser.add_argument("--calls", type=int, default=2000)
    given = parser.parse_args()
    pinned: dict[str, str] = {}
    runtime.pin(pinned)
    settings = {
        "jax's defaults": {},
        "only the YNNPACK fusions off": {"XLA_FLAGS": "--xla_cpu_experimental_ynn_fusion_type="},
        "only one thread": {"NPROC": "1", "PJRT_NPROC": "1"},
        "all pins": pinned,
    }
    rows = {name: wrong(given.calls, pins) for name, pins in settings.items()}
    runtime.start()
    figures = {"calls": given.calls, "wrong": rows, "cores": runtime.cores(), "environment": runtime.environment()}
    write_text(given.out, json.dumps(figures, indent=2, sort_keys=True) + "\n")
    print(json.dumps({"calls": given.calls, "wrong": rows}, indent=2))
    return 1 if rows["all pins"] else 0


if __name__ == "__main__":
    sys.exit(main())
