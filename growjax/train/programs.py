"""Compiled programs, shared by lanes: each is lowered and compiled once, and known by the digest of its text."""

from __future__ import annotations

import hashlib
import threading
from typing import Any

import jax


class Programs:
    """A table of compiled programs that many threads may ask at once.

    `fingerprints` maps a program's name to the SHA-256 of each lowered text that was compiled under it. The text is
    the same in every process, so "the program changed" can be told from "the machine differs".
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._locks: dict[Any, threading.Lock] = {}
        self._compiled: dict[Any, jax.stages.Compiled] = {}
        self.fingerprints: dict[str, set[str]] = {}

    def get(self, name: str, function: Any, arrays: tuple, static: dict[str, Any]) -> jax.stages.Compiled:
        """The program of a jitted `function` for arguments of these shapes and static values."""
        leaves, structure = jax.tree.flatten(arrays)
        key = (name, structure, tuple((x.shape, x.dtype) for x in leaves), tuple(sorted(static.items())))
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:  # the first lane compiles while the others wait
            if key not in self._compiled:
                lowered = function.lower(*arrays, **static)
                text = hashlib.sha256(lowered.as_text().encode()).hexdigest()
                compiled = lowered.compile()
                with self._lock:
                    self.fingerprints.setdefault(name, set()).add(text)
                    self._compiled[key] = compiled
            return self._compiled[key]
