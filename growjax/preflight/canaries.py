"""Canaries: small computations that backends are known to get wrong, each with an answer known beforehand.

A canary returns what it computed, for its digest, and the faults it saw. Sums are of whole numbers small enough that
float32 holds every partial sum, so there is one right answer whatever the order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import threefry_2x32

from growjax.config import ModelConfig, OptimConfig, TrainConfig
from growjax.streams import Streams, root_key
from growjax.train.state import StepKeys, init_state, train_step

YNN_HINT = (
    "run through `python -m growjax`, or set XLA_FLAGS=--xla_cpu_experimental_ynn_fusion_type= (empty) before jax is "
    "imported, or use jaxlib 0.12"
)
RERUN_HINT = (
    "run through `python -m growjax` with no flags of your own; if it still fails, this backend is not to be used"
)


class Seen(NamedTuple):
    """What a canary saw."""

    value: object
    """Arrays whose digest goes into the receipt."""
    fault: str | None
    """None where all is well."""
    hint: str = RERUN_HINT


def racing_sum(calls: int = 20) -> Seen:
    """2 x 1024 x 1024 ones, broadcast from a column: jaxlib 0.10.2 on a CPU sums them in a kernel that races on more
    than one thread (XNNPACK issue 11243, xla 49085). The fusion itself is a fault, since one thread hides the race."""
    total = jax.jit(lambda x: jnp.sum(jnp.broadcast_to(x, (2, 1024, 1024))))
    compiled = total.lower(jax.ShapeDtypeStruct((1024, 1), jnp.float32)).compile()
    column = jnp.ones((1024, 1), jnp.float32)
    values = np.array([float(compiled(column)) for _ in range(calls)])
    wrong = int(np.sum(values != 2 * 1024 * 1024))
    if wrong:
        return Seen(values, f"{wrong} of {calls} sums of ones came out wrong", YNN_HINT)
    if "ynn_fusion" in (compiled.as_text() or ""):
        return Seen(values, "the sum is compiled into a YNNPACK fusion, which races on more than one thread", YNN_HINT)
    return Seen(values, None)


def long_product(calls: int = 3) -> Seen:
    """A product over K = 16384, with numbers of its own and with whole ones of a known sum."""
    rng = np.random.default_rng(0)
    whole = [jnp.asarray(rng.integers(-8, 9, shape), jnp.float32) for shape in ((8, 16384), (16384, 8))]
    real = [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((8, 16384), (16384, 8))]
    product = jax.jit(jnp.matmul)
    right = np.asarray(whole[0], np.float64) @ np.asarray(whole[1], np.float64)
    values = [np.asarray(product(*real)) for _ in range(calls)]
    if not np.array_equal(product(*whole), right):
        return Seen(values, "a product of whole numbers over K = 16384 came out wrong")
    if any(v.tobytes() != values[0].tobytes() for v in values):
        return Seen(values, "one product over K = 16384 came out in several ways")
    return Seen(values[0], None)


def products(calls: int = 2) -> Seen:
    """Products of several shapes: square, flat, long, and many at once; whole numbers, so that every sum is exact."""
    rng = np.random.default_rng(4)
    shapes = [((64, 64), (64, 64)), ((512, 32), (32, 256)), ((8, 2048), (2048, 24)), ((12, 64, 32), (12, 32, 64))]
    multiply, values = jax.jit(jnp.matmul), []
    for dtype in (np.float32, jnp.bfloat16):
        for left, right in shapes:
            whole = [rng.integers(-4, 5, shape).astype(np.float32) for shape in (left, right)]
            exact = np.matmul(*(x.astype(np.float64) for x in whole)).astype(dtype)
            made = [np.asarray(multiply(*(jnp.asarray(x, dtype) for x in whole))) for _ in range(calls)]
            if any(m.tobytes() != exact.tobytes() for m in made):
                return Seen(values, f"a product of whole numbers, {left} by {right}, came out wrong")
            values.append(made[0].astype(np.float32))
    return Seen(values, None)


def sort_and_softmax(calls: int = 3) -> Seen:
    """A sort with many equal keys, which must keep their order, and a softmax over long rows."""
    rng = np.random.default_rng(5)
    keys, rows = rng.integers(0, 9, 8192), jnp.asarray(rng.normal(size=(64, 4096)), jnp.float32)
    order = jax.jit(lambda k: jnp.argsort(k, stable=True))
    if not np.array_equal(order(keys), np.argsort(keys, kind="stable")):
        return Seen(keys, "a stable sort came out in another order")
    soft = jax.jit(jax.nn.softmax)
    values = [np.asarray(soft(rows)) for _ in range(calls)]
    if any(v.tobytes() != values[0].tobytes() for v in values):
        return Seen(values, "one softmax came out in several ways")
    off = float(np.max(np.abs(values[0].sum(1, dtype=np.float64) - 1)))
    return Seen(values[0], None if off < 1e-5 else f"the shares of a softmax add up to 1 only within {off:.1g}")


def many_reductions(calls: int = 3) -> Seen:
    """Reductions over each axis of an array large enough to be split over threads."""
    rng = np.random.default_rng(1)
    whole = rng.integers(-8, 9, (512, 2048)).astype(np.float32)
    reduce = jax.jit(lambda x: (jnp.sum(x), jnp.sum(x, axis=0), jnp.sum(x, axis=1), jnp.max(x, axis=1)))
    right = (whole.sum(dtype=np.float64), whole.sum(0, np.float64), whole.sum(1, np.float64), whole.max(1))
    for _ in range(calls):
        if not all(np.array_equal(a, b) for a, b in zip(reduce(whole), right, strict=True)):
            return Seen(right, "sums of whole numbers along the axes of an array came out wrong")
    return Seen([np.asarray(x) for x in reduce(jnp.asarray(rng.normal(size=whole.shape), jnp.float32))], None)


def scatter_add(calls: int = 3) -> Seen:
    """Many additions into few places, as the gradient of an embedding makes them."""
    rng = np.random.default_rng(2)
    places, whole = rng.integers(0, 7, 4096), rng.integers(-8, 9, (4096, 16)).astype(np.float32)
    add = jax.jit(lambda at, x: jnp.zeros((7, 16), x.dtype).at[at].add(x))
    right = np.zeros((7, 16))
    np.add.at(right, places, whole)
    if not np.array_equal(add(places, whole), right):
        return Seen(right, "additions of whole numbers into few places came out wrong")
    real = rng.normal(size=whole.shape).astype(np.float32)
    values = [np.asarray(add(places, real)) for _ in range(calls)]
    if any(v.tobytes() != values[0].tobytes() for v in values):
        return Seen(values, "one scatter-add came out in several ways")
    return Seen(values[0], None)


def inverse_root() -> Seen:
    """1/sqrt by way of `rsqrt`, within 2 ulps of the true value over 16 binades."""
    x = np.exp2(np.linspace(-8, 8, 4096)).astype(np.float32)
    got = np.asarray(jax.jit(jax.lax.rsqrt)(x))
    off = np.max(np.abs(got.astype(np.float64) * np.sqrt(x.astype(np.float64)) - 1))
    return Seen(got, None if off < 2 * 2**-23 else f"rsqrt is off by {off:.1g} of its value")


def random_bits() -> Seen:
    """Threefry-2x32 with 20 rounds on Random123's published vectors (Salmon et al. 2011; its file kat_vectors)."""
    known = [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ]
    values = [np.asarray(threefry_2x32(np.array(k, np.uint32), np.array(c, np.uint32))) for k, c, _ in known]
    right = all(tuple(int(w) for w in v) == answer for v, (_, _, answer) in zip(values, known, strict=True))
    return Seen(values, None if right else "Threefry does not give its published answers")


def training_step() -> Seen:
    """A training step under dropout, twice: the same bits, and finite."""
    model = ModelConfig(d_model=32, n_heads=2, n_kv_heads=2, d_ff=64, vocab_size=97, max_seq_len=32)
    config = TrainConfig(model, OptimConfig(warmup_steps=0, total_steps=10))
    state = init_state(config, key=Streams(root_key(0)).at("init", 0))
    tokens = jnp.asarray(np.random.default_rng(3).integers(0, 97, (8, 33)), jnp.int32)
    step = jax.jit(lambda s, t, k: train_step(s, (t[:, :-1], t[:, 1:]), keys=StepKeys(k))[0].params)
    runs = [step(state, tokens, Streams(root_key(0)).at("dropout", 0)) for _ in range(2)]
    first, second = ([np.asarray(x) for x in jax.tree.leaves(r)] for r in runs)
    if any(a.tobytes() != b.tobytes() for a, b in zip(first, second, strict=True)):
        return Seen(first, "one training step came out in two ways")
    if not all(np.isfinite(a).all() for a in first):
        return Seen(first, "a training step gave numbers that are not finite")
    return Seen(first, None)


CANARIES: dict[str, Callable[[], Seen]] = {
    "racing sum": racing_sum,
    "long product": long_product,
    "products": products,
    "many reductions": many_reductions,
    "scatter-add": scatter_add,
    "sort and softmax": sort_and_softmax,
    "inverse root": inverse_root,
    "random bits": random_bits,
    "training step": training_step,
}
