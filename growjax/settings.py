"""Settings of jax from outside under which growjax cannot compute: reported by name before anything is computed.

Settings that may change bits, but can be computed under, are `growjax.runtime`'s: such a run is not pinned.
"""

from __future__ import annotations

from collections.abc import Mapping

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


def refuse_own() -> None:
    """`refuse` of what the jax of this process is set to, from outside or by its own program."""
    import jax

    found = {name: getattr(jax.config, name.lower(), "") for name in UNUSABLE}
    refuse(found, "leave it as it is, and call growjax.runtime.pin() before jax is imported")
