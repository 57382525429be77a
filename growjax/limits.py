"""Whether a configuration fits into this machine, by what it needs at least: asked before anything is allocated or
compiled. What passes may still be too large; what does not pass cannot run."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from growjax.config import DataConfig, ModelConfig, OptimConfig, TrainConfig
from growjax.errors import UserError
from growjax.model.decoder import count_params

CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
STORY_BYTES = 200
"""Fewer than any story of the built-in corpus has, as Python keeps it."""
LEAVES = 10
"""Fewer arrays no decoder has."""


def memory() -> int:
    """Bytes of memory that a process of this machine may have: of the accelerator, where there is one."""
    import jax

    if jax.default_backend() != "cpu":
        stats = jax.local_devices()[0].memory_stats() or {}
        if "bytes_limit" in stats:
            return stats["bytes_limit"]
    return host_memory()


def host_memory() -> int:
    """Bytes of the machine's own memory that a process may have."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in CGROUPS:
        with contextlib.suppress(OSError, ValueError):  # no such limit here, or "max"
            found.append(int(Path(path).read_text()))
    return min(found)


def least_bytes(config: TrainConfig, *, tokens: int = 0, steps: int = 0) -> int:
    """Bytes that a state takes; with `tokens` in a batch, those of a training step too, and of a trace of so many
    `steps`."""
    model, size = config.model, 8 if config.model.param_dtype == "float64" else 4
    copies = 3 if config.optim.name == "adamw" else 2  # Muon keeps second moments of some
    step = size * (count_params(model) + tokens * model.d_model) if tokens else 0
    return size * copies * count_params(model) + step + steps * 8 * (LEAVES + 1)


def require_room(config: TrainConfig, *, tokens: int = 0, steps: int = 0) -> None:
    """Raises `UserError` where `least_bytes` are more than this machine has."""
    needed, there = least_bytes(config, tokens=tokens, steps=steps), memory()
    if needed > there:
        m = config.model
        sizes = f"d_model {m.d_model}, d_ff {m.d_ff}, {m.n_heads} heads of {m.head_dim}, {m.n_layers} layers"
        batch = f", on batches of {tokens} tokens over {steps} steps," if tokens else ""
        raise UserError(
            f"a model of {sizes} and {m.vocab_size} tokens{batch} takes at least {_said(needed)} of memory, and "
            f"{_said(there)} are there",
            "choose a smaller one" + (", smaller batches or fewer steps" if tokens else ""),
        )


def require_room_for_model(model: ModelConfig) -> None:
    """`require_room` of a state of this model, with the optimizer that keeps least."""
    require_room(TrainConfig(model, OptimConfig(name="sgd")))


def require_room_for_stories(data: DataConfig) -> None:
    """Raises `UserError` where the built-in stories that are asked for are more than this machine can hold."""
    if data.corpus == "builtin" and data.stories * STORY_BYTES > memory():
        needed = _said(data.stories * STORY_BYTES)
        raise UserError(f"{data.stories} stories take at least {needed} of memory", "lower --data.stories")


def _said(count: int) -> str:
    return f"{count / 1e9:,.1f} GB"
