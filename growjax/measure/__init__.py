"""Measures: how far two models are apart, how far a state has left the cloned subspace, what a loss curve is worth."""

from growjax.measure.compare import compare
from growjax.measure.curves import auc, steps_to_reach, tokens_saved
from growjax.measure.escape import activation_escape, clones_identical, gradient_escape, tree_escape
from growjax.measure.preservation import Escapes, Preservation, escapes, law_parts, preservation

__all__ = [
    "Escapes",
    "Preservation",
    "activation_escape",
    "auc",
    "clones_identical",
    "compare",
    "escapes",
    "gradient_escape",
    "law_parts",
    "preservation",
    "steps_to_reach",
    "tokens_saved",
    "tree_escape",
]
