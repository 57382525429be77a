"""The parts of a block, as functions of their arguments. Shapes stand behind the names: B batch, T query and S key
positions, D d_model, G kv heads, R query heads per kv head, K head_dim, F d_ff, V vocabulary.

Norms and activations have derivatives of their own, which save what they are given and compute the rest again: left
to itself XLA keeps every intermediate, or computes the dear ones in each place that reads them.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from growjax.model.products import after


def rsqrt(x: jax.Array) -> jax.Array:
    """1 / sqrt(x). Every root of the model is this one."""
    return jax.lax.rsqrt(x)


def _wide(x: jax.Array) -> jax.Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _mean(x: jax.Array) -> jax.Array:
    return jnp.mean(x, axis=-1, keepdims=True)


def _rows(x: jax.Array) -> jax.Array:
    """Summed over all axes but the last; as a matrix, for one pass over memory."""
    return jnp.sum(x.reshape(-1, x.shape[-1]), axis=0)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def rms_norm(x: jax.Array, gain: jax.Array, eps: float) -> jax.Array:
    """RMSNorm over the last axis (Zhang & Sennrich 2019, arXiv 1910.07467, eq. 4), in at least float32."""
    return _rms_forward(x, gain, eps)[0]


def _rms_forward(x: jax.Array, gain: jax.Array, eps: float) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    scale = rsqrt(_mean(jnp.square(_wide(x))) + eps)
    return (_wide(x) * scale * gain).astype(x.dtype), (x, gain, scale)


def _rms_backward(eps: float, saved: tuple[jax.Array, ...], g: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, gain, scale = saved
    normal, g = _wide(x) * scale, _wide(g)
    inner = g * gain
    dx = scale * (inner - normal * _mean(inner * normal))
    return dx.astype(x.dtype), _rows(g * normal).astype(gain.dtype)


rms_norm.defvjp(_rms_forward, _rms_backward)


def rms_norm_of_all(x: jax.Array, gain: jax.Array, eps: float) -> jax.Array:
    """`rms_norm` over the last two axes together, under a gain of both."""
    return jnp.reshape(rms_norm(x.reshape(*x.shape[:-2], -1), gain.reshape(-1), eps), x.shape)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def layer_norm(x: jax.Array, gain: jax.Array, bias: jax.Array, eps: float) -> jax.Array:
    """LayerNorm over the last axis (Ba et al. 2016, arXiv 1607.06450, eq. 4), in at least float32."""
    return _layer_forward(x, gain, bias, eps)[0]


def _layer_forward(
    x: jax.Array, gain: jax.Array, bias: jax.Array, eps: float
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    mean = _mean(_wide(x))
    centred = _wide(x) - mean
    scale = rsqrt(_mean(jnp.square(centred)) + eps)
    return (centred * scale * gain + bias).astype(x.dtype), (x, gain, mean, scale)


def _layer_backward(eps: float, saved: tuple[jax.Array, ...], g: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    x, gain, mean, scale = saved
    normal, g = (_wide(x) - mean) * scale, _wide(g)
    inner = g * gain
    dx = scale * (inner - _mean(inner) - normal * _mean(inner * normal))
    return dx.astype(x.dtype), _rows(g * normal).astype(gain.dtype), _rows(g).astype(gain.dtype)


layer_norm.defvjp(_layer_forward, _layer_backward)


@jax.custom_vjp
def swiglu(gate: jax.Array, up: jax.Array) -> jax.Array:
    """silu(gate) * up (Shazeer 2020, arXiv 2002.05202, eq. 6), one by one."""
    return gate * jax.nn.sigmoid(gate) * up


def _swiglu_backward(saved: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array, jax.Array]:
    gate, up = after(saved[0], g), saved[1]  # or XLA keeps the sigmoid from the forward pass
    share = jax.nn.sigmoid(gate)
    return g * up * share * (1 + gate * (1 - share)), g * gate * share


swiglu.defvjp(lambda gate, up: (swiglu(gate, up), (gate, up)), _swiglu_backward)


@jax.custom_vjp
def silu(x: jax.Array) -> jax.Array:
    """x sigmoid(x) (Hendrycks & Gimpel 2016, arXiv 1606.08415, section 2)."""
    return x * jax.nn.sigmoid(x)


def _silu_backward(x: jax.Array, g: jax.Array) -> tuple[jax.Array]:
    x = after(x, g)
    share = jax.nn.sigmoid(x)
    return (g * share * (1 + x * (1 - share)),)


silu.defvjp(lambda x: (silu(x), x), _silu_backward)


@jax.custom_vjp
def gelu(x: jax.Array) -> jax.Array:
    """GELU by its tanh formula (Hendrycks & Gimpel 2016, arXiv 1606.08415, section 2)."""
    return 0.5 * x * (1 + _gelu_tanh(x))


_SLOPE, _CUBE = (2 / np.pi) ** 0.5, 0.044715


def _gelu_tanh(x: jax.Array) -> jax.Array:
    return jnp.tanh(float(_SLOPE) * (x + _CUBE * x * x * x))


def _gelu_slope(x: jax.Array) -> jax.Array:
    return float(_SLOPE) * (1 + 3 * _CUBE * x * x)


def _gelu_backward(x: jax.Array, g: jax.Array) -> tuple[jax.Array]:
    x = after(x, g)
    bent = _gelu_tanh(x)
    slope = _gelu_slope(x)
    return (g * 0.5 * (1 + bent + x * (1 - bent * bent) * slope),)


gelu.defvjp(lambda x: (gelu(x), x), _gelu_backward)


@jax.custom_vjp
def geglu(gate: jax.Array, up: jax.Array) -> jax.Array:
    """gelu(gate) * up (Shazeer 2020, arXiv 2002.05202, eq. 6), one by one."""
    return 0.5 * gate * (1 + _gelu_tanh(gate)) * up


def _geglu_backward(saved: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array, jax.Array]:
    gate, up = after(saved[0], g), saved[1]
    bent, slope = _gelu_tanh(gate), _gelu_slope(gate)
    return g * up * 0.5 * (1 + bent + gate * (1 - bent * bent) * slope), g * 0.5 * gate * (1 + bent)


geglu.defvjp(lambda gate, up: (geglu(gate, up), (gate, up)), _geglu_backward)


@jax.custom_vjp
def gelu_erf(x: jax.Array) -> jax.Array:
    """GELU by the error function (Hendrycks & Gimpel 2016, arXiv 1606.08415, section 2)."""
    return x * _normal_below(x)


def _normal_below(x: jax.Array) -> jax.Array:
    return 0.5 * (1 + jax.lax.erf(x * float(0.5**0.5)))


def _gelu_erf_backward(x: jax.Array, g: jax.Array) -> tuple[jax.Array]:
    x = after(x, g)
    return (g * (_normal_below(x) + x * jnp.exp(-0.5 * x * x) * float((2 * np.pi) ** -0.5)),)


gelu_erf.defvjp(lambda x: (gelu_erf(x), x), _gelu_erf_backward)


def geglu_erf(gate: jax.Array, up: jax.Array) -> jax.Array:
    """gelu_erf(gate) * up (Shazeer 2020, arXiv 2002.05202, eq. 6), one by one."""
    return gelu_erf(gate) * up


def relu(x: jax.Array) -> jax.Array:
    """max(x, 0) (Nair & Hinton 2010), with derivative 0 at 0."""
    return jax.nn.relu(x)


def reglu(gate: jax.Array, up: jax.Array) -> jax.Array:
    """relu(gate) * up (Shazeer 2020, arXiv 2002.05202, eq. 6), one by one."""
    return relu(gate) * up


def rope_tables(length: int, head_dim: int, rope_dim: int, rates: np.ndarray, dtype: jnp.dtype) -> tuple:
    """cos and sin [T, K] of rotary positions (Su et al. 2021, arXiv 2104.09864, eq. 34), whose pairs turn by `rates`.

    A head longer than `rope_dim` repeats the table, block after block: a widened head turns like the one it copies. Of
    each block the first positions turn, as many as there are rates for. Computed on the host in float64, so that the
    table is a constant of the program.
    """
    angles = np.arange(length)[:, None] * rates
    block = np.concatenate([angles, angles, np.zeros((length, rope_dim - 2 * len(rates)))], axis=1)
    table = np.tile(block, (1, head_dim // rope_dim))
    return jnp.asarray(np.cos(table), dtype), jnp.asarray(np.sin(table), dtype)


def rotate(x: jax.Array, cos_TK: jax.Array, sin_TK: jax.Array, rope_dim: int, turned: int | None = None) -> jax.Array:
    """Rotary positions on x [B, T, ..., K]: pairs (i, i + turned/2) of the first `turned` positions (None: of all)
    inside each block of `rope_dim`."""
    middle = (1,) * (x.ndim - 3)
    cos = cos_TK.reshape(cos_TK.shape[0], *middle, -1)
    sin = sin_TK.reshape(sin_TK.shape[0], *middle, -1)
    if turned in (None, rope_dim):
        blocks = x.reshape(*x.shape[:-1], -1, 2, rope_dim // 2)
        other = jnp.stack([-blocks[..., 1, :], blocks[..., 0, :]], axis=-2)
    else:
        blocks, half = x.reshape(*x.shape[:-1], -1, rope_dim), turned // 2
        parts = [-blocks[..., half:turned], blocks[..., :half], jnp.zeros_like(blocks[..., turned:])]
        other = jnp.concatenate(parts, axis=-1)
    other = other.reshape(x.shape)
    return x * cos + other * sin


def dropped_of(rate: float) -> int:
    """How many of 65,536 values of a word a dropout rate drops."""
    return round(rate * 65536)


def dropout(x: jax.Array, rate: float, *, key: jax.Array) -> jax.Array:
    """Inverted dropout on x [..., D]: an entry is kept where its 16 random bits are at least `round(rate * 65536)`.

    One 64-bit word of [..., ceil(D / 4)], a whole block of Threefry, serves four entries: its lowest 16 bits one of the
    first quarter of D, its highest one of the last. Kept entries are divided by the exact share kept, so the
    expectation is x to rounding. Raises `RuntimeError` where jax has 64-bit numbers switched off.
    """
    size = x.shape[-1]
    threshold = dropped_of(rate)
    words = jax.random.bits(key, (*x.shape[:-1], (size + 3) // 4), jnp.uint64)
    if words.dtype != jnp.uint64:
        raise RuntimeError(
            "dropout draws 64-bit words, which jax has off: call growjax.runtime.pin() before importing it"
        )
    parts = [(words >> shift & 0xFFFF).astype(jnp.uint16) >= jnp.uint16(threshold) for shift in (0, 16, 32, 48)]
    kept = jax.lax.optimization_barrier(jnp.concatenate(parts, axis=-1)[..., :size])
    return jnp.where(kept, x * (65536 / (65536 - threshold)), jnp.zeros_like(x))
