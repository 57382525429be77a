"""Stories out of local files: found, checked for every likely fault, and read through `datasets`, streaming."""

from __future__ import annotations

import codecs
import contextlib
import glob
import gzip
import hashlib
import json
import re
import tempfile
import zlib
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

from growjax.config import DataConfig
from growjax.errors import UserError

ENDINGS = {".txt": "text", ".text": "text", ".jsonl": "json", ".json": "json", ".parquet": "parquet"}
_BLOCK = 1 << 20
_LIST = ".txt, .text, .jsonl, .json (all also with .gz) or .parquet"


def first_line(error: BaseException) -> str:
    """The kind of an error and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


@contextlib.contextmanager
def quiet() -> Iterator[Any]:
    """The `datasets` module, without bars, messages and the count of uses it sends out, for as long as this lasts."""
    import datasets.config
    from huggingface_hub.utils import logging as hub_logging

    level, hub_level = datasets.logging.get_verbosity(), hub_logging.get_verbosity()
    bars, counts = datasets.are_progress_bars_disabled(), datasets.config.HF_UPDATE_DOWNLOAD_COUNTS
    datasets.logging.set_verbosity(datasets.logging.CRITICAL + 1)
    hub_logging.set_verbosity_error()
    datasets.disable_progress_bars()
    # it is sent even where a local file is read, which would then wait for the network
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
    try:
        yield datasets
    finally:
        datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = counts
        datasets.logging.set_verbosity(level)
        hub_logging.set_verbosity(hub_level)
        if not bars:
            datasets.enable_progress_bars()


def _kind(path: Path) -> str | None:
    name = path.name.lower()
    kind = ENDINGS.get(Path(name.removesuffix(".gz")).suffix)
    return None if name.endswith(".gz") and kind == "parquet" else kind


def find(corpus: str) -> list[Path]:
    """The files meant by a path, a folder or a pattern, sorted; `UserError` where there are none to read."""
    path = Path(corpus).expanduser()
    try:
        if path.is_dir():
            found = sorted(p for p in path.iterdir() if p.is_file() and p.name[0] != "." and _kind(p))
            if not found:
                raise UserError(f"the folder {corpus} has no file to read", f"it needs files that end in {_LIST}")
        elif path.is_file():
            found = [path]
        else:
            found = sorted(Path(p) for p in glob.glob(str(path), recursive=True) if Path(p).is_file())
    except PermissionError as error:
        raise _unreadable(path, error) from error
    if not found:
        raise UserError(f"no file matches {corpus}", "check --data.corpus: builtin, a path, a pattern or hf:NAME")
    for one in found:
        if _kind(one) is None:
            raise UserError(f"{one} has an ending that is not known", f"give files that end in {_LIST}")
    return found


def _unreadable(path: Path, error: OSError) -> UserError:
    if isinstance(error, PermissionError):
        return UserError(f"{path} may not be read", "give yourself permission to read it")
    return UserError(f"{path} cannot be read ({first_line(error)})", "check the file and the disk it is on")


def file_record(path: Path) -> dict[str, Any]:
    """Name (without folders), SHA-256 and size in bytes of a file."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return {"name": path.name, "sha256": digest, "size": file.tell()}
    except OSError as error:
        raise _unreadable(path, error) from error


def _check_text(path: Path, encoding: str, kind: str) -> None:
    """Decode all of a text file once, so that a fault is told by its cause."""
    try:
        decoder = codecs.getincrementaldecoder(encoding)()
        ends_lines = "a\n".encode(encoding).endswith(b"a\n")
    except (LookupError, ValueError, TypeError) as error:
        raise UserError(f"{encoding!r} is no text encoding", "give --data.encoding a name such as utf-8") from error
    if kind == "json" and not ends_lines:
        raise UserError(f"{path} holds JSON in {encoding}", "convert it to UTF-8 (only plain text may be in UTF-16)")
    gz = path.name.lower().endswith(".gz")
    at = 0
    try:
        with gzip.open(path, "rb") if gz else path.open("rb") as file:
            while block := file.read(_BLOCK):
                text = decoder.decode(block)  # pyright: ignore[reportArgumentType]
                if at == 0 and "\0" in text:
                    raise UserError(f"{path} is no text file (it holds NUL bytes)", _encoding_mend(encoding))
                at += len(block)
            decoder.decode(b"", True)
    except UnicodeError as error:
        at += getattr(error, "start", 0)
        raise UserError(f"{path} is not {encoding} near byte {at}", _encoding_mend(encoding)) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is no whole gzip file ({first_line(error)})", "fetch or pack it again") from error
    except OSError as error:
        raise _unreadable(path, error) from error


def _encoding_mend(encoding: str) -> str:
    return f"give its encoding with --data.encoding (now {encoding}), or another file"


def _check_parquet(path: Path, field: str) -> None:
    import pyarrow.parquet

    try:
        names = pyarrow.parquet.read_schema(path).names
    except OSError as error:
        raise _unreadable(path, error) from error
    except Exception as error:
        raise UserError(f"{path} is no whole Parquet file ({first_line(error)})", "fetch or write it again") from error
    if field not in names:
        raise _no_field(str(path), field, names)


def _no_field(where: str, field: str, names: Iterable[str]) -> UserError:
    there = ", ".join(names) or "none"
    return UserError(f"{where} has no field {field!r} (fields there: {there})", "name the text with --data.text-field")


def texts(where: str, rows: Iterable[dict[str, Any]], field: str) -> Iterator[str]:
    """The text of each record, stripped; empty ones are left out. `UserError` where one has no text."""
    for number, row in enumerate(rows, 1):
        text = row.get(field)
        if text is None:  # a reader of columns also gives None for a field that one record lacks
            raise _no_field(f"record {number} of {where}", field, (k for k, v in row.items() if v is not None))
        if not isinstance(text, str):
            raise UserError(
                f"field {field!r} of record {number} of {where} holds no text but {type(text).__name__}",
                "name the text with --data.text-field",
            )
        if text := text.strip():
            yield text


def _json_fault(path: Path, encoding: str, error: Exception) -> UserError:
    """What is wrong with a JSON file that could not be read: the first line that is no record, if there is one."""
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    with opener(path, "rt", encoding=encoding) as file:
        for number, line in enumerate(file, 1):
            text = line.strip("\ufeff \t\r\n")
            try:
                if not text or isinstance(json.loads(text), dict):
                    continue
            except ValueError:
                pass
            return UserError(f"line {number} of {path} is no JSON object", "mend the line, or leave it out")
    return UserError(
        f"{path} cannot be read ({first_line(error)})", "mend the file; it needs one JSON object on each line"
    )


def _documents(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    for row in rows:
        text = row["text"].lstrip("\ufeff")
        for part in text.split("<|endoftext|>") if "<|endoftext|>" in text else re.split(r"\n\s*\n", text):
            if part := part.strip():
                yield part


def _rows(path: Path, kind: str, config: DataConfig) -> Iterator[str]:
    options: dict[str, Any] = {"encoding": config.encoding}
    if kind == "text":
        options["sample_by"] = "document"
    elif kind == "parquet":
        options = {"columns": [config.text_field], "batch_size": 1000}
    # even where it streams, the library leaves a lock in its cache; and it takes file names for patterns
    with quiet() as datasets, tempfile.TemporaryDirectory() as cache:
        name = glob.escape(str(path.absolute()))
        rows = datasets.load_dataset(kind, data_files=[name], split="train", streaming=True, cache_dir=cache, **options)
        yield from _documents(rows) if kind == "text" else texts(str(path), rows, config.text_field)


def file_stories(config: DataConfig) -> Generator[str, None, None]:
    """The stories of all files that `config.corpus` means, in order; `UserError` for whatever is wrong with one."""
    for path in find(config.corpus):
        kind = _kind(path)
        assert kind is not None
        if path.stat().st_size == 0:
            raise UserError(f"{path} is empty", "give a file with stories in it")
        if kind == "parquet":
            _check_parquet(path, config.text_field)
        else:
            _check_text(path, config.encoding, kind)
        story = None
        try:
            for story in _rows(path, kind, config):
                story.encode()
                yield story
        except UserError:
            raise
        except Exception as error:
            if kind == "json":
                raise _json_fault(path, config.encoding, error) from error
            raise UserError(f"{path} cannot be read ({first_line(error)})", "check the file") from error
        if story is None:
            raise UserError(f"{path} holds no story", "give a file with stories in it")
