"""One changed record after the other, each through the commands that read it, in this process."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import io
import json
import os
import random
import shutil
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

from experiments.strangers.changes import change, change_bytes
from experiments.strangers.texts import plain, receipt_text, record_text
from growjax.cli import main
from growjax.config import canonical_json
from growjax.errors import UserError
from growjax.record.partial import Partial
from growjax.record.rundir import RunDir
from growjax.record.store import load_state
from growjax.study.runner import check
from growjax.study.spec import StudySpec
from growjax.train.loop import Run, Trace

INPUTS = {"tokens": "0" * 64}
"""What the partial record beside the run was made of."""

RECEIPT, RESULT, STATE, LEAVES, TRACE, TOKENS, TOKENIZER, PARTIAL, WIDENED = (
    "receipt", "result", "state", "leaves", "trace", "tokens", "tokenizer", "partial", "widened"
)  # fmt: skip
WEIGHTS = {RECEIPT: 60, RESULT: 10, STATE: 6, LEAVES: 3, TRACE: 6, TOKENS: 6, TOKENIZER: 3, PARTIAL: 3, WIDENED: 3}
"""Kinds of records, and how many of a hundred changes are of each."""


class Said(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    err: str


def called(*words: str) -> Said:
    """Runs a command here; what it raises goes on."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words)
    return Said(code, out.getvalue(), err.getvalue())


def fault_of(done: Said) -> str | None:
    """What is wrong with how a command ended: no known exit code, more than a line of error, or text that a terminal
    would take for more than text."""
    lines = [line for line in done.err.split("\n") if line]
    if done.code not in (0, 1, 2, 3):
        return f"exit code {done.code}"
    if done.code == 2 and len(lines) != 1:
        return f"{len(lines)} lines of error"
    if len(lines) > 1 or not all(line.isprintable() for line in lines):
        return f"stderr is {done.err[:300]!a}"
    if len(done.err) > 2000:
        return f"an error of {len(done.err)} characters"
    if not all(c.isprintable() or c in "\n\t" for c in done.out):
        return "what cannot be printed, on stdout"
    return None


def nothing_computed(*_: object, **__: object) -> object:
    """In place of what would compute."""
    raise UserError("nothing is computed here", "look no further")


@contextlib.contextmanager
def computing_nothing(honest: Path) -> Iterator[None]:
    """Commands check all that they check, and then take the honest run for what came out again."""
    recorded = json.loads((honest / "receipt.json").read_text())["environment"]

    def again(spec: StudySpec, run: RunDir, **_: object) -> None:
        check(spec)
        shutil.copytree(honest, run.path, ignore=shutil.ignore_patterns("cells"))

    with contextlib.ExitStack() as stack:
        for place, thing in {
            "growjax.runtime.environment": lambda: recorded,
            "growjax.proof.verify.run_study": again,
            "growjax.proof.diff.run_study": nothing_computed,
            "growjax.proof.diff.make_context": nothing_computed,
            "growjax.audit.check.Comparison": nothing_computed,
            "growjax.audit.check.prepare_tokens": nothing_computed,
            "growjax.grow.widen.widen": nothing_computed,
        }.items():
            stack.enter_context(mock.patch(place, thing))
        yield


class Box:
    """A folder with a run to be changed (`run`), the same run beside it (`honest`), and nothing else."""

    def __init__(self, folder: Path, run: Path):
        self.folder, self.run, self.honest, self.made = (folder / name for name in ("", "run", "honest", "made"))
        for path in (self.run, self.honest):
            shutil.copytree(run, path, ignore=shutil.ignore_patterns("report", "lock"))
        (folder / "tmp").mkdir()
        self.receipt: Any = json.loads((self.run / "receipt.json").read_text())
        kinds = {cell["kind"]: cell for cell in self.receipt["cells"]}  # one of each is enough
        for cell in self.receipt["cells"]:
            if cell not in kinds.values():
                shutil.rmtree(self.cell(cell["id"]))
        self.sources = [kinds["source"]["id"]]
        self.trained = [cell["id"] for cell in kinds.values() if "trace" in cell["digests"]]
        self.stored = [cell["id"] for cell in kinds.values() if "leaves" in cell["digests"]]
        state = load_state(self.run / "cells" / self.sources[0])
        rows = {name: np.zeros((2, 2, 2), np.uint32) for name in Trace._fields}
        trace = Trace(**rows)  # pyright: ignore[reportArgumentType]
        Partial(self.run / "partial" / "x", INPUTS).save(10, Run(state, trace, "0" * 64, "0" * 64))
        widened = {"operator": "exact_copy", "plan": [{"axis": "embed"}], "origin": {"tokens": "0" * 64}}
        (self.cell(self.sources[0]) / "widen.json").write_text(json.dumps(widened))
        self.seen = self.files()

    def cell(self, name: str) -> Path:
        """The folder of a cell of the run."""
        return self.run / "cells" / name

    def files(self) -> dict[str, tuple[int, int]]:
        """Size and time of every file, and of every folder its time alone."""
        found, todo = {}, [str(self.folder)]
        while todo:
            for entry in os.scandir(todo.pop()):
                if entry.is_dir(follow_symlinks=False):
                    todo.append(entry.path)
                    found[entry.path] = (0, 0)
                else:
                    info = entry.stat(follow_symlinks=False)
                    found[entry.path] = (info.st_size, info.st_mtime_ns)
        return found

    def strayed(self, changed: set[Path]) -> list[str]:
        """What stands otherwise than before, apart from the files that were changed and what a command may write."""
        now, own = self.files(), tuple(str(path) + os.sep for path in (self.run / "report", self.made))
        differ = {path for path in now.keys() | self.seen.keys() if now.get(path) != self.seen.get(path)}
        differ -= {str(path) for path in changed}
        return sorted(path for path in differ if not f"{path}{os.sep}".startswith(own))


class Changed(NamedTuple):
    """A change to a run: what each file holds now, what was done, and the commands that read it."""

    files: dict[Path, bytes]
    described: str
    commands: dict[str, tuple[str, ...]]


def changed(box: Box, rng: random.Random) -> Changed:
    """A kind of record, one of that kind, and one to three changes to it."""
    kind = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
    run, other = str(box.run), str(box.honest)
    reads = {
        "report": ("report", run), "verify": ("verify", run, "--cells", "3"), "diff": ("diff", run, other),
        "audit": ("audit", run), "against": ("audit", run, "--against", other),
        "drawn": ("audit", run, "--cell", rng.choice(box.trained), "--step", "3"),
    }  # fmt: skip
    if kind == RECEIPT:
        receipt = copy.deepcopy(box.receipt)
        if rng.random() < 0.3:  # with the fields too that stand at their defaults
            receipt["config"] = StudySpec.from_dict(receipt["config"]).every_field()
        return _object(kind, box.run / "receipt.json", receipt, rng, receipt_text, reads)
    name = rng.choice({STATE: box.stored, LEAVES: box.stored, TRACE: box.trained}.get(kind, box.sources))
    folder, twin = box.cell(name), box.honest / "cells" / name
    states = {"diff states": ("diff", str(folder), str(twin)), "verify": reads["verify"]}
    if kind == RESULT:
        few = {verb: reads[verb] for verb in ("verify", "audit")}
        few["widen"] = ("widen", str(folder), "--out", str(box.made / "wide"))
        return _object(kind, folder / "result.json", None, rng, record_text, few)
    if kind == STATE:
        states["widen"] = ("widen", str(folder), "--out", str(box.made / "wide"))
        return _object(kind, folder / "state.json", None, rng, record_text, states)
    if kind == LEAVES:
        path = rng.choice(sorted(path for path in (folder / "state").rglob("*") if path.is_file()))
        return Changed({path: change_bytes(path.read_bytes(), rng)}, f"{kind} {path.name}", states)
    if kind == TRACE:
        path = folder / "metrics.jsonl"
        lines = path.read_bytes().splitlines()
        at = rng.randrange(len(lines))
        one = _object(kind, path, json.loads(lines[at]), rng, plain, {"diff": reads["diff"], "verify": reads["verify"]})
        lines[at] = one.files[path].rstrip(b"\n")
        text = b"\n".join(lines) + b"\n"
        # the difference is looked for in the trace where the receipt has another digest of it
        receipt = copy.deepcopy(box.receipt)
        cell = next(cell for cell in receipt["cells"] if cell["id"] == name)
        cell["digests"]["trace"] = hashlib.sha256(text).hexdigest()
        return one._replace(files={path: text, box.run / "receipt.json": receipt_text(receipt)})
    if kind == TOKENS:
        few = {verb: reads[verb] for verb in ("verify", "audit")}
        few["widen"] = ("widen", str(folder), "--tokens", str(box.run / "data"), "--out", str(box.made / "wide"))
        return _object(kind, box.run / "data" / "tokens.json", None, rng, plain, few)
    if kind == TOKENIZER:
        return _tokenizer(box, rng, reads["audit"], folder)
    if kind == PARTIAL:
        base = box.run / "partial" / "x" / "10"
        if rng.random() < 0.7:
            return _object(kind, base / "partial.json", None, rng, record_text, {})
        path = rng.choice(sorted(path for path in base.rglob("*") if path.is_file()))
        return Changed({path: change_bytes(path.read_bytes(), rng)}, f"{kind} {path.name}", {})
    folder = box.cell(box.sources[0])
    few = {"widen": ("widen", str(folder), "--out", str(box.made / "wide")),
           "export": ("export", str(folder), "--dtype", "float16", "--max-shard-mb", "1e-9", "--out",
                      str(box.made / "hf"))}  # fmt: skip
    return _object(kind, folder / "widen.json", None, rng, plain, few)


def _tokenizer(box: Box, rng: random.Random, audit: tuple[str, ...], folder: Path) -> Changed:
    """Another tokenizer, with every digest of it, so that it is taken for the run's own."""
    path, info = box.run / "data" / "tokenizer.json", box.run / "data" / "tokens.json"
    few = {"audit": audit, "widen": ("widen", str(folder), "--out", str(box.made / "wide"))}
    one = _object(TOKENIZER, path, None, rng, plain, few)
    record, receipt = json.loads(info.read_text()), copy.deepcopy(box.receipt)
    record["files"]["tokenizer.json"] = hashlib.sha256(one.files[path]).hexdigest()
    digest = hashlib.sha256(canonical_json(record["files"]).encode()).hexdigest()
    receipt["inputs"]["tokens"] = digest
    data = next(cell for cell in receipt["cells"] if cell["kind"] == "data")
    data["digests"] |= {"tokens": digest, "tokenizer.json": record["files"]["tokenizer.json"]}
    beside = {info: plain(record), box.run / "receipt.json": receipt_text(receipt)}
    return one._replace(files={**one.files, **beside})


def _object(
    kind: str, path: Path, record: Any, rng: random.Random, write: Callable[[Any], bytes],
    commands: dict[str, tuple[str, ...]],
) -> Changed:  # fmt: skip
    """One to three places of a JSON object changed, or its bytes."""
    if record is None:
        record = json.loads(path.read_text())
    if rng.random() < 0.1:
        return Changed({path: change_bytes(plain(record), rng)}, f"{kind}: bytes", commands)
    done = [change(record, rng) for _ in range(rng.choice((1, 1, 1, 2, 3))) if record]
    return Changed({path: write(record) if rng.random() < 0.9 else plain(record)}, f"{kind}: {done}", commands)


def block(box: Box, seed: int, times: int) -> tuple[Counter[str], list[str]]:
    """So many changes, each through one command that reads it; exit codes by command, and faults."""
    rng, ends, faults = random.Random(seed), Counter[str](), []
    with computing_nothing(box.honest):
        for number in range(times):
            one = changed(box, rng)
            kept = {path: path.read_bytes() for path in one.files}
            for path, data in one.files.items():
                path.write_bytes(data)
            verb = rng.choices(list(one.commands), [0.2 if v == "report" else 1 for v in one.commands])[0] \
                if one.commands else "resume"  # fmt: skip
            fault, code = None, "-"
            try:
                if verb == "resume":
                    Partial(box.run / "partial" / "x", INPUTS).load()
                else:
                    done = called(*one.commands[verb])
                    fault, code = fault_of(done), str(done.code)
            except Exception:
                fault = traceback.format_exc(limit=-6)
            strayed = box.strayed(set(one.files))
            if strayed:
                fault = f"{fault or ''} written: {[path[:300] for path in strayed]}"
            ends[f"{verb} {code}"] += 1
            if fault:
                faults.append(f"seed {seed}, change {number}, {verb}, {one.described[:600]}: {fault}")
            for path, data in kept.items():
                path.write_bytes(data)
                box.seen[str(path)] = (path.stat().st_size, path.stat().st_mtime_ns)
            for path in (box.run / "report", box.made):
                shutil.rmtree(path, ignore_errors=True)
            for path in strayed:
                if path not in box.seen and os.path.lexists(path):
                    shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)
    return ends, faults
