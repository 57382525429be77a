"""bert2BERT: Chen et al. 2022, arXiv 2110.07143. Its function-preserving form is Net2Net's."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from growjax.grow.building import clone, cloned, fresh
from growjax.grow.copying import along
from growjax.grow.leafwise import LeafFunction, Leafwise, each_leaf
from growjax.grow.operator import Operator
from growjax.grow.plan import Options, WidthPlan
from growjax.grow.promises import never
from growjax.model.axes import ParamSpec
from growjax.streams import Streams
from growjax.train.state import TrainState


def aki(state: TrainState, plan: WidthPlan, *, streams: Streams) -> TrainState:
    """New output units are taken from the layer above, so that no two are alike; the function is not kept.

    Chen et al. 2022 (bert2BERT, advanced knowledge initialization, section 3.2.2), for projections and their biases.
    Norms are no projections: gain and bias are copied, each layer's own, those of queries and keys too. So is the last
    layer, and what belongs to no layer.
    """
    new = clone(state, plan)
    return fresh(new, each_leaf(_from_above(plan), new.params, plan))


def _from_above(plan: WidthPlan) -> LeafFunction:
    """All layers, projections' new outputs from the layer above."""

    def one(path: str, spec: ParamSpec, leaf: jax.Array, first: int = 0) -> jax.Array:
        layers = [i for i, d in enumerate(spec.dims) if d.axis == "layers"]
        if not layers or path.endswith("_norm_bias"):  # a norm's bias goes with its gain, which writes nothing
            return leaf
        above = jnp.minimum(jnp.arange(leaf.shape[layers[0]]) + 1, leaf.shape[layers[0]] - 1)
        new = np.zeros((1,) * leaf.ndim, bool)
        for i in spec.positions("writes"):
            if plan.maps[spec.dims[i].axis].grown:
                new = new | along(plan.maps[spec.dims[i].axis].is_new, i, leaf.ndim)
        return jnp.where(new, jnp.take(leaf, above, axis=layers[0]), leaf)

    return one


def _by_leaf(plan: WidthPlan, streams: Streams, options: Options) -> Leafwise:
    above = Leafwise((_from_above(plan),), lambda spec: spec.dims[0].axis == "layers")
    return cloned(plan, streams, options).then(above)


AKI = Operator("aki", aki, "published", "arXiv 2110.07143", never, clones=False, leafwise=_by_leaf)
