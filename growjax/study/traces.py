"""What a cell that trains writes down of its way: a line for each step and evaluation, and their digests."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

import numpy as np

from growjax.config import canonical_json
from growjax.digests import named_leaves, total, words_hex
from growjax.record.checksums import exact, readable
from growjax.schema import Record
from growjax.train.loop import Trace
from growjax.train.state import TrainState


def trace_lines(trace: Trace, state: TrainState, start: int, every: int) -> list[Record]:
    """metrics.jsonl: the names of the leaves, a line for each step, and one for each evaluation.

    `params` and `state` are digests of the whole, `leaves` those of the leaves in the order of the first line.
    """
    names = {"params": state.params, "state": state}
    head = {"leaves": {name: [path for path, _ in named_leaves(tree)] for name, tree in names.items()}}
    steps = [
        _line("step", start + i + 1, {"loss": float(loss), "grad_norm": float(norm)}, "params", leaves)
        for i, (loss, norm, leaves) in enumerate(zip(trace.loss, trace.grad_norm, trace.params_digest, strict=True))
    ]
    evaluations = [
        _line("evaluated", start + j * every, {"loss": float(loss)}, "state", leaves)
        for j, (loss, leaves) in enumerate(zip(trace.eval_loss, trace.state_digest, strict=True))
    ]
    return [head, *steps, *evaluations]


def diverged_at(trace: Trace, start: int, every: int) -> int | None:
    """Steps behind a run when a loss was first no finite number; None where all are."""
    steps = start + np.flatnonzero(~np.isfinite(trace.loss))
    evaluated = start + every * np.flatnonzero(~np.isfinite(trace.eval_loss))
    return int(min([*steps, *evaluated])) if len(steps) + len(evaluated) else None


def divergence(trace: Trace, start: int, every: int) -> dict[str, int]:
    """What a cell's figures say of a run that diverged; nothing of another."""
    step = diverged_at(trace, start, every)
    return {} if step is None else {"diverged": step}


def _line(at: str, step: int, figures: dict[str, float], whole: str, leaves: np.ndarray) -> Record:
    digests = {whole: words_hex(total(leaves)), "leaves": words_hex(leaves)}
    return {at: step, **readable(figures), "exact": exact(figures), **digests}


def trace_digests(lines: Sequence[Record], trace: Trace, program: str) -> Record:
    """What the receipt keeps of a trace: the digest of all of it, and enough to name the first step and leaf at which
    another run parts from it (16 bits of each leaf's digest after each step)."""
    text = "".join(canonical_json(line) + "\n" for line in lines)
    return {
        "program": program,
        "trace": hashlib.sha256(text.encode()).hexdigest(),
        "params_at": base64.b64encode((trace.params_digest[..., 0] & 0xFFFF).astype("<u2").tobytes()).decode(),
        "state_at": {str(line["evaluated"]): line["state"] for line in lines if "evaluated" in line},
    }
