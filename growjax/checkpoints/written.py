"""Writing tensors: one safetensors file, or several and their index.

All names, shapes and the one dtype are known before the first tensor is, so each file has its header and its length
from the start, and a tensor's bytes are written in their place.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

import numpy as np

from growjax.checkpoints.stored import DTYPES, INDEX, NUMPY, SINGLE
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


def header(shapes: dict[str, tuple[int, ...]], dtype: str) -> tuple[bytes, dict[str, int]]:
    """What stands before the tensors in a safetensors file that torch reads, and where each tensor begins: by name, as
    the safetensors library has it."""
    stored, size = next(name for name, of in DTYPES.items() if of == dtype), NUMPY[dtype].itemsize
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offsets, end = {}, 0
    for name in sorted(shapes):
        offsets[name], end = end, end + math.prod(shapes[name]) * size
        entries[name] = {"dtype": stored, "shape": list(shapes[name]), "data_offsets": [offsets[name], end]}
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    begin = 8 + len(text)
    return len(text).to_bytes(8, "little") + text, {name: begin + offset for name, offset in offsets.items()}


class Writer:
    """Takes tensors in any order and writes each in its place."""

    def __init__(self, folder: Path, tensors: Sequence[Sized], dtype: str, most: int):
        self._folder, self._dtype = folder, dtype
        self._shards = shards(tensors, NUMPY[dtype].itemsize, most)
        self._files: list[BinaryIO] = []
        self._places: dict[str, tuple[BinaryIO, int]] = {}
        shapes = {tensor.name: tensor.shape for tensor in tensors}
        try:
            for number, shard in enumerate(self._shards):
                self._begin(number, {name: shapes[name] for name in shard.names})
        except BaseException:
            self.abandon()
            raise

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    def _name(self, number: int) -> str:
        count = len(self._shards)
        return SINGLE if count == 1 else f"model-{number + 1:05}-of-{count:05}.safetensors"

    def _begin(self, number: int, shapes: dict[str, tuple[int, ...]]) -> None:
        begin, offsets = header(shapes, self._dtype)
        file = (self._folder / self._name(number)).open("wb")
        self._files.append(file)
        file.write(begin)
        file.truncate(len(begin) + self._shards[number].bytes)
        self._places.update({name: (file, offset) for name, offset in offsets.items()})

    def add(self, name: str, value: np.ndarray) -> None:
        """Writes a tensor that is float32, rounded once."""
        self.put(name, rounded(name, value, self._dtype))

    def put(self, name: str, value: np.ndarray) -> None:
        """Writes a tensor that is in the dtype to store."""
        file, offset = self._places.pop(name)
        file.seek(offset)
        file.write(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)

    def close(self) -> None:
        """Ends the files, on the disk and not in its cache alone, and writes the index where there are several."""
        assert not self._places, f"{next(iter(self._places))} was not written"
        for file in self._files:
            file.flush()
            os.fsync(file.fileno())
            file.close()
        if len(self._shards) > 1:
            table = {name: self._name(n) for n, shard in enumerate(self._shards) for name in shard.names}
            whole = {
                "metadata": {"total_size": sum(shard.bytes for shard in self._shards)},
                "weight_map": dict(sorted(table.items())),
            }
            (self._folder / INDEX).write_text(json.dumps(whole, indent=2) + "\n")

    def abandon(self) -> None:
        """Closes the files as they are."""
        for file in self._files:
            file.close()
