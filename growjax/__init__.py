"""growjax: width growth of dense language models under exact determinism.

The public names are loaded when they are first used, so that `import growjax` imports no jax and the pins of
`growjax.runtime` can still be set:

    from growjax import runtime
    runtime.pin()
    from growjax import ModelConfig, TrainConfig, init_state, make_plan, widen
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.2.0"

_WHERE = {
    "ModelConfig": "growjax.config",
    "OptimConfig": "growjax.config",
    "DataConfig": "growjax.config",
    "TrainConfig": "growjax.config",
    "StudySpec": "growjax.study.spec",
    "TrainState": "growjax.train.state",
    "StepKeys": "growjax.train.state",
    "init_state": "growjax.train.state",
    "train_step": "growjax.train.state",
    "make_state": "growjax.train.check",
    "forward": "growjax.model.decoder",
    "loss": "growjax.model.decoder",
    "advance": "growjax.train.loop",
    "Feed": "growjax.train.loop",
    "run_keys": "growjax.train.loop",
    "as_windows": "growjax.data.batches",
    "save_state": "growjax.record.store",
    "load_state": "growjax.record.store",
    "state_digest": "growjax.record.store",
    "open_source": "growjax.study.sources",
    "with_sources": "growjax.study.sources",
    "parse_operator": "growjax.grow.registry",
    "make_plan": "growjax.grow.plan",
    "widen": "growjax.grow.widen",
    "operators": "growjax.grow.registry",
    "register_operator": "growjax.grow.registry",
    "Operator": "growjax.grow.operator",
    "GrowthData": "growjax.grow.operator",
    "measures": "growjax.measure.registry",
    "register_measure": "growjax.measure.registry",
    "Measure": "growjax.measure.measure",
    "MeasureInputs": "growjax.measure.inputs",
    "Streams": "growjax.streams",
    "root_key": "growjax.streams",
    "digest": "growjax.digests",
    "load_checkpoint": "growjax.checkpoints.folder",
    "save_checkpoint": "growjax.checkpoints.folder",
}

__all__ = [*_WHERE, "measure", "runtime"]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    if name in ("measure", "runtime"):
        return importlib.import_module(f"growjax.{name}")
    raise AttributeError(f"module 'growjax' has no attribute {name!r}")
