"""Damage of receipts and stored cells, found in its place."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, growjax

from growjax.audit.check import audit
from growjax.config import TrainConfig, canonical_json
from growjax.digests import named_leaves
from growjax.errors import CheckFailed, UserError
from growjax.proof.differences import leaf_difference
from growjax.record.digested import write_with_digests
from growjax.record.integrity import check_stored, read_receipt
from growjax.record.rundir import RunDir
from growjax.record.store import _abstract, _read_leaves, as_tree, load_state


def flip(data: bytes, at: int, bit: int) -> bytes:
    return data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :]


def test_flipped_bits_in_receipts_are_located(smoke_run: Path, tmp_path: Path):
    """60 one-bit flips in digests, figures and configuration: each is caught, in the right cell or part."""
    text = (smoke_run / "receipt.json").read_bytes()
    receipt, rng, seen = json.loads(text), random.Random(0), Counter()
    cell = receipt["cells"][0]
    for number in range(60):
        if number % 4 == 3:
            part = rng.choice(("config", "environment", "pins", "inputs", "programs", "preflight", "source_code"))
            name, span = part, canonical_json(receipt[part]).encode()
        else:
            cell = rng.choice(receipt["cells"])
            name, span = cell["id"], canonical_json(cell[("digests", "metrics", "exact")[number % 4]]).encode()
        begin = text.index((f'{{"digest":"{cell["digest"]}' if name == cell["id"] else f'"{name}":').encode())
        at = text.index(span, begin) + 1 + rng.randrange(len(span) - 2)
        (tmp_path / "receipt.json").write_bytes(flip(text, at, rng.randrange(8)))
        with pytest.raises(CheckFailed) as caught:
            read_receipt(tmp_path)
        located = name in str(caught.value)
        # a flip may break the JSON itself; outside the cells there is then no part left to name
        assert located or (number % 4 == 3 and "outside its cells" in str(caught.value)), (name, str(caught.value))
        seen["located" if located else "unreadable"] += 1
    assert seen["located"] > 45


def damaged_leaf(folder: Path, honest: Any) -> set[str]:
    """The leaves that differ from the honest ones in what can be read, whatever was recorded of them."""
    info = json.loads((folder / "state.json").read_text())
    try:
        found = dict(
            named_leaves(_read_leaves(folder, _abstract(info["leaves"], TrainConfig.from_dict(info["config"]), None)))
        )
    except UserError as error:
        return {str(error).partition("leaf ")[2].partition(" ")[0]}
    return {name for name, leaf in named_leaves(honest) if leaf_difference(name, leaf, found[name])}


def test_flipped_bits_in_stored_cells_are_located(smoke_run: Path, tmp_path: Path):
    """40 one-bit flips in value bytes of states, traces and results: caught, with the cell, and the leaf of a state."""
    receipt, rng, seen = read_receipt(smoke_run), random.Random(1), Counter()
    candidates = [cell for cell in receipt["cells"] if cell["kind"] in ("source", "candidate")]
    for number in range(40):
        cell = rng.choice(candidates)
        folder, honest = tmp_path / "cells" / cell["id"], None
        shutil.rmtree(tmp_path / "cells", ignore_errors=True)
        shutil.copytree(smoke_run / "cells" / cell["id"], folder)
        if number % 4 < 2:
            honest = as_tree(load_state(folder))
            path = max(folder.rglob("d/*"), key=lambda p: p.stat().st_size)  # holds the values of all leaves
            at = rng.randrange(path.stat().st_size)
        else:
            path = folder / ("result.json" if number % 4 == 2 else "state.json")
            at = rng.randrange(path.stat().st_size)
        path.write_bytes(flip(path.read_bytes(), at, rng.randrange(8)))
        changed = damaged_leaf(folder, honest) if number % 4 < 2 else set()
        if number % 4 < 2 and not changed:  # a byte between the values
            seen["no value"] += 1
            check_stored(tmp_path, {**receipt, "cells": [cell]})
            continue
        with pytest.raises(CheckFailed) as caught:
            check_stored(tmp_path, {**receipt, "cells": [cell]})
        assert cell["id"] in str(caught.value), str(caught.value)
        assert not changed or any(f"leaf {name}" in str(caught.value) for name in changed), str(caught.value)
        seen["state" if changed else "record"] += 1
    assert seen["state"] >= 15 and seen["record"] == 20


def test_flipped_bits_in_storage_metadata_change_no_value_unseen(smoke_run: Path, tmp_path: Path):
    receipt, rng = read_receipt(smoke_run), random.Random(2)
    cell = next(c for c in receipt["cells"] if c["kind"] == "source")
    seen = Counter()
    for _ in range(16):
        folder = tmp_path / "cells" / cell["id"]
        shutil.rmtree(tmp_path / "cells", ignore_errors=True)
        shutil.copytree(smoke_run / "cells" / cell["id"], folder)
        names = [
            p for p in (folder / "state").rglob("*") if p.is_file() and p.stat().st_size and p.stat().st_size < 20000
        ]
        path = rng.choice(names)
        path.write_bytes(flip(path.read_bytes(), rng.randrange(path.stat().st_size), rng.randrange(8)))
        try:
            check_stored(tmp_path, {**receipt, "cells": [cell]})
            seen["unchanged"] += 1
        except CheckFailed as error:
            assert cell["id"] in str(error)
            seen["caught"] += 1
    assert seen["caught"] and seen.total() == 16


LOADS = """
import sys
from pathlib import Path
from growjax import runtime
runtime.pin()
from growjax.errors import UserError
from growjax.record.store import load_state
for folder in map(Path, sys.argv[1:]):
    try:
        load_state(folder)
    except UserError as error:
        print(error)
"""


def test_nothing_but_the_error_is_said(smoke_run: Path, tmp_path: Path):
    """Orbax reads all leaves at once: where many cannot be read, those that fail after the first keep still."""
    rng = random.Random(3)
    cell = next(c for c in read_receipt(smoke_run)["cells"] if c["kind"] == "source")
    folders = [tmp_path / str(number) for number in range(16)]
    for folder in folders:
        shutil.copytree(smoke_run / "cells" / cell["id"], folder)
        tables = [path for path in (folder / "state").rglob("d/*") if path.stat().st_size < 20000]
        path = rng.choice([*tables, folder / "state" / "state" / "manifest.ocdbt"])
        path.write_bytes(flip(path.read_bytes(), rng.randrange(path.stat().st_size), rng.randrange(8)))
    done = subprocess.run([sys.executable, "-c", LOADS, *folders], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    described = done.stdout.splitlines()
    assert len(described) > 4 and all("the checkpoint" in line for line in described), described


def test_damage_ends_verify_with_1(smoke_run: Path, tmp_path: Path):
    shutil.copytree(smoke_run, tmp_path / "run")
    cell = next(c for c in read_receipt(smoke_run)["cells"] if c["kind"] == "probe")
    trace = tmp_path / "run" / "cells" / cell["id"] / "metrics.jsonl"
    trace.write_bytes(flip(trace.read_bytes(), 3000, 0))
    done = growjax("verify", str(tmp_path / "run"))
    assert done.code == 1 and done.err.count("\n") == 1 and cell["id"] in done.err, done.err


@pytest.mark.parametrize("way", ["no text", "cut", "a digest", "gone"])
def test_a_damaged_trace_ends_an_audit(way: str, smoke_run: Path, tmp_path: Path):
    """By the name of its cell, before any cell is run again and its draws are blamed."""
    run = tmp_path / "run"
    shutil.copytree(smoke_run, run)
    cell = next(c for c in read_receipt(smoke_run)["cells"] if c["kind"] == "continuation")
    trace = run / "cells" / cell["id"] / "metrics.jsonl"
    text = trace.read_bytes()
    at = text.index(b'"params":"') + len(b'"params":"')
    ways = {"no text": flip(text, 3000, 7), "cut": text[: len(text) // 2], "a digest": flip(text, at, 0)}
    trace.write_bytes(ways.get(way, text))
    if way == "gone":
        trace.unlink()
    with pytest.raises(CheckFailed, match=f"cell {cell['id']}: .* is {'gone' if way == 'gone' else 'damaged'}"):
        audit(RunDir(run))


def flipped(path: Path) -> None:
    path.write_bytes(flip(path.read_bytes(), path.stat().st_size // 2, 0))


def exchanged_digests(run: Path) -> None:
    """Each page of a run is vouched for by the other's file."""
    write_with_digests(run / "report", {"audit.html": "a page"}, digests="audit-digests.json")
    one, other = (run / "report" / name for name in ("digests.json", "audit-digests.json"))
    texts = other.read_text(), one.read_text()
    one.write_text(texts[0]), other.write_text(texts[1])


def test_what_stands_beside_the_cells_is_checked_too(smoke_run: Path, tmp_path: Path):
    """A cell, the tokens or a page that are gone or damaged; a cell's folder under another's name."""
    receipt = read_receipt(smoke_run)
    one, other = (c["id"] for c in receipt["cells"] if c["kind"] == "probe" and c["operator"] == "scratch"
                  and c["regime"] == "deterministic")  # fmt: skip
    damages: dict[str, Callable[[Path], object]] = {
        f"cell {one}: .* is gone": lambda run: shutil.rmtree(run / "cells" / one),
        f"cell {one}: its result.json is that of cell {other}": lambda run: shutil.copytree(
            run / "cells" / other, run / "cells" / one, dirs_exist_ok=True),
        "data holds no tokens.json": lambda run: shutil.rmtree(run / "data"),
        "tables/ranking.csv is damaged": lambda run: flipped(run / "report" / "tables" / "ranking.csv"),
        "figures/curves.svg is gone": lambda run: (run / "report" / "figures" / "curves.svg").unlink(),
        "report/digests.json is damaged": lambda run: flipped(run / "report" / "digests.json"),
        "digests.json is damaged": exchanged_digests,
        "report/digests.json is gone": lambda run: (run / "report" / "digests.json").unlink(),
    }  # fmt: skip
    for text, damage in damages.items():
        run = tmp_path / "run"
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(smoke_run, run)
        damage(run)
        with pytest.raises(CheckFailed, match=text):
            check_stored(run, receipt)


def test_study_repairs_what_can_be_computed_anew(smoke_run: Path, tmp_path: Path):
    """With a line for each thing that was damaged; all is then as it was."""
    run = tmp_path / "run"
    shutil.copytree(smoke_run, run)
    cells = read_receipt(smoke_run)["cells"]
    probe, source = (next(c["id"] for c in cells if c["kind"] == kind) for kind in ("probe", "source"))
    flipped(run / "cells" / probe / "metrics.jsonl")
    flipped(max((run / "cells" / source).rglob("d/*"), key=lambda path: path.stat().st_size))
    flipped(run / "data" / "train.bin")
    flipped(run / "report" / "tables" / "ranking.csv")
    text = (run / "receipt.json").read_text()
    (run / "receipt.json").write_text(text.replace(cells[0]["digest"], cells[1]["digest"]))
    words = ("study", "--preset", "smoke", "--workers", "1", "--out", str(run), "--json")
    done = growjax(*words)
    assert done.code == 0, done.err
    for line, place in zip(
        done.err.splitlines(), (cells[0]["id"], "train.bin", source, probe, "ranking.csv"), strict=True
    ):
        assert line.startswith("growjax: ") and place in line and line.endswith(" anew"), done.err
    for name in ("receipt.json", "report/tables/ranking.csv", "data/train.bin", f"cells/{probe}/metrics.jsonl"):
        assert (run / name).read_bytes() == (smoke_run / name).read_bytes()
    check_stored(run, read_receipt(run))
    (run / "receipt.json").write_text(text.replace('"preset":"smoke"', '"preset":"smoky"'))
    done = growjax(*words)
    assert done.code == 1 and done.err.count("\n") == 1 and "start anew with --force" in done.err, done.err


def test_a_corpus_that_the_receipt_does_not_name_is_damage(smoke_run: Path, tmp_path: Path):
    """`audit` ends with it, and `study` makes the tokens anew. A damaged page of an audit, which `study` does not
    draw, goes."""
    run = tmp_path / "run"
    shutil.copytree(smoke_run, run)
    path = run / "data" / "tokens.json"
    info = json.loads(path.read_text())
    name = next(iter(info["source"]))
    path.write_text(json.dumps({**info, "source": {name: "0" * 64}}))
    (page,) = write_with_digests(run / "report", {"audit.html": "a page"}, digests="audit-digests.json")
    page.write_text("another")
    for fault in ("names another corpus", "is none that growjax wrote: vocab_size", "data holds no tokens.json"):
        with pytest.raises(CheckFailed, match=fault):
            audit(RunDir(run))
        path.unlink() if "vocab_size" in fault else path.write_text(json.dumps({**info, "vocab_size": "many"}))
    path.write_text(json.dumps({**info, "source": {name: "0" * 64}}))
    done = growjax("study", "--preset", "smoke", "--workers", "1", "--out", str(run), "--json")
    assert done.code == 0, done.err
    tokens, report = done.err.splitlines()
    assert "names another corpus: the tokens are made anew" in tokens
    assert "audit.html is damaged: audit.html is taken away, and `audit` writes it anew" in report
    assert not page.exists()
    check_stored(run, read_receipt(run))
