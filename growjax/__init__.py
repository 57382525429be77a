"""growjax: width growth of dense language models under exact determinism.

The public names are loaded when they are first used, so that `import growjax` imports no jax and the pins of
`growjax.runtime` can still be set:

    from growjax import runtime
    runtime.pin()
    from growjax import ModelConfig, TrainConfig, init_state, make_plan, widen
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what type checkers and editors read; `_NAMES` has the same, and a test compares the two
    from growjax import measure as measure, runtime as runtime  # noqa: I001
    from growjax.checkpoints.folder import load_checkpoint as load_checkpoint, save_checkpoint as save_checkpoint
    from growjax.config import (
        DataConfig as DataConfig,
        ModelConfig as ModelConfig,
        OptimConfig as OptimConfig,
        TrainConfig as TrainConfig,
    )
    from growjax.data.batches import as_windows as as_windows
    from growjax.digests import digest as digest
    from growjax.errors import UserError as UserError
    from growjax.grow.operator import GrowthData as GrowthData, Operator as Operator
    from growjax.grow.plan import WidthPlan as WidthPlan, default_target as default_target, make_plan as make_plan
    from growjax.grow.registry import (
        operators as operators,
        parse_operator as parse_operator,
        register_operator as register_operator,
    )
    from growjax.grow.widen import widen as widen
    from growjax.measure.inputs import MeasureInputs as MeasureInputs
    from growjax.measure.measure import Measure as Measure
    from growjax.measure.registry import measures as measures, register_measure as register_measure
    from growjax.model.decoder import forward as forward, loss as loss
    from growjax.record.rundir import RunDir as RunDir
    from growjax.record.store import load_state as load_state, save_state as save_state, state_digest as state_digest
    from growjax.streams import Streams as Streams, root_key as root_key
    from growjax.study.runner import run_study as run_study
    from growjax.study.sources import open_source as open_source, with_sources as with_sources
    from growjax.study.spec import StudySpec as StudySpec
    from growjax.train.check import make_state as make_state
    from growjax.train.interchange import from_optax as from_optax, to_optax as to_optax
    from growjax.train.loop import (
        Feed as Feed,
        Run as Run,
        RunKeys as RunKeys,
        Trace as Trace,
        advance as advance,
        run as run,
        run_keys as run_keys,
    )
    from growjax.train.optim import LawFactors as LawFactors
    from growjax.train.programs import Programs as Programs
    from growjax.train.state import (
        StepKeys as StepKeys,
        TrainState as TrainState,
        init_state as init_state,
        optimizer as optimizer,
        train_step as train_step,
    )

__version__ = "0.2.0"

_NAMES = {
    "growjax.checkpoints.folder": "load_checkpoint save_checkpoint",
    "growjax.config": "DataConfig ModelConfig OptimConfig TrainConfig",
    "growjax.data.batches": "as_windows",
    "growjax.digests": "digest",
    "growjax.errors": "UserError",
    "growjax.grow.operator": "GrowthData Operator",
    "growjax.grow.plan": "WidthPlan default_target make_plan",
    "growjax.grow.registry": "operators parse_operator register_operator",
    "growjax.grow.widen": "widen",
    "growjax.measure.inputs": "MeasureInputs",
    "growjax.measure.measure": "Measure",
    "growjax.measure.registry": "measures register_measure",
    "growjax.model.decoder": "forward loss",
    "growjax.record.rundir": "RunDir",
    "growjax.record.store": "load_state save_state state_digest",
    "growjax.streams": "Streams root_key",
    "growjax.study.runner": "run_study",
    "growjax.study.sources": "open_source with_sources",
    "growjax.study.spec": "StudySpec",
    "growjax.train.check": "make_state",
    "growjax.train.interchange": "from_optax to_optax",
    "growjax.train.loop": "Feed Run RunKeys Trace advance run run_keys",
    "growjax.train.optim": "LawFactors",
    "growjax.train.programs": "Programs",
    "growjax.train.state": "StepKeys TrainState init_state optimizer train_step",
}
"""By module: the public names that it has."""

_MODULES = ("measure", "runtime")
_WHERE = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = sorted([*_WHERE, *_MODULES])  # pyright: ignore[reportUnsupportedDunderAll]


if not TYPE_CHECKING:  # so that a type checker names what is not there

    def __getattr__(name):
        if name in _WHERE:
            return getattr(importlib.import_module(_WHERE[name]), name)
        if name in _MODULES:
            return importlib.import_module(f"growjax.{name}")
        raise AttributeError(f"module 'growjax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
