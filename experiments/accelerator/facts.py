"""What the machine is: driver, versions, pins, canaries."""

from __future__ import annotations

import contextlib
import os
import subprocess

from experiments.accelerator.evidence import Evidence

QUERY = "name,driver_version,memory.total,clocks.sm,clocks.mem,clocks.max.sm,temperature.gpu,power.draw,compute_mode"
NAMES = ("JAX", "XLA", "CUDA", "NVIDIA", "TF_", "CUBLAS", "LD_LIB", "NPROC")
"""Beginnings of the names of variables that may matter."""


def _said(*words: str) -> str:
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        return subprocess.run(words, capture_output=True, text=True, timeout=20).stdout
    return ""


def run(evidence: Evidence) -> None:
    """The stage."""
    made = evidence.worker("facts", {}, evidence.environment(cache="cache-shared"), limit=120)
    environment = made.get("environment", {})
    evidence.name_card(environment.get("device_kind", ""))
    found = {
        "nvidia-smi": _said("nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader"),
        "cores": os.cpu_count(),
        "variables": {name: os.environ[name] for name in sorted(os.environ) if name.startswith(NAMES)},
        "glibc": os.confstr("CS_GNU_LIBC_VERSION"),
        "worker": made,
    }
    evidence.keep("facts", found)
    if "failed" in made:
        evidence.fault("facts", made.get("stderr", "")[-500:])
        return
    if not made["pins"]["pinned"]:
        evidence.fault("facts", f"the process is not pinned: {made['notes']}")
    for name, canary in made["canaries"].items():
        if canary["fault"]:
            evidence.fault("facts", f"canary {name}: {canary['fault']}")
        evidence.compare("facts", f"canary {name}, alone and beside other work", [canary["alone"], canary["beside"]])
