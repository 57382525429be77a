"""Derivatives that are written by hand are those of the plain formulas, which autodiff takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from growjax.model import attention, embedding, layers, loss
from growjax.model.attention import causal_attention
from growjax.model.platforms import by_platform
from growjax.model.products import project

pytestmark = pytest.mark.usefixtures("quickly")

EPS = 1e-3


def normals(*shape: int, number: int = 0) -> jax.Array:
    """Float64 normals."""
    return jnp.asarray(np.random.default_rng(number).normal(size=shape))


def plain_rms(x: jax.Array, gain: jax.Array) -> jax.Array:
    return x / jnp.sqrt(jnp.mean(x**2, axis=-1, keepdims=True) + EPS) * gain


def plain_layer(x: jax.Array, gain: jax.Array, bias: jax.Array) -> jax.Array:
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    return centred / jnp.sqrt(jnp.mean(centred**2, axis=-1, keepdims=True) + EPS) * gain + bias


def plain_attention(q: jax.Array, k: jax.Array, v: jax.Array, reach: int = 99, cap: float | None = None) -> jax.Array:
    scores = jnp.einsum("btgrk,bsgk->bgrts", q, k) / np.sqrt(q.shape[-1])
    scores = scores if cap is None else cap * jnp.tanh(scores / cap)
    seen = np.tril(np.ones(scores.shape[-2:], bool)) & ~np.tril(np.ones(scores.shape[-2:], bool), -reach)
    return jnp.einsum("bgrts,bsgk->btgrk", jax.nn.softmax(jnp.where(seen, scores, -jnp.inf)), v)


def plain_loss(x: jax.Array, head: jax.Array, cap: float | None = None) -> jax.Array:
    logits = x @ head.T if cap is None else cap * jnp.tanh(x @ head.T / cap)
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, TARGETS))


TARGETS = jnp.asarray(np.random.default_rng(9).integers(0, 7, 300))
CASES: dict[str, tuple[Callable[..., Any], Callable[..., Any], tuple[jax.Array, ...]]] = {
    "rms norm": (lambda x, g: layers.rms_norm(x, g, EPS), plain_rms, (normals(2, 3, 8), normals(8, number=1))),
    "layer norm": (
        lambda x, g, b: layers.layer_norm(x, g, b, EPS),
        plain_layer,
        (normals(2, 3, 8), normals(8, number=1), normals(8, number=2)),
    ),
    "swiglu": (layers.swiglu, lambda gate, up: jax.nn.silu(gate) * up, (normals(4, 9), normals(4, 9, number=1))),
    "geglu": (
        layers.geglu,
        lambda gate, up: jax.nn.gelu(gate, approximate=True) * up,
        (normals(4, 9), normals(4, 9, number=1)),
    ),
    "silu": (layers.silu, jax.nn.silu, (normals(4, 9),)),
    "gelu_erf": (layers.gelu_erf, lambda x: jax.nn.gelu(x, approximate=False), (normals(4, 9),)),
    "gelu": (layers.gelu, lambda x: jax.nn.gelu(x, approximate=True), (normals(4, 9),)),
    "a wide projection": (project, lambda x, w: jnp.tensordot(x, w, 1), (normals(2, 3, 4), normals(4, 3, 5, number=1))),
    "a narrow projection": (
        lambda x, w: project(x, w, 2),
        lambda x, w: jnp.tensordot(x, w, 2),
        (normals(2, 3, 4), normals(3, 4, 2, number=1)),
    ),
    "attention": (
        causal_attention,
        plain_attention,
        (normals(2, 5, 2, 3, 4), normals(2, 5, 2, 4, number=1), normals(2, 5, 2, 4, number=2)),
    ),
    "attention in a window under a cap": (
        lambda *x: causal_attention(*x, reach=jnp.asarray(3, jnp.int32), cap=0.7),
        lambda *x: plain_attention(*x, reach=3, cap=0.7),
        (normals(2, 5, 2, 3, 4), normals(2, 5, 2, 4, number=1), normals(2, 5, 2, 4, number=2)),
    ),
    "rms norm of all": (
        lambda x, g: layers.rms_norm_of_all(x, g, EPS),
        lambda x, g: plain_rms(x.reshape(2, 3, 8), g.reshape(8)).reshape(x.shape),
        (normals(2, 3, 2, 4), normals(2, 4, number=1)),
    ),
    "the loss under a cap": (
        lambda x, h: loss.mean_loss(x, h, TARGETS, 1.5),
        lambda x, h: plain_loss(x, h, 1.5),
        (normals(300, 6), normals(7, 6, number=1)),
    ),
    "the loss in chunks": (  # of 128 rows, the last one shorter
        lambda x, h: loss.mean_loss(x, h, TARGETS),
        plain_loss,
        (normals(300, 6), normals(7, 6, number=1)),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_own_derivatives_are_autodiff_s(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loss, "CHUNK", 1)
    ours, plain, inputs = CASES[name]
    (a, back_a), (b, back_b) = jax.vjp(ours, *inputs), jax.vjp(plain, *inputs)
    assert a.shape == b.shape and a.dtype == b.dtype == jnp.float64
    g = normals(*a.shape, number=5)
    for mine, theirs in zip((a, *back_a(g)), (b, *back_b(g)), strict=True):
        # float64: sums of at most 300 terms of order 1, in another order
        assert mine.shape == theirs.shape and float(jnp.max(jnp.abs(mine - theirs))) < 1e-13


def test_the_loss_s_value_alone_is_the_same():
    x, head = normals(300, 6), normals(7, 6, number=1)
    alone = loss.mean_loss(x, head, TARGETS)
    assert abs(float(alone - jax.value_and_grad(loss.mean_loss)(x, head, TARGETS)[0])) < 1e-14  # float64 rounding


def test_a_word_of_dropout_serves_four_quarters_of_the_axis():
    key = jax.random.key(3)
    for size in (6, 7):
        words = np.asarray(jax.random.bits(key.copy(), (5, (size + 3) // 4), jnp.uint64))
        quarters = np.concatenate([words >> shift & 0xFFFF for shift in (0, 16, 32, 48)], axis=-1)[:, :size]
        x = normals(5, size)
        expected = np.where(quarters >= round(0.3 * 65536), x * (65536 / (65536 - round(0.3 * 65536))), 0)
        assert np.array_equal(layers.dropout(x, 0.3, key=jax.random.key(3)), expected)


# What other platforms compute instead, computed here: the same formulas, in another order.

ELSEWHERE: dict[str, tuple[Callable[..., Any], Callable[..., Any], tuple[Any, ...]]] = {
    "embedding": (
        lambda rows, g: embedding.gradient_by_product(7, rows, g),
        lambda rows, g: embedding._by_scatter(7, rows, g),
        (TARGETS[:, None], normals(300, 5)),
    ),
    "loss": (loss._both_elsewhere, loss._both, (normals(300, 6), normals(7, 6, number=1), TARGETS)),
    "loss under a cap": (
        lambda *x: loss._both_elsewhere(*x, cap=1.5),
        lambda *x: loss._both(*x, cap=1.5),
        (normals(300, 6), normals(7, 6, number=1), TARGETS),
    ),
    "attention in a window under a cap": (
        lambda q, k, v, g: _both_ways(attention.WAYS["scores"], q, k, v, g),
        lambda q, k, v, g: _both_ways((attention._some_forward, attention._some_backward), q, k, v, g),
        (*(normals(2, 5, 2, *rest, number=n) for n, rest in enumerate(((3, 4), (4,), (4,), (3, 4)))),),
    ),
    "loss's value": (loss._value_elsewhere, loss._value, (normals(300, 6), normals(7, 6, number=1), TARGETS)),
    **{
        f"attention by {way}": (
            lambda q, k, v, g, way=way: (
                attention.WAYS[way][0](q, k, v)[0],
                *_backward(attention.WAYS[way], q, k, v, g),
            ),
            lambda q, k, v, g: (
                attention._some_forward(q, k, v)[0],
                *_backward((attention._some_forward, attention._some_backward), q, k, v, g),
            ),
            (*(normals(2, 5, 2, *rest, number=n) for n, rest in enumerate(((3, 4), (4,), (4,), (3, 4)))),),
        )
        for way in ("scores", "xla")
    },
}


def _both_ways(way: Any, q: jax.Array, k: jax.Array, v: jax.Array, g: jax.Array) -> tuple[jax.Array, ...]:
    own: dict[str, Any] = {"reach": jnp.asarray(3, jnp.int32), "cap": 0.7}
    out, level = way[0](q, k, v, **own)
    return (out, *way[1](q, k, v, out, level, g, **own))


def _backward(way: Any, q: jax.Array, k: jax.Array, v: jax.Array, g: jax.Array) -> tuple[jax.Array, ...]:
    return way[1](q, k, v, *way[0](q, k, v), g)


@pytest.mark.parametrize("chunk", [1, 1 << 26])
@pytest.mark.parametrize("name", ELSEWHERE)
def test_other_platforms_compute_the_same(name: str, chunk: int, monkeypatch: pytest.MonkeyPatch):
    """In one piece and in many, the last one shorter."""
    monkeypatch.setattr(loss, "CHUNK_ELSEWHERE", chunk)
    monkeypatch.setattr(embedding, "ONE_HOT", max(chunk, 7 * 45))
    there, here, inputs = ELSEWHERE[name]
    for a, b in zip(jax.tree.leaves(there(*inputs)), jax.tree.leaves(here(*inputs)), strict=True):
        # float64: sums of at most 300 terms of order 1, in another order; the library's attention is in float32
        far = 1e-5 if name == "attention by xla" else 1e-13
        assert a.shape == b.shape and a.dtype == b.dtype and float(jnp.max(jnp.abs(a - b))) < far


def test_the_gradient_of_a_table_counts_every_token_once():
    """Whole numbers, so that there is one answer in any order; a token may count from the end."""
    tokens = jnp.array([[0, 6, -1], [2, 2, 2]])
    g = jnp.asarray(np.random.default_rng(4).integers(-8, 9, (2, 3, 5)), jnp.float32)
    expected = np.zeros((7, 5))
    np.add.at(expected, np.asarray(tokens), np.asarray(g))
    table = normals(7, 5).astype(jnp.float32)
    value, back = jax.vjp(lambda t: embedding.look_up(t, tokens), table)
    assert np.array_equal(value, table[tokens]) and np.array_equal(back(g)[0], expected)
    rows = (tokens % 7)[..., None]
    assert np.array_equal(embedding.gradient_by_product(7, rows, g), expected)


def test_a_choice_by_platform_leaves_no_trace_in_a_program():
    def plain(x: jax.Array) -> jax.Array:
        return jnp.sin(x) * 2

    def chosen(x: jax.Array) -> jax.Array:
        return by_platform(x, cpu=plain, other=lambda x: jnp.cos(x) * 3)

    x = normals(3)
    text = jax.jit(chosen).lower(x).as_text().replace("jit_chosen", "jit_plain")
    assert text == jax.jit(plain).lower(x).as_text()
    there = jax.jit(chosen).trace(x).lower(lowering_platforms=("cuda",)).as_text()
    assert "stablehlo.cosine" in there and "sine(" not in there.replace("cosine", "")
    assert np.array_equal(chosen(x), plain(x)) and np.array_equal(jax.vmap(chosen)(x), plain(x))
    with pytest.raises(TypeError, match="a CPU's way gives"):
        by_platform(x, cpu=plain, other=lambda x: x[0])
