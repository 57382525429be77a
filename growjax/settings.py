"""Settings of jax from outside under which growjax cannot compute: reported by name before anything is computed.

Settings that may change bits, but can be computed under, are `growjax.runtime`'s: such a run is not pinned.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection, Mapping

from growjax.errors import UserError

ON = ("y", "yes", "t", "true", "on", "1")
OFF = ("n", "no", "f", "false", "off", "0")

UNUSABLE: dict[str, tuple[tuple[str, ...], str]] = {
    "JAX_ENABLE_X64": (OFF, "losses are summed and batch orders counted in 64 bits"),
    "JAX_NUMPY_RANK_PROMOTION": (("raise",), "gains and biases are broadcast"),
    "JAX_NUMPY_DTYPE_PROMOTION": (("strict",), "losses in 32 bits meet sums in 64"),
    "JAX_DISABLE_JIT": (ON, "programs are compiled before they run"),
    "JAX_TRANSFER_GUARD": (("disallow", "disallow_explicit"), "arrays go to the device and back"),
    "JAX_TRANSFER_GUARD_HOST_TO_DEVICE": (("disallow", "disallow_explicit"), "arrays go to the device"),
    "JAX_TRANSFER_GUARD_DEVICE_TO_DEVICE": (("disallow", "disallow_explicit"), "arrays go from device to device"),
    "JAX_TRANSFER_GUARD_DEVICE_TO_HOST": (("disallow", "disallow_explicit"), "arrays come back from the device"),
}
"""By variable: values under which nothing can be computed, and why."""


def refuse(values: Mapping[str, object], hint: str = "unset it") -> None:
    """Raises `UserError` for the first variable that has a value under which growjax cannot compute."""
    for name, (bad, why) in UNUSABLE.items():
        value = str(values.get(name, "")).strip().lower()
        if value in bad:
            raise UserError(f"{name} is {value}, and growjax cannot compute under that ({why})", hint)


def refuse_flags(environ: Mapping[str, str], known: Collection[str]) -> None:
    """Raises `UserError` where XLA does not take XLA_FLAGS. It then ends its process without a word to Python, so where
    a flag is not among those `known` a process of its own asks first."""
    others = [word for word in environ.get("XLA_FLAGS", "").split() if word not in known]
    if not others:
        return
    plain = {name: value for name, value in environ.items() if not name.startswith("JAX_")}
    asked = {**plain, "XLA_FLAGS": " ".join(others), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", "import jax; jax.devices()"], env=asked, capture_output=True)
    if done.returncode:
        lines = done.stderr.decode(errors="replace").splitlines()
        why = next((f" ({line.rpartition('] ')[2][:200]})" for line in lines if "XLA_FLAGS" in line), "")
        raise UserError(f"XLA does not take {' '.join(others)[:200]}{why}", "correct or unset XLA_FLAGS")


def refuse_own() -> None:
    """`refuse` of what the jax of this process is set to, from outside or by its own program."""
    import jax

    found = {name: getattr(jax.config, name.lower(), "") for name in UNUSABLE}
    refuse(found, "leave it as it is, and call growjax.runtime.pin() before jax is imported")
