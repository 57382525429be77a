"""Damage to what was recorded, found and located before anything is believed or computed again.

Every record is the canonical JSON of a dict sealed by a digest of the rest, so damage names its place without any
other record: a cell of the receipt, one of its other parts, a line of a trace, a leaf of a state.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from growjax.config import canonical_json, json_digest
from growjax.data.tokens import INFO, open_tokens
from growjax.errors import CheckFailed, UserError
from growjax.record.seals import exact, is_sealed, read_sealed
from growjax.record.store import load_state

_SEAL = re.compile(r'\{"digest":"([^"]*)",')
_ID = re.compile(r'"id":"([0-9a-f]{16})"')
_OWN = ("cells", "parts", "results", "root")


def read_receipt(path: Path) -> dict[str, Any]:
    """The receipt of a file, or of a run directory, whole and undamaged. Raises `CheckFailed` with the place of the
    damage, `UserError` where there is none."""
    file = path / "receipt.json" if path.is_dir() else path
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path} holds no receipt.json", "name a run directory, or a receipt") from None
    text = data.decode("utf-8", errors="replace")
    damaged = _damaged_cells(text)
    if damaged:
        raise CheckFailed(f"{file} is damaged in cell {damaged[0]}")
    try:
        receipt = json.loads(text)
        whole = {name: receipt[name] for name in _OWN}
    except (ValueError, KeyError, TypeError):
        raise CheckFailed(f"{file} is damaged outside its cells: it is no receipt") from None
    for name in sorted(set(whole["parts"]) | (set(receipt) - set(_OWN))):
        if name not in receipt or json_digest(receipt[name]) != whole["parts"].get(name):
            raise CheckFailed(f"{file} is damaged in its {name}, or in the digest of it")
    for cell in receipt["cells"]:
        if not is_sealed(cell):
            raise CheckFailed(f"{file} is damaged in cell {cell['id']}")
        _check_exact(file, cell)
    body = {name: value for name, value in receipt.items() if name != "root"}
    if json_digest(body) != whole["root"]:
        raise CheckFailed(f"{file} is damaged in its root, or a cell was taken out")
    if canonical_json(receipt) + "\n" != text:
        raise CheckFailed(f"{file} is damaged: it is not the text that was written")
    return receipt


def _check_exact(file: Path, cell: dict[str, Any]) -> None:
    """Readable figures are the exact ones, but for those that JSON has no word for."""

    def same(a: Any, b: Any) -> bool:
        if isinstance(a, dict):
            return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
        if isinstance(a, list):
            return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
        return a is None or exact(a) == b

    if not same(cell["metrics"], cell["exact"]):
        raise CheckFailed(f"{file} is damaged in cell {cell['id']}: its readable and its exact figures differ")


def _damaged_cells(text: str) -> list[str]:
    """Ids of the cells, in a receipt's text, whose seal does not fit them."""
    seals, found = list(_SEAL.finditer(text)), []
    for number, seal in enumerate(seals):
        end = seals[number + 1].start() - 1 if number + 1 < len(seals) else _end(text, seal.start())
        body = "{" + text[seal.end() : end]
        if hashlib.sha256(body.encode()).hexdigest() != seal[1]:
            ids = _ID.findall(body)
            found.append(" or ".join(ids) if ids else f"number {number + 1}")
    return found


def _end(text: str, start: int) -> int:
    """Where the JSON object ends that begins at `start`; the text's own end where it never does."""
    try:
        return json.JSONDecoder().raw_decode(text, start)[1]
    except ValueError:
        return len(text)


def check_result(path: Path) -> dict[str, Any]:
    """A cell's `result.json`, undamaged."""
    try:
        cell = read_sealed(path)
    except FileNotFoundError:
        raise CheckFailed(f"{path} is gone") from None
    if cell is None:
        raise CheckFailed(f"cell {path.parent.name}: {path} is damaged")
    return cell


def check_stored(directory: Path, receipt: dict[str, Any]) -> int:
    """Checks whatever a run directory still holds of its receipt's cells: results, traces, states, tokens.

    Returns how many cells were there. Raises `CheckFailed` with the cell, and the leaf where it is a state.
    """
    found = 0
    if (directory / "data" / INFO).exists():
        _check_tokens(directory / "data", next(c for c in receipt["cells"] if c["kind"] == "data"))
    for cell in receipt["cells"]:
        folder = directory / "cells" / cell["id"]
        if not folder.exists():
            continue
        found += 1
        if check_result(folder / "result.json") != cell:
            raise CheckFailed(f"cell {cell['id']}: its result.json is not what the receipt holds")
        _check_trace(folder, cell)
        if cell["kind"] in ("source", "candidate"):
            _check_state(folder, cell)
    return found


def _check_trace(folder: Path, cell: dict[str, Any]) -> None:
    if "trace" not in cell["digests"]:
        return
    path = folder / "metrics.jsonl"
    if not path.exists():
        raise CheckFailed(f"cell {cell['id']}: {path} is gone")
    if hashlib.sha256(path.read_bytes()).hexdigest() != cell["digests"]["trace"]:
        raise CheckFailed(f"cell {cell['id']}: {path} is damaged")


def _check_state(folder: Path, cell: dict[str, Any]) -> None:
    try:
        state = load_state(folder)
    except UserError as error:
        raise CheckFailed(f"cell {cell['id']}: {error.fault}") from None
    info = json.loads((folder / "state.json").read_bytes())
    leaves = {path: row[2] for path, row in info["leaves"].items()}
    for path, recorded in cell["digests"]["leaves"].items():
        if leaves.get(path) != recorded:
            raise CheckFailed(f"cell {cell['id']}: leaf {path} is not the one that the receipt names")
    if info["state"] != cell["digests"]["state"] or state.config.digest() != cell["digests"]["config"]:
        raise CheckFailed(f"cell {cell['id']}: its state is not the one that the receipt names")


def _check_tokens(folder: Path, cell: dict[str, Any]) -> None:
    try:
        tokens = open_tokens(folder)
    except UserError as error:
        raise CheckFailed(f"cell {cell['id']}: {error.fault}") from None
    told = {name: tokens.info[name] for name in ("unigram_entropy", "tokens", "stories", "vocab_size")}
    recorded = {**cell["digests"], "corpus": cell["inputs"]["corpus"], "data": cell["parameters"]["data"]}
    found = {"tokens": tokens.digest, **tokens.info["files"], "corpus": tokens.info["corpus_digest"]}
    if {**found, "data": tokens.info["config"]} != recorded or exact(told) != cell["exact"]:
        raise CheckFailed(f"cell {cell['id']}: the tokens in {folder} are not those that the receipt names")
