"""Published operators, each from its formula."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from growing import BASE, KEY, MODELS, doubled, under_way

from growjax.grow.plan import default_target, make_plan
from growjax.grow.widen import widen
from growjax.train.state import TrainState

pytestmark = pytest.mark.usefixtures("quickly")

MODEL = BASE.replace(dtype="float64", n_layers=3, d_model=64, d_ff=96, tie_embeddings=False)
SIZES = (1.0, 3.0, 0.2)
"""How large each layer's weights are: what is drawn by the size of each differs from what is drawn by all."""


@pytest.fixture(scope="module")
def source() -> TrainState:
    state = under_way(MODEL)
    blocks = jax.tree.map(lambda p: p * np.reshape(SIZES, (3, *(1,) * (p.ndim - 1))), state.params["blocks"])
    return state.replace(params={**state.params, "blocks": blocks})


def rms(x: Any) -> float:
    return float(np.sqrt(np.mean(np.square(np.asarray(x)))))


def near(found: float, described: float, values: int) -> bool:
    """Within five standard deviations of the root mean square of so many normals."""
    return abs(found / described - 1) < 5 / (2 * values) ** 0.5


def noise_of(source: TrainState, text: str, without: str, k: int = 2) -> tuple[Any, Any]:
    """(noise, parameters without it)."""
    plan = make_plan(MODEL, default_target(MODEL, k))
    a, b = (widen(source, plan, operator=t, key=KEY).params for t in (text, without))
    return jax.tree.map(jnp.subtract, a, b), b


@pytest.mark.parametrize(
    ("text", "without", "ratio", "each"),
    [
        ("hypercloning_noisy:snr_db=10", "hypercloning", 10**-0.5, True),
        ("exact_copy+noise:snr_db=20", "exact_copy", 0.1, True),
        ("exact_copy+noise:sigma=0.3", "exact_copy", 0.3, True),
        ("perturbed:snr_db=20", "exact_copy", 0.1, True),
        ("perturbed:sigma=0.3", "exact_copy", 0.3, False),
    ],
)
def test_noise_is_measured_on_each_matrix(source: TrainState, text: str, without: str, ratio: float, each: bool):
    """10 log10(mean W^2 / mean N^2) is the ratio asked for, layer by layer; `perturbed`'s sigma is of all layers."""
    noise, weights = (tree["blocks"] for tree in noise_of(source, text, without))
    for name in ("wq", "wo", "w_up", "w_down"):
        for n, w in zip(noise[name], weights[name], strict=True):
            assert near(rms(n), ratio * rms(w if each else weights[name]), n.size / 2), name


@pytest.mark.parametrize("k", [2, 3, 4, 5])
def test_hypercloning_adds_and_takes_away_pair_by_pair(source: TrainState, k: int):
    """Samragh et al. 2024, section 3.3: [W + N, W - N] over the copies of an input, two by two; an odd last copy, the
    head, the table and the norms have none."""
    noise, _ = noise_of(source, "hypercloning_noisy", "hypercloning", k)
    blocks = noise["blocks"]
    for name, axis, old in (("w_up", 1, 64), ("wq", 1, 64), ("w_down", 1, 96), ("wo", 1, 4)):
        copies = np.split(np.asarray(blocks[name]), k, axis=axis)
        assert all(copy.shape[axis] == old for copy in copies)
        for plus, minus in zip(copies[0 : k - 1 : 2], copies[1::2], strict=True):
            assert np.abs(plus + minus).max() < 1e-14 and rms(plus) > 0  # float64 rounding of adding each to a weight
        assert k % 2 == 0 or not np.any(copies[-1])
    assert k < 4 or np.abs(np.split(np.asarray(blocks["w_up"]), k, axis=1)[0] - np.split(
        np.asarray(blocks["w_up"]), k, axis=1)[2]).max() > 1e-3  # fmt: skip
    for still in (noise["head"], noise["embedding"], noise["final_norm_gain"], blocks["mlp_norm_gain"]):
        assert not np.any(still)


@pytest.mark.parametrize("tied", [False, True])
def test_mupscale_perturbs_what_is_tiled_by_its_first_deviation(source: TrainState, tied: bool):
    """theta' = (tile(theta) + sigma s N) / k for matrices and the head, not divided for tables, with s the deviation
    of the first draw: 0.02, and 0.02 / sqrt(2 layers) for what writes the residual stream; whatever it is trained
    to."""
    model = dataclasses.replace(MODEL, tie_embeddings=tied)
    state, k, sigma = under_way(model) if tied else source, 2, 0.5
    plan = make_plan(model, default_target(model, k))
    a, b = (widen(state, plan, operator=f"mupscale:sigma={s}", key=KEY).params for s in (sigma, 0))
    noise = jax.tree.map(jnp.subtract, a, b)
    first, residual = 0.02, 0.02 / 6**0.5
    described = {"wq": first / k, "wk": first / k, "wv": first / k, "wo": residual / k, "w_up": first / k,
            "w_gate": first / k, "w_down": residual / k}  # fmt: skip
    for name, size in described.items():
        for layer in noise["blocks"][name]:
            assert near(rms(layer), sigma * size, layer.size), name
    assert near(rms(noise["embedding"]), sigma * first, noise["embedding"].size)
    assert tied or near(rms(noise["head"]), sigma * first / k, noise["head"].size)
    assert not np.any(noise["final_norm_gain"]) and not np.any(noise["blocks"]["attn_norm_gain"])


@pytest.mark.parametrize("tied", [False, True])
def test_mupscale_clips_muP_s_own_gradients(tied: bool):
    """In muP's parametrisation logits are H x / k. With H here divided already (or the final gain g, where the head is
    the table), d/dH_muP = (1/k) d/dH: its plain global norm counts those squares 1/k^2 times, and all others once."""
    model = dataclasses.replace(MODEL, tie_embeddings=tied)
    source, k = under_way(model), 4
    law: Any = widen(source, make_plan(model, default_target(model, k)), operator="mupscale:sigma=0", key=KEY).law
    divided = "final_norm_gain" if tied else "head"
    for path, weight in jax.tree_util.tree_flatten_with_path(law.clip)[0]:
        assert np.all(weight == (k**-2 if path[-1].key == divided else 1)), path


def test_hypercloning_is_the_published_form():
    """Samragh et al. 2024, section 3.2, written down on its own for k = 2: a layer whose input and output are tiled
    becomes [[W, W], [W, W]] / 2, one whose output alone is (the embedding) [W, W], one whose input alone is (the
    head) [W; W] / 2; norms and biases are tiled."""
    for name in ("rms untied", "layer untied"):
        source = under_way(MODELS[name].replace(dtype="float64"))
        wide = widen(source, doubled(source), operator="hypercloning", key=KEY)
        old, new = source.params["blocks"], wide.params["blocks"]
        twice = partial(np.concatenate, axis=-1)
        for leaf in ("w_up", "w_down", *(["w_gate"] if "w_gate" in old else [])):
            for w, v in zip(old[leaf], new[leaf], strict=True):
                assert np.array_equal(v, np.block([[w, w], [w, w]]) / 2), leaf
        for leaf in ("wq", "wk", "wv"):  # [layers, embed, heads, head_dim]: heads are tiled whole
            flat = [w.reshape(w.shape[0], -1) for w in old[leaf]]
            for w, v in zip(flat, new[leaf], strict=True):
                assert np.array_equal(v.reshape(v.shape[0], -1), np.block([[w, w], [w, w]]) / 2), leaf
        for w, v in zip(old["wo"], new["wo"], strict=True):
            flat = w.reshape(-1, w.shape[-1])
            assert np.array_equal(v.reshape(-1, v.shape[-1]), np.block([[flat, flat], [flat, flat]]) / 2)
        for leaf in ("attn_norm_gain", "mlp_norm_gain", "b_up", "bo", "b_down", "attn_norm_bias"):
            if leaf in old:
                assert np.array_equal(new[leaf], twice([old[leaf], old[leaf]])), leaf
        for leaf in ("embedding", "final_norm_gain", "positions"):
            if leaf in source.params:
                assert np.array_equal(wide.params[leaf], twice([source.params[leaf]] * 2)), leaf
        assert np.array_equal(wide.params["head"], twice([source.params["head"]] * 2) / 2)
        assert not any(np.any(leaf) for leaf in jax.tree.leaves((wide.opt_state.mu, wide.opt_state.nu)))


def test_mupscale_is_the_published_form():
    """arXiv 2602.10545, written down on its own for k = 2 in muP's parametrisation, where the head keeps its weights
    and the logits are divided by k: there every first moment is m/k and every second v/k^2; hidden matrices have lr/k
    and eps/k and wd k, embeddings, gains and biases lr, eps/k and wd. Here the head is H = H_muP / k, so that its
    gradient, and with it its moments and epsilon, are k times as large, its rate is 1/k of muP's, and its squares
    count 1/k^2 times in the global norm."""
    k = 2
    source = under_way(MODELS["rms untied"].replace(dtype="float64"))
    wide = widen(source, doubled(source), operator="mupscale:sigma=0", key=KEY)
    law: Any = wide.law
    assert law is not None

    def tile(x: np.ndarray, like: np.ndarray) -> np.ndarray:
        return np.tile(np.asarray(x), [n // m for n, m in zip(like.shape, np.shape(x), strict=True)])

    hidden = {"wq", "wk", "wv", "wo", "w_up", "w_down", "w_gate"}
    shared = {"q_gain", "k_gain"}  # over a head's own positions, which do not grow

    def check(path: Any, w: Any, new: Any, m: Any, new_m: Any, v: Any, new_v: Any, lr: Any, decay: Any, eps: Any):
        name = path[-1].key
        weight, size = (1 / k if name in hidden | {"head"} else 1), (1 if name in shared | {"head"} else 1 / k)
        np.testing.assert_array_equal(new, tile(w, new) * weight, err_msg=name)
        # float64: 1/k by one product of factors here and another there, an ulp apart
        # float64: a product of factors here and one factor there
        np.testing.assert_allclose(new_m, tile(m, new) * size, rtol=1e-15, err_msg=name)
        np.testing.assert_allclose(new_v, tile(v, new) * size**2, rtol=1e-15, err_msg=name)
        assert np.all(lr == weight) and np.all(decay == 1 / weight) and np.all(eps == size), name

    a, b = source.opt_state, wide.opt_state
    trees = (wide.params, a.mu, b.mu, a.nu, b.nu, law.lr, law.decay, law.eps)
    jax.tree_util.tree_map_with_path(check, source.params, *trees)
    for path, leaf in jax.tree_util.tree_flatten_with_path(law.clip)[0]:  # muP's own gradients, clipped plainly
        assert np.all(leaf == (1 / k**2 if path[-1].key == "head" else 1)), path


def test_aki_takes_projections_from_the_layer_above_and_leaves_norms():
    """Chen et al. 2022, section 3.2.2: new outputs are the next layer's. A norm's gain and bias are its own layer's."""
    model = MODELS["layer untied"].replace(n_layers=3, qk_norm=True, qk_norm_over="all")
    source = under_way(model)
    aki, clone = (widen(source, doubled(source), operator=o, key=KEY).params["blocks"] for o in ("aki", "exact_copy"))
    for name in ("attn_norm_gain", "attn_norm_bias", "mlp_norm_gain", "mlp_norm_bias", "q_gain", "k_gain"):
        np.testing.assert_array_equal(aki[name], clone[name], err_msg=name)
    for name, axis in (("wq", 2), ("bq", 1), ("bk", 1), ("bo", 1), ("w_up", 2), ("b_up", 1), ("b_down", 1)):
        (old, new), (own, copied) = (np.split(np.asarray(tree[name]), 2, axis=axis) for tree in (aki, clone))
        np.testing.assert_array_equal(old, own, err_msg=name)
        np.testing.assert_array_equal(new, copied[[1, 2, 2]], err_msg=name)
