"""`study`: the whole experiment into a run directory."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import tyro

from growjax import runtime
from growjax.cli.arguments import option_value, option_values, parse
from growjax.cli.executors import Where, chosen
from growjax.cli.progress import ProgressWatch
from growjax.cli.tables import print_study
from growjax.errors import UserError
from growjax.record.integrity import finished_receipt
from growjax.record.rundir import RunDir
from growjax.study.presets import presets
from growjax.study.spec import StudySpec


@dataclasses.dataclass(frozen=True)
class StudyArguments(Where):
    """Train sources, widen them by every operator, probe and continue the candidates in every regime, rank them.

    With --source, sources that were not trained here take the place of those: states, run directories, checkpoints.
    """

    out: Path | None = None
    """Run directory; runs/PRESET if not given. The same command goes on with an interrupted run."""
    reuse: tuple[Path, ...] = ()
    """Runs whose sources that were not trained here, and whose candidates, are taken where they are this study's."""
    spec: Annotated[StudySpec, tyro.conf.arg(name="")] = StudySpec()


def run(argv: list[str]) -> int:
    """Runs the verb; returns its exit code."""
    from growjax.report.page import write_report
    from growjax.study.claims import with_claims
    from growjax.study.runner import run_study

    name = option_value(argv, "--preset") or "quick"
    known = presets()
    if name not in known:
        raise UserError(f"no preset is named {name!r}", f"choose one of {', '.join(known)}")
    spec, sources = known[name], [Path(word) for word in option_values(argv, "--source")]
    if sources:
        from growjax.study.sources import with_sources

        runtime.start()
        spec = with_sources(spec, sources)  # whose model, optimizer and tokenizer are then what options replace
    given = parse(StudyArguments, argv, verb="study", default=StudyArguments(spec=spec))
    directory = RunDir(given.out or Path("runs") / name)
    workers, executor = chosen(given, given.spec.shards)
    with ProgressWatch() as watch:
        run_study(
            given.spec,
            directory,
            workers=workers,
            force=given.force,
            watch=watch,
            keep=runtime.tokens_directory(),
            others=given.reuse,
            executor=executor,
        )
        watch.phase("drawing the report", 1, 1)
        summary = with_claims(finished_receipt(directory.path))
        write_report(directory.report, summary)
        watch.done(1)
    if given.json:
        print(json.dumps({"directory": str(directory.path), **summary}, sort_keys=True))
    else:
        print_study(directory.path, summary)
    return 0
