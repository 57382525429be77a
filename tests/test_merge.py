"""Two runs of one environment merged are the run that was filled in one go; what does not fit is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import quick_programs, with_new_checksums

from growjax.errors import CheckFailed, NotComparable, UserError
from growjax.proof.merge import merge, merged_spec
from growjax.record.integrity import check_stored, read_receipt
from growjax.record.rundir import RunDir
from growjax.study.claims import with_claims
from growjax.study.presets import presets
from growjax.study.runner import run_study
from growjax.study.spec import StudySpec

SPEC = presets()["smoke"].replace(
    source_seeds=(0, 1), source_steps=(10,), operators=("exact_copy", "structured"), pool=("zero_pad",),
    regimes=("deterministic",), family_regimes=("dropout",), rates=(1.0, 2.0), deterministic_replicates=2,
    few_replicates=1, long_lag=16, finalists=1,
)  # fmt: skip
"""Everything that only some candidates are given, at the smallest size."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole study, its halves by seed, and the first seed's without its finalists."""
    folder = tmp_path_factory.mktemp("halves")
    with quick_programs():
        for name, seeds in (("whole", (0, 1)), ("a", (0,)), ("b", (1,))):
            run_study(SPEC.replace(source_seeds=seeds), RunDir(folder / name))
    return folder


def kinds(run: Path) -> dict[str, int]:
    found: dict[str, int] = {}
    for cell in read_receipt(run)["cells"]:
        found[cell["kind"]] = found.get(cell["kind"], 0) + 1
    return found


def test_only_what_was_asked_for_is_run(runs: Path):
    """Few replicates for the pool, other rates and other regimes; the first of each ranking goes on, and no other."""
    found = kinds(runs / "whole")
    assert found == {"data": 1, "source": 2, "candidate": 10, "probe": 24, "continuation": 24, "extension": 2}
    summary = with_claims(read_receipt(runs / "whole"))
    assert [(r["candidate"], r["rank"]) for r in summary["long"]] and {r["lag"] for r in summary["long"]} == {16}
    first = {
        (r["source"], r["regime"]): r["candidate"] for r in summary["ranking"] if r["rank"] == 1 and r["lag"] == 12
    }
    assert {(r["source"], r["regime"]): r["candidate"] for r in summary["long"]}.items() <= first.items()
    assert {r["regime"] for r in summary["ranking"]} == {"deterministic", "dropout"}
    assert {r["n"] for r in summary["ranking"] if r["candidate"] == "zero_pad"} == {1}
    assert {rate for r in summary["rates"] for rate in r["aucs"]} == {"1", "2"} and len(summary["rates"]) == 4
    assert len(summary["claims"]) == 6


def test_halves_make_the_whole(runs: Path, tmp_path: Path):
    found = merge(runs / "a", runs / "b", tmp_path / "c")
    whole, merged = read_receipt(runs / "whole"), read_receipt(tmp_path / "c")
    assert (found.results, found.missing, found.both) == (whole["results"], 0, 1)
    assert merged["root"] == whole["root"] == found.root  # every other part is the same as well
    assert check_stored(tmp_path / "c", merged) == found.cells == len(whole["cells"])


def test_halves_may_overlap(runs: Path, tmp_path: Path):
    found = merge(runs / "whole", runs / "b", tmp_path / "c")
    assert found.results == read_receipt(runs / "whole")["results"]
    assert found.both == len(read_receipt(runs / "b")["cells"])


def test_a_part_is_gone_on_with(runs: Path, tmp_path: Path):
    """Two parts that lack cells make a run that the study's own command ends."""
    shutil.copytree(runs / "a", tmp_path / "a")
    receipt: Any = read_receipt(tmp_path / "a")
    gone = [cell["id"] for cell in receipt["cells"] if cell["kind"] == "extension"]
    gone += [next(cell["id"] for cell in receipt["cells"] if cell["kind"] == "continuation")]
    for name in gone:
        shutil.rmtree(tmp_path / "a" / "cells" / name)
    receipt["cells"] = []
    with_new_checksums({k: v for k, v in receipt.items() if k not in ("inputs", "programs")}, tmp_path / "a")
    found = merge(tmp_path / "a", runs / "b", tmp_path / "c")
    assert found.missing and "inputs" not in read_receipt(tmp_path / "c")
    with quick_programs():
        ended = run_study(SPEC, RunDir(tmp_path / "c"))
    assert ended["results"] == read_receipt(runs / "whole")["results"]


def edited(run: Path, out: Path, edit: Any) -> Path:
    """A copy of a run whose receipt says something else."""
    shutil.copytree(run, out)
    receipt: Any = read_receipt(run)
    edit(receipt)
    return with_new_checksums(receipt, out)


def test_what_does_not_fit_is_refused(runs: Path, tmp_path: Path):
    def version(receipt: Any) -> None:
        receipt["environment"]["packages"]["jax"] = "0.0.1"

    def pin(receipt: Any) -> None:
        receipt["pins"]["env"]["NPROC"] = "2"

    def module(receipt: Any) -> None:
        receipt["source_code"]["growjax.train.loop"] = "0" * 64

    def field(receipt: Any) -> None:
        receipt["config"]["optim"]["learning_rate"] = 0.5

    faults = {
        version: (NotComparable, r"not comparable: environment.packages.jax was .*, now \"0.0.1\""),
        pin: (NotComparable, "pins.env.NPROC was"),
        module: (NotComparable, "growjax.train.loop"),
        field: (UserError, "the two studies differ: optim.learning_rate was 0.004, now 0.5"),
    }
    for edit, (error, said) in faults.items():
        with pytest.raises(error, match=said):
            merge(runs / "a", edited(runs / "b", tmp_path / edit.__name__, edit), tmp_path / "c")
    other = {**SPEC.to_dict(), "stream": ["dropout=7"]}
    with pytest.raises(UserError, match="the two studies differ: stream"):
        merged_spec(SPEC, StudySpec.from_dict(other))
    longer = with_spec(runs / "b", tmp_path / "longer", long_lag=100)
    with pytest.raises(UserError, match=r"have 100 steps and .*: every program would be another"):
        merge(runs / "a", longer, tmp_path / "c")  # no cell of `a` would be one of the merged study
    with pytest.raises(UserError, match="is there already"):
        merge(runs / "a", runs / "b", tmp_path / "version")
    with pytest.raises(UserError, match="no run directory with its cells"):
        merge(runs / "a" / "receipt.json", runs / "b", tmp_path / "c")
    assert not (tmp_path / "c").exists() and not list(tmp_path.glob(".*.tmp"))


def with_spec(run: Path, out: Path, **changes: Any) -> Path:
    """A copy that says it is of another study."""
    return edited(run, out, lambda receipt: receipt["config"].update(changes))


def test_what_an_earlier_command_asked_for_is_left_out(runs: Path, tmp_path: Path):
    """A directory may hold more than its receipt has: a study was cut down in it."""
    shutil.copytree(runs / "a", tmp_path / "a")
    less = SPEC.replace(source_seeds=(0,), pool=())
    with quick_programs():
        run_study(less, RunDir(tmp_path / "a"))
        expected = run_study(SPEC.replace(pool=()), RunDir(tmp_path / "whole"))
    shutil.copytree(runs / "b", tmp_path / "b")
    with quick_programs():
        run_study(SPEC.replace(source_seeds=(1,), pool=()), RunDir(tmp_path / "b"))
    found = merge(tmp_path / "a", tmp_path / "b", tmp_path / "c")
    assert found.root == expected["root"] and found.cells < len(list((runs / "whole" / "cells").iterdir()))


def test_a_cell_that_is_not_the_same_is_named(runs: Path, tmp_path: Path):
    copy = tmp_path / "other"
    shutil.copytree(runs / "whole", copy)
    receipt: Any = read_receipt(copy)
    cell = next(cell for cell in receipt["cells"] if cell["kind"] == "probe" and cell["source"] == "seed0-step10")
    cell["metrics"]["loss"] += 0.5
    cell["exact"]["loss"] = float(cell["metrics"]["loss"]).hex()
    with_new_checksums(receipt, copy)
    written = next(c for c in read_receipt(copy)["cells"] if c["id"] == cell["id"])
    from growjax.config import canonical_json

    (copy / "cells" / cell["id"] / "result.json").write_text(canonical_json(written) + "\n")
    with pytest.raises(CheckFailed, match=f"hold cell {cell['id']}, and not the same"):
        merge(runs / "a", copy, tmp_path / "c")
    assert not (tmp_path / "c").exists()
