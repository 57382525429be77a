"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from growjax.errors import UserError


def write_text(path: Path, text: str) -> None:
    """Writes a file under another name, syncs it and renames it into place."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_directory(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """A folder to fill that takes its place at `path` only if the block ends well; otherwise nothing is left, and with
    `replace` what stood there still stands."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex}.tmp"
    temporary.mkdir()
    try:
        yield temporary
        if replace and path.exists():
            old = path.parent / f".{path.name}.{uuid.uuid4().hex}.tmp"
            os.replace(path, old)
            os.replace(temporary, path)
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.replace(temporary, path)
    except BaseException:
        _remove(temporary)
        raise


def _remove(directory: Path) -> None:
    """Removes a folder into which threads of a library that failed may still be writing their last files, and which
    they may even make again: until it has stayed away for a second."""
    away = 0
    for _ in range(100):
        away = 0 if directory.exists() else away + 1
        if away == 10:
            return
        shutil.rmtree(directory, ignore_errors=True)
        time.sleep(0.1)


def sweep(directory: Path) -> None:
    """Removes what a killed process left half-written in a folder."""
    for leftover in directory.glob(".*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True) if leftover.is_dir() else leftover.unlink(missing_ok=True)


_MENDS = {
    errno.ENOSPC: ("the disk is full", "free some space and run the same command again; finished cells are kept"),
    errno.EDQUOT: ("the disk quota is used up", "free some space and run the same command again"),
    errno.EROFS: ("the file system is read-only", "choose another place with --out"),
    errno.EACCES: ("permission denied", "choose another place, or change its permissions"),
    errno.EPERM: ("operation not permitted", "choose another place, or change its permissions"),
    errno.ENOTDIR: ("a file stands where a folder is needed", "choose another place with --out"),
    errno.EISDIR: ("a folder stands where a file is needed", "name a file"),
    errno.ENOENT: ("no such file or folder", "check the path"),
    errno.ENAMETOOLONG: ("the file name is too long", "choose a shorter one"),
    errno.EFBIG: ("the file grew over this system's limit", "raise the limit (ulimit -f) and run again"),
}

_TEXTS = {
    "No space left on device": errno.ENOSPC,
    "Disk quota exceeded": errno.EDQUOT,
    "Read-only file system": errno.EROFS,
    "Permission denied": errno.EACCES,
    "File too large": errno.EFBIG,
}


def explain(error: BaseException) -> UserError | None:
    """The user's line for an operating-system fault, also where a library wrapped it in an error of its own."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _MENDS:
            fault, mend = _MENDS[seen.errno]
            return UserError(f"{fault} ({seen.filename})" if seen.filename else fault, mend)
        for text, number in _TEXTS.items():
            if text in str(seen):
                return UserError(*_MENDS[number])
        seen = seen.__cause__ or seen.__context__
    return None
