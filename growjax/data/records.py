"""Stories out of files that hold records, one field of each: JSON and Parquet, read piece by piece.

Only the field of the text is looked at. Other fields may hold anything, and other things in each record.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO

from growjax.data.passages import LONGEST, PIECE, too_long
from growjax.errors import UserError

_BETWEEN = re.compile(r"[\s,\[\]\ufeff]*")
"""What may stand between two objects: lines, and the commas and brackets of a list."""


def _unread(text: str) -> int:
    return 0


# no story is a number, and Python refuses to read very long ones
_DECODER = json.JSONDecoder(parse_int=_unread)


def texts(where: str, rows: Iterable[Mapping[str, object]], field: str) -> Iterator[str]:
    """The text of each record, as it is; records whose text is null or blank are left out. `UserError` where a record
    has no such field, or no text in it."""
    for number, row in enumerate(rows, 1):
        if field not in row:
            raise no_field(f"record {number} of {where}", field, row)
        text = row[field]
        if text is not None and not isinstance(text, str):
            raise UserError(
                f"field {field!r} of record {number} of {where} holds no text but {type(text).__name__}",
                "name the text with --data.text-field",
            )
        if text and not text.isspace():
            yield text


def no_field(where: str, field: str, names: Iterable[str]) -> UserError:
    """What is said where a field is missing among `names`."""
    there = ", ".join(names) or "none"
    return UserError(f"{where} has no field {field!r} (fields there: {there})", "name the text with --data.text-field")


def json_objects(path: Path, file: IO[str]) -> Iterator[dict[str, object]]:
    """The objects of an open JSON file: one on each line, or one after another in any layout, or all in one list.

    Reads no further than the object it gives needs. Raises `UserError` with the line where there is no object.
    """
    buffer, at, line, wanted = "", 0, 1, PIECE
    while piece := file.read(wanted):
        buffer, at = buffer[at:] + piece, 0
        while True:
            between = _BETWEEN.match(buffer, at)
            assert between is not None
            line += buffer.count("\n", at, between.end())
            at = between.end()
            if at == len(buffer):
                break
            try:
                found, end = _DECODER.raw_decode(buffer, at)
            except json.JSONDecodeError as error:
                if _cut_short(error, len(buffer)):
                    break
                raise _no_object(path, line) from error
            except RecursionError as error:
                raise _no_object(path, line) from error
            if not isinstance(found, dict):
                raise _no_object(path, line)
            line += buffer.count("\n", at, end)
            at = end
            yield found
        if len(buffer) - at > LONGEST:
            raise too_long(f"the record that begins on line {line} of {path}")
        wanted = max(PIECE, len(buffer) - at)  # doubles, so that a long object is not tried again and again
    if at < len(buffer):
        raise _no_object(path, line)


def _cut_short(error: json.JSONDecodeError, length: int) -> bool:
    """Whether an object may be whole once more is read: its fault is a string without end, or lies where the text
    breaks off (within the longest word or escape)."""
    return error.msg.startswith("Unterminated string") or error.pos > length - 16


def _no_object(path: Path, line: int) -> UserError:
    return UserError(f"line {line} of {path} is no JSON object", "fix the line, or leave it out")


def parquet_rows(path: Path, file: IO[bytes], field: str) -> Iterator[dict[str, object]]:
    """The rows of an open Parquet file, of one field alone. Raises `UserError` where the file has no such field."""
    import pyarrow.parquet

    whole = pyarrow.parquet.ParquetFile(file)
    names = whole.schema_arrow.names
    if field not in names:
        raise no_field(str(path), field, names)
    for batch in whole.iter_batches(batch_size=1000, columns=[field]):
        yield from ({field: value} for value in batch.column(0).to_pylist())
