"""What decides an accelerator's bits beside jax: the packages that drive it, its libraries and its driver.

Nothing here imports jax. What is asked for is what this process has loaded, so ask after jax has found its devices.
"""

from __future__ import annotations

import ctypes
from importlib import metadata
from pathlib import Path

PACKAGES = ("jax-cuda", "nvidia-", "libtpu")
"""Beginnings of the names of those packages."""


def describe() -> dict[str, object]:
    """What two receipts from accelerators must share beside the versions of jax: `accelerator`, the versions of the
    packages that drive it and of the libraries that this process has loaded; and `driver`."""
    found = {d.metadata["Name"]: d.version for d in metadata.distributions() if d.metadata["Name"]}
    packages = {name: found[name] for name in sorted(found) if name.startswith(PACKAGES)}
    return {"accelerator": {"packages": packages, "libraries": loaded_libraries()}, "driver": driver()}


def loaded_libraries(maps: Path = Path("/proc/self/maps")) -> dict[str, str]:
    """Versions of cuBLAS, cuBLASLt and cuDNN as the copies that this process has mapped give them; a library that is
    mapped and does not answer is `unknown`, and one that is not mapped is left out."""
    try:
        mapped = {line.split(maxsplit=5)[-1].strip() for line in maps.read_text(encoding="utf-8").splitlines()}
    except (OSError, ValueError):
        return {}
    versions: dict[str, str] = {}
    for name, ask in (("libcublas", _cublas), ("libcublasLt", _cublas_lt), ("libcudnn", _cudnn)):
        for path in sorted(p for p in mapped if Path(p).name.startswith(f"{name}.so")):
            try:
                versions[name] = ask(ctypes.CDLL(path))
            except (OSError, AttributeError):
                versions[name] = "unknown"
    return versions


def _cublas(library: ctypes.CDLL) -> str:
    parts = [ctypes.c_int(-1) for _ in range(3)]
    for number, part in enumerate(parts):  # major, minor, patch
        library.cublasGetProperty(number, ctypes.byref(part))
    return ".".join(str(part.value) for part in parts)


def _cublas_lt(library: ctypes.CDLL) -> str:
    library.cublasLtGetVersion.restype = ctypes.c_size_t
    return str(library.cublasLtGetVersion())


def _cudnn(library: ctypes.CDLL) -> str:
    library.cudnnGetVersion.restype = ctypes.c_size_t
    return str(library.cudnnGetVersion())


def driver(place: Path = Path("/proc/driver/nvidia/version")) -> str:
    """The kernel driver's own line, of an NVIDIA card; empty elsewhere."""
    try:
        return place.read_text(encoding="utf-8").splitlines()[0].strip()
    except (OSError, ValueError, IndexError):
        return ""
