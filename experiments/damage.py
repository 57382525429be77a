"""A finished run whose files are damaged, one at a time.

    python -m experiments.damage --out artifacts/damage.json [--flips 300] [--work FOLDER]

One small study is run and audited; then, each time in a copy of its directory, one file is damaged: one bit flipped at
a random place of a random file of a kind, in turn over all kinds; and for each kind a file deleted, cut to half,
emptied, and exchanged with another. What `verify` asks of a directory before it computes anything must name the file or
its cell (`verify` ends with 1), or every value must be what it was. Of every sixth copy also: `report` and `audit` end
with 1 where they read the file; `study` ends with 0, says what was damaged, and leaves a directory with the honest
root, cells and report in which nothing is damaged, or ends with 1 in one line where the receipt does not say any more
of which run it is. The record is written after every file, and the same command goes on with it. Exits with 1 where
something was neither caught nor harmless.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import random
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

from experiments.kills import exit_code
from growjax import runtime

runtime.pin()

from growjax.cli import main as command  # noqa: E402
from growjax.digests import named_leaves  # noqa: E402
from growjax.errors import CheckFailed, UserError  # noqa: E402
from growjax.files import write_text  # noqa: E402
from growjax.proof.differences import leaf_difference  # noqa: E402
from growjax.record.integrity import check_stored, finished_receipt  # noqa: E402
from growjax.record.store import as_tree, load_state  # noqa: E402
from growjax.schema import Record  # noqa: E402

WORDS = ("study", "--preset", "smoke", "--source-steps", "20", "--operators", "exact_copy", "--regimes", "stochastic",
         "--stochastic-replicates", "1", "--no-match-flops", "--workers", "1", "--json")  # fmt: skip
KINDS = {
    "receipt": "receipt.json",
    "results": "cells/*/result.json",
    "traces": "cells/*/metrics.jsonl",
    "descriptions of states": "cells/*/state.json",
    "values of states": "cells/*/state/**/d/*",
    "tables of states": "cells/*/state/**/[!d]*",
    "description of tokens": "data/tokens.json",
    "vocabulary": "data/tokenizer.json",
    "tokens": "data/*.bin",
    "page": "report/*.html",
    "figures": "report/figures/*.svg",
    "tables": "report/tables/*.csv",
    "digests of the report": "report/*digests.json",
}
WAYS = ("deleted", "cut", "emptied", "exchanged")
READ_BY = {"report": ("receipt",), "audit": ("receipt", "results", "traces", "description of tokens", "vocabulary",
           "tokens", "descriptions of states", "values of states", "tables of states")}  # fmt: skip
Row = Record


def files_of(run: Path, kind: str) -> list[Path]:
    """The files of a kind that hold something."""
    found = [path for path in sorted(run.glob(KINDS[kind])) if path.is_file() and path.stat().st_size]
    return [path for path in found if (path.parent.name == "d") == (kind == "values of states")]


def said_by(*words: str) -> tuple[int, str]:
    """Exit code of a command in this process, and what it wrote on stderr."""
    err = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
        code = command(words)
    return code, err.getvalue()


def damage(run: Path, kind: str, way: str, rng: random.Random) -> str:
    """Damages one file; returns which, and where."""
    files = files_of(run, kind)
    path = rng.choice(files)
    data = path.read_bytes()
    where = str(path.relative_to(run))
    if way == "flipped":
        at, bit = rng.randrange(len(data)), rng.randrange(8)
        path.write_bytes(data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :])
        return f"{where}, bit {bit} of byte {at}"
    if way == "deleted":
        path.unlink()
    elif way == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif way == "emptied":
        path.write_bytes(b"")
    else:
        others = [other for other in files if other.read_bytes() != data] or [
            run / ("data/tokens.json" if kind == "receipt" else "receipt.json")
        ]
        other = rng.choice(others)
        theirs = other.read_bytes()
        other.write_bytes(data)
        path.write_bytes(theirs)
        where += f" with {other.relative_to(run)}"
    return where


def fault_of(run: Path) -> str | None:
    """What `verify` finds in a directory before it computes."""
    try:
        check_stored(run, finished_receipt(run))
    except (CheckFailed, UserError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def same_values(run: Path, honest: Path) -> bool:
    """Whether all that a directory holds has the values of the honest one, but for how states are stored."""
    for path in honest.rglob("*"):
        inside, name = run / path.relative_to(honest), path.relative_to(honest).parts
        if path.name == "state.json":
            mine, theirs = (dict(named_leaves(as_tree(load_state(p.parent)))) for p in (inside, path))
            if any(leaf_difference(leaf, mine[leaf], theirs[leaf]) for leaf in theirs):
                return False
        elif path.is_file() and "state" not in name and path.name != "lock" and (
            not inside.is_file() or inside.read_bytes() != path.read_bytes()
        ):  # fmt: skip
            return False
    return True


def places(row: Row) -> list[str]:
    """Words, one of which names the place of the damage."""
    found = []
    for part in row["where"].partition(", bit")[0].split(" with "):
        path = Path(part)
        found += [path.parts[1] if path.parts[0] == "cells" else path.name]
    return found


class Experiment:
    """An honest run, and the record of what was seen in damaged copies of it."""

    def __init__(self, work: Path, record: Path):
        self.work, self.record, self.honest = work, record, work / "honest"
        self.rows: list[Row] = json.loads(record.read_text())["rows"] if record.exists() else []
        for words in ((*WORDS, "--out", str(self.honest)), ("audit", str(self.honest), "--json")):
            code, said = said_by(*words)
            assert code == 0, said
        self.root = finished_receipt(self.honest)["root"]

    def copy(self) -> Path:
        run = self.work / "copy"
        shutil.rmtree(run, ignore_errors=True)
        return Path(shutil.copytree(self.honest, run))

    def look(self, number: int, kind: str, way: str, *, verbs: bool) -> Row:
        """Damages a copy, and what is found."""
        run = self.copy()
        row: Row = {"kind": kind, "way": way, "where": damage(run, kind, way, random.Random(f"{number} {kind} {way}"))}
        found, faults = fault_of(run), []
        row["found"] = None if found is None else found.replace(str(run), "RUN")[:200]
        if found is None:
            row["outcome"] = "harmless"
            faults += [] if same_values(run, self.honest) else ["not found, though values are others"]
        else:
            row["outcome"] = "caught"
            faults += [] if any(place in found for place in places(row)) else ["its place is not named"]
            faults += [] if found.startswith("CheckFailed") else ["verify does not end with 1"]
        if verbs:
            faults += self.others(run, row, number, kind, way)
        return {**row, "verbs": verbs, "faults": faults}

    def others(self, run: Path, row: Row, number: int, kind: str, way: str) -> list[str]:
        """What the other verbs make of it."""
        faults, caught = [], row["outcome"] == "caught"
        for verb, reads in READ_BY.items():
            words = (verb, str(run), "--json")
            code, said = said_by(*words)
            expected = 1 if caught and kind in reads else 0
            if code != expected or (code and said.count("\n") > 1):
                faults.append(f"{verb} ends with {code}: {said[-200:]}")
            shutil.rmtree(run)  # what they write would hide the damage
            shutil.copytree(self.honest, run)
            damage(run, kind, way, random.Random(f"{number} {kind} {way}"))
        code, said = said_by(*WORDS, "--out", str(run))
        row["study"] = said.replace(str(run), "RUN")[:200]
        if code == 1 and "start anew with --force" in said and said.count("\n") == 1 and "receipt.json" in row["where"]:
            return faults
        if code or fault_of(run) is not None or finished_receipt(run)["root"] != self.root:
            faults.append(f"study ends with {code} ({fault_of(run)}): {said[-200:]}")
        if caught and not any(place in said for place in places(row)):
            faults.append(f"study does not say what was damaged: {said[-200:]}")
        return faults

    def run(self, flips: int) -> None:
        kinds = list(KINDS)
        todo = [(number, kinds[number % len(kinds)], "flipped") for number in range(flips)]
        todo += [(number, kind, way) for number, kind in enumerate(kinds) for way in WAYS]
        for number, (seed, kind, way) in enumerate(todo):
            if number >= len(self.rows):
                self.rows.append(self.look(seed, kind, way, verbs=number % 6 == 0))
                self.write()

    def write(self) -> None:
        flips = [row for row in self.rows if row["way"] == "flipped"]
        summary = {
            "flips": Counter(row["outcome"] for row in flips),
            "flips_by_kind": {k: Counter(row["outcome"] for row in flips if row["kind"] == k) for k in KINDS},
            "other_damage": {w: Counter(r["outcome"] for r in self.rows if r["way"] == w) for w in WAYS},
            "given_to_all_verbs": sum(row["verbs"] for row in self.rows),
            "with_faults": sum(bool(row["faults"]) for row in self.rows),
            "root": self.root,
            "environment": finished_receipt(self.honest)["environment"],
        }
        write_text(self.record, json.dumps({**summary, "rows": self.rows}, indent=1, sort_keys=True) + "\n")


def main() -> int:
    """Damages what the record lacks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("artifacts/damage.json"))
    parser.add_argument("--flips", type=int, default=300)
    parser.add_argument("--work", type=Path, help="where copies lie; a folder for temporary files if not given")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        experiment = Experiment(given.work or Path(folder), given.out)
        experiment.run(given.flips)
    return exit_code(experiment.rows, "files damaged")


if __name__ == "__main__":
    sys.exit(main())
