"""Measures: how far two models are apart, how far a state has left the cloned subspace, what a loss curve is worth.

`growjax.measure.builtin` lists those that a study takes, `growjax.measure.registry` adds other people's.
"""

from growjax.measure.curves import auc, steps_to_reach, tokens_saved
from growjax.measure.divergence import divergences
from growjax.measure.escape import activation_escape, clones_identical, gradient_escape, tree_escape
from growjax.measure.inputs import Curve, MeasureInputs
from growjax.measure.measure import Definition, Measure
from growjax.measure.preservation import Escapes, Preservation, escapes, law_parts, preservation
from growjax.measure.registry import measures, register_measure, unregister_measure

__all__ = [
    "Curve",
    "Definition",
    "Escapes",
    "Measure",
    "MeasureInputs",
    "Preservation",
    "activation_escape",
    "auc",
    "clones_identical",
    "divergences",
    "escapes",
    "gradient_escape",
    "law_parts",
    "measures",
    "preservation",
    "register_measure",
    "steps_to_reach",
    "tokens_saved",
    "tree_escape",
    "unregister_measure",
]
