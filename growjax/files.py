"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from growjax.errors import CheckFailed, UserError


def write_text(path: Path, text: str) -> None:
    """Writes a file under another name, syncs it and renames it into place."""
    temporary = _beside(path)
    try:
        # names of files may hold bytes that are no text
        with open(temporary, "w", encoding="utf-8", errors="backslashreplace") as file:
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
    made = [folder for folder in path.parents if not os.path.lexists(folder)]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    temporary.mkdir()
    try:
        yield temporary
        while not _placed(temporary, path):
            if not replace:
                raise UserError(f"another process has made {path} meanwhile", "choose another --out")
            old = _beside(path)
            with contextlib.suppress(FileNotFoundError):
                os.replace(path, old)
            sweep(path.parent, name=old.name)
    except BaseException:
        _remove(temporary)
        for folder in made:
            with contextlib.suppress(OSError):  # another process may have written there
                folder.rmdir()
        raise


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder, by their path below it. Raises `OSError` where one cannot be read."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def write_contents(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes such files into a folder. Raises `CheckFailed` for a path that leads out of it."""
    for name, data in files.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise CheckFailed(f"{name!r} is no path below a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _placed(temporary: Path, path: Path) -> bool:
    """Gives a folder its name; not where something stands there."""
    try:
        os.replace(temporary, path)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            return False
        raise
    return True


CHECKPOINT = "checkpoint"
"""In a state's folder: what came with the Hugging Face checkpoint that it is of, its tokenizer among it."""


def carry_checkpoint(source: Path, folder: Path) -> None:
    """Copies that from one state's folder into another's; nothing where there is none."""
    if (source / CHECKPOINT).is_dir():
        shutil.copytree(source / CHECKPOINT, folder / CHECKPOINT)


def _beside(path: Path) -> Path:
    """A new hidden name in the same folder, short whatever `path` is called; `sweep` knows it."""
    return path.parent / f".{uuid.uuid4().hex}.tmp"


@contextlib.contextmanager
def plain_name(directory: Path) -> Iterator[Path]:
    """Another path to a folder that is there, absolute, short and of plain characters, for a library that takes some
    characters of a path for more than a name. It lasts as long as the block."""
    for base in dict.fromkeys((tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm")):
        if re.fullmatch(r"/[\w./-]{0,200}", base, re.ASCII) and os.access(base, os.W_OK | os.X_OK):
            break
    else:
        raise UserError("no folder for temporary files has a plain name", "name one in the variable TMPDIR")
    with tempfile.TemporaryDirectory(prefix="growjax-", dir=base) as folder:
        link = Path(folder) / "here"
        link.symlink_to(directory.absolute(), target_is_directory=True)
        yield link


ROOM = 160
"""Bytes that a run may add to the path of its directory."""


def require_path(path: Path) -> None:
    """Raises `UserError` where what is written below a folder would have a path longer than the system takes."""
    longest = os.pathconf("/", "PC_PATH_MAX")
    if len(os.fsencode(path.absolute())) > longest - ROOM:
        raise UserError(f"a path of {len(os.fsencode(path.absolute()))} bytes is too long to write below", "shorten it")


def require_space(path: Path, size: int) -> None:
    """Raises `UserError` where the disk on which `path` is to be written has fewer bytes to spare."""
    there = path.absolute()
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if size > free:
        raise UserError(
            f"{path} takes {size / 1e9:,.2f} GB, and its disk has {free / 1e9:,.2f} GB left",
            "free some space, or choose another --out",
        )


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


def remove(path: Path) -> None:
    """Removes a file, a folder with all in it, or a link, but not what it leads to."""
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def is_leftover(name: str) -> bool:
    """Whether a name is one that a file or folder has while it is being written."""
    return re.fullmatch(r"\.[0-9a-f]{32}\.tmp", name) is not None


def sweep(directory: Path, *, name: str = ".*.tmp") -> None:
    """Removes what a killed process left half-written in a folder."""
    for leftover in directory.glob(name):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


_HINTS = {
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
        if isinstance(seen, OSError) and seen.errno in _HINTS:
            fault, hint = _HINTS[seen.errno]
            return UserError(f"{fault} ({seen.filename})" if seen.filename else fault, hint)
        for text, number in _TEXTS.items():
            if text in str(seen):
                return UserError(*_HINTS[number])
        seen = seen.__cause__ or seen.__context__
    return None


def linked(source: str, target: str) -> None:
    """One file under two names where the disk can do that, or else a copy: for files that nobody writes into again."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
