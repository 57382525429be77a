"""`verify`: recorded cells computed again, and compared bit for bit."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Annotated

import tyro

from growjax import runtime
from growjax.cli.arguments import parse
from growjax.cli.progress import ProgressWatch
from growjax.cli.tables import console
from growjax.errors import UserError, one_line


@dataclasses.dataclass(frozen=True)
class VerifyArguments:
    """Compute recorded cells again, from the receipt and the corpus alone, and compare them bit for bit.

    Exit codes: 0 identical; 1 different, or what was recorded is damaged; 3 not comparable here.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Run directory, or a receipt alone."""
    cells: tuple[str, ...] = ("all",)
    """all, a number (a sample of so many), or ids; their ancestors are computed in any case."""
    corpus: str | None = None
    """Where the corpus lies here, if not where the receipt has it."""
    source: tuple[Path, ...] = ()
    """Where sources lie here that were not trained by the run; a run directory has them."""
    tokenizer: Path | None = None
    """Where the tokenizer.json lies here, if it was not trained by the run; a run directory and sources have it."""
    out: Path | None = None
    """Keep the new run here, for `diff`; nothing is kept if not given."""
    workers: int = 0
    """Cells side by side; 0 takes one for each core, on accelerators one for each device."""
    json: bool = False
    """Print one JSON document on stdout, and nothing else there."""


def run(argv: list[str]) -> int:
    """Runs the verb; returns its exit code."""
    from growjax.proof.verify import described, verify

    given = parse(VerifyArguments, argv, verb="verify")
    if given.out is not None and given.out.exists():
        raise UserError(f"{given.out} is there already", "choose another --out")
    with contextlib.ExitStack() as stack:
        out = given.out or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "again"
        watch = stack.enter_context(ProgressWatch())
        verdict = verify(
            given.run,
            out,
            cells=given.cells,
            corpus=given.corpus,
            sources=given.source,
            tokenizer=given.tokenizer,
            workers=given.workers or runtime.workers(),
            watch=watch,
        )
    if given.json:
        print(json.dumps({"run": str(given.run), **described(verdict)}, sort_keys=True))
    else:
        said = f"{verdict.outcome}: {verdict.checked} of {verdict.cells} cells computed again"
        if verdict.stored:
            said += f", {verdict.stored} checked where they are stored"
        lines = [said, *verdict.notes, *([f"first difference: {verdict.difference}"] if verdict.difference else [])]
        for line in lines:
            console().print(one_line(line), highlight=False, soft_wrap=True)
    return 0 if verdict.outcome == "identical" else 1
