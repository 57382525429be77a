"""A digest of what computes: what changes it, what does not, and what a resumed run and `verify` say of it."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import edits
import pytest
from conftest import ROOT, growjax, with_new_checksums

from growjax.errors import UserError
from growjax.proof.diff import diff
from growjax.proof.differences import Difference
from growjax.proof.verify import _code_notes
from growjax.record.integrity import read_receipt
from growjax.record.rundir import RunDir
from growjax.source import ONE_DIGEST, digests_of, one_digest, source_digests, source_notes
from growjax.syntax import canonical

OWN = dict(source_digests())


def path_of(package: Path, module: str) -> Path:
    place = package.joinpath(*module.split(".")[1:])
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of growjax to edit."""
    return shutil.copytree(ROOT / "growjax", tmp_path / "growjax", ignore=shutil.ignore_patterns("__pycache__"))


def edited(copy: Path, edit: Callable[[str], str]) -> int:
    """Edits the text of every reachable module; returns how many changed."""
    count = 0
    for module in OWN:
        path = path_of(copy, module)
        before = path.read_text()
        path.write_text(edit(before))
        count += path.read_text() != before
    return count


@pytest.mark.parametrize(
    ("edit", "untouched"),
    [
        (edits.other_comments, 0),
        (edits.other_docstrings, 0),
        (edits.other_locals, 35),
        (edits.other_annotations, 20),
        (lambda text: ast.unparse(ast.parse(text)), 0),  # formatting
    ],
    ids=["comments", "docstrings", "locals", "annotations", "formatting"],
)
def test_what_computes_nothing_changes_no_digest(copy: Path, edit: Callable[[str], str], untouched: int):
    """In no module. `untouched` modules at most have nothing to edit: some only hold words, or are empty packages."""
    assert edited(copy, edit) >= len(OWN) - untouched
    assert source_notes(OWN, digests_of(copy)) == []


PLANTED = [
    (edits.an_operator, "growjax.model.layers"),
    (edits.a_constant, "growjax.streams"),
    (edits.a_default_argument, "growjax.grow.parts"),
    (edits.the_order_of_calls, "growjax.study.fill"),
    (edits.a_call, "growjax.model.loss"),
    (edits.swapped_operands, "growjax.measure.divergence"),
    (edits.a_removed_statement, "growjax.train.state"),
    (edits.a_field_default, "growjax.config"),
    (edits.a_condition, "growjax.data.tokens"),
    (edits.a_static_argument, "growjax.grow.copying"),
]


def test_what_computes_changes_the_digest_of_its_module(copy: Path):
    assert len({module for _, module in PLANTED}) == 10
    for plant, module in PLANTED:
        path = path_of(copy, module)
        honest = path.read_text()
        tree = ast.parse(honest)
        plant(tree)
        path.write_text(ast.unparse(ast.fix_missing_locations(tree)))
        assert source_notes(OWN, digests_of(copy)) == [f"{module} is another"], plant.__name__
        path.write_text(honest)


def test_a_module_that_comes_or_goes_is_named(copy: Path):
    (copy / "train" / "extra.py").write_text("x = 1\n")
    path = path_of(copy, "growjax.study.fill")
    path.write_text(path.read_text() + "\n\ndef late():\n    from growjax.train import extra\n")
    found = digests_of(copy)
    assert source_notes(OWN, found) == ["growjax.study.fill is another", "growjax.train.extra is new"]
    assert source_notes(found, OWN)[1] == "growjax.train.extra is gone"


def test_the_modules_that_compute():
    """Those too that fill tokens and sources that were not trained here, and that train on a mesh."""
    names = {"model.decoder", "train.loop", "grow.registry", "grow.law", "data.tokens", "measure.divergence", "streams",
             "study.given", "study.sources", "checkpoints.adam", "study.on_mesh", "mesh.training"}  # fmt: skip
    assert {f"growjax.{name}" for name in names} <= OWN.keys()
    assert not [name for name in OWN if name.split(".")[1] in ("cli", "report", "proof", "__main__")]
    for module in OWN:  # what no import statement shows would not be followed
        text = path_of(ROOT / "growjax", module).read_text()
        assert module == "growjax.source" or ("import_module" not in text and "__import__" not in text), module
        for statement in canonical(text)[1]:
            for name in statement.names if statement.module == "growjax" else ():
                assert f"growjax.{name}" in OWN, f"{module} imports {name} from growjax, not from where it is"


def planted(run: Path, out: Path, change: Callable[[dict, dict], None]) -> Path:
    """A run's receipt with something else in it, as if it had been recorded so."""
    receipt = read_receipt(run)
    change(receipt, next(cell for cell in receipt["cells"] if cell["kind"] == "source"))
    return with_new_checksums(receipt, out)


def other_fill(receipt: dict, source: dict) -> None:
    receipt["source_code"]["growjax.study.fill"] = "0" * 64


def other_trace(receipt: dict, source: dict) -> None:
    other_fill(receipt, source)
    source["digests"]["trace"] = "0" * 64


def in_one_digest(receipt: dict, source: dict) -> None:
    receipt["source_code"] = "0" * 64


def test_a_run_of_another_module_is_not_gone_on_with(smoke_run: Path, tmp_path: Path):
    assert read_receipt(smoke_run)["source_code"] == OWN
    run = planted(smoke_run, tmp_path / "run", other_fill)
    done = growjax("study", "--preset", "smoke", "--out", str(run))
    assert done.code == 2 and done.err.count("\n") == 1, done.err
    assert "holds a run of another source_code (growjax.study.fill is another)" in done.err
    run = planted(smoke_run, tmp_path / "old", in_one_digest)
    with pytest.raises(UserError, match=ONE_DIGEST):
        RunDir(run).begin({**read_receipt(smoke_run)})


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        (other_fill, 0, "growjax.study.fill is another"),
        (in_one_digest, 0, ONE_DIGEST),
        (other_trace, 3, "not comparable: the programs are the same; host code in growjax.study.fill changed; cell "),
    ],
)
def test_verify_names_the_module(smoke_run: Path, tmp_path: Path, change: Any, code: int, says: str):
    run = planted(smoke_run, tmp_path / "run", change)
    kind = "source" if code else "data"
    cell = next(cell for cell in read_receipt(run)["cells"] if cell["kind"] == kind)["id"]
    done = growjax("verify", str(run), "--cells", cell, "--workers", "1")
    assert done.code == code and says in " ".join((done.out + done.err).split()), done.err + done.out
    assert code == 0 or done.err.count("\n") == 1


def test_what_verify_says_of_another_program(smoke_run: Path, tmp_path: Path):
    """Or of a cell that has none: only the module is named."""
    honest, of_trace = (read_receipt(run) for run in (smoke_run, planted(smoke_run, tmp_path / "run", other_trace)))
    source = next(cell for cell in of_trace["cells"] if cell["kind"] == "source")
    data = next(cell for cell in of_trace["cells"] if cell["kind"] == "data")
    assert "programs are the same" in _code_notes(of_trace, honest, Difference(source["id"]))[0]
    assert _code_notes(of_trace, honest, Difference(data["id"])) == ["growjax.study.fill changed"]
    source["digests"]["program"] = "0" * 64
    assert _code_notes(of_trace, honest, Difference(source["id"])) == ["growjax.study.fill changed"]


def test_diff_and_report_of_a_receipt_of_the_old_form(smoke_run: Path, tmp_path: Path):
    run = planted(smoke_run, tmp_path / "run", in_one_digest)
    assert diff(run, smoke_run).notes == [ONE_DIGEST] == diff(smoke_run, run).notes
    assert diff(run, run).notes == [] and diff(run, run).compared
    assert growjax("report", str(run)).code == 0
    other = planted(smoke_run, tmp_path / "other", other_fill)
    assert diff(other, smoke_run).notes == ["growjax.study.fill is another"]
    committed = read_receipt(ROOT / "artifacts" / "smoke")["source_code"]
    assert one_digest(committed) == committed or one_digest(committed) != one_digest(OWN)
