"""Every mesh of a number of chips, what each holds and takes, and the one to choose."""

from __future__ import annotations

from typing import NamedTuple

from growjax.errors import UserError
from growjax.mesh.cutting import require_model
from growjax.mesh.rules import MeshShape, meshes, require_shards
from growjax.plan.chips import Chip
from growjax.plan.memory import Batch, Phase, peak, phases
from growjax.plan.roofline import Seconds, step_seconds
from growjax.plan.saved import Saved, evaluation_work, saved
from growjax.train.state import TrainState

USABLE = 0.9
"""Of a chip's memory; the rest is taken to be the system's, or lost between arrays."""


class Option(NamedTuple):
    """One mesh."""

    mesh: MeshShape
    peak: Phase | None
    """None where the rules do not allow the mesh."""
    seconds: Seconds | None
    """Of a step; None where it does not run."""
    why_not: str
    """Empty where it runs."""


def batches(chips: int, size: int, length: int, shards: int = 0, evaluated: int = 0) -> list[Batch]:
    """The batch on so many chips, in so many virtual shards, or (0) in every number of them that suits: a multiple of
    the chips that divides the batch. Raises `UserError` where it has no equal shards."""
    if size % (shards or chips):
        raise UserError(
            f"a batch of {size} has no {shards or chips} equal shards",
            f"choose --batch-size among the multiples of {shards or chips}",
        )
    require_shards(MeshShape(fsdp=chips), shards or chips)
    if shards:
        return [Batch(size, length, shards, evaluated or size)]
    numbers = [number for number in range(chips, size + 1, chips) if size % number == 0]
    return [Batch(size, length, number, evaluated or size) for number in numbers]


def kept_by(state: TrainState, batch: Batch, chip: Chip) -> Saved:
    """What a shard keeps and works in on a chip."""
    cpu = chip.name == "cpu"
    evaluation = evaluation_work(state.config.model, batch.held_out, batch.length, cpu=cpu)
    return saved(state.config, batch.windows, batch.length, cpu=cpu)._replace(evaluation=evaluation)


def options(state: TrainState, chip: Chip, chips: int, batch: Batch) -> list[Option]:
    """Every mesh of so many chips. `state`: arrays or their shapes."""
    kept = kept_by(state, batch, chip)
    return [_option(state, chip, mesh, batch, kept) for mesh in meshes(chips)]


def _option(state: TrainState, chip: Chip, mesh: MeshShape, batch: Batch, kept: Saved) -> Option:
    found = _held(state, chip, mesh, batch, kept)
    return found if found.why_not else found._replace(seconds=step_seconds(state, mesh, batch, kept, chip))


def _held(state: TrainState, chip: Chip, mesh: MeshShape, batch: Batch, kept: Saved) -> Option:
    """A mesh by its memory alone."""
    try:
        require_model(mesh, state.config.model)
    except UserError as error:
        return Option(mesh, None, None, error.fault)
    most = peak(phases(state, mesh, batch, kept))
    if most.total > USABLE * chip.memory:
        needed, there = most.total / 1e9, USABLE * chip.memory / 1e9
        return Option(mesh, most, None, f"takes {needed:,.1f} GB a chip ({most.name}) of {there:,.1f}")
    return Option(mesh, most, None, "")


class Choice(NamedTuple):
    """How a batch is best trained on."""

    batch: Batch
    best: Option
    options: list[Option]


def cheapest(found: list[Option]) -> Option | None:
    """The fastest mesh that runs, of equals that which holds least; None where none does."""
    able = [(o.seconds.total, o.peak.total, o) for o in found if o.seconds is not None and o.peak is not None]
    return min(able, key=lambda row: row[:2])[2] if able else None


def fastest(state: TrainState, chip: Chip, chips: int, given: list[Batch]) -> Choice | None:
    """The batch, of those given, and the mesh that take least time; None where nothing runs."""
    tried = [(batch, options(state, chip, chips, batch)) for batch in given]
    able = [Choice(batch, best, found) for batch, found in tried if (best := cheapest(found))]
    return min(able, key=lambda c: c.best.seconds.total if c.best.seconds else 0, default=None)


def least_chips(state: TrainState, chip: Chip, batch: Batch) -> int | None:
    """The least number of chips, of those that divide the batch, whose memory takes it in some number of shards on some
    mesh; None where there is none."""
    for chips in (number for number in range(1, batch.size + 1) if batch.size % number == 0):
        own = chip.among(chips)
        for way in batches(chips, batch.size, batch.length, 0, batch.evaluated):
            kept = kept_by(state, way, own)
            if any(not _held(state, own, mesh, way, kept).why_not for mesh in meshes(chips)):
                return chips
    return None


def choose(state: TrainState, chip: Chip, chips: int, given: list[Batch]) -> Choice:
    """The cheapest way. Raises `UserError` where none runs, with the least number of chips that would do."""
    chip.rate(state.config.model.dtype)
    found = fastest(state, chip, chips, given)
    if found is not None:
        return found
    tried = [o for batch in given for o in options(state, chip, chips, batch)]
    fewest = min((o for o in tried if o.peak), key=lambda o: o.peak.total if o.peak else 0, default=tried[0])
    fault = f"nothing fits on {chips} of {chip.name}: {fewest.mesh} {fewest.why_not}"
    least = least_chips(state, chip, given[-1])
    if least is None:
        raise UserError(
            f"{fault}, and no number of them that divides a batch of {given[-1].size} would do",
            "choose another --chip or --batch-size, a shorter --seq-len or a smaller target, since each computes with "
            "all parameters and gradients, and one evaluates --eval-windows",
        )
    if least > chip.joined and chip.beyond is None and chip.shared is None:
        raise UserError(
            f"{fault}; {least} have the memory, but what joins more than {chip.joined} has no public figure here",
            "choose another --chip, a smaller --batch-size or a smaller target",
        )
    raise UserError(fault, f"the least that would do are {least}: --chips {least}, without --shards")
