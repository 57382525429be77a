"""`operators`: the ways to widen, and what each preserves, measured on a small model trained here and now."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path

from growjax import runtime
from growjax.cli.arguments import parse
from growjax.cli.tables import console
from growjax.config import Dialect
from growjax.errors import UserError
from growjax.schema import Record
from growjax.study.presets import presets
from growjax.study.spec import StudySpec, TargetWidths

_SMOKE = presets()["smoke"]


@dataclasses.dataclass(frozen=True)
class OperatorsArguments:
    """List the operators with paper, options and what each preserves, measured on a small model in float64.

    What is preserved is so up to rounding: in bfloat16, to KL 1e-4 to 6e-4 nats per token on a real model.
    """

    dialect: Dialect = "rms"
    """Of the model that is measured on."""
    to: TargetWidths = TargetWidths()
    """Widths of the target; twice the source's if not given (its d_model is 16, d_ff 32, n_heads 2)."""
    steps: int = 20
    """Length of the trajectory, and of the training before it."""
    only: tuple[str, ...] = ()
    """Measure these alone, each NAME:option=value,...+PART:..."""
    json: bool = False
    """Print one JSON document on stdout, and nothing else there."""


def run(argv: list[str]) -> int:
    """Runs the verb; returns its exit code."""
    given = parse(OperatorsArguments, argv, verb="operators", default=OperatorsArguments())
    if not 1 <= given.steps <= 128:
        raise UserError(f"a trajectory of {given.steps} steps", "give --steps from 1 to 128")
    runtime.start()
    from growjax.grow.registry import operators, parse_operator, parts

    for text in given.only:
        parse_operator(text)
    rows = measured(given, list(given.only) or list(operators()))
    listed = [
        {"name": part.name, "paper": part.paper, "options": part.options, "summary": part.summary}
        for part in parts().values()
    ]
    described = {"model": {"dialect": given.dialect, "steps": given.steps}, "operators": rows, "parts": listed}
    if given.json:
        print(json.dumps(described, sort_keys=True))
    else:
        _print(described)
    return 0


def measured(given: OperatorsArguments, texts: list[str]) -> list[Record]:
    """One row for each operator: what it is, and what it preserves."""
    from rich.console import Console

    from growjax.grow.operator import GrowthData
    from growjax.grow.plan import make_plan
    from growjax.grow.registry import parse_operator
    from growjax.grow.widen import followed_plan, widen
    from growjax.measure.preservation import escapes, preservation
    from growjax.streams import Streams, root_key
    from growjax.study.context import make_feed, prepare_tokens
    from growjax.train.loop import advance, run_keys
    from growjax.train.programs import Programs
    from growjax.train.state import init_state

    model = _SMOKE.model.replace(dialect=given.dialect, dtype="float64")
    spec: StudySpec = dataclasses.replace(_SMOKE, model=model, to=given.to)
    programs, batch_size = Programs(), spec.data.batch_size
    with Console(stderr=True).status("training the source") as status, tempfile.TemporaryDirectory() as folder:
        tokens = prepare_tokens(Path(folder), spec)
        feed = make_feed(spec, tokens)
        config = spec.train_config(tokens.tokenizer().get_vocab_size())
        plan = make_plan(config.model, spec.to.of(config.model))
        streams = Streams(root_key(0))
        start, fixed = init_state(config, key=streams.at("init", 0)), run_keys(streams, ())  # as the trajectories go on
        source = advance(start, given.steps, feed=feed, run_keys=fixed, batch_size=batch_size, programs=programs)
        key, rows = root_key(spec.study_seed, "study"), []
        for number, text in enumerate(texts):
            status.update(f"measuring {text} ({number + 1} of {len(texts)})")
            operator = parse_operator(text).operator
            row: Record = {
                "name": text,
                "family": operator.family,
                "paper": operator.paper,
                "options": operator.options,
                "summary": operator.summary,
            }
            data = GrowthData(feed.train, batch_size)
            try:
                wide = widen(source, plan, operator=text, key=key, data=data)
                followed = followed_plan(plan, config.optim, operator=text, key=key)
            except UserError as error:
                rows.append({**row, "refused": error.fault})
                continue
            kept = preservation(source, wide, feed=feed, steps=given.steps, batch_size=batch_size, programs=programs)
            seen = escapes(wide, followed, feed.evaluation[0])
            rows.append({**row, **kept._asdict(), "escape": seen._asdict(), "dead": seen.dead})
    return rows


def _print(described: Record) -> None:
    from rich.table import Table

    from growjax.grow.promises import BFLOAT16

    out, steps = console(), described["model"]["steps"]
    table = Table(
        title="Largest logit difference from the source after 0, 1 and "
        f"{steps} steps, in float64 and without dropout (under 1e-10: preserved)"
    )
    for name in ("operator", "paper", "0", "1", str(steps), "escape", "what it does"):
        table.add_column(name, justify="right" if name.isdigit() or name == "escape" else "left")
    for row in described["operators"]:
        if "refused" in row:
            table.add_row(row["name"], row["paper"], "-", "-", "-", "-", f"refused here: {row['refused']}")
            continue
        marks = [_mark(row[name]) for name in ("zero_step", "first_step", "trajectory")]
        escape = f"{row['escape']['weights']:.2f}" + (" dead" if row["dead"] else "")
        table.add_row(row["name"], row["paper"], *marks, escape, row["summary"] + _options(row["options"]))
    out.print(table)
    out.print(f"preserved is up to rounding. {BFLOAT16}", highlight=False, soft_wrap=True)
    parts = Table("part", "paper", "what it does", title="Parts, to be added to an operator: NAME+PART:option=value")
    for row in described["parts"]:
        parts.add_row(row["name"], row["paper"], row["summary"] + _options(row["options"]))
    out.print(parts)


def _mark(value: float) -> str:
    return f"{value:.0e} kept" if value < 1e-10 else f"{value:.2g}"


def _options(options: Record) -> str:
    return f" ({', '.join(f'{k}={v}' for k, v in options.items())})" if options else ""
