"""Moments as safetensors: `exp_avg.NAME` and `exp_avg_sq.NAME` for every parameter, and `step` for all of them.

Names and shapes are those of the checkpoint's tensors, a tied head left out; values are float32, bfloat16 or float16.
`step` is one whole number, or `step.NAME` one for each. Settings of the optimizer may stand in the file's metadata, as
JSON under `optimizer`: `lr`, `initial_lr`, `betas`, `eps`, `weight_decay`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from growjax.checkpoints.adam import Options, whole
from growjax.checkpoints.family import Family
from growjax.checkpoints.moments import Moments, tensors_of
from growjax.checkpoints.stored import DTYPES, PLAIN, inside
from growjax.config import ModelConfig
from growjax.errors import UserError

FILE = "optimizer.safetensors"

_FORMAT = "it holds exp_avg.NAME and exp_avg_sq.NAME for every parameter, and step"


def read_moments(path: Path, family: Family, model: ModelConfig) -> tuple[Moments, Options | None]:
    """Moments of a file, and the settings of the optimizer where it says them. Raises `UserError`, with the name, for
    what does not fit."""
    found = tensors_of(family, model)
    moments = Moments({}, {}, {})
    try:
        with safe_open(inside(path), framework="np") as file:
            names = set(file.keys())
            for name, place in found.items():
                for kind, values in (("exp_avg", moments.exp_avg), ("exp_avg_sq", moments.exp_avg_sq)):
                    values[name] = _array(file, names, f"{kind}.{name}", place.shape)
                own = f"step.{name}" if f"step.{name}" in names else "step"
                moments.step[name] = whole(_scalar(file, names, own), own)
            known = {f"{kind}.{name}" for kind in ("exp_avg", "exp_avg_sq", "step") for name in found} | {"step"}
            if names - known:
                raise UserError(f"{path.name} has {min(names - known)}, which is no parameter's", _FORMAT)
            return moments, _options(path, file.metadata() or {})
    except SafetensorError as error:
        raise UserError(f"{path.name} is no whole safetensors file ({error})", _FORMAT) from None


def _array(file: Any, names: set[str], key: str, shape: tuple[int, ...]) -> np.ndarray:
    if key not in names:
        raise UserError(f"{key} is missing", _FORMAT)
    part = file.get_slice(key)
    if part.get_dtype() not in DTYPES or tuple(part.get_shape()) != shape:
        has = f"{part.get_dtype()} {list(part.get_shape())}"
        raise UserError(f"{key} is {has}, where the tensor has {list(shape)}", f"give {', '.join(DTYPES.values())}")
    return np.asarray(file.get_tensor(key))


def _scalar(file: Any, names: set[str], key: str) -> Any:
    if key not in names:
        raise UserError(f"{key} is missing", _FORMAT)
    part = file.get_slice(key)
    if list(part.get_shape()) not in ([], [1]) or part.get_dtype() not in PLAIN:
        raise UserError(f"{key} is no single number", _FORMAT)
    return np.asarray(file.get_tensor(key))


def _options(path: Path, metadata: dict[str, str]) -> Options | None:
    if "optimizer" not in metadata:
        return None
    try:
        found = json.loads(metadata["optimizer"])
        numbers = {k: float(found[k]) for k in ("lr", "initial_lr", "eps", "weight_decay")}
        b1, b2 = map(float, found["betas"])
        return Options(**numbers, betas=(b1, b2), others={})
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        raise UserError(f"{path.name}: its settings of the optimizer cannot be read", _FORMAT) from None


def write_moments(path: Path, moments: Moments, options: Options, dtype: str | np.dtype) -> None:
    """Writes what `read_moments` reads."""
    held: dict[str, np.ndarray] = {}
    for kind, values in (("exp_avg", moments.exp_avg), ("exp_avg_sq", moments.exp_avg_sq)):
        held |= {f"{kind}.{name}": np.ascontiguousarray(value.astype(dtype)) for name, value in values.items()}
    steps = set(moments.step.values())
    held |= {"step": np.asarray(steps.pop(), np.int64)} if len(steps) == 1 else {
        f"step.{name}": np.asarray(step, np.int64) for name, step in moments.step.items()
    }  # fmt: skip
    said = {key: value for key, value in options._asdict().items() if key != "others"}
    save_file(held, path, metadata={"format": "pt", "optimizer": json.dumps(said, sort_keys=True)})
