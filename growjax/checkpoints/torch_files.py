"""torch's own files, the one place that needs torch: `optimizer.pt` and `scheduler.pt` of a training run.

They are read with `weights_only`, which makes tensors, numbers, texts, lists and dicts, and runs nothing; tensors stay
where they lie in the file until they are looked at. Everything else of growjax sees NumPy's arrays.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from growjax.checkpoints.stored import inside
from growjax.errors import UserError

_PLAIN = "save it from a plain run of Trainer"

BFLOAT16 = np.dtype(jnp.bfloat16)


def has_torch() -> bool:
    """Whether torch is installed; imports nothing."""
    return importlib.util.find_spec("torch") is not None


def _torch() -> Any:
    if not has_torch():
        raise UserError(
            "optimizer.pt is a file of torch's, which is not installed",
            "pip install -e '.[torch]' in growjax's folder, or give --moments none, or moments as safetensors",
        )
    import torch  # pyright: ignore[reportMissingImports]

    return torch


def read_torch(path: Path, most: int) -> Any:
    """What a file holds, with arrays in place of tensors. Raises `UserError` where it has more than `most` bytes, or
    anything but tensors and plain values."""
    torch = _torch()
    size = inside(path).stat().st_size
    if size > most:
        raise UserError(f"{path.name} has {size:,} bytes, and at most {most:,} belong here", "give the run's own file")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch raises many kinds; all mean that the file is no such thing
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{path.name} does not hold tensors and plain values alone ({text:.100})",
            "save it with torch.save, 1.6 or later, as Trainer does",
        ) from None
    try:
        return _as_arrays(found, path.name, torch)
    except RecursionError:
        raise UserError(f"{path.name} holds lists in lists without end", _PLAIN) from None


def _as_arrays(value: Any, name: str, torch: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_arrays(item, name, torch) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_arrays(item, name, torch) for item in value]
    if not isinstance(value, torch.Tensor):
        return value
    if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
        raise UserError(f"{name} holds a tensor that is no plain array", _PLAIN)
    try:
        if value.dtype == torch.bfloat16:
            return value.detach().view(torch.int16).numpy().view(BFLOAT16)
        return value.detach().numpy()
    except (TypeError, RuntimeError):
        raise UserError(f"{name} holds a tensor of {value.dtype}", _PLAIN) from None


def write_torch(path: Path, value: object) -> None:
    """Writes plain values, with tensors in place of arrays."""
    torch = _torch()
    torch.save(_as_tensors(value, torch), path)


def _as_tensors(value: Any, torch: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_tensors(item, torch) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_as_tensors(item, torch) for item in value)
    if not isinstance(value, np.ndarray):
        return value
    if value.dtype == BFLOAT16:
        return torch.from_numpy(np.ascontiguousarray(value).view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(np.array(value))
