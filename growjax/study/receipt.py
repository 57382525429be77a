"""A study's receipt: its specification, its models, and whether its cells are those that it should have."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from growjax.config import ModelConfig
from growjax.data.tokenizer import FILE, is_digest
from growjax.errors import UserError
from growjax.measure.inputs import Curve
from growjax.measure.registry import own_of_curve, value_of
from growjax.record.cell_types import CellRecord, ContinuationCell, CrossedCell, DataMetrics, ExtensionCell, RungCell
from growjax.record.cells import Recipe
from growjax.record.receipt_types import Begun, Receipt
from growjax.study.context import models_of, unwidened_lag
from growjax.study.finalists import with_finalists
from growjax.study.recipes import StudyCells, study_cells
from growjax.study.replicates import diverged_step, shared
from growjax.study.selection import Selection, read_spec
from growjax.study.spec import UNWIDENED, StudySpec

LEVELS = 100_000
"""Most combinations of crossed streams that are summed up."""

_FAULT, _HINT = "the receipt's cells are not those of its own configuration", "report on the directory of a whole run"


def spec_of(receipt: Receipt | Begun) -> StudySpec:
    """The specification of a receipt. Raises `UserError` where a field of it is of another kind or value."""
    config = receipt["config"]
    if not all(isinstance(config.get(part, {}), dict) for part in ("model", "to", "optim", "data", "crossed")):
        raise UserError("the receipt's configuration is none", "take the file that growjax wrote")
    try:
        return read_spec(config)
    except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise UserError(f"the receipt's configuration is none ({error})", "take the file that growjax wrote") from None


def check_named(spec: StudySpec, corpus: str | None) -> None:
    """Raises `UserError` where a receipt alone would say which files to read, or what to fetch from the hub: it knows
    sources and tokenizers by digests alone."""
    spec.given()
    if spec.data.tokenizer and not is_digest(spec.data.tokenizer):
        raise UserError(f"tokenizer {spec.data.tokenizer[:80]!r} is no digest", "take the receipt that a study wrote")
    if corpus is None and spec.data.corpus != "builtin":
        raise UserError(
            f"the receipt names the corpus {spec.data.corpus[:80]!r}, which is not read on its word",
            "say where the corpus lies with --corpus",
        )


def check_sources(spec: StudySpec, known: Collection[str]) -> None:
    """Raises `UserError` where a source that was not trained here is not at hand: `known` are digests of states."""
    for given in spec.given():
        if given.digest not in known:
            raise UserError(
                f"the source of digest {given.digest[:12]}, which was not trained here, is not at hand",
                "say where it lies with --source",
            )


def given_folders(run: Path, receipt: Receipt | Begun) -> list[Path]:
    """Where a run directory holds the states of sources that were not trained there."""
    folders = [
        run / "cells" / cell["id"]
        for cell in receipt["cells"]
        if cell["kind"] == "given" and cell["digests"]["state"] == cell["parameters"]["state"]
    ]
    return [folder for folder in folders if (folder / "state.json").exists()]


def tokenizer_file(run: Path, spec: StudySpec) -> Path | None:
    """Where a run directory holds the tokenizer that its specification names; None where it names none."""
    path = run / "data" / FILE
    return path if spec.data.tokenizer and path.exists() else None


def data_of(receipt: Receipt | Begun) -> DataMetrics:
    """What is recorded of a run's tokens."""
    for cell in receipt["cells"]:
        if cell["kind"] == "data":
            return cell["metrics"]
    raise UserError("the receipt lacks the cell of its tokens", "take the file that growjax wrote")


def models(receipt: Receipt | Begun) -> tuple[ModelConfig, ModelConfig]:
    """(source, target) of a run, with the vocabulary its tokenizer filled."""
    return models_of(spec_of(receipt), data_of(receipt)["vocab_size"])


def cells_of(receipt: Receipt | Begun, spec: StudySpec) -> StudyCells:
    """The cells of a study for the vocabulary that a receipt's tokens have; its finalists are still open."""
    return study_cells(spec, unwidened_lag(spec, *models_of(spec, data_of(receipt)["vocab_size"])))


def _label(cell: CellRecord) -> tuple[object, ...]:
    parameters = cell["parameters"]
    numbers = (parameters.get("seed"), parameters.get("step"), parameters.get("eval_every"))
    names = ("source", "operator", "regime", "replicate", "lag")
    return (cell["kind"], *(cell.get(name) for name in names), *numbers)


def _expected(recipe: Recipe) -> tuple[object, ...]:
    numbers = (recipe.parameters.get(name) for name in ("seed", "step", "eval_every"))
    names = ("source", "operator", "regime", "replicate", "lag")
    return (recipe.kind, *(recipe.label.get(name) for name in names), *numbers)


def check_whole(receipt: Receipt, spec: StudySpec) -> None:
    """Raises `UserError` where a receipt's cells are not, one by one, those that its configuration has, or where it is
    that of a selection."""
    if isinstance(spec, Selection):
        raise UserError("this is the receipt of a selection, and of no study", "read it with report")
    states, crossed = spec.states(), spec.crossed
    runs = sum(2 * sum(spec.entrants(regime).values()) for regime in spec.all_regimes)
    runs += len(spec.operators) * crossed.order * crossed.dropout
    fewest = 1 + states * (1 + len(spec.candidates) + runs)  # counted before any is named
    if fewest > len(receipt["cells"]):
        raise UserError(f"{_FAULT}: there are {len(receipt['cells'])}, and it has {fewest} or more", _HINT)
    if crossed.order * crossed.dropout * crossed.perturb > LEVELS:
        raise UserError(f"the receipt crosses more than {LEVELS} levels of a stream", _HINT)
    cells = cells_of(receipt, spec)
    if cells.possible:  # whose finalists follow from cells that must all be there
        _check_there(receipt, cells)
    check_cells(receipt, spec, with_finalists(cells, spec, receipt["cells"]))


def _check_there(receipt: Receipt, cells: StudyCells) -> None:
    """Raises `UserError` where a receipt lacks one of these cells."""
    found = {_label(cell) for cell in receipt["cells"]}
    if any(_expected(recipe) not in found for recipe in cells.all()):
        raise UserError(f"{_FAULT}: one is missing, or stands twice", _HINT)


def check_cells(receipt: Receipt, spec: StudySpec, cells: StudyCells) -> None:
    """Raises `UserError` where a receipt's cells are not, one by one, these, or a figure of a curve is not its own."""
    found = {_label(cell): cell["id"] for cell in receipt["cells"]}
    expected = {_expected(recipe) for recipe in cells.all()}
    for label in found.keys() - expected:
        raise UserError(f"{_FAULT}: it has no cell {found[label]}", _HINT)
    if len(found) < max(len(expected), len(receipt["cells"])):
        raise UserError(f"{_FAULT}: one is missing, or stands twice", _HINT)
    for cell in receipt["cells"]:
        if (
            cell["kind"] == "continuation"
            or cell["kind"] == "extension"
            or cell["kind"] == "rung"
            or cell["kind"] == "crossed"
        ):
            _check_figures(cell, spec)


def _check_figures(cell: ContinuationCell | ExtensionCell | RungCell | CrossedCell, spec: StudySpec) -> None:
    """Raises `UserError` where a recorded figure of a curve is not what its losses give. The unwidened control may go
    on beyond the lag that all share; of a run that diverged no figure counts."""
    metrics, lag = cell["metrics"], spec.continuation_lag if cell["operator"] == UNWIDENED else cell["lag"]
    if diverged_step(metrics) is not None:
        return
    steps, losses = shared(metrics, lag)
    curve = Curve(tuple(steps), tuple(losses))
    for measure in own_of_curve("continuation"):
        if measure.name in ("auc", *metrics) and metrics.get(measure.name) != value_of(measure, curve):
            raise UserError(
                f"the {measure.name} of the receipt's cell {cell['id']} is not that of its losses",
                "take the file that growjax wrote",
            )
