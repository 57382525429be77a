"""The run directory: receipt.json, cells/<id>/, data/ and report/."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NoReturn, cast

from filelock import FileLock, Timeout

from growjax.config import canonical_json, json_digest
from growjax.errors import CheckFailed, UserError
from growjax.files import is_leftover, remove, require_path, sweep, whole_directory, write_contents, write_text
from growjax.record.cell_types import CellRecord
from growjax.record.cells import Cell, Recipe, result_of
from growjax.record.comparison import REGISTERED, first_difference, other_registered, with_untaken
from growjax.record.integrity import check_cell, check_result, corpus_of, read_receipt, undamaged_header
from growjax.record.partial import Partial
from growjax.record.reader import typed_cell
from growjax.record.types import Tree
from growjax.schema import SCHEMA, Fields, Record, reads
from growjax.source import source_notes

COMPARABLE = ("packages", "machine", "backend", "device_kind", "platform_version", "accelerator")
"""Fields of the environment that two runs must share before their bits can be compared (the last is an accelerator's
alone)."""

LOCAL = ("cpu", "driver")
"""Fields that a run must keep from its first cell to its last, like those. Another run may have others, and says so."""


HEADER = ("schema", "environment", "pins", "config", "source_code")
"""The parts of a receipt by which a run is known, beside what is not growjax's own (`REGISTERED`)."""

LOCK = "lock"
"""The file by which a process that fills a directory keeps others out."""


class RunDir:
    """One run directory; it knows nothing of what its cells mean."""

    def __init__(self, path: Path):
        self.path = path
        self.cells = path / "cells"
        self.data = path / "data"
        self.report = path / "report"

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps other processes from filling this directory inside the block. The lock is the operating system's, so
        one that a killed process held is free."""
        require_path(self.path)
        made = not self.path.exists()
        if not made and not self.path.is_dir():
            raise UserError(f"a file stands where the folder {self.path} is needed", "choose another --out")
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise UserError(
                f"another process is at work in {self.path}", "wait until it has ended, or choose another --out"
            ) from None
        with contextlib.ExitStack() as leaving:
            leaving.callback(lock.release)
            leaving.callback(self._leave, made)
            yield

    def _leave(self, made: bool) -> None:
        """Takes the lock's file away where nothing was begun, and the directory where it was made for this. The lock is
        still held, so that whoever opened the file before finds that it has no name, and no lock (`FileLock`)."""
        if not (self.path / "receipt.json").exists():
            (self.path / LOCK).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # what else it holds stays
                if made:
                    self.path.rmdir()

    def begin(
        self,
        header: Record,
        *,
        follows: Callable[[Record], bool] = lambda config: False,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Takes the directory for a run of this header (schema, environment, pins, config, source_code, and what is not
        growjax's own): makes it, or goes on with it where its own header is the same. A run of another configuration is
        gone on with where nothing is full yet, or where `follows` says of it that its cells are this run's. Refuses a
        directory of something else. `say` is given a line where the receipt is damaged, but not in what says of which
        run it is."""
        require_path(self.path)
        if self.path.exists() and not all(map(self._is_nothing, self.path.iterdir())):
            if not (self.path / "receipt.json").exists():
                self._stranger()
            old = self._old(say)
            fresh = not self.data.exists() and not any(self.cells.glob("*/result.json"))
            begun, known = "inputs" not in old, ("config", *REGISTERED)
            other = "config" in old and any(old.get(name) != header.get(name) for name in known)
            if begun or not fresh:
                old = with_untaken(old, header, self.cells)
            if "config" in old and old["config"] != header["config"] and (fresh or follows(old["config"])):
                old = {**old, "config": header["config"]}
            self._same(old, header)
            sweep(self.path)
            sweep(self.cells)
            if other and begun:  # no whole receipt of the other is lost
                self.write_receipt(header, [])
            return
        self.path.mkdir(parents=True, exist_ok=True)
        sweep(self.path)
        self.write_receipt(header, [])
        self.cells.mkdir(exist_ok=True)

    def _is_nothing(self, path: Path) -> bool:
        """Whether a run that ended before its receipt was written may have left this."""
        empty = path == self.cells and path.is_dir() and not any(path.iterdir())
        return path.name == LOCK or is_leftover(path.name) or empty

    def _old(self, say: Callable[[str], None]) -> Record:
        """The receipt that stands here; of a damaged one the parts by which a run is known."""
        try:
            return self.receipt()
        except UserError as error:
            raise UserError(error.fault, "choose another --out, or start anew with --force") from None
        except CheckFailed as error:
            header = undamaged_header(self.path / "receipt.json", HEADER, REGISTERED)
            if header is None:
                raise CheckFailed(f"{error}: start anew with --force") from None
            say(f"{error}: it is written anew")
            return cast(Record, header)

    def _stranger(self) -> NoReturn:
        """Refuses a directory without a receipt."""
        if any(self.cells.glob("*/result.json")):
            raise CheckFailed(f"{self.path / 'receipt.json'} is gone, though cells are there: start anew with --force")
        raise UserError(f"{self.path} is not empty and holds no run", "choose another --out")

    def forget(self) -> None:
        """Takes back what `begin` made, and the tokens; a run that holds a cell stays."""
        if not any(self.cells.glob("*")):
            for folder in (self.cells, self.data):
                shutil.rmtree(folder, ignore_errors=True)
            (self.path / "receipt.json").unlink(missing_ok=True)

    @contextlib.contextmanager
    def anew(self, header: Record) -> Iterator[Path]:
        """A folder to fill with the data of a run of this header, in place of the run that stands here. That is deleted
        once the block has ended well, and stays as it is where it does not. Refuses what is more than a run, and what
        lies elsewhere."""
        require_path(self.path)
        self._require_replaceable()
        sweep(self.path)
        with whole_directory(self.data) as folder:
            yield folder
            for path in self.path.iterdir():
                if path.name not in (LOCK, "receipt.json", folder.name):
                    remove(path)
            self.write_receipt(header, [])  # the old one stays until now: what a killed process leaves is still a run
            self.cells.mkdir()

    def _require_replaceable(self) -> None:
        known = {"receipt.json", "cells", "data", "report", "partial", "chosen", LOCK}
        found = sorted(path for path in self.path.glob("*") if not is_leftover(path.name))
        for path in found:
            if path.name not in known:
                raise UserError(
                    f"--force will not delete {self.path}, which holds {path.name!r} and so is more than a run",
                    "choose another --out",
                )
            if path.is_symlink():
                raise UserError(
                    f"--force will not delete {path}, which is a link", "remove the link, or choose another --out"
                )

    def _same(self, old: Record, new: Record) -> None:
        if old.get("schema") != SCHEMA:
            raise UserError(
                f"{self.path} has receipt schema {old.get('schema')}, which {reads(old.get('schema'))} goes on with",
                "choose another --out, or start anew with --force",
            )
        for part in ("config", "source_code", "pins"):
            if old.get(part) != new[part]:
                parts = (old.get(part), new[part])
                where = source_notes(*parts)[0] if part == "source_code" else first_difference(*parts, part)
                raise UserError(
                    f"{self.path} holds a run of another {part} ({where})",
                    "choose another --out, give the same options, or start anew with --force",
                )
        fault = other_registered(old, new)
        if fault is not None:
            raise UserError(
                f"{self.path} was begun otherwise: {fault}",
                "register what it was begun with, choose another --out, or start anew with --force",
            )
        for field in (*COMPARABLE, *LOCAL):
            if old["environment"].get(field) != new["environment"].get(field):
                where = first_difference(old["environment"].get(field), new["environment"].get(field), field)
                raise UserError(
                    f"{self.path} was begun in another environment ({where})",
                    "go on there, choose another --out, or start anew with --force",
                )

    def partial(self, cell_id: str, inputs: dict[str, str]) -> Partial:
        """Where what a cell has so far is kept, while it trains."""
        return Partial(self.path / "partial" / cell_id, inputs)

    def close(self) -> None:
        """Lets go of what only an unfinished run needs, and of what a killed worker had begun to write."""
        shutil.rmtree(self.path / "partial", ignore_errors=True)
        sweep(self.cells)

    def check_own(self, *folders: str) -> None:
        """Raises `UserError` where one of these folders of a run leads somewhere else: what a reader adds to a run
        directory that others made stays in it."""
        for name in folders:
            if (self.path / name).is_symlink():
                raise UserError(f"{self.path / name} is a link", "remove it, and the folder is made anew")

    def receipt(self) -> Record:
        """The receipt as it stands, undamaged."""
        return cast(Record, read_receipt(self.path))

    def has_ended(self, header: Record) -> bool:
        """Whether a run of this configuration has come to its end here, and its receipt is undamaged."""
        try:
            found = self.receipt()
        except (UserError, CheckFailed):
            return False
        return "inputs" in found and found["config"] == header["config"]

    def recorded(self) -> tuple[dict[str, CellRecord], Tree | None]:
        """The cells of the receipt, by id, and what it says of the corpus (`corpus_of`); none and None where there is
        no receipt, or where it is damaged."""
        try:
            receipt = read_receipt(self.path)
        except (UserError, CheckFailed, OSError):
            return {}, None
        return {cell["id"]: cell for cell in receipt["cells"]}, corpus_of(receipt)

    def write_receipt(self, header: Mapping[str, object], cells: Iterable[Fields]) -> str:
        """Writes receipt.json; returns its root, one digest over everything else in it.

        `parts` holds a digest of each part beside the cells, and of all cells together (`results`: what two machines
        that agree have in common, whatever else their receipts say).
        """
        cells = sorted(cells, key=lambda cell: cell["id"])
        parts = {name: json_digest(value) for name, value in header.items()}
        body = {**header, "cells": cells, "parts": parts, "results": results_digest(cells)}
        root = json_digest(body)
        write_text(self.path / "receipt.json", canonical_json({**body, "root": root}) + "\n")
        return root

    def find(self, recipe: Recipe, inputs: dict[str, str]) -> Record | None:
        """The filled cell of a recipe, if it is there and was made of the same inputs."""
        path = self.cells / recipe.id / "result.json"
        if not path.exists():
            return None
        cell = check_result(path)
        if typed_cell(cell, str(path))["inputs"] != inputs or cell["id"] != recipe.id:
            raise CheckFailed(f"{path} was made of other inputs than this run's: start anew with --force")
        return cell

    def check(self, record: Record) -> None:
        """Raises `CheckFailed` where the record of a cell is not what lies here of it."""
        if check_result(self.cells / record["id"] / "result.json") != record:
            raise CheckFailed(f"cell {record['id']} was delivered otherwise than it was written")

    def write(
        self, cell: Cell, lines: Iterable[Mapping[str, object]] = (), fill: Callable[[Path], object] | None = None
    ) -> dict:
        """Stores a cell, its metrics line by line, and what `fill` writes beside them, all or nothing."""
        with whole_directory(self.cells / cell.id) as folder:
            if fill is not None:
                fill(folder)
            text = "".join(canonical_json(line) + "\n" for line in lines)
            if text:
                write_text(folder / "metrics.jsonl", text)
            write_text(folder / "result.json", canonical_json(cell.to_dict()) + "\n")
        return cell.to_dict()

    def adopt(self, name: str, files: Mapping[str, bytes]) -> None:
        """Stores a cell that was filled elsewhere, all or nothing, once all its files are found to be what they say;
        one that is there already is compared. Raises `CheckFailed`."""
        there = self.cells / name / "result.json"
        if there.exists():
            if files.get("result.json") != there.read_bytes():
                raise CheckFailed(f"cell {name} came twice, and not the same")
            return
        with whole_directory(self.cells / name) as folder:
            write_contents(folder, files)
            check_cell(folder, name)


def results_digest(cells: Iterable[Fields]) -> str:
    """The digest of all cells' results, in the order of their ids."""
    return json_digest([json_digest(result_of(cell)) for cell in sorted(cells, key=lambda cell: cell["id"])])
