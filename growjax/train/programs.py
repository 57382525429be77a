"""Compiled programs: each is lowered and compiled once, and known by the digest of its text."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax


class Program(NamedTuple):
    """A compiled program and the SHA-256 of its lowered text.

    The text is the same in every process, so "the program changed" can be told from "the machine differs".
    """

    call: jax.stages.Compiled
    fingerprint: str


class Programs:
    """A table of compiled programs, each found by the shapes and static values of its arguments."""

    def __init__(self) -> None:
        self._compiled: dict[Any, Program] = {}

    def get(self, name: str, function: Any, arrays: tuple, static: dict[str, Any]) -> Program:
        """The program of a jitted `function` for arguments of these shapes and static values."""
        leaves, structure = jax.tree.flatten(arrays)
        key = (name, structure, tuple((x.shape, x.dtype) for x in leaves), tuple(sorted(static.items())))
        if key not in self._compiled:
            lowered, text = lower(function, arrays, static)
            with _first_compiles(text):
                self._compiled[key] = Program(lowered.compile(), text)
        return self._compiled[key]


def lower(function: Any, arrays: tuple, static: dict[str, Any]) -> tuple[jax.stages.Lowered, str]:
    """A jitted function lowered for arguments of these shapes, and the SHA-256 of its text."""
    # From shapes alone: where an array came from would show in the program's text.
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), arrays)
    lowered = function.lower(*shapes, **static)
    return lowered, hashlib.sha256(lowered.as_text().encode()).hexdigest()


@contextlib.contextmanager
def _first_compiles(fingerprint: str) -> Iterator[None]:
    """Lanes that need one program at once: the first compiles it, the others wait and find it in the cache."""
    directory = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    try:
        import fcntl

        file = open(Path(directory) / f"{fingerprint[:16]}.lock", "w") if directory else None  # noqa: SIM115
    except (ImportError, OSError):
        file = None
    if file is None:
        yield
        return
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
