"""One changed command line after the other, over every verb, in this process."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import os
import random
import traceback
import typing
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from experiments.strangers.records import Said, called, fault_of, nothing_computed
from growjax.cli import VERBS, module_of
from growjax.config import Config

WORDS = [
    "", " ", "-", "--", "---", "=", "0", "-1", "1", "3", "1.5", "1e3", "1e400", "nan", "inf", "-inf", "9" * 25,
    "9" * 5000, "-" + "9" * 400, str(2**31), str(2**63), str(2**64), "0x10", "1_0", "６", "True", "none", "None",
    "null", "é", "\u202egnp", "\x1b[31mred", "[bold]x[/]", "[/]", "a\nb", "\t", "\x00", "\udcff", "x" * 300,
    "x" * 5000, "../..", ".", "/", "/dev/null", "nowhere", "nowhere/at/all", "*", "[a-z]*", "~", "$HOME", "%s", "{}",
    "@nowhere", "@", "receipt", "--help=", "-h=1", "--json", "exact_copy", "perturbed:sigma=nan", "perturbed:sigma=-1",
    "exact_copy+", "+", ":", "exact_copy:", "exact_copy,lockstep", "lockstep+noise:snr_db=1e99", "hf:", "hf:../x",
    "hf:a/b/c", "builtin", "dropout=99999999999", "order=1", "deterministic", "tpu", "float8", "rms", "\u0661", "1,2",
    "1 2", "--steps", "--out", "-o", "all", "0" * 16, "B1", "B99",
]  # fmt: skip
"""In place of any word: none of them names a file that is there, apart from devices and folders."""


def flags_of(kind: type, before: str = "--") -> list[str]:
    """The options of a verb's arguments, those of configurations within them included."""
    found: list[str] = []
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        name = f"{before}{field.name.replace('_', '-')}"
        if isinstance(hints[field.name], type) and issubclass(hints[field.name], Config):
            within = before if field.name == "spec" else f"{name}."
            found += flags_of(hints[field.name], within)
        else:
            found.append(name)
    return found


def honest(run: Path) -> dict[str, list[list[str]]]:
    """Command lines that would do, by verb; every path that they write is relative."""
    receipt = json.loads((run / "receipt.json").read_text())
    state = str(run / "cells" / next(cell["id"] for cell in receipt["cells"] if cell["kind"] == "source"))
    cell = next(cell["id"] for cell in receipt["cells"] if "trace" in cell["digests"])
    small = ["--model.d-model", "16", "--model.n-heads", "2", "--data.stories", "400", "--data.vocab-size", "300"]
    return {
        "train": [["--out", "made", "--steps", "10", "20", "--eval-every", "10", "--seed", "3", *small]],
        "study": [["--preset", "smoke", "--out", "made", "--operators", "exact_copy", "perturbed:sigma=0.1"],
                  ["--preset", "smoke", "--stream", "dropout=3", "--regimes", "stochastic", "--study-seed", "4"]],
        "widen": [[state, "--out", "made", "--operator", "lockstep+noise:sigma=0.1", "--to.d-model", "32"]],
        "import": [["nowhere", "--out", "made"], [state, "--out", "made", "--force"]],
        "export": [[state, "--out", "made/hf", "--dtype", "float16", "--max-shard-mb", "1"]],
        "select": [[state, "--out", "made", "--horizon", "32", "--first", "8", "--budget", "60", "--rates", "0.5",
                    "--operators", "exact_copy", "perturbed:sigma=0.1", "--to.d-model", "32"]],
        "operators": [["--only", "exact_copy", "--steps", "3", "--dialect", "layer", "--json"]],
        "audit": [[str(run), "--inject", "none"], [str(run), "--against", str(run)],
                  [str(run), "--cell", cell, "--step", "3"]],
        "report": [[str(run / "receipt.json")], [str(run), "--json"]],
        "verify": [[str(run), "--cells", "3", "--workers", "1", "--out", "made"]],
        "diff": [[str(run), str(run), "--json"], [state, state]],
        "doctor": [["--rows", "B1", "B2", "--json"]],
        "claims": [[str(run)], [str(run / "receipt.json"), "--json"]],
        "merge": [[str(run), str(run), "--out", "made"]],
    }  # fmt: skip


def changed(lines: dict[str, list[list[str]]], rng: random.Random) -> list[str]:
    """A command line with one to four changes: words gone, exchanged, doubled, cut, others; options twice, or unknown;
    another verb."""
    verb = rng.choice(list(VERBS))
    words = [verb, *rng.choice(lines[verb])]
    module = importlib.import_module(module_of(verb))
    kind: Any = next(found for name, found in vars(module).items() if name == f"{verb.title()}Arguments")
    flags = flags_of(kind)
    for _ in range(rng.choice((1, 1, 2, 3, 4))):
        at = rng.randrange(1, len(words)) if len(words) > 1 else 0
        change = rng.randrange(11)
        if change == 0 and at:
            del words[at]
        elif change == 1:
            other = rng.randrange(len(words))
            words[at], words[other] = words[other], words[at]
        elif change == 2:
            words.insert(at + 1, words[at])
        elif change == 3:
            words[at] = words[at][: rng.randrange(len(words[at]) + 1)]
        elif change == 4:
            words[at] = rng.choice(WORDS)
        elif change == 5:
            words[0] = rng.choice([*VERBS, "", "Train", "--train", "help", "-x", "étude", "\x1b[2J", "x" * 3000])
        elif change == 6:
            words += [rng.choice(["--nothing", "-z", "--", "--out.x", "--model", "--d_model", "--spec.model.d-model"])]
        elif change == 7:
            words += [f"{rng.choice(flags)}={rng.choice(WORDS)}"]
        else:
            words += [rng.choice(flags), rng.choice(WORDS)]
    return words


@contextlib.contextmanager
def computing_nothing() -> Iterator[None]:
    """Commands check all that they check, and end where they would compute."""
    with contextlib.ExitStack() as stack:
        for place in ("growjax.study.runner._opened", "growjax.grow.widen.widen", "growjax.cli.operators.measured",
                      "growjax.audit.check.Comparison", "growjax.proof.doctor.examine", "growjax.proof.bench.Bench.ask",
                      "growjax.proof.diff.make_context", "growjax.data.corpus._hub"):  # fmt: skip
            stack.enter_context(mock.patch(place, nothing_computed))
        yield


def run_line(words: list[str]) -> Said:
    """What a command line comes to; `--help` ends a process with 0."""
    try:
        return called(*words)
    except SystemExit as end:
        return Said(int(end.code or 0), "", "")


def lines(run: Path, folder: Path, seed: int, times: int) -> tuple[Counter[str], list[str]]:
    """So many changed command lines in an empty folder; exit codes by verb, and faults."""
    rng, ends, faults = random.Random(seed), Counter[str](), []
    os.chdir(folder)
    good = honest(run)
    with computing_nothing():
        for number in range(times):
            words = changed(good, rng)
            fault, code = None, "-"
            try:
                done = run_line(words)
                fault, code = fault_of(done), str(done.code)
            except Exception:
                fault = traceback.format_exc(limit=-6)
            ends[f"{words[0] if words[0] in VERBS else 'no verb'} {code}"] += 1
            if fault:
                described = " ".join(word[:60] for word in words)
                faults.append(f"seed {seed}, line {number}, {described!a}: {fault}")
    return ends, faults
