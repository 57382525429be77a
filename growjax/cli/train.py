"""`train`: a source model, its full state kept at named steps."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import tyro

from growjax import runtime
from growjax.cli.arguments import Common, option_value, parse
from growjax.cli.on_mesh import MeshHere, MeshOptions, on_mesh
from growjax.cli.progress import ProgressWatch
from growjax.cli.tables import console, print_sources
from growjax.config import DataConfig, ModelConfig, OptimConfig
from growjax.record.integrity import finished_receipt
from growjax.record.rundir import RunDir
from growjax.study.presets import presets
from growjax.study.spec import StudySpec

_QUICK = presets()["quick"]


@dataclasses.dataclass(frozen=True)
class TrainArguments(MeshOptions, Common):
    """Train a source model in the stochastic regime; its states can be widened, or taken up by a study.

    With --from, go on with a state, on any corpus and under any schedule: model and optimizer are the state's own, and
    only options that are given replace its optimizer's, or its dropout.
    """

    out: Path = Path("runs/train")
    """Run directory. The same command goes on with an interrupted run."""
    from_: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """A state, a run directory (its last state) or a Hugging Face checkpoint to go on with."""
    seed: int = 0
    """Root of all randomness of the training."""
    steps: tuple[int, ...] = (300, 600)
    """Steps at which the full state is kept; the last one ends the training. With --from, steps after its own."""
    eval_every: int = 50
    """Steps between evaluations; every kept step must fall on one."""
    shards: int = 1
    """Virtual shards of a batch, spread over the devices there are."""
    model: ModelConfig = _QUICK.model
    """With --from the state's own, of which dropout alone may be given."""
    optim: OptimConfig = _QUICK.optim
    """With --from the state's own where an option is not given: `train --from STATE --help` shows it."""
    data: DataConfig = _QUICK.data


def run(argv: list[str]) -> int:
    """Runs the verb; returns its exit code. Processes other than the first only compute for it."""
    with on_mesh(argv) as mesh:
        return mesh.follow() if mesh.following else _train(argv, mesh)


def _train(argv: list[str], mesh: MeshHere) -> int:
    from growjax.study.runner import run_study
    from growjax.study.summary import summarise

    start, spec = option_value(argv, "--from"), StudySpec(preset="train", operators=(), regimes=())
    default = TrainArguments()
    if start is not None:
        from growjax.study.sources import with_sources

        runtime.start()
        spec = with_sources(spec.replace(data=default.data), [Path(start)])
        default = TrainArguments(model=spec.model, optim=spec.optim, data=spec.data)
    given = parse(TrainArguments, argv, verb="train", default=default)
    spec = spec.replace(
        model=given.model,
        optim=given.optim,
        data=given.data,
        source_seeds=(given.seed,),
        source_steps=given.steps,
        source_eval_every=given.eval_every,
        shards=given.shards,
    )
    directory = RunDir(given.out)
    on = mesh.runs(given.mesh, given.shards, spec.train_config(spec.data.vocab_size).model)
    with ProgressWatch() as watch:
        run_study(
            spec,
            directory,
            workers=1 if mesh.asked else given.workers or runtime.workers(given.shards),
            force=given.force,
            watch=watch,
            keep=runtime.tokens_directory(),
            **on,
        )
    receipt = finished_receipt(directory.path)
    summary = summarise(receipt)
    states = {c["source"]: str(directory.cells / c["id"]) for c in receipt["cells"] if c["kind"] == "source"}
    if given.json:
        described = {"sources": summary["sources"], "states": states, "root": receipt["root"]}
        print(json.dumps({"directory": str(given.out), **described}, sort_keys=True))
        return 0
    out = console()
    print_sources(out, summary)
    for name, path in sorted(states.items()):
        out.print(f"{name}  {path}", highlight=False, soft_wrap=True)
    return 0
