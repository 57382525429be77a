"""A digest of what computes: one for each module of growjax that a cell's function can reach by imports.

Every function that fills a cell is reached from `ENTRIES`; from there every `import` and `from` is followed, those
within functions too. A digest is SHA-256 of the module's canonical text (see `growjax.syntax`), so that a comment, a
docstring or another formatting changes none, and a note can name the module that did change. Receipts made before
hold one digest of all modules' bytes. Nothing here imports jax.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from growjax.config import json_digest
from growjax.syntax import Imported, canonical

ENTRIES = ("growjax.study.units", "growjax.study.given", "growjax.study.on_mesh")
"""What a scheduler fills, what a run fills before it (tokens, sources that were not trained here), and training on a
mesh."""

LEFT_OUT = frozenset({"growjax"})
"""Run by every import and computing nothing: the package's own `__init__` has the version, and where public names are
to be found."""

ONE_DIGEST = "source_code was recorded as one digest"


@functools.cache
def source_digests() -> Mapping[str, str]:
    """`digests_of` this growjax, read once in a process."""
    return digests_of(Path(__file__).parent)


def source_digest() -> str:
    """One digest over all of them."""
    return one_digest(dict(source_digests()))


def one_digest(recorded: str | dict[str, str]) -> str:
    """One digest of a receipt's `source_code`, whatever its form."""
    return recorded if isinstance(recorded, str) else json_digest(recorded)


def folder_digest(folder: Path) -> str:
    """One digest over the modules of a folder, of the same canonical texts."""
    return json_digest({path.name: _digest(canonical(path.read_bytes())[0]) for path in sorted(folder.glob("*.py"))})


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def digests_of(package: Path) -> dict[str, str]:
    """A digest for each module that can compute a part of a cell, by the module's name; `package` is the folder of a
    growjax."""
    return reached(ENTRIES, lambda name: _file(package, name))


def reached(entries: Iterable[str], file: Callable[[str], Path | None]) -> dict[str, str]:
    """A digest for each module that these can reach by imports, by its name; `file` says where the text of a module
    is, and None of one that is not followed."""
    found: dict[str, str] = {}
    seen, to_read = set(LEFT_OUT), [*entries]
    while to_read:
        name = to_read.pop()
        if name in seen:
            continue
        seen.add(name)
        path = file(name)
        if path is None:
            continue
        text, imports = canonical(path.read_bytes())
        found[name] = _digest(text)
        within = name if path.name == "__init__.py" else name.rpartition(".")[0]
        to_read += [each for statement in imports for each in _named(statement, within)]
        to_read += _packages(name)
    return dict(sorted(found.items()))


def _file(package: Path, name: str) -> Path | None:
    """Where a module's text is; None where `name` is no module of growjax."""
    first, _, rest = name.partition(".")
    return module_file(package, rest) if first == "growjax" else None


def module_file(folder: Path, name: str) -> Path | None:
    """Where the text of a module of this name is, below a folder; None where there is none."""
    place = folder.joinpath(*filter(None, name.split(".")))
    return next((path for path in (place / "__init__.py", place.with_suffix(".py")) if path.is_file()), None)


def _named(statement: Imported, within: str) -> Iterator[str]:
    """What an import statement may name: a module, and names in it that may be modules themselves."""
    module = statement.module
    if statement.level:
        module = importlib.util.resolve_name("." * statement.level + module, within)
    yield module
    yield from (f"{module}.{name}" for name in statement.names)


def _packages(name: str) -> list[str]:
    """The packages that a module lies in; Python runs them first."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def changed_modules(old: object, new: object) -> list[str]:
    """Names of the modules that two records of `source_code` do not share; none where either is of the old form."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return []
    return sorted(name for name in {*old, *new} if old.get(name) != new.get(name))


def source_notes(old: object, new: object) -> list[str]:
    """A line for each module in which two records of `source_code` differ; none where they are the same."""
    if old == new:
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        of_one = {**dict.fromkeys(old.keys() - new, "is gone"), **dict.fromkeys(new.keys() - old, "is new")}
        return [f"{name} {of_one.get(name, 'is another')}" for name in changed_modules(old, new)]
    if isinstance(old, dict) or isinstance(new, dict):
        return [ONE_DIGEST]
    return [f"source_code was {old}, now {new}"]
