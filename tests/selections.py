"""Selections for tests: a summary made up of a race on curves from a formula, and small ones of a smoke source."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from growjax.record.rundir import RunDir
from growjax.select.race import Rules, Verdict, ladder, race
from growjax.select.runner import planned
from growjax.select.trust import measured_from, outlook, published
from growjax.study.presets import presets
from growjax.study.selection import Selection
from growjax.study.sources import with_sources

NAMES = ("exact_copy", "perturbed", "asymmetric_reset", "structured", "net2net", "aki", "lemon", "zero_pad")
EVERY = 8
SMOKE = presets()["smoke"]
RACING = ("exact_copy", "perturbed", "structured", "aki", "hypercloning")
OPEN = {"roots": ["0" * 64], "regimes": {"stochastic": [{"ratio": 1 / 8, "slope": 1.0, "drift": 1.0, "noise": 0.01}]}}
"""A table under which nothing is known of a horizon from an early lag: nobody is ever separated."""


def curve(place: int, replicate: int, steps: int) -> list[float]:
    """Losses on the grid up to a step: five that are hard to order, and the rest far behind."""
    start, end = (4.0, 2.4 + 0.1 * place) if place > 4 else (2.9 + 0.003 * place, 2.0 - 0.006 * place)
    own = 0.004 * math.sin(7 * place + 3 * replicate)
    return [end + own + (start - end) * math.exp(-s / (60 + place)) for s in range(0, steps + 1, EVERY)]


def raced(names: tuple[str, ...], budget: int, horizon: int) -> tuple[Verdict, dict[tuple[str, int], list[float]]]:
    """The race's verdict, and the curves that it asked for."""
    rules = Rules(horizon, budget, ladder(horizon, EVERY, 16), EVERY)
    running = race(names, rules, lambda lag: outlook(published(), "stochastic", lag, horizon))
    curves: dict[tuple[str, int], list[float]] = {}
    request = next(running)
    while True:
        curves |= {(name, r): curve(names.index(name), r, request.lag) for name, r in request.places}
        try:
            request = running.send(curves)
        except StopIteration as stop:
            return stop.value, curves


def made_up(names: tuple[str, ...] = NAMES, budget: int = 1200, horizon: int = 512) -> dict[str, Any]:
    """A summary like `growjax.select.summary.summarise_selection` gives it."""
    verdict, curves = raced(names, budget, horizon)
    gone = {one.candidate: one for one in verdict.left}
    standings = []
    for place, name in enumerate(verdict.order, 1):
        runs = [losses for (candidate, _), losses in sorted(curves.items()) if candidate == name]
        together = list(zip(*runs, strict=False))
        out = gone.get(name)
        standings.append({
            "candidate": name, "place": place, "lag": EVERY * (max(map(len, runs)) - 1), "replicates": len(runs),
            "behind": out.behind if out else verdict.behind[name], "reach": out.reach if out else verdict.reach,
            "why": out.why if out else "stayed" if place > 1 else "chosen", "kl": 10.0**-place, "loss": runs[0][0],
            "curve": [[EVERY * i, math.fsum(at) / len(at)] for i, at in enumerate(together)],
            "low": [min(at) for at in together], "high": [max(at) for at in together],
        })  # fmt: skip
    lags = ladder(horizon, EVERY, 16)
    seen = {lag: outlook(published(), "stochastic", lag, horizon)._asdict() for lag in lags}
    model = {"d_model": 64, "n_layers": 2, "n_heads": 4, "d_ff": 192, "parameters": 131_000}
    steps = sum(asked.steps for asked in verdict.requests)
    return {
        "title": "Which wide start? stories, 64 to 128",
        "question": {"source": "0a1b2c3d-step600", "regime": "stochastic", "horizon": horizon, "budget": budget,
                     "candidates": len(names), "eval_every": EVERY},
        "answer": {"chosen": verdict.order[0], "cell": "40362d54a8002ad2", "state": "ca" * 32,
                   "runner_up": verdict.order[1] if len(names) > 1 else None, "gap": verdict.gap,
                   "reach": verdict.reach, "separated": verdict.separated, "lag": verdict.lag,
                   "replicates": verdict.replicates, "spent": verdict.spent},
        "certain": [f"{verdict.order[-1]} was further behind than noise and drift reach."],
        "uncertain": [f"The race ended at lag {verdict.lag} of {horizon}."],
        "standings": standings,
        "left_out": [{"candidate": "hypercloning", "why": "its state is that of aki"}],
        "rungs": [{"lag": asked.lag, "candidates": len({name for name, _ in asked.places}),
                   "replicates": 1 + max(r for _, r in asked.places), "steps": asked.steps, **seen[asked.lag]}
                  for asked in verdict.requests],
        "rules": [{"rule": "exact copy", "candidates": ["exact_copy"],
                   "places": [verdict.order.index("exact_copy") + 1]}],
        "outlooks": [{"lag": lag, **seen[lag]} for lag in lags],
        "measured_from": measured_from(published(), "stochastic", horizon),
        "trust": ["63" * 32, "5f" * 32],
        "train_options": ["--data.stories", "50000", "--data.batch-size", "16"],
        "run": {
            "preset": "select", "corpus": "stories/*.txt", "corpus_digest": "ab" * 32, "tokens_train": 812_345,
            "tokens_validation": 40_960, "vocab_size": 512, "tokenizer": "", "unigram_entropy": 5.31,
            "source_model": model, "target_model": model | {"d_model": 128, "d_ff": 384, "parameters": 459_000},
            "optimizer": {"name": "adamw", "learning_rate": 3e-3}, "batch_size": 16, "seq_len": 64,
            "replicates": {"stochastic": 8}, "pinned": True, "cells": 40, "root": "0f" * 32, "given": ["0a1b2c3d" * 8],
            "environment": {"jaxlib": "0.10.2", "pins": {"NPROC": "1"}},
        },
        "source": {"name": "0a1b2c3d-step600", "seed": None, "step": 600, "validation_loss": 2.9,
                   "unigram_entropy": 5.31, "curve": [[600, 2.9]]},
        "cells": {"candidate": len(names) + 1, "data": 1, "given": 1, "rung": len(verdict.requests)},
        "cost": [{"kind": "rung", "cells": 29, "source_steps": 0, "target_steps": steps, "flops": steps * 1e9}],
        "making": [],
        "programs": 3,
        "notes": ["Source 0a1b2c3d-step600 was not trained here."],
    }  # fmt: skip


def smoke_source(run: Path) -> Path:
    """The source state of the smoke run at step 10."""
    cells = RunDir(run).receipt()["cells"]
    return run / "cells" / next(c["id"] for c in cells if c["source"] == "seed0-step10" and c["kind"] == "source")


def asked(source: Path, budget: int = 60, *, named: bool = True, **changes: Any) -> Selection:
    """A selection of a smoke source: rungs at 4, 8, 16, 32."""
    spec = Selection(preset="select", operators=RACING, regimes=("stochastic",), budget=budget, eval_every=4,
                     data=SMOKE.data)  # fmt: skip
    return planned(with_sources(spec, [source]).replace(**changes), horizon=32, first=4, table=OPEN, named=named)
