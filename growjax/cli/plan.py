"""`plan`: what growth would take on chips that need not be here."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console
from rich.table import Table

from growjax import runtime
from growjax.cli.arguments import parse
from growjax.cli.tables import console
from growjax.config import ModelConfig, OptimConfig, TrainConfig
from growjax.domains import Dtype
from growjax.errors import UserError
from growjax.schema import Record
from growjax.study.spec import TargetWidths

if TYPE_CHECKING:
    from growjax.train.state import TrainState


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlanArguments:
    """Say what a target takes on a number of chips: memory by kind, time of a step, the mesh to choose, and the cost of
    widening and of a selection. Nothing is trained, and no chip is needed.

    Bytes of arrays are exact, by the rules of growjax/mesh/rules.py; activations are the shapes that JAX keeps;
    temporaries and seconds are estimates (artifacts/plan.json says how far they are off).
    """

    source: Annotated[Path | None, tyro.conf.Positional] = None
    """A folder that holds a state, a run directory (its last state) or a Hugging Face checkpoint, of which only the
    configuration is read. Without one, --model.* say what the source is."""
    model: ModelConfig = ModelConfig()
    optim: OptimConfig = OptimConfig()
    to: TargetWidths = TargetWidths()
    chip: str = "h100"
    """a100, h100, h200, b200, mi300x, tpu-v4, tpu-v5e, tpu-v5p or tpu-v6e, by the figures of growjax/plan/chips.py; or
    cpu, measured here."""
    chips: int = 8
    """How many of them."""
    seq_len: int = 0
    """Tokens of a window; 0 takes the longest that the model has."""
    batch_size: int = 0
    """Windows of a step; 0 takes one for each chip."""
    shards: int = 0
    """Virtual shards of a batch; 0 takes the number that is fastest of those that fit."""
    eval_windows: int = 0
    """Windows of a held-out batch, which one chip evaluates at once; 0 takes as many as a step's, as `train` does."""
    dtype: Dtype | None = None
    """Of the computation; the source's own if not given."""
    operator: str = "exact_copy"
    """How the target is made, for the factors that it has: NAME or NAME:option=value,..., with any +PART."""
    candidates: int = 0
    """Of a selection, none of which trains before its step 0; 0 takes those of `select` that can follow the plan and
    that the budget takes."""
    budget: int = 400
    """Training steps of the target in a selection, all candidates together."""
    horizon: int = 2000
    """Steps of training that are planned with the target."""
    first: int = 16
    """The first lag at which candidates are compared."""
    eval_every: int = 8
    """Steps between evaluations."""
    json: bool = False
    """Print one JSON document on stdout, and nothing else there."""


def run(argv: list[str]) -> int:
    """Runs the verb; returns its exit code."""
    given = parse(PlanArguments, argv, verb="plan")
    runtime.start()
    from growjax.grow.plan import dealt_plan
    from growjax.plan.chips import chip_named
    from growjax.plan.choice import batches
    from growjax.plan.described import Race, plan_growth
    from growjax.plan.here import cpu_chip
    from growjax.select.race import ladder
    from growjax.select.runner import able_and_left_out, affordable, pool

    own = [word.partition("=")[0] for word in argv if word.startswith(("--model.", "--optim."))]
    source = _source(given, own)
    model, optim = source.config.model, source.config.optim
    plan = dealt_plan(model, given.to.of(model))
    length, size = given.seq_len or model.max_seq_len, given.batch_size or given.chips
    if length > model.max_seq_len:
        raise UserError(f"windows of {length} tokens do not fit a model of {model.max_seq_len}", "lower --seq-len")
    ways = batches(given.chips, size, length, given.shards, given.eval_windows)
    if given.chip == "cpu":
        chip = cpu_chip(given.chips, tokens=length, width=plan.target.d_model)
    else:
        chip = chip_named(given.chip)
    rungs, candidates, making = ladder(given.horizon, given.eval_every, given.first), given.candidates, 0
    if not candidates:
        able = able_and_left_out(pool(), plan, optim, seed=1)[0]
        taken, _, making = affordable(able, rungs, given.budget)
        candidates = len(taken)
    race = Race(candidates, given.budget, given.horizon, given.first, given.eval_every, making)
    described = plan_growth(source, plan, chip, given.chips, ways, race, operator=given.operator)
    print(json.dumps(described, sort_keys=True)) if given.json else print_training(console(), described)
    return 0


def _source(given: PlanArguments, own: list[str]) -> TrainState:
    """The source as shapes, its dtype as it is asked for."""
    from growjax.plan.growth import shapes_of
    from growjax.record.store import stored_shapes
    from growjax.study.sources import find_state, is_checkpoint, source_config

    if given.source is None and not own:
        raise UserError("there is nothing to plan for", "name a source, or give a model by --model.d-model and others")
    if given.source is not None and own:
        raise UserError(f"{given.source} has a model and an optimizer of its own", f"leave out {' '.join(own)}")
    if given.source is None:
        model = given.model if given.dtype is None else given.model.replace(dtype=given.dtype)
        return shapes_of(TrainConfig(model, given.optim))
    path = given.source
    source = shapes_of(source_config(path)) if is_checkpoint(path) else stored_shapes(find_state(path))
    config = source.config
    if given.dtype is None:
        return source
    model = config.model.replace(dtype=given.dtype)
    if model.param_dtype != config.model.param_dtype:
        raise UserError(
            f"--dtype is {given.dtype}, and {path} is kept in {config.model.param_dtype}",
            "choose a dtype that is kept as it is",
        )
    return source.replace(config=config.replace(model=model))


def print_training(out: Console, described: Record) -> None:
    """The plan, in tables and lines."""
    best, batch, chip = described["best"], described["batch"], described["chip"]
    title = f"{named(best['mesh'])}: what a chip holds at most, in {best['phase']}"
    table = Table("kind", "GB", "", title=title)
    exact = {"activations": "shapes that JAX keeps", "temporaries": "an estimate"}
    for kind, size in best["kinds"].items():
        table.add_row(kind, f"{size / 1e9:,.4g}", exact.get(kind, "exact"))
    table.add_row("in all", f"{best['bytes'] / 1e9:,.4g}", f"of {chip['memory'] / 1e9:,.0f}")
    out.print(table)
    rows = Table("mesh", "GB a chip", "seconds a step", "products", "memory", "links", "why not",
                 title=f"every mesh of {described['chips']} {chip['name']}")  # fmt: skip
    for row in described["meshes"]:
        parts = (
            [f"{row['parts'][name]:.4g}" for name in ("products", "memory", "links")] if "parts" in row else [""] * 3
        )
        held = f"{row['bytes'] / 1e9:,.3g}" if "bytes" in row else ""
        rows.add_row(named(row["mesh"]), held, f"{row['seconds']:.4g}" if "seconds" in row else "", *parts,
                     row["why_not"], style="bold" if row["mesh"] == best["mesh"] else None)  # fmt: skip
    out.print(rows)
    for line in lines_of(described, batch):
        out.print(line, highlight=False, soft_wrap=True)


def named(mesh: dict[str, int]) -> str:
    """A mesh in words."""
    return " x ".join(f"{axis} {devices}" for axis, devices in mesh.items())


def lasting(seconds: float) -> str:
    """A time in words.

    >>> lasting(9000)
    '2.5 hours'
    """
    unit, size = next((u, s) for u, s in (("hours", 3600), ("minutes", 60), ("s", 1)) if seconds >= 2 * s or s == 1)
    return f"{seconds / size:,.3g} {unit}"


def lines_of(described: Record, batch: Record) -> list[str]:
    """What widening, selecting and training come to; seconds are estimates."""
    growth, race, training = described["widening"], described["selection"], described["training"]
    tokens = batch["size"] * batch["length"] / described["best"]["seconds"]
    old, new = described["source"]["parameters"], described["parameters"]
    where = "one chip" if set(growth["mesh"].values()) == {1} else named(growth["mesh"])
    return [
        f"{old:,} to {new:,} parameters; batches of {batch['size']} x {batch['length']} tokens in {batch['shards']} "
        f"shards, {tokens:,.0f} tokens a second; evaluations, compiling and the corpus itself come beside",
        f"widening on {where} reads {growth['read'] / 1e9:,.3g} GB and writes {growth['written'] / 1e9:,.3g}, moves "
        f"{growth['moved'] / 1e9:,.3g} to each chip in {lasting(growth['seconds'])}, and holds "
        f"{growth['peak'] / 1e9:,.3g} a chip",
        f"a selection among {race['candidates']} candidates within {race['steps']:,} steps takes "
        f"{lasting(race['seconds'])}, {race['side_by_side']} of them at a time on {race['chips_each']} of "
        f"{described['chips']} chips ({race['chip_hours']:,.3g} chip hours), and {race['disk'] / 1e9:,.3g} GB on disk",
        f"training for {training['steps']:,} steps takes {lasting(training['seconds'])}",
        f"figures of {described['chip']['name']}: {described['chip']['source']}",
    ]
