"""Disks that are full, read-only or damaged where growjax writes. Needs to be root, for `mount`.

    python -m experiments.full_disk --out artifacts/full-disk.json [--work FOLDER]

- A small study on a file system of each of ten sizes, from 32 KiB to what is just too little: exit code 2 and one line
  that names the full disk, nothing half-written; with more room the same command ends with the root of a study that
  had room from the start.
- The other verbs that write (`train`, `widen`, `export`, `verify --out`, `audit`, `report`) where there is no room:
  exit code 2, one line, and no trace of what they were to write.
- All of them where nothing may be written: exit code 2, one line.
- The study where its caches lie on a full disk, on one that is read-only, in a folder that is a file, and where every
  program and every set of tokens kept there is cut, emptied or has a bit flipped: the same root, and nothing said.

Exits with 1 where something is otherwise.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from growjax import runtime
from growjax.files import write_text
from growjax.schema import Record

STUDY = ("study", "--preset", "smoke", "--source-steps", "20", "--operators", "exact_copy", "--regimes", "stochastic",
         "--stochastic-replicates", "1", "--no-match-flops", "--json")  # fmt: skip
SIZES = (32, 64, 96, 128, 192, 256, 384, 512, 768, 896)
"""KiB; the study needs somewhat more than the last."""
Row = Record


@contextlib.contextmanager
def disk(folder: Path, options: str) -> Iterator[Path]:
    """A file system in memory, mounted at a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def half_written(folder: Path) -> list[str]:
    """What no interrupted command may leave."""
    return [str(path.relative_to(folder)) for path in folder.rglob(".*.tmp")]


def flipped(data: bytes) -> bytes:
    """With one bit flipped, in the middle; an empty file stays empty."""
    middle = len(data) // 2
    return data[:middle] + bytes(byte ^ 4 for byte in data[middle : middle + 1]) + data[middle + 1 :]


class Experiment:
    """A folder with an honest run; rows of what was seen."""

    def __init__(self, work: Path, record: Path):
        self.work, self.record, self.rows = work, record, list[Row]()
        self.cache, self.honest, self.disk = work / "cache", work / "honest", work / "disk"
        shutil.rmtree(self.honest, ignore_errors=True)
        code, said = self.growjax(*STUDY, "--out", str(self.honest))
        assert code == 0, said
        self.root = self.root_of(self.honest)
        receipt = json.loads((self.honest / "receipt.json").read_text())
        self.state = self.honest / "cells" / next(c["id"] for c in receipt["cells"] if c["kind"] == "source")
        self.environment = receipt["environment"]

    def growjax(self, *words: str, cache: Path | None = None, workers: int = 1) -> tuple[int, str]:
        """Exit code of a command, and what it said on stderr."""
        more = ("--workers", str(workers)) if words[0] in ("study", "train", "verify") else ()
        environment = {**runtime.without_pins(), "XDG_CACHE_HOME": str(cache or self.cache)}
        done = subprocess.run(
            [sys.executable, "-m", "growjax", *words, *more], env=environment, capture_output=True, text=True
        )
        return done.returncode, done.stderr

    def root_of(self, run: Path) -> str | None:
        path = run / "receipt.json"
        return json.loads(path.read_text())["root"] if path.exists() else None

    def note(self, what: str, faults: list[str], **more: object) -> None:
        self.rows.append({"what": what, "faults": faults, **more})
        failed = sum(bool(row["faults"]) for row in self.rows)
        figures = {"tried": len(self.rows), "failed": failed, "root": self.root, "rows": self.rows,
                   "environment": self.environment}  # fmt: skip
        write_text(self.record, json.dumps(figures, indent=1, sort_keys=True).replace(str(self.work), "WORK") + "\n")
        print(what, faults or "as it should be", flush=True)

    def one_line(self, code: int, said: str, text: str) -> list[str]:
        good = code == 2 and said.count("\n") == 1 and text in said
        return [] if good else [f"exit code {code}: {said[-400:]}"]

    def full(self, size: int, workers: int) -> None:
        """The study on a disk of a size, and with more room."""
        with disk(self.disk, f"size={size}k") as folder:
            run = folder / "run"
            code, said = self.growjax(*STUDY, "--out", str(run), workers=workers)
            faults = self.one_line(code, said, "the disk is full") + half_written(folder)
            cells = len(list(run.glob("cells/*/result.json")))
            remount(folder, "size=64m")
            code, again = self.growjax(*STUDY, "--out", str(run), workers=workers)
            if code or self.root_of(run) != self.root or again:
                faults.append(f"with more room it ends with {code}: {again[-400:]}")
            faults += half_written(folder)
        self.note(f"study on a disk of {size} KiB, {workers} workers", faults, cells=cells, said=said)

    def verbs(self, folder: Path) -> dict[str, tuple[str, ...]]:
        """Commands that write into a folder."""
        state, run = str(self.state), str(self.honest)
        tiny = ("--steps", "1", "--eval-every", "1", "--model.d-model", "16", "--model.n-heads", "2",
                "--model.n-kv-heads", "2", "--model.head-dim", "8", "--model.d-ff", "32", "--model.n-layers", "1",
                "--data.stories", "400", "--data.vocab-size", "300", "--data.seq-len", "16", "--data.batch-size", "4",
                "--data.eval-batches", "2")  # fmt: skip
        return {
            "study": (*STUDY, "--out", str(folder / "study")),
            "train": ("train", "--out", str(folder / "train"), *tiny),
            "widen": ("widen", state, "--out", str(folder / "widen")),
            "widen --as-hf": ("widen", state, "--out", str(folder / "widen-hf"), "--as-hf"),
            "export": ("export", state, "--out", str(folder / "export")),
            "verify": ("verify", run, "--cells", "1", "--out", str(folder / "verify")),
            "report": ("report", str(folder / "run")),
            "audit": ("audit", str(folder / "run"), "--inject", "none"),
        }

    def others(self, text: str, what: str, *, read_only: bool) -> None:
        """Every verb that writes, on a disk that holds a run without its report and takes no more."""
        with disk(self.disk, "size=4m") as folder:
            shutil.copytree(self.honest, folder / "run", ignore=shutil.ignore_patterns("report"))
            if read_only:
                remount(folder, "ro")
            else:
                with contextlib.suppress(OSError), (folder / "filling").open("wb") as file:
                    while True:
                        file.write(bytes(4096))
                        file.flush()
            before = sorted(path for path in folder.rglob("*"))
            for verb, words in self.verbs(folder).items():
                code, said = self.growjax(*words)
                faults = self.one_line(code, said, text)
                left = sorted(set(folder.rglob("*")) - set(before))
                begun = [path for path in left if path.name not in ("report", "figures", "tables")]
                if verb in ("widen", "widen --as-hf", "export"):
                    faults += [f"left {path}" for path in begun]
                faults += half_written(folder)
                self.note(f"{verb} where {what}", faults, said=said)
                for path in reversed(left):
                    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)

    def cached(self, what: str, cache: Path) -> None:
        """The study with caches at a place."""
        run = self.work / "cached"
        shutil.rmtree(run, ignore_errors=True)
        code, said = self.growjax(*STUDY, "--out", str(run), cache=cache)
        good = (code, said, self.root_of(run)) == (0, "", self.root)
        self.note(f"caches {what}", [] if good else [f"exit code {code}: {said[-400:]}"])

    def caches(self) -> None:
        with disk(self.disk, "size=64k") as folder:
            self.cached("on a disk that is full", folder)
        with disk(self.disk, "size=64k") as folder:
            remount(folder, "ro")
            self.cached("on a disk that is read-only", folder)
        place = self.work / "a-file"
        place.write_text("")
        self.cached("in a folder that is a file", place)
        ways: dict[str, Callable[[bytes], bytes]] = {
            "cut": lambda data: data[: len(data) // 2],
            "emptied": lambda data: b"",
            "with a bit flipped": flipped,
        }
        for way, change in ways.items():
            copy = self.work / "damaged-cache"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(self.cache, copy)
            files = [path for path in copy.rglob("*") if path.is_file()]
            for path in files:
                path.write_bytes(change(path.read_bytes()))
            self.cached(f"of which all {len(files)} files are {way}", copy)


def main() -> int:
    """Tries them all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("artifacts/full-disk.json"))
    parser.add_argument("--work", type=Path, help="where everything lies; a folder for temporary files if not given")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        experiment = Experiment(given.work or Path(folder), given.out)
        experiment.others("the disk is full", "the disk is full", read_only=False)
        experiment.others("read-only", "nothing may be written", read_only=True)
        for number, size in enumerate(SIZES):
            experiment.full(size, 1 + number % 2)
        experiment.caches()
    return 1 if any(row["faults"] for row in experiment.rows) else 0


if __name__ == "__main__":
    sys.exit(main())
