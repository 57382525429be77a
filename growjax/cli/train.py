"""`train`: a source model, its full state kept at named steps."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from growjax import runtime
from growjax.cli.arguments import Common, parse
from growjax.cli.progress import ProgressWatch
from growjax.cli.tables import console, print_sources
from growjax.config import DataConfig, ModelConfig, OptimConfig
from growjax.record.integrity import finished_receipt
from growjax.record.rundir import RunDir
from growjax.study.presets import presets
from growjax.study.spec import StudySpec

_QUICK = presets()["quick"]


@dataclasses.dataclass(frozen=True)
class TrainArguments(Common):
    """Train a source model in the stochastic regime; its states can be widened, or taken up by a study."""

    out: Path = Path("runs/train")
    """Run directory. The same command goes on with an interrupted run."""
    seed: int = 0
    steps: tuple[int, ...] = (300, 600)
    """Steps at which the full state is kept; the last one ends the training."""
    eval_every: int = 50
    """Steps between evaluations; every kept step must fall on one."""
    shards: int = 1
    """Virtual shards of a batch, spread over the devices there are."""
    model: ModelConfig = _QUICK.model
    optim: OptimConfig = _QUICK.optim
    data: DataConfig = _QUICK.data


def run(argv: list[str]) -> int:
    """Runs the verb; returns its exit code."""
    from growjax.study.runner import run_study
    from growjax.study.summary import summarise

    given = parse(TrainArguments, argv, verb="train", default=TrainArguments())
    spec = StudySpec(
        preset="train",
        model=given.model,
        optim=given.optim,
        data=given.data,
        source_seeds=(given.seed,),
        source_steps=given.steps,
        source_eval_every=given.eval_every,
        shards=given.shards,
        operators=(),
        regimes=(),
    )
    directory = RunDir(given.out)
    with ProgressWatch() as watch:
        run_study(
            spec,
            directory,
            workers=given.workers or runtime.workers(given.shards),
            force=given.force,
            watch=watch,
            keep=runtime.tokens_directory(),
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
