"""Writing tensors: one safetensors file, or several and their index."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from safetensors.numpy import save_file

from growjax.checkpoints.stored import INDEX, NUMPY, SINGLE
from growjax.errors import UserError


class Sized(Protocol):
    """A tensor's name and shape."""

    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...


class Shard(NamedTuple):
    """The tensors of one file."""

    names: list[str]
    bytes: int


def shards(tensors: Sequence[Sized], itemsize: int, most: int) -> list[Shard]:
    """Tensors in their order, as many to a file as `most` bytes hold, and at least one."""
    made: list[Shard] = []
    for tensor in tensors:
        size = math.prod(tensor.shape) * itemsize
        if made and made[-1].bytes + size <= most:
            made[-1].names.append(tensor.name)
            made[-1] = made[-1]._replace(bytes=made[-1].bytes + size)
        else:
            made.append(Shard([tensor.name], size))
    return made


def rounded(name: str, value: np.ndarray, dtype: str) -> np.ndarray:
    """In the dtype to store, rounded once; raises `UserError` where a finite number becomes infinite."""
    with np.errstate(over="ignore"):
        made = value.astype(NUMPY[dtype])
    if not np.isfinite(made.astype(np.float32)).all():
        raise UserError(f"{name} does not fit into {dtype}", "export with --dtype bfloat16 or float32")
    return made


class Writer:
    """Writes each file when the last of its tensors is there."""

    def __init__(self, folder: Path, tensors: Sequence[Sized], dtype: str, most: int):
        self._folder, self._dtype, self._waiting = folder, dtype, {}
        self._shards = shards(tensors, NUMPY[dtype].itemsize, most)
        self._number = 0

    def _file(self, number: int) -> str:
        count = len(self._shards)
        return SINGLE if count == 1 else f"model-{number + 1:05}-of-{count:05}.safetensors"

    def add(self, name: str, value: np.ndarray) -> None:
        """Takes the next tensor, in the order announced."""
        self._waiting[name] = np.ascontiguousarray(rounded(name, value, self._dtype))
        if len(self._waiting) == len(self._shards[self._number].names):
            save_file(self._waiting, self._folder / self._file(self._number), metadata={"format": "pt"})
            self._waiting, self._number = {}, self._number + 1

    def close(self) -> None:
        """Writes the index, where there is more than one file."""
        if len(self._shards) > 1:
            table = {name: self._file(n) for n, shard in enumerate(self._shards) for name in shard.names}
            whole = {
                "metadata": {"total_size": sum(shard.bytes for shard in self._shards)},
                "weight_map": dict(sorted(table.items())),
            }
            (self._folder / INDEX).write_text(json.dumps(whole, indent=2) + "\n")
