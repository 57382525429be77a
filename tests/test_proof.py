"""Recorded cells computed again."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, Shown, growjax, with_new_checksums

from growjax import runtime
from growjax.errors import CheckFailed, NotComparable, UserError
from growjax.measure.registry import OWN
from growjax.preflight.canaries import CANARIES
from growjax.proof.diff import diff
from growjax.proof.differences import cell_difference
from growjax.proof.verify import check_comparable, choose, in_order, verify
from growjax.record.integrity import read_receipt
from growjax.record.rundir import RunDir
from growjax.study.presets import presets


def test_verified_cells_make_a_run_of_their_own(smoke_run: Path, shown: Shown):
    """Some cells and their ancestors; the new run is kept for `diff`, which finds no difference."""
    described = shown.said("verify")
    assert described["outcome"] == "identical" and 3 < described["checked"] < described["cells"] == described["stored"]
    again = shown.folder / "runs" / "again"
    assert len(RunDir(again).receipt()["cells"]) == described["checked"] and diff(smoke_run, again).difference is None


def altered(run: Path, out: Path, change: Any) -> Path:
    """A receipt with something else in it, with a checksum as if it had been recorded so."""
    receipt = read_receipt(run)
    change(receipt, {cell["id"]: cell for cell in receipt["cells"]})
    return with_new_checksums(receipt, out)


def first_of(cells: dict[str, Any], kind: str) -> Any:
    return next(c for c in in_order(list(cells.values())) if c["kind"] == kind)


def test_a_committed_run_comes_out_again(smoke_run: Path):
    """Every cell of the committed smoke study, in every digest and figure; on another CPU model or with another jax the
    bits agree, or the one that differs is named."""
    committed = ROOT / "artifacts" / "smoke"
    found = diff(committed, smoke_run)
    assert found.compared == len(read_receipt(committed)["cells"]) == len(read_receipt(smoke_run)["cells"])
    named = any(what in note for note in found.notes for what in ("cpu", "packages.jax"))
    assert found.difference is None or named, found


@pytest.mark.slow
def test_a_published_study_comes_out_again():
    """The command of the README: a probe of the quick study with all its ancestors, the source's training among
    them."""
    path = "artifacts/quick/receipt.json"
    command = f"python -m growjax verify {path} --cells 1"
    assert command in " ".join((ROOT / "README.md").read_text().split())
    receipt = json.loads((ROOT / path).read_text())
    done = growjax("verify", path, "--cells", "1", "--workers", "1", "--json")
    if receipt["environment"]["cpu"] == runtime.environment()["cpu"]:
        assert done.code == 0, done.err + done.out
        assert json.loads(done.out)["checked"] == 5 and json.loads(done.out)["outcome"] == "identical"
    else:
        assert done.code == 0 or (done.code == 3 and "cpu" in done.err), done.err


def test_verify_names_the_first_difference(smoke_run: Path, tmp_path: Path):
    named: dict[str, str] = {}

    def change(header: Any, cells: Any) -> None:
        cell = first_of(cells, "source")
        words = np.frombuffer(base64.b64decode(cell["digests"]["params_at"]), "<u2").copy()
        words.reshape(10, -1)[6:, 5] ^= 1  # from step 7 on, in the sixth leaf
        cell["digests"]["params_at"] = base64.b64encode(words.tobytes()).decode()
        loss = float.fromhex(cell["exact"]["eval_loss"][1])
        other = float(np.nextafter(np.nextafter(loss, 9), 9))
        cell["metrics"]["eval_loss"][1], cell["exact"]["eval_loss"][1] = other, other.hex()
        named["cell"] = cell["id"]

    done = growjax(
        "verify", str(altered(smoke_run, tmp_path / "run", change)), "--cells", "1", "--workers", "1", "--json"
    )
    assert done.code == 1, done.err + done.out
    described = json.loads(done.out)
    assert described["outcome"] == "different"
    found = described["difference"]
    assert (found["cell"], found["step"], found["leaf"]) == (named["cell"], 7, "blocks/wk")
    assert found["ulps"] == 2 and "eval_loss[1]" in found["what"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("packages.jaxlib", "0.12.0"), ("device_kind", "NVIDIA H100"), ("pins", None)],
)
def test_verify_says_what_is_not_comparable(smoke_run: Path, tmp_path: Path, field: str, value: str):
    def change(header: Any, cells: Any) -> None:
        if field == "pins":
            header["pins"]["xla_flags"]["--xla_cpu_max_isa"] = "AVX512"
            return
        *path, last = field.split(".")
        at = header["environment"]
        for name in path:
            at = at[name]
        at[last] = value

    run = altered(smoke_run, tmp_path / "run", change)
    done = growjax("verify", str(run))
    assert done.code == 3 and done.err.count("\n") == 1, done.err
    assert (field if field != "pins" else "pins.xla_flags.--xla_cpu_max_isa") in done.err


def test_diff_names_every_package_that_differs(smoke_run: Path, tmp_path: Path):
    """The package that a difference comes from is seldom the first of the alphabet."""

    def change(header: Any, cells: Any) -> None:
        header["environment"]["packages"] |= {"flax": "0.0.1", "jax": "0.0.2", "jaxlib": "0.0.3"}

    found = diff(smoke_run, altered(smoke_run, tmp_path / "run", change))
    assert found.difference is None
    assert [note.partition(" was ")[0] for note in found.notes] == ["packages.flax", "packages.jax", "packages.jaxlib"]


def test_verify_of_another_cpu(smoke_run: Path, tmp_path: Path):
    """The CPU's model may differ as long as bits do not; where they do, it is named."""

    def elsewhere(header: Any, cells: Any) -> None:
        header["environment"]["cpu"]["model"] = "Another CPU"

    def otherwise(header: Any, cells: Any) -> None:
        elsewhere(header, cells)
        first_of(cells, "source")["digests"]["trace"] = "0" * 64

    for change, code in ((elsewhere, 0), (otherwise, 3)):
        run = altered(smoke_run, tmp_path / change.__name__, change)
        source = first_of({c["id"]: c for c in read_receipt(run)["cells"]}, "source")["id"]
        done = growjax("verify", str(run), "--cells", source, "--workers", "1")
        assert done.code == code and "cpu.model was" in done.out + done.err, done.err + done.out


def test_verify_by_another_growjax(smoke_run: Path):
    receipt = read_receipt(smoke_run)
    here, pins = receipt["environment"], receipt["pins"]
    check_comparable(receipt, here=here, pins=pins)
    check_comparable(receipt, here={**here, "python": "3.13.1"}, pins=pins)  # may differ: row B7
    with pytest.raises(NotComparable, match="schema"):
        check_comparable({**receipt, "schema": 1}, here=here, pins=pins)


def test_a_receipt_with_other_cells_than_its_configurations_is_damaged(smoke_run: Path, tmp_path: Path):
    """One too many, one too few, and one under another id: what is asked for is computed, or the receipt is none."""

    def one_more(receipt: Any, cells: Any) -> None:
        receipt["cells"].append({**first_of(cells, "probe"), "id": "0" * 16, "replicate": 99})

    def without_one(receipt: Any, cells: Any) -> None:
        receipt["cells"].remove(first_of(cells, "continuation"))

    def another_id(receipt: Any, cells: Any) -> None:
        first_of(cells, "continuation")["id"] = "0" * 16

    for change, which, fault in (
        (one_more, "1", "it has no cell 0000000000000000"),
        (without_one, "1", "there are 84, and it has 85 or more"),
        (another_id, "0" * 16, "cell 0000000000000000 is none that is computed for the receipt's configuration"),
    ):
        receipt = altered(smoke_run, tmp_path / change.__name__, change)
        with pytest.raises(CheckFailed, match=fault):
            verify(receipt / "receipt.json", tmp_path / f"again-{change.__name__}", cells=(which,))


def test_a_divergence_that_only_one_side_has_is_a_difference(smoke_run: Path):
    """It decides ranks, and is no measure of anybody's."""
    assert "diverged" in OWN and "n_diverged" in OWN
    cell: Any = first_of({c["id"]: c for c in read_receipt(smoke_run)["cells"]}, "continuation")
    lost = {**cell, "metrics": {**cell["metrics"], "diverged": 1}, "exact": {**cell["exact"], "diverged": 1}}
    assert cell_difference(cell, lost, start=0, model=presets()["smoke"].model) is not None


def test_choosing_cells(smoke_run: Path):
    receipt = read_receipt(smoke_run)
    ids = {cell["id"] for cell in receipt["cells"]}
    assert choose(receipt, ("all",)) == ids and len(choose(receipt, ("3",))) == 3
    assert choose(receipt, ("3",)) <= choose(receipt, ("5",))
    one = min(ids)
    assert choose(receipt, (one[:12], max(ids))) == {one, max(ids)}
    with pytest.raises(UserError, match="0 cells have an id"):
        choose(receipt, ("nothing",))


def test_receipts_say_how_to_obtain_the_corpus(smoke_run: Path):
    receipt = read_receipt(smoke_run)
    assert receipt["inputs"]["corpus"]["kind"] == "builtin" and re.fullmatch("[0-9a-f]{64}", receipt["results"])
    assert receipt["preflight"]["verdict"] == "passed" and list(receipt["preflight"]["canaries"]) == sorted(CANARIES)
    assert receipt["environment"]["cpu"]["model"] and receipt["pins"]["pinned"]
