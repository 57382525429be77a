"""How long a step takes, by a roofline: products, memory and links, one after the other, each at a share of its rate.

All of it is an estimate. The shares are measured: on an H200 (artifacts/accelerator-nvidia-h200.md) and on the CPU that
artifacts/plan.json names. What each chip sends and receives follows from how `growjax.mesh.training` gathers and sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from growjax.config import ModelConfig
from growjax.mesh.rules import AXES, MeshAxis, MeshShape
from growjax.model.decoder import flops_per_token
from growjax.plan.chips import Chip
from growjax.plan.memory import Batch, Leaf, by_entry, leaves
from growjax.plan.saved import Saved
from growjax.train.state import TrainState


class Shares(NamedTuple):
    """What a step reaches of a chip's figures, and how often it goes over what it keeps."""

    products: float
    """Of the rate of products."""
    memory: float
    """Of memory's bandwidth."""
    link: float
    """Of a link's."""
    activations: float
    """Times that as many bytes as the activations are read or written."""
    scores: float
    """The same of attention's scores, in float32, where they are not kept in a cache."""


ACCELERATOR = Shares(0.75, 0.82, 0.8, 14, 8)
"""Products and memory as one large product and one copy had them on an H200 (746 of 989.4 TFLOP/s, 3.96 of 4.8 TB/s);
passes fitted to four steps there, all within 13 %. The links' share is assumed: none was at hand."""

CPU = Shares(1.0, 1.0, 1.0, 16, 0)
"""Of rates that are measured beside the step. Passes fitted to steps here; scores stay in a CPU's cache."""


class Seconds(NamedTuple):
    """One step's, by what takes them."""

    products: float
    memory: float
    links: float
    launches: float
    """Programs over all chips, each started once: measured for CPUs, left out for others."""

    @property
    def total(self) -> float:
        return sum(self)


def shares_of(chip: Chip) -> Shares:
    """The shares by which a chip's figures are taken."""
    return CPU if chip.name == "cpu" else ACCELERATOR


def step_seconds(state: TrainState, mesh: MeshShape, batch: Batch, kept: Saved, chip: Chip) -> Seconds:
    """One training step, evaluations and compiling aside. Raises `UserError` where a chip has no figure for it."""
    model, shares = state.config.model, shares_of(chip)
    each = batch.shards // mesh.size
    flops = flops_per_token(model, batch.length) * batch.tokens / mesh.size
    rows = list(leaves(state, mesh))
    traffic = each * activation_traffic(model, batch, kept, shares) + weight_traffic(state, rows, mesh, batch)
    alone = mesh.size == batch.shards == 1
    sent = {} if alone else link_traffic(rows, mesh, batch)
    if not alone and not by_entry(state):
        sent["fsdp"] = sent.get("fsdp", 0) + sum(row.whole - row.piece for row in rows)
    params = sum(row.kind == "parameters" for row in rows)
    return Seconds(
        flops / (shares.products * chip.rate(model.dtype)),
        traffic / (shares.memory * chip.bandwidth),
        sum(size / (shares.link * axis_link(mesh, axis, chip)) for axis, size in sent.items() if size),
        0.0 if alone else chip.launch * (3 + params),
    )


def activation_traffic(model: ModelConfig, batch: Batch, kept: Saved, shares: Shares) -> float:
    """Bytes that one shard's forward and backward pass read and write, of activations and scores."""
    scores = 4 * batch.windows * model.n_layers * model.n_heads * batch.length**2
    return shares.activations * kept.activations + shares.scores * scores


def weight_traffic(state: TrainState, rows: Sequence[Leaf], mesh: MeshShape, batch: Batch) -> float:
    """Bytes that one chip reads and writes of parameters, gradients and moments in a step."""
    params = [row for row in rows if row.kind == "parameters"]
    whole, piece = sum(row.whole for row in params), sum(row.piece for row in params)
    moments = sum(row.piece for row in rows if row.kind == "moments")
    each = batch.shards // mesh.size
    update = 3 * piece + 2 * moments  # parameters and moments read and written, gradients read
    if mesh.size == batch.shards == 1:
        return 3 * whole + update
    of_shards = 3 * whole * each + 3 * whole * (each - 1)  # two reads, one write; two are added to a third
    return of_shards + 2 * whole + 2 * batch.shards * piece + 2 * whole + update


def link_traffic(rows: Sequence[Leaf], mesh: MeshShape, batch: Batch) -> dict[MeshAxis, float]:
    """Bytes that one chip receives in a step along each axis of a mesh: the parameters, whole; of the gradients' rows
    its own piece of each; and the gradients again, whole, for their norm."""
    found: dict[MeshAxis, float] = dict.fromkeys(AXES, 0.0)
    each = batch.shards // mesh.size
    parts = each // (each & -each)
    for row in rows:
        if row.kind != "parameters":
            continue
        held = row.piece
        for over in row.cut:
            if over is not None:
                found[over] += 2 * held * (mesh.along(over) - 1)  # once parameters, once gradients
                held *= mesh.along(over)
        held, count = row.whole, parts
        for over in reversed(AXES):
            devices = mesh.along(over)
            if over in row.cut:
                found[over] += count * held * (devices - 1) / devices
                held //= devices
            else:
                found[over] += count * held * (devices - 1)
            count *= devices
    return found


def axis_link(mesh: MeshShape, axis: MeshAxis, chip: Chip) -> float:
    """The slowest link over which chips along an axis reach each other: those along the fastest axes stand nearest."""
    after = AXES[AXES.index(axis) :]
    reach = 1
    for name in after:
        reach *= mesh.along(name)
    return chip.link_among(reach, mesh.size)
