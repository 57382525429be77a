"""What a receipt says of a function that is not growjax's own: where it was found, and a digest of what computes.

Of a function from a module that is the canonical text (`growjax.syntax`) of its module and of those that this one
imports from its own package (from its own folder, where no distribution has installed it). Of a function in the script
that runs, or in a notebook, it is the bytecode, with that of the functions that it calls by name: the rest of a script
may change between two commands. What a closure or a `functools.partial` holds counts where it is plain data or a
function. Nothing here imports jax.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import sys
import sysconfig
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata
from pathlib import Path
from types import CellType, CodeType, FunctionType
from typing import Any, TypedDict

from growjax.config import json_digest
from growjax.source import module_file, reached

HERE = ("__main__", "__mp_main__")
"""The module of what is not imported: a script, a notebook, a prompt."""


class Provenance(TypedDict):
    """Of a function, plain JSON data."""

    function: str
    """Its module and its name there."""
    distribution: str | None
    """Name and version of what installed it; None of what is not installed."""
    code: str
    """A digest of what it computes."""


def provenance(fn: Callable[..., object], *more: Callable[..., object]) -> Provenance:
    """Of a function, and of more that belong to it; of an object that is called, what its class says."""
    function = _function(fn)
    module = function.__module__ or HERE[0]
    seen: set[int] = set()
    return {
        "function": f"{module}:{getattr(function, '__qualname__', type(function).__name__)}",
        "distribution": _distribution(module.partition(".")[0]),
        "code": json_digest([_content(each, seen) for each in (fn, *more)]),
    }


def _function(fn: Any) -> Any:
    """The function that is called at last."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    fn = inspect.unwrap(fn)
    return fn if hasattr(fn, "__qualname__") else type(fn).__call__


def _content(value: Any, seen: set[int]) -> object:
    """Plain JSON data that changes with what a value is, or computes."""
    if isinstance(value, str | bytes | bool | int | float | complex | None):
        return repr(value)
    if isinstance(value, CodeType):
        return [value.co_code.hex(), [*value.co_names], [_content(each, seen) for each in value.co_consts]]
    if isinstance(value, set | frozenset):
        return sorted(map(repr, value))
    if isinstance(value, Mapping):
        return [[repr(key), _content(held, seen)] for key, held in value.items()]
    if isinstance(value, list | tuple):
        return [_content(each, seen) for each in value]
    if id(value) in seen:
        return None
    seen.add(id(value))
    if isinstance(value, functools.partial):
        return [_content(each, seen) for each in (value.func, value.args, value.keywords)]
    if not callable(value):
        return type(value).__qualname__
    function = _function(value)
    inside = {} if hasattr(value, "__qualname__") else _content(getattr(value, "__dict__", {}), seen)
    name = f"{function.__module__}:{getattr(function, '__qualname__', '')}"
    return [name, _modules(function.__module__ or HERE[0]), inside, *_held(function, seen)]


def _held(function: Any, seen: set[int]) -> list[object]:
    """What a function's closure holds; of one that no module's text has, its bytecode and what that names too."""
    if isinstance(function, type):
        return [_content(each, seen) for each in function.__dict__.values() if isinstance(each, FunctionType)]
    if not isinstance(function, FunctionType):
        return []
    inside = [_inside(cell) for cell in function.__closure__ or ()]
    if _modules(function.__module__ or HERE[0]):
        return [_content(each, seen) for each in inside]
    named = [function.__globals__[name] for name in sorted(_names(function.__code__)) if name in function.__globals__]
    own = [each for each in named if getattr(each, "__module__", function.__module__) == function.__module__]
    parts = (function.__code__, function.__defaults__, function.__kwdefaults__, *inside, *own)
    return [_content(each, seen) for each in parts]


def _inside(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # nothing yet
        return None


def _names(code: CodeType) -> set[str]:
    """The names that a function and those within it look up."""
    inner = (each for each in code.co_consts if isinstance(each, CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _modules(name: str) -> Mapping[str, str]:
    """A digest for each module that a function of this module can reach; none where no text of it is to be had.
    growjax's own are those of `source_code`."""
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    if name in HERE or name.partition(".")[0] == "growjax" or not file or not file.endswith(".py"):
        return {}
    return _digests(name, Path(file))


@functools.cache
def _digests(name: str, path: Path) -> Mapping[str, str]:
    root = path.parents[name.count(".") + (path.name == "__init__.py")]
    first = name.partition(".")[0]
    alone = _distribution(first) is not None or str(root) in sysconfig.get_paths().values()

    def file(other: str) -> Path | None:
        top = other.partition(".")[0]
        return module_file(root, other) if top == first or (not alone and top != "growjax") else None

    try:
        return reached([name], file) or {name: _digest(path)}
    except (SyntaxError, ValueError, ImportError, OSError):  # a module that nothing imports after all
        return {name: _digest(path)}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


def _distribution(top: str) -> str | None:
    """Names and versions of the distributions that installed a top-level module; None where none did."""
    found: Iterable[str] = sorted(set(_distributions().get(top, ())))
    return ", ".join(f"{name} {metadata.version(name)}" for name in found) or None
