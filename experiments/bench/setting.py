"""What every peer of the bench is given: one model, one batch stream, one optimizer; and the loop that serves turns.

Nothing here imports jax or torch: every worker sets its own surroundings first.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from growjax.config import ModelConfig, OptimConfig, TrainConfig
from growjax.schema import Record

Figures = Record
RATIO = "their time over growjax's"
VOCAB, WINDOWS = 2048, 400
DROPOUT, DECAY, CLIP, B1, B2, EPS = 0.1, 0.1, 1.0, 0.9, 0.95, 1e-8


class Size(NamedTuple):
    """Of the model and its batch; the MLP is three times d_model wide."""

    width: int
    layers: int = 4
    batch: int = 16
    length: int = 128
    vocab: int = VOCAB
    head: int = 32
    """Length of a head."""
    bits: int = 32
    """32 computes in float32, 16 in bfloat16."""

    @property
    def tokens(self) -> int:
        """Tokens of a step."""
        return self.batch * self.length

    @property
    def flops(self) -> float:
        """Of a training step: 6 for each weight that multiplies and token, and attention's 12 L T D."""
        weights = self.layers * (4 * self.width**2 + 9 * self.width**2) + self.vocab * self.width
        return self.tokens * (6.0 * weights + 12.0 * self.layers * self.length * self.width)


def config(size: Size) -> TrainConfig:
    """growjax's own names for the model of a size, and the optimizer that every peer has."""
    heads = size.width // size.head
    model = ModelConfig(
        d_model=size.width, n_layers=size.layers, n_heads=heads, n_kv_heads=heads, head_dim=size.head,
        d_ff=3 * size.width, vocab_size=size.vocab, max_seq_len=size.length,
        dtype="bfloat16" if size.bits == 16 else "float32",
    )  # fmt: skip
    return TrainConfig(model, OptimConfig(learning_rate=1e-3, warmup_steps=10, total_steps=1000))


def windows(size: Size, count: int = WINDOWS, seed: int = 0) -> np.ndarray:
    """uint16 [count, T + 1]: tokens of a Zipf-like law, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    share = 1.0 / np.arange(1, size.vocab + 1)
    return rng.choice(size.vocab, (count, size.length + 1), p=share / share.sum()).astype(np.uint16)


class Peer(NamedTuple):
    """What a worker can be asked to do. Every function returns when the work is done."""

    steps: Callable[[int], object]
    """So many training steps under dropout, batches in random order, each gathered from the windows."""
    losses: Callable[[], list[float]]
    """Losses of the first steps without dropout, on the batches of the shared file."""
    more: dict[str, Callable[..., object]]
    """Other questions, by name."""


def serve(peer: Peer) -> None:
    """Answers one JSON question per line of stdin with one JSON line: seconds of the work, and what it gave."""
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        name, *given = json.loads(line)
        began = time.perf_counter()
        made = {"steps": peer.steps, "losses": peer.losses, **peer.more}[name](*given)
        seconds = time.perf_counter() - began
        print(json.dumps({"seconds": seconds, "made": made if name != "steps" else None}), flush=True)


def shared(path: str | Path) -> dict[str, np.ndarray]:
    """First parameters, batch rows and learning rates, as one worker wrote them for all."""
    with np.load(path) as file:
        return dict(file)
