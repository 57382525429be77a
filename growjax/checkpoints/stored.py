"""Tensors in a folder: one safetensors file, or several and their index. Nothing is ever unpickled.

What a folder holds is known, and checked, from the files' headers before a tensor is read; a tensor is read when it is
asked for.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open

from growjax.errors import UserError
from growjax.schema import Record

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"

DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
"""Of tensors that can be read, by their names in a file."""

PLAIN = (*DTYPES, "F64", "I32", "I64")
"""Names of those that NumPy has, of arrays that are no tensors."""

NUMPY = {"float32": np.dtype("float32"), "bfloat16": np.dtype(jnp.bfloat16), "float16": np.dtype("float16")}

_AGAIN = "fetch the file again from where the checkpoint comes from"


def read_json(path: Path) -> Record:
    """A file that holds one JSON object; raises `UserError` where it does not."""
    try:
        found = json.loads(inside(path).read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path.parent} has no {path.name}", "name the folder of a Hugging Face checkpoint") from None
    except (ValueError, RecursionError):
        raise UserError(f"{path.name} is no JSON", _AGAIN) from None
    if not isinstance(found, dict):
        raise UserError(f"{path.name} holds no JSON object", _AGAIN)
    return found


def inside(path: Path) -> Path:
    """The path, unless it is a link that leads out of its folder; a hub cache's links to its own blobs do not."""
    try:
        folder, real = path.parent.resolve(), path.resolve()
    except (OSError, RuntimeError):
        raise UserError(f"{path.name} is a link that leads to itself", "put the file itself there") from None
    if real.exists() and not real.is_file():
        raise UserError(f"{path.name} is no file", _AGAIN)
    if real.is_relative_to(folder) or real.parent == folder.parent.parent / "blobs":
        return path
    raise UserError(f"{path.name} is a link that leads out of its folder", "put the file itself there")


class _Place(NamedTuple):
    """Where a tensor lies."""

    path: Path
    offset: int


class Tensors:
    """All tensors of a folder, by name."""

    def __init__(self, folder: Path):
        self._open = contextlib.ExitStack()
        self._of: dict[str, _Place] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.dtypes: dict[str, str] = {}
        try:
            for path, names in _files(folder):
                self._add(path, names)
        except BaseException:
            self._open.close()
            raise

    def __enter__(self) -> Tensors:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _add(self, path: Path, expected: list[str] | None) -> None:
        try:
            file = self._open.enter_context(safe_open(inside(path), framework="np"))
            names, offsets = list(file.keys()), _offsets(path)
            for name in names if expected is None else expected:
                if name not in names:
                    raise UserError(f"{INDEX}: {name} is not in {path.name}", _AGAIN)
                part = file.get_slice(name)
                if part.get_dtype() not in DTYPES:
                    raise UserError(
                        f"{path.name}: {name} is stored as {part.get_dtype()}",
                        f"give the checkpoint in {', '.join(DTYPES.values())}, before quantisation if it is quantised",
                    )
                self._of[name] = _Place(path, offsets[name])
                self.shapes[name], self.dtypes[name] = tuple(part.get_shape()), DTYPES[part.get_dtype()]
        except SafetensorError as error:
            raise UserError(f"{path.name} is no whole safetensors file ({error})", _AGAIN) from None
        if expected is not None and (extra := sorted(set(names) - set(expected))):
            raise UserError(f"{path.name}: {extra[0]} is not in {INDEX}", _AGAIN)

    def __contains__(self, name: str) -> bool:
        return name in self._of

    def __iter__(self) -> Iterator[str]:
        return iter(self._of)

    def nbytes(self, name: str) -> int:
        """Bytes of one tensor."""
        return math.prod(self.shapes[name]) * NUMPY[self.dtypes[name]].itemsize

    def mapped(self, name: str) -> np.ndarray:
        """One tensor as it is stored, read-only and in no memory but the system's cache: a map of its own, given back
        with the last view of it."""
        path, offset = self._of[name]
        shape, dtype = self.shapes[name], NUMPY[self.dtypes[name]]
        if not math.prod(shape):
            return np.empty(shape, dtype)
        return np.memmap(path, dtype, "r", offset, shape).view(np.ndarray)

    def read(self, name: str) -> np.ndarray:
        """One tensor in float32, on the host. Raises `UserError` where it holds something that is no finite number."""
        return in_float32(name, self.mapped(name))


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a safetensors file. Raises `UserError` where it is none, or holds others than `PLAIN`."""
    try:
        with safe_open(inside(path), framework="np") as file:
            for name in file.keys():  # noqa: SIM118
                if (dtype := file.get_slice(name).get_dtype()) not in PLAIN:
                    raise UserError(f"{path.name}: {name} is stored as {dtype}", f"give {', '.join(PLAIN)}")
            return {name: np.asarray(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise UserError(f"{path.name} is no whole safetensors file ({error})", _AGAIN) from None


def in_float32(name: str, stored: np.ndarray) -> np.ndarray:
    """A tensor, or a part of it, in float32 and memory of its own, its axes in the order in which they lie there.
    Raises `UserError` where it holds something that is no finite number."""
    value = stored.astype(np.float32)
    if not np.isfinite(value).all():
        raise UserError(f"{name} holds NaN or infinity", "take a checkpoint from before the training diverged")
    return value


def _offsets(path: Path) -> dict[str, int]:
    """Where each tensor begins, in a file whose header is sound."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    return {name: 8 + size + entry["data_offsets"][0] for name, entry in header.items() if name != "__metadata__"}


def _files(folder: Path) -> list[tuple[Path, list[str] | None]]:
    """Each file with the names that it must hold; None where there is no index to say."""
    if (folder / SINGLE).exists():
        return [(folder / SINGLE, None)]
    if (folder / INDEX).exists():
        table = read_json(folder / INDEX).get("weight_map")
        if not isinstance(table, dict) or not table:
            raise UserError(f"{INDEX} has no weight_map", _AGAIN)
        by_file: dict[str, list[str]] = {}
        for name, file in table.items():
            if not isinstance(file, str) or Path(file).name != file or not file.endswith(".safetensors"):
                raise UserError(f"{INDEX}: {name} lies in {file!r:.80}", "it must be a safetensors file in the folder")
            if not (folder / file).exists():
                raise UserError(f"{file} is missing, where {INDEX} has {name}", _AGAIN)
            by_file.setdefault(file, []).append(name)
        return [(folder / file, names) for file, names in by_file.items()]
    pickles = sorted(path.name for kind in ("*.bin", "*.pt", "*.pth", "*.ckpt") for path in folder.glob(kind))
    if pickles:
        raise UserError(
            f"{folder} holds weights as a pickle alone ({pickles[0]}), which growjax does not open",
            "save it again as safetensors",
        )
    raise UserError(f"{folder} has no {SINGLE}", "name the folder of a Hugging Face checkpoint")
