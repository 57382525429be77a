"""`select`: the best wide start for a source, found within a budget of training steps."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.table import Table

from growjax import runtime
from growjax.cli.arguments import option_value, parse
from growjax.cli.executors import Where, chosen
from growjax.cli.progress import ProgressWatch
from growjax.cli.tables import console
from growjax.config import DataConfig, OptimConfig
from growjax.errors import UserError
from growjax.record.rundir import RunDir
from growjax.select.rows import SelectionSummary
from growjax.study.presets import presets
from growjax.study.spec import TargetWidths


@dataclasses.dataclass(frozen=True, kw_only=True)
class SelectArguments(Where):
    """Choose among ways to widen a source, for the training that is planned with it.

    Candidates race on their validation losses over rising lags, with common random numbers; one leaves where it is
    further behind than noise and the drift of orders in published studies reach. The budget is never exceeded. What is
    chosen lies in OUT/chosen: a full state to train on, to export or to widen again.
    """

    source: Annotated[Path, tyro.conf.Positional]
    """A folder that holds a state, a run directory (its last state), or a Hugging Face checkpoint."""
    out: Path = Path("runs/select")
    """Run directory. The same command goes on with an interrupted run."""
    to: TargetWidths = TargetWidths()
    optim: OptimConfig = OptimConfig()
    """The source's own where an option is not given: `select SOURCE --help` shows it. Without a source, help shows
    growjax's."""
    data: DataConfig = presets()["quick"].data
    """If not given, that of the run that the source lies in, where it was the built-in corpus; any other is named."""
    regime: Literal["deterministic", "stochastic", "order", "dropout"] = "stochastic"
    """Which random streams are live in the training that is planned."""
    horizon: int = 2000
    """Steps of training that are planned."""
    budget: int = 400
    """Training steps of the target, all candidates and replicates together, and with them those for which an operator
    trains before its candidate's step 0 (ligo: 100)."""
    first: int = 16
    """The first lag at which candidates are compared; it doubles from there."""
    eval_every: int = 8
    """Steps between evaluations."""
    replicates: int = 8
    """Of a candidate, at most."""
    operators: tuple[str, ...] = ()
    """Candidates, each NAME or NAME:option=value,..., with any parts behind it (+PART:option=value,...). If none are
    named, the paper's four families and the eleven published ways, as far as they can follow the plan and the budget
    takes what they train for before step 0."""
    rates: tuple[float, ...] = ()
    """Multiples of the learning rate at which the paper's families race as well."""
    seed: int = 1
    """Root of all randomness of the race."""
    reuse: tuple[Path, ...] = ()
    """Runs whose candidates are taken where they are those of the race: studies of the same source on the same
    stories."""


def run(argv: list[str]) -> int:
    """Runs the verb; returns its exit code."""
    from growjax.report.selection import write_selection
    from growjax.select.runner import planned, pool, run_selection
    from growjax.select.summary import beyond
    from growjax.study.selection import Selection
    from growjax.study.sources import own_data, with_sources

    given = _named(argv)
    runtime.start()
    found = own_data(given.source)
    if found is not None and found.corpus != "builtin" and option_value(argv, "--data.corpus") is None:
        raise UserError(f"the source was trained on {found.corpus}", "say what to select on with --data.corpus")
    spec = with_sources(Selection(preset="select", operators=(), data=found or given.data), [given.source])
    own = SelectArguments(source=given.source, optim=spec.optim, data=spec.data)
    given = parse(SelectArguments, argv, verb="select", default=own)  # whose optimizer options then replace
    spec = spec.replace(
        to=given.to,
        optim=given.optim,
        data=given.data,
        regimes=(given.regime,),
        budget=given.budget,
        replicates_at_most=given.replicates,
        eval_every=given.eval_every,
        operators=given.operators or pool(),
        rates=given.rates,
        study_seed=given.seed,
    )
    spec = planned(spec, horizon=given.horizon, first=given.first, named=bool(given.operators))
    directory = RunDir(given.out)
    workers, executor = chosen(given, spec.shards)
    before = set(directory.cells.glob("*")) if not given.force else set()
    with ProgressWatch() as watch:
        for name in spec.left_out:
            watch.say(f"{name} cannot follow the plan, and is no candidate")
        for name in spec.left_out_by_budget:
            watch.say(f"{name} is no candidate: {beyond(name)}")
        summary = run_selection(spec, directory, workers=workers, force=given.force, watch=watch, executor=executor,
                                keep=runtime.tokens_directory(), others=given.reuse)  # fmt: skip
        watch.phase("drawing the report", 1, 1)
        directory.check_own("report", "report/figures", "report/tables")
        write_selection(directory.report, summary)
        watch.done(1)
    if given.json:
        print(json.dumps({"directory": str(given.out), **summary}, sort_keys=True))
    else:
        print_selection(console(), given.out, summary)
        filled = sum(path not in before for path in directory.cells.iterdir())
        console().print(f"of the cells {filled} were filled by this command", highlight=False)
    return 0


def _named(argv: list[str]) -> SelectArguments:
    """The arguments as far as they are known without the source. Help is left for when its options are known, where a
    source is named."""
    try:
        return parse(SelectArguments, [word for word in argv if word not in ("-h", "--help")], verb="select")
    except UserError:
        return parse(SelectArguments, argv, verb="select")


def print_selection(out: Console, path: Path, summary: SelectionSummary) -> None:
    """The race, its answer, and how to go on."""
    from growjax.report.racing import taken

    question, answer = summary["question"], summary["answer"]
    table = Table("place", "candidate", "ran to", "replicates", "behind", "reach", "why it stopped",
                  "zero-step KL", title=f"{question['source']}, {question['regime']}: projected AUC at lag "
                  f"{question['horizon']} less the leader's (nats per token)")  # fmt: skip
    for row in summary["standings"]:
        figures = (format(x, ".4f") if x is not None else "-" for x in (row["behind"], row["reach"]))
        kl = "-" if row["kl"] is None else format(row["kl"], ".3g")
        table.add_row(str(row["place"]), row["candidate"], str(row["lag"]), str(row["replicates"]), *figures,
                      row["why"], kl)  # fmt: skip
    out.print(table)
    for left in summary["left_out"]:
        out.print(f"{left['candidate']} did not race: {left['why']}", highlight=False, soft_wrap=True)
    out.print(f"\nchosen: {answer['chosen']}", style="bold", highlight=False)
    if answer["runner_up"] is not None and answer["gap"] is not None:
        out.print(
            f"runner-up: {answer['runner_up']}, {answer['gap']:.4f} nats per token behind; noise and drift reach "
            f"{answer['reach']:.4f}",
            highlight=False,
            soft_wrap=True,
        )
    for sentence in (*summary["certain"], *summary["uncertain"]):
        out.print(sentence, highlight=False, soft_wrap=True)
    rules = "; ".join(f"{r['rule']}: {taken(r)} (place {', '.join(map(str, r['places']))})" for r in summary["rules"])
    out.print(f"plain rules would have taken: {rules}", highlight=False, soft_wrap=True)
    cells, programs = sum(summary["cells"].values()), summary["programs"]
    out.print(
        f"{answer['spent']} of {question['budget']} steps; {cells} cells, each computed once, and {programs} "
        f"training program{'s' * (programs != 1)}",
        highlight=False,
        soft_wrap=True,
    )
    out.print(f"state  {path}/chosen ({answer['state'][:12]})\nreceipt {path}/receipt.json\npage   "
              f"{path}/report/index.html", highlight=False, soft_wrap=True)  # fmt: skip
