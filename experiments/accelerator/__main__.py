"""What an accelerator gives: the same bits or not, and how fast.

    python -m experiments.accelerator --out DIR [--budget 480] [--torch PYTHON] [--small]

| stage | does |
|---|---|
| facts | driver, versions, pins, canaries alone and beside other work |
| bits | one program in bfloat16 and one in float32, each in fresh processes without a compilation cache, alone and beside other work; the same with other flags and other ways of attention |
| bench | training steps at two widths and dtypes beside `torch.compile`, pinned and not; a pool of candidates in one program |
| suspects | what is likely to be slow, each by itself |
| studies | two studies beside other work, and their `diff`; rows of the contract |
| audit | the audit of a study made here |

`DIR/accelerator-<card>.json` is written after each stage, so what is cut off is kept; the table is printed at the end and
stands in `DIR/accelerator-<card>.md`; with `--stages` what stands there of the others is kept. Exit code 1 where a comparison fails, 3 where the budget did not reach a stage.
`--small` asks the same of a CPU, at sizes for a test.
"""  # noqa: E501

from __future__ import annotations

import dataclasses
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import tyro

from experiments.accelerator import audit, bench, bits, facts, studies, suspects
from experiments.accelerator.evidence import Evidence, Setting
from experiments.accelerator.table import markdown

STAGES: dict[str, Callable[[Evidence], None]] = {
    "facts": facts.run,
    "bits": bits.run,
    "bench": bench.run,
    "suspects": suspects.run,
    "studies": studies.run,
    "audit": audit.run,
}
ENOUGH = 30
"""Seconds that must be left for a stage to begin."""


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Gather the evidence of one accelerator."""

    out: Path = Path("artifacts")
    """Where the two files are written."""
    budget: float = 480
    """Seconds in all."""
    torch: str | None = None
    """An interpreter that has PyTorch; no comparison with it if not given."""
    small: bool = False
    """A CPU, at sizes for a test."""
    stages: tuple[str, ...] = tuple(STAGES)
    """Only these."""


def main(argv: list[str]) -> int:
    """Runs the stages; returns the exit code."""
    given = tyro.cli(Arguments, args=argv, description=__doc__)
    unknown = sorted(set(given.stages) - set(STAGES))
    if unknown:
        print(f"no stage is named {unknown[0]!r}: choose among {', '.join(STAGES)}", file=sys.stderr)
        return 2
    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        evidence = Evidence(Setting(given.small, given.torch, given.stages), given.out, Path(work), given.budget)
        for name in given.stages:
            if evidence.left() < ENOUGH:
                evidence.missed(name)
                continue
            try:
                STAGES[name](evidence)
            except Exception as error:  # the next stage may still find something
                traceback.print_exc()
                evidence.fault(name, f"{type(error).__name__}: {error}")
            evidence.say(f"after {name} {evidence.left():.0f} s are left")
        place = evidence.finish(markdown)
    print(place.read_text(encoding="utf-8"))
    if evidence.faults:
        return 1
    return 3 if evidence.not_reached else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
