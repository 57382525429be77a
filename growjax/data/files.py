"""Stories out of local files: found, checked for every likely fault, and read piece by piece."""

from __future__ import annotations

import codecs
import contextlib
import glob
import gzip
import hashlib
import zlib
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import IO, Any

from growjax.config import DataConfig
from growjax.data.passages import MARK, between_marks, paragraphs, whole
from growjax.data.records import json_objects, parquet_rows, texts
from growjax.errors import UserError

SOURCES = (
    "md markdown rst tex org adoc py pyi c h cc cpp cxx hh hpp hxx cu cuh m mm rs go java kt kts scala swift cs fs js "
    "jsx mjs ts tsx rb php pl pm lua r jl hs ml mli ex exs erl clj el lisp scm sh bash zsh sql f f90 asm s v sv vhd "
    "lean nim zig dart html css scss cmake mk proto"
)
"""Endings of files that are one story each, where nothing else is said: source code and documents of many parts."""

ENDINGS = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".txt": "prose", ".text": "prose"}
ENDINGS |= {f".{ending}": "source" for ending in SOURCES.split()}
_BLOCK = 1 << 20
_LIST = ".txt, .md or source code such as .py, .jsonl, .json (all also with .gz) or .parquet"


def first_line(error: BaseException) -> str:
    """The kind of an error and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def _kind(path: Path) -> str | None:
    name = path.name.lower()
    kind = ENDINGS.get(Path(name.removesuffix(".gz")).suffix)
    return None if name.endswith(".gz") and kind == "parquet" else kind


def find(corpus: str) -> list[Path]:
    """The files meant by a path, a folder or a pattern, sorted; `UserError` where there are none to read.

    What is there by that very name is meant by it. Only what follows the longest folder that is there is a pattern.
    """
    try:
        path = _home(corpus)
        if path.is_dir():
            found = sorted(p for p in path.iterdir() if p.is_file() and p.name[0] != "." and _kind(p))
            if not found:
                raise UserError(f"the folder {corpus} has no file to read", f"it needs files that end in {_LIST}")
        elif path.is_file():
            found = [path]
        else:
            base = next((parent for parent in path.parents if parent.is_dir()), Path())
            names = glob.glob(str(path.relative_to(base)), root_dir=base, recursive=True)
            found = sorted(p for p in (base / name for name in names) if p.is_file())
    except OSError as error:
        raise _unreadable(Path(corpus), error) from error
    except ValueError as error:
        raise UserError(f"{corpus!r} is no path ({first_line(error)})", "check --data.corpus") from error
    if not found:
        raise UserError(f"no file matches {corpus}", "check --data.corpus: builtin, a path, a pattern or hf:NAME")
    for one in found:
        if _kind(one) is None:
            raise UserError(f"{one} has an ending that is not known", f"give files that end in {_LIST}")
    return found


def _home(corpus: str) -> Path:
    """The path, with the home folder for a `~` that is no name of its own."""
    path = Path(corpus)
    with contextlib.suppress(RuntimeError):  # no such user
        return path if path.exists() else path.expanduser()
    return path


def _unreadable(path: Path, error: OSError) -> UserError:
    if isinstance(error, PermissionError):
        return UserError(f"{path} may not be read", "give yourself permission to read it")
    return UserError(f"{path} cannot be read ({first_line(error)})", "check the file and the disk it is on")


def file_record(path: Path) -> dict[str, str | int]:
    """Name (without folders), SHA-256 and size in bytes of a file."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return {"name": path.name, "sha256": digest, "size": file.tell()}
    except OSError as error:
        raise _unreadable(path, error) from error


def _check_text(path: Path, encoding: str) -> bool:
    """Decodes all of a text file once, so that a fault is reported by its cause; whether `MARK` stands in it."""
    try:
        decoder = codecs.getincrementaldecoder(encoding)()
        "a".encode(encoding)
    except (LookupError, ValueError, TypeError) as error:
        raise UserError(f"{encoding!r} is no text encoding", "give --data.encoding a name such as utf-8") from error
    at, last, marked = 0, "", False
    try:
        with gzip.open(path, "rb") if _packed(path) else path.open("rb") as file:
            while block := file.read(_BLOCK):
                text = decoder.decode(block)  # pyright: ignore[reportArgumentType]
                if at == 0 and "\0" in text:
                    raise UserError(f"{path} is no text file (it holds NUL bytes)", _encoding_hint(encoding))
                at += len(block)
                marked = marked or MARK in last + text
                last = text[-len(MARK) :]
            decoder.decode(b"", True)
    except UnicodeError as error:
        at += getattr(error, "start", 0)
        raise UserError(f"{path} is not {encoding} near byte {at}", _encoding_hint(encoding)) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is no whole gzip file ({first_line(error)})", "fetch or pack it again") from error
    except OSError as error:
        raise _unreadable(path, error) from error
    return marked


def _encoding_hint(encoding: str) -> str:
    return f"give its encoding with --data.encoding (now {encoding}), or another file"


def _packed(path: Path) -> bool:
    return path.name.lower().endswith(".gz")


def _open(path: Path, encoding: str) -> IO[str]:
    opener: Any = gzip.open if _packed(path) else open
    file = opener(path, "rt", encoding=encoding, newline="")  # the ends of lines as they are
    if file.read(1) != "\ufeff":
        file.seek(0)
    return file


def _parquet(path: Path, field: str) -> Iterator[str]:
    try:
        with path.open("rb") as file:
            yield from texts(str(path), parquet_rows(path, file, field), field)
    except OSError as error:
        if error.errno:
            raise _unreadable(path, error) from error
        raise _not_parquet(path, error) from error  # a library's own, with no number
    except UserError:
        raise
    except Exception as error:
        raise _not_parquet(path, error) from error


def _not_parquet(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} is no whole Parquet file ({first_line(error)})", "fetch or write it again")


def _rows(path: Path, config: DataConfig) -> Iterator[str]:
    kind = _kind(path)
    if kind == "parquet":
        yield from _parquet(path, config.text_field)
        return
    marked = _check_text(path, config.encoding)
    with _open(path, config.encoding) as file:
        if kind == "json":
            yield from texts(str(path), json_objects(path, file), config.text_field)
        elif config.split == "file" or (config.split == "auto" and kind == "source"):
            yield from whole(file, str(path))
        elif config.split == "auto" and marked:
            yield from between_marks(file, str(path))
        else:
            yield from paragraphs(file, str(path))


def file_stories(config: DataConfig) -> Generator[str, None, None]:
    """The stories of all files that `config.corpus` means, in order; `UserError` for whatever is wrong with one."""
    for path in find(config.corpus):
        count = 0
        try:
            if path.stat().st_size == 0:
                raise UserError(f"{path} is empty", "give a file with stories in it")
            for story in _rows(path, config):
                count += 1
                story.encode()
                yield story
        except UnicodeDecodeError as error:
            raise UserError(f"{path} is not {config.encoding}", _encoding_hint(config.encoding)) from error
        except UnicodeError as error:
            raise UserError(
                f"story {count} of {path} holds half of a character (an escape such as \\ud83d alone)",
                "fix it, or leave it out",
            ) from error
        except OSError as error:
            raise _unreadable(path, error) from error
        if count == 0:
            raise UserError(f"{path} holds no story", "give a file with stories in it")
