"""`python -m experiments.plan`: see the package."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from experiments import plan
from experiments.plan.table import lines
from growjax import runtime
from growjax.files import write_text
from growjax.schema import Record

DEVICES = 8
WITHIN = {"memory": 0.05, "time": 0.30}
MODULES = {"cpu": "memory", "card": "memory", "time": "steps", "recorded": "steps", "table": "table"}


def main() -> int:
    """Runs the parts, prints and writes what they found; returns the exit code."""
    parser = argparse.ArgumentParser(description=plan.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--card-python", default="")
    parser.add_argument("--parts", nargs="+", default=["cpu", "card", "time", "recorded", "table"])
    given = parser.parse_args()
    found: Record = json.loads(given.out.read_text()) if given.out.exists() else {}
    for part in given.parts:
        if part == "time":
            found["time"] = [row for devices in (1, 2, 4, 8) for row in worker("time", devices)]
        elif part != "card" or given.card_python:
            found[part] = worker(part, DEVICES if part == "cpu" else 1, given.card_python if part == "card" else "")
    worst = {
        "memory, cpu": _worst(found.get("cpu", [])), "memory, card": _worst(found.get("card", [])),
        "time": _worst(found.get("time", [])),
        "time, an H200 as recorded": _worst(found.get("recorded", [])),
    }  # fmt: skip
    found["off at most"] = worst
    bounds = {name: WITHIN[name.partition(",")[0]] for name in worst}
    found["holds"] = {name: off is not None and off <= bounds[name] for name, off in worst.items()}
    found["within"] = WITHIN
    found["environment"] = runtime.environment()
    write_text(given.out, json.dumps(found, indent=1, sort_keys=True) + "\n")
    print("\n".join(lines(found.get("table", []))))
    for name, off in worst.items():
        print(f"{name}: {'not measured' if off is None else f'{100 * off:.1f} % off at most'}")
    return 0 if all(found["holds"].values()) else 1


def _worst(rows: list[Record]) -> float | None:
    return max((abs(row["plan"] / row["measured"] - 1) for row in rows), default=None)


def worker(part: str, devices: int, python: str = "") -> Any:
    """What a process of its own finds, with so many CPU devices."""
    env = {**runtime.without_pins(), "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
    env["PYTHONPATH"] = str(Path(__file__).parents[2])
    if part == "card":
        env |= {"JAX_PLATFORMS": "cpu", "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1", "JAX_ENABLE_COMPILATION_CACHE": "false"}
    function = "time_on" if part == "time" else part
    code = (
        "from growjax import runtime; runtime.pin(); runtime.start(); import json\n"
        f"from experiments.plan.{MODULES[part]} import {function}; print(json.dumps({function}({devices})))"
    )
    done = subprocess.run(
        [python or sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    for row in found:
        print(json.dumps(row)[:300], file=sys.stderr, flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main())
