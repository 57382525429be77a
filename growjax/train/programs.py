"""Compiled programs: each is lowered and compiled once, and known by the digest of its text."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import jax
from filelock import FileLock


class Program(NamedTuple):
    """A compiled program, the SHA-256 of its lowered text, and that of what the compiler made of it.

    The lowered text is the same in every process. So another program is one thing, the same program compiled in
    another way a second, and a machine that computes otherwise a third.
    """

    call: jax.stages.Compiled
    fingerprint: str
    module: str


class Programs:
    """A table of compiled programs, each found by the shapes and static values of its arguments."""

    def __init__(self) -> None:
        self._compiled: dict[tuple, Program] = {}
        self._modules: dict[str, str] = {}

    def get(self, name: str, function: jax.stages.Wrapped, arrays: tuple, static: Mapping[str, Hashable]) -> Program:
        """The program of a jitted `function` for arguments of these shapes and static values."""
        leaves, structure = jax.tree.flatten(arrays)
        key = (name, structure, tuple((x.shape, x.dtype) for x in leaves), tuple(sorted(static.items())))
        if key not in self._compiled:
            lowered, text = lower(function, arrays, static)
            with _first_compiles(text):
                call = lowered.compile()
                self._compiled[key] = Program(call, text, module_digest(call.as_text() or ""))
        return self._compiled[key]

    def modules(self, fingerprint: str, lowered: Iterable[jax.stages.Lowered]) -> str:
        """One digest of the modules of several programs that run as one, known together by a fingerprint."""
        if fingerprint not in self._modules:
            texts = (one.compile().as_text() or "" for one in lowered)
            self._modules[fingerprint] = text_digest("".join(map(module_digest, texts)))
        return self._modules[fingerprint]


def text_digest(text: str) -> str:
    """SHA-256 of a program's text."""
    return hashlib.sha256(text.encode()).hexdigest()


_ORIGINS = re.compile(r"(?ms)^(?:FileNames|FunctionNames|FileLocations|StackFrames)\n.*?\n\n")
_METADATA = re.compile(r", metadata=\{[^}]*\}")
_FINGERPRINT = re.compile(r'fingerprint_before_lhs="[^"]*"')
_HEAD = re.compile(r"(?m)^(?:ENTRY )?%.* -> .*\{$")
_PARAMETER = re.compile(r"[\w.\-]+: ")
_NAME = re.compile(r"%[\w.\-]+")


def module_digest(text: str) -> str:
    """SHA-256 of an optimized module's text without what only says where it came from.

    One lowered text can be fused, and so rounded, in several ways (by another version of the compiler, for another
    device, or by chance). This digest says which way was taken. Names of instructions follow from what else a process
    had traced before: in their place stands the number of each in the order of the text.
    """
    for pattern in (_ORIGINS, _METADATA, _FINGERPRINT):
        text = pattern.sub("", text)
    text = _HEAD.sub(lambda head: _PARAMETER.sub("", head[0]), text)
    numbers: dict[str, int] = {}
    return text_digest(_NAME.sub(lambda name: f"%{numbers.setdefault(name[0], len(numbers))}", text))


def lower(
    function: jax.stages.Wrapped, arrays: tuple, static: Mapping[str, Hashable]
) -> tuple[jax.stages.Lowered, str]:
    """A jitted function lowered for arguments of these shapes, and the SHA-256 of its text."""
    # From shapes alone: where an array came from would show in the program's text.
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), arrays)
    lowered = function.lower(*shapes, **static)
    return lowered, text_digest(lowered.as_text())


@contextlib.contextmanager
def _first_compiles(fingerprint: str) -> Iterator[None]:
    """Workers that need one program at once: the first compiles it, the others wait and find it in the cache."""
    directory = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    with contextlib.ExitStack() as stack:
        if directory:
            with contextlib.suppress(OSError, NotImplementedError):  # a cache that cannot be written costs time alone
                stack.enter_context(FileLock(Path(directory) / f"{fingerprint[:16]}.lock"))
        yield
