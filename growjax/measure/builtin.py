"""growjax's own measures, in the order of the tables, and their definitions, in the order of the page.

The names are keys of recorded cells, and the titles and selectors' names stand in published tables: none may change.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from growjax.measure.curves import auc
from growjax.measure.escape import activation_escape, tree_escape
from growjax.measure.inputs import Curve, MeasureInputs
from growjax.measure.measure import Definition, Measure

ZERO_STEP_KL = Definition(
    "zero-step KL",
    "mean over held-out positions of Σ_v p(v) ln(p(v) / q(v)), p the source, q the widened model before its first step",
    "nats/token",
    "lower keeps more; 0 is the same function",
)
LOGITS = Definition(
    "logit RMS, logit max",
    "root of the mean square, and the largest, of the differences between the logits of source and widened model",
    "logits",
    "lower keeps more",
)
LOSS_GAP = Definition(
    "loss gap",
    "validation loss of the widened model minus that of the source, at step 0",
    "nats/token",
    "0 keeps; above 0 loses",
)
LOSS = Definition(
    "validation loss",
    "mean of −ln q(next token) over the held-out tokens, reduced in float64",
    "nats/token",
    "lower is better",
)
AUC = Definition(
    "AUC",
    "Σ ½ (L_i + L_{i+1}) (t_{i+1} − t_i) over the evaluations from step 0 to the lag, divided by the steps covered: "
    "the mean validation loss on the way",
    "nats/token",
    "lower is better",
)
AUC_AFTER_START = Definition(
    "AUC after step 0",
    "the same from the first evaluation after step 0 on, so that a bad start counts less",
    "nats/token",
    "lower is better",
)
DISTANCES = Definition(
    "KL and RMS to start, to continued",
    "as above, after the probe: against the source as it was, and against the source trained unwidened for as many "
    "steps",
    "nats/token; logits",
    "a distance, neither good nor bad",
)
ESCAPE = Definition(
    "escape",
    "‖x − Px‖ / ‖x‖, with P the orthogonal projection onto the subspace in which clones are equal; x is the weights, "
    "their change since the start, or the activations",
    "none; 0 to 1",
    "0: the copies still move as one; neither good nor bad",
)

DEFINITIONS = (ZERO_STEP_KL, LOGITS, LOSS_GAP, LOSS, AUC, AUC_AFTER_START, DISTANCES, ESCAPE)

NATS = "nats/token"


def _of_source(key: str) -> Callable[[MeasureInputs], float]:
    return lambda given: given.against_source[key]


def _of_continued(key: str) -> Callable[[MeasureInputs], float | None]:
    return lambda given: None if given.against_continued is None else given.against_continued[key]


def _if_related(fn: Callable[[MeasureInputs], float]) -> Callable[[MeasureInputs], float | None]:
    return lambda given: fn(given) if given.related else None


def _area(curve: Curve) -> float:
    return auc(curve.steps, curve.losses)


def _area_after_start(curve: Curve) -> float | None:
    return auc(curve.steps[1:], curve.losses[1:]) if len(curve.steps) > 2 else None


def _last(curve: Curve) -> float:
    return curve.losses[-1]


_weights = _if_related(lambda given: tree_escape(given.params, given.plan))
_updates = _if_related(lambda given: tree_escape(given.change, given.plan))
_activations = _if_related(lambda g: activation_escape(g.config, g.params, g.plan, g.windows[0]))


Function = Callable[..., float | None]


def _zero_step(name: str, fn: Function, title: str, unit: str, definition: Definition, **more: Any) -> Measure:
    return Measure(name, fn, "zero_step", title, unit, more.pop("direction", "smaller"), definition, **more)


def _probe(name: str, fn: Function, title: str, unit: str, definition: Definition, **more: Any) -> Measure:
    direction = more.pop("direction", "none")
    return Measure(name, fn, "probe", title, unit, direction, definition, selects="smallest", **more)


def _continuation(name: str, fn: Function, title: str, definition: Definition, column: str) -> Measure:
    return Measure(
        name, fn, "continuation", title, NATS, "smaller", definition, form="fixed", of_curve=True, column=column
    )


BUILTIN: tuple[Measure, ...] = (
    _zero_step("kl", _of_source("kl"), "KL", NATS, ZERO_STEP_KL, selects="smallest"),
    _zero_step("logit_rms", _of_source("logit_rms"), "logit RMS", "logits", LOGITS),
    _zero_step("logit_max", _of_source("logit_max"), "logit max", "logits", LOGITS),
    _zero_step("loss", _of_source("loss"), "loss", NATS, LOSS, selects="smallest", form="fixed"),
    _zero_step("loss_gap", _of_source("loss_gap"), "loss gap", NATS, LOSS_GAP, form="signed"),
    _zero_step("escape_weights", _weights, "escape in weights", "none", ESCAPE, direction="none"),
    _probe("loss", _of_source("loss"), "loss", NATS, LOSS, direction="smaller", form="fixed"),
    _probe("auc", _area, "AUC", NATS, AUC, direction="smaller", form="fixed", of_curve=True, recorded=False),
    _probe("kl_start", _of_source("kl"), "KL to start", NATS, DISTANCES),
    _probe("kl_continued", _of_continued("kl"), "KL to continued", NATS, DISTANCES,
           selector="probe KL to continued source"),
    _probe("rms_start", _of_source("logit_rms"), "RMS to start", "logits", DISTANCES),
    _probe("rms_continued", _of_continued("logit_rms"), "RMS to continued", "logits", DISTANCES,
           selector="probe RMS to continued source"),
    _probe("escape_weights", _weights, "escape in weights", "none", ESCAPE, selector="least escape in weights"),
    _probe("escape_updates", _updates, "escape in updates", "none", ESCAPE, selector="least escape in updates"),
    _probe("escape_activations", _activations, "escape in activations", "none", ESCAPE,
           selector="least escape in activations"),
    _continuation("auc", _area, "AUC", AUC, "auc_mean"),
    _continuation("auc_after_start", _area_after_start, "AUC after step 0", AUC_AFTER_START, "auc_after_start_mean"),
    _continuation("final_loss", _last, "final loss", LOSS, "final_mean"),
)  # fmt: skip
"""Every one of a place in the order of that place's table; selectors in this order too."""
