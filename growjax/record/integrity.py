"""Damage to what was recorded, found and located before anything is believed or computed again.

Every record is the canonical JSON of a dict with a digest of the rest, so damage names its place without any
other record: a cell of the receipt, one of its other parts, a line of a trace, a leaf of a state.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import cast

from growjax.config import canonical_json, json_digest
from growjax.data.tokens import INFO, TokenFile, open_tokens
from growjax.errors import CheckFailed, UserError
from growjax.record.cell_types import CandidateCell, CellRecord, DataCell, GivenCell, SourceCell
from growjax.record.checksums import exact, has_checksum, read_checked
from growjax.record.digested import damage
from growjax.record.file_types import TokensInfo
from growjax.record.reader import (
    RECEIPT_BYTES,
    RECORD_BYTES,
    parse,
    read_bytes,
    typed,
    typed_cell,
    typed_receipt,
)
from growjax.record.receipt_types import Begun, Receipt
from growjax.record.store import load_state, read_info
from growjax.record.traces import check_trace
from growjax.record.types import Json, Tree
from growjax.train.state import TrainState

LOCK = "lock"
"""A file that whoever writes into a run directory holds locked meanwhile."""

_CHECKSUM = re.compile(r'\{"digest":"([^"]*)",')
_ID = re.compile(r'"id":"([0-9a-f]{16})"')
_OWN = ("cells", "parts", "results", "root")
_MARKS = ('{"cells":[', '"parts":{', '"results":"', '"root":"')
"""Of these every receipt has all, and a damaged one most."""


def read_receipt(path: Path) -> Receipt | Begun:
    """The receipt of a file, or of a run directory, whole and undamaged. Raises `CheckFailed` with the place of the
    damage, `UserError` where there is none, or where it is none that growjax wrote."""
    file = path / "receipt.json" if path.is_dir() else path
    try:
        text = read_bytes(file, RECEIPT_BYTES).decode("utf-8", errors="replace")
    except FileNotFoundError:
        if (path / "cells").is_dir():
            raise CheckFailed(f"{file} is gone, though cells are there") from None
        raise UserError(f"{path} holds no receipt.json", "name a run directory, or a receipt") from None
    damaged = _damaged_cells(text)
    if damaged:
        raise CheckFailed(f"{file} is damaged in cell {damaged[0]}")
    try:
        receipt = _parts(text, file)
    except UserError as error:
        if (path / "cells").is_dir():  # there was one
            raise CheckFailed(f"{file} is damaged: {error.fault}") from None
        raise
    return typed_receipt(_undamaged(receipt, text, file), file)


def open_receipt(path: Path) -> Receipt | Begun:
    """The same for a reader, who must not take a run that is still going for one that holds nothing."""
    going = path.is_dir() and is_going(path)
    if going and not (path / "receipt.json").exists():
        raise _still_going(path)
    receipt = read_receipt(path)
    if going and "inputs" not in receipt:
        raise _still_going(path)
    return receipt


def finished_receipt(path: Path) -> Receipt:
    """The receipt of a run that has come to its end. Raises `UserError` for any other."""
    receipt = open_receipt(path)
    if "inputs" not in receipt:
        raise UserError(f"the run in {path} has not come to its end", "run its command again, it goes on")
    return receipt


def _still_going(path: Path) -> UserError:
    return UserError(f"the run in {path} is still going", "wait until it has come to its end")


def is_going(directory: Path) -> bool:
    """Whether a process is writing into a run directory now."""
    lock = directory / LOCK
    if not lock.is_file():
        return False
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _parts(text: str, file: Path) -> Tree:
    """A receipt's text as far as damage is looked for in it: an object with parts and cells."""
    try:
        found = parse(text, file)
    except ValueError:
        found = None
    if isinstance(found, dict) and all(name in found for name in _OWN) and isinstance(found["parts"], dict):
        cells = found["cells"]
        if isinstance(cells, list) and all(isinstance(cell, dict) for cell in cells):
            return found
    if sum(mark in text for mark in _MARKS) > 1:
        raise CheckFailed(f"{file} is damaged outside its cells: it is no receipt")
    raise UserError(f"{file} is no receipt", "name a run directory, or a receipt")


def _undamaged(receipt: Tree, text: str, file: Path) -> Tree:
    """The receipt, every digest of which fits what it is of."""
    parts, cells = cast(Tree, receipt["parts"]), cast(list[Tree], receipt["cells"])
    for name in sorted(set(parts) | (set(receipt) - set(_OWN))):
        if name not in receipt or json_digest(receipt[name]) != parts.get(name):
            raise CheckFailed(f"{file} is damaged in its {name[:80]}, or in the digest of it")
    for cell in cells:
        name = str(cell.get("id", "without an id"))[:80]
        if not has_checksum(cell):
            raise CheckFailed(f"{file} is damaged in cell {name}")
        if not _same(cell.get("metrics"), cell.get("exact")):
            raise CheckFailed(f"{file} is damaged in cell {name}: its readable and its exact figures differ")
    body = {name: value for name, value in receipt.items() if name != "root"}
    if json_digest(body) != receipt["root"]:
        raise CheckFailed(f"{file} is damaged in its root, or a cell was taken out")
    if canonical_json(receipt) + "\n" != text:
        raise CheckFailed(f"{file} is damaged: it is not the text that was written")
    return receipt


def _same(a: Json, b: Json) -> bool:
    """Whether readable figures are the exact ones; None stands for those that JSON has no word for."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    return exact(a) == b or (a is None and b in ("nan", "inf", "-inf"))


def _damaged_cells(text: str) -> list[str]:
    """Ids of the cells, in a receipt's text, whose checksum does not fit them."""
    checksums, found = list(_CHECKSUM.finditer(text)), []
    for number, checksum in enumerate(checksums):
        end = checksums[number + 1].start() - 1 if number + 1 < len(checksums) else _end(text, checksum.start())
        body = "{" + text[checksum.end() : end]
        if hashlib.sha256(body.encode()).hexdigest() != checksum[1]:
            ids = _ID.findall(body)
            found.append(" or ".join(ids) if ids else f"number {number + 1}")
    return found


def _end(text: str, start: int) -> int:
    """Where the JSON object ends that begins at `start`; the text's own end where it never does."""
    try:
        return json.JSONDecoder().raw_decode(text, start)[1]
    except (ValueError, RecursionError):
        return len(text)


def undamaged_header(path: Path, names: Iterable[str], optional: Iterable[str] = ()) -> Tree | None:
    """The parts of these names of a receipt that is damaged elsewhere, each as its digest says; None where one is not
    to be had. A receipt may lack those that are `optional`."""
    try:
        found = parse(read_bytes(path, RECEIPT_BYTES).decode("utf-8", errors="replace"), path)
    except (ValueError, OSError, UserError):
        return None
    digests = found.get("parts") if isinstance(found, dict) else None
    if not isinstance(found, dict) or not isinstance(digests, dict):
        return None
    names = [*names, *(name for name in optional if name in found or name in digests)]
    held = {name: found[name] for name in names if name in found and json_digest(found[name]) == digests.get(name)}
    return held if set(held) == set(names) else None


def check_result(path: Path) -> Tree:
    """A cell's `result.json`, undamaged."""
    try:
        cell = read_checked(path)
    except FileNotFoundError:
        raise CheckFailed(f"{path} is gone") from None
    if cell is None:
        raise CheckFailed(f"cell {path.parent.name}: {path} is damaged")
    return cell


def check_stored(directory: Path, receipt: Receipt | Begun) -> int:
    """Checks what a run directory holds beside its receipt: tokens, the cells' results, traces and states, the report.
    A receipt may lie alone; where there are cells, there must be all.

    Returns how many cells were there. Raises `CheckFailed` with the cell, and the leaf where it is a state.
    """
    for fault in damage(directory / "report"):
        raise CheckFailed(fault)
    there = any((directory / "cells" / cell["id"]).exists() for cell in receipt["cells"])
    for cell in receipt["cells"]:
        if cell["kind"] == "data" and (there or (directory / "data" / INFO).exists()):
            check_tokens(directory / "data", cell, corpus_of(receipt))
    for cell in receipt["cells"] if there else ():
        folder = directory / "cells" / cell["id"]
        if not folder.exists():
            raise CheckFailed(f"cell {cell['id']}: {folder} is gone")
        if check_cell(folder) != cell:
            raise CheckFailed(f"cell {cell['id']}: its result.json is not what the receipt holds")
    return len(receipt["cells"]) if there else 0


def check_cell(folder: Path, name: str | None = None) -> CellRecord:
    """The record of a filled cell, once all that its folder holds is found to be what it says. `name` is its id where
    that is not the folder's name. Raises `CheckFailed` with the place of damage."""
    name = name or folder.name
    record = check_result(folder / "result.json")
    try:
        cell = typed_cell(record, str(folder / "result.json"))
    except UserError as error:
        raise CheckFailed(error.fault) from None
    if cell["id"] != name:
        raise CheckFailed(f"cell {name}: its result.json is that of cell {cell['id']}")
    check_trace(folder, cell)
    if cell["kind"] == "given" or cell["kind"] == "source" or cell["kind"] == "candidate":
        _check_state(folder, cell)
    return cell


def state_of(cells: Path, name: str) -> TrainState:
    """The state that a cell of a run holds. Raises `CheckFailed` where it is damaged."""
    try:
        return load_state(cells / name)
    except UserError as error:
        raise CheckFailed(f"cell {name}: {error.fault}") from None


def _check_state(folder: Path, cell: GivenCell | SourceCell | CandidateCell) -> None:
    try:
        state, info = load_state(folder), read_info(folder)
    except UserError as error:
        raise CheckFailed(f"cell {cell['id']}: {error.fault}") from None
    leaves = {path: row[2] for path, row in info["leaves"].items()}
    for path, recorded in cell["digests"]["leaves"].items():
        if leaves.get(path) != recorded:
            raise CheckFailed(f"cell {cell['id']}: leaf {path} is not the one that the receipt names")
    if info["state"] != cell["digests"]["state"] or state.config.digest() != cell["digests"]["config"]:
        raise CheckFailed(f"cell {cell['id']}: its state is not the one that the receipt names")


def recorded_tokens(folder: Path) -> TokenFile:
    """The tokens of a run directory's `data/`, which a stranger may have written."""
    path = folder / INFO
    try:
        info = parse(read_bytes(path, RECORD_BYTES).decode("utf-8", errors="replace"), path)
    except FileNotFoundError:
        raise UserError(f"{folder} holds no {INFO}", "prepare the tokens again") from None
    except ValueError:
        raise UserError(f"{path} is no record of tokens", "prepare the tokens again") from None
    typed(TokensInfo, info, str(path))
    return open_tokens(folder)


def corpus_of(receipt: Receipt | Begun) -> Tree | None:
    """What a receipt says of the files of its corpus; None where it is that of a run that has not ended."""
    return receipt["inputs"]["corpus"] if "inputs" in receipt else None


def check_tokens(folder: Path, cell: DataCell, corpus: Tree | None = None) -> TokenFile:
    """The tokens of a run, once they are found to be those of its cell, and of its corpus where that is known. Raises
    `CheckFailed` where they are not."""
    try:
        tokens = recorded_tokens(folder)
    except UserError as error:
        raise CheckFailed(f"cell {cell['id']}: {error.fault}") from None
    described = {name: tokens.info[name] for name in ("unigram_entropy", "tokens", "stories", "vocab_size")}
    recorded = {**cell["digests"], "corpus": cell["inputs"].get("corpus"), "data": cell["parameters"]["data"]}
    found = {"tokens": tokens.digest, **tokens.info["files"], "corpus": tokens.info["corpus_digest"]}
    if {**found, "data": tokens.info["config"]} != recorded or exact(described) != cell["exact"]:
        raise CheckFailed(f"cell {cell['id']}: {folder / INFO} does not describe the tokens that the receipt names")
    if corpus is not None and tokens.info["source"] != corpus:
        raise CheckFailed(f"cell {cell['id']}: {folder / INFO} names another corpus")
    return tokens
