"""Operators leaf by leaf and part by part: the bits of the whole state."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import quick_programs
from growing import MODELS, filled

from growjax.config import ModelConfig, OptimConfig, TrainConfig
from growjax.digests import named_leaves
from growjax.grow.copying import Cloned
from growjax.grow.leafwise import Leafwise
from growjax.grow.plan import WidthPlan, dealt_plan, default_target, make_plan
from growjax.grow.registry import operators, register_operator, unregister_operator
from growjax.grow.widen import given_factors, leafwise, widen
from growjax.model.axes import ParamSpec
from growjax.model.decoder import count_params, named_params
from growjax.streams import normals_from, root_key
from growjax.train.state import TrainState

KEY = root_key(1, "study")

PARTED = ("layers", "vocab", "position")

TEXTS = [
    *(name for name, operator in operators().items() if not operator.trains),
    "perturbed:snr_db=10",
    "perturbed:sigma=0.1,cancel=both",
    "mupscale:sigma=0",
    "exact_copy+noise:cancel=none",
    "net2net+noise:snr_db=10+noise:sigma=0.1+moments:become=zeroed",
    "lockstep+rewarm",
]


def grown(functions: Leafwise, state: TrainState) -> dict[str, np.ndarray]:
    """Every parameter, each from its parts where it has some."""
    values, made = dict(named_leaves(state.params)), {}
    for path, spec, _ in named_params(state.config.model):
        leaf = values[path]
        step = 1 if spec.dims[0].axis == "layers" else 20
        parted = spec.dims[0].axis in PARTED and not functions.together(spec)
        parts = [(n, leaf[n : n + step]) for n in range(0, len(leaf), step)] if parted else [(0, leaf)]
        made[path] = np.concatenate([np.asarray(functions(path, spec, part, first)) for first, part in parts])
    return made


@pytest.fixture(scope="module")
def sources() -> dict[str, TrainState]:
    return {
        name: filled(TrainConfig(model=model.replace(n_layers=2)))
        for name, model in MODELS.items()
        if name in ("rms untied", "layer tied")
    }


def require_same_bits(state: TrainState, text: str) -> None:
    model = state.config.model
    plan = make_plan(model, default_target(model).replace(vocab_size=model.vocab_size + 8))
    wide = widen(state, plan, operator=text, key=KEY)
    own, functions = leafwise(plan, state.config.optim, operator=text, key=KEY)
    assert functions is not None and own.target == wide.config.model
    for path, value in grown(functions, state).items():
        np.testing.assert_array_equal(value, dict(named_leaves(wide.params))[path], err_msg=path)


@pytest.mark.slow
@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("name", ["rms untied", "layer tied"])
def test_parts_have_the_bits_of_the_whole(name: str, text: str, sources: dict[str, TrainState]):
    require_same_bits(sources[name], text)


def test_parts_have_the_bits_of_the_whole_in_quick_programs(sources: dict[str, TrainState]):
    with quick_programs():
        for text in ("perturbed:snr_db=10", "structured", "lemon", "zero_pad", "staged", "aki", "shrink_perturb"):
            require_same_bits(sources["rms untied"], text)
        require_same_bits(sources["layer tied"], "mupscale+noise:snr_db=10")


def test_an_operator_that_trains_or_is_registered_has_no_form_by_leaf(sources: dict[str, TrainState]):
    state = sources["rms untied"]
    plan = make_plan(state.config.model, default_target(state.config.model))

    def shifted(state: TrainState, plan: WidthPlan, *, streams: object) -> TrainState:
        """Of a package of somebody's own."""
        return state

    register_operator("shifted", shifted)
    try:
        for text in ("ligo", "shifted"):
            assert leafwise(plan, state.config.optim, operator=text, key=KEY)[1] is None
    finally:
        unregister_operator("shifted")


def test_copying_what_is_scaled_has_the_bits_of_scaling_what_is_copied(sources: dict[str, TrainState]):
    state = sources["rms untied"]
    model = state.config.model
    plan = make_plan(model, model.replace(d_model=model.d_model + 8, d_ff=model.d_ff + 3), key=root_key(5))
    clone, values = Cloned(plan), dict(named_leaves(state.params))

    def copied(leaf: np.ndarray, spec: ParamSpec) -> np.ndarray:
        for position, dim in enumerate(spec.dims):
            leaf = np.take(leaf, plan.maps[dim.axis].index, axis=position)
        return leaf

    for path, spec, _ in named_params(model):
        scaled = values[path] * jnp.asarray(clone.before_copying(spec), "float32")
        np.testing.assert_array_equal(copied(np.asarray(scaled), spec), clone(path, spec, values[path]), err_msg=path)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_part_of_a_draw_is_that_of_the_whole(dtype: str):
    shape = (3, 37, 5)
    whole = np.asarray(jax.random.normal(root_key(2), shape, dtype))
    for first in range(3):
        part = normals_from(root_key(2), (3 - first, 37, 5), dtype, first * 37 * 5)
        np.testing.assert_array_equal(whole[first:], part)
    above = normals_from(root_key(2), (2,), dtype, (1 << 32) - 1)  # a counter has 64 bits
    assert np.asarray(above)[1] == np.asarray(normals_from(root_key(2), (1,), dtype, 1 << 32))[0]
    assert np.asarray(above)[1] != whole.reshape(-1)[0]


@pytest.mark.parametrize("operator", ["exact_copy", "perturbed", "lockstep"])
def test_factors_take_no_memory_of_a_models_size(operator: str):
    """They follow from the plan alone: here of 8e12 parameters."""
    sizes = {"d_model": 2**15, "n_heads": 256, "n_kv_heads": 256, "head_dim": 128, "d_ff": 2**17, "n_layers": 600}
    model = ModelConfig(**sizes, vocab_size=2**16)
    assert count_params(model) > 8e12
    found = given_factors(dealt_plan(model, default_target(model)), OptimConfig(), operator=operator, key=KEY)
    assert (found is not None) == (operator == "lockstep")
