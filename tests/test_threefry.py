"""The NumPy derivation of every draw: held against the published answers, and against jax.random."""

from __future__ import annotations

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT

from growjax import streams
from growjax.audit import threefry
from growjax.model.layers import dropout

SHAPES = [(1,), (7,), (3, 5), (2, 3, 4), (40_000,)]
KNOWN_ANSWERS: tuple[tuple[threefry.Key, threefry.Key, threefry.Key], ...] = (
    # (key, counter, output), from Random123's file kat_vectors, lines `threefry2x32 20` (counter, key, output there)
    ((0x00000000, 0x00000000), (0x00000000, 0x00000000), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
)
"""The published known answers for 20 rounds: zeros, ones, and the first digits of pi."""

SEEDS = [0, 1, 2**31 + 5, 2**40 + 3]


def both(seed: int) -> tuple[jax.Array, threefry.Key]:
    """One key, as jax has it and as it is derived here."""
    return jax.random.key(seed, impl="threefry2x32"), threefry.seed_key(seed)


@pytest.mark.parametrize(("key", "counter", "output"), KNOWN_ANSWERS)
def test_the_published_known_answers(key: threefry.Key, counter: threefry.Key, output: threefry.Key):
    assert threefry.as_key(threefry.threefry2x32(key, counter)) == output


def test_it_imports_no_jax_and_none_of_the_key_code():
    described = (
        "import sys, growjax.audit.draws; print(sorted({m.split('.')[0] for m in sys.modules} & {'jax', 'jaxlib'}),"
    )
    described += " 'growjax.streams' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", described], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == ["[]", "False"], done.stderr


@pytest.mark.parametrize("seed", SEEDS)
def test_keys_are_those_of_jax(seed: int):
    key, mine = both(seed)
    assert tuple(np.asarray(jax.random.key_data(key)).tolist()) == mine
    for data in (0, 1, 2**32 - 1, threefry.name_tag("dropout")):
        theirs = jax.random.key_data(jax.random.fold_in(key, jnp.uint32(data)))
        assert tuple(np.asarray(theirs).tolist()) == threefry.as_key(threefry.fold_in(mine, data))
    assert np.asarray(jax.random.key_data(jax.random.split(key, 5))).tolist() == [
        list(k) for k in threefry.split(mine, 5)
    ]


def test_names_have_the_numbers_that_streams_gives_them():
    names = (*streams.STREAMS, "source", "study", "blocks/wq", "replicate")
    assert [streams.name_tag(n) for n in names] == [threefry.name_tag(n) for n in names]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("width", [8, 16, 32, 64])
def test_bits_are_those_of_jax(shape: tuple[int, ...], width: int):
    key, mine = both(11)
    dtype = jnp.dtype(f"uint{width}")
    np.testing.assert_array_equal(jax.random.bits(key, shape, dtype), threefry.random_bits(mine, width, shape))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_uniforms_are_exact_and_normals_within_the_stated_ulps(shape: tuple[int, ...], dtype: str):
    for seed in SEEDS:
        key, mine = both(seed)
        first, second = jax.random.split(key)
        below = threefry.split(mine)
        theirs = jax.random.uniform(first, shape, dtype, 0.5, 1.5)
        np.testing.assert_array_equal(theirs, threefry.uniform(below[0], shape, dtype, 0.5, 1.5))
        drawn = np.asarray(jax.random.normal(second, shape, dtype))
        assert threefry.normal_distance(drawn, below[1]) <= threefry.NORMAL_ULPS[dtype]
        moved = drawn * (1 + 100 * np.finfo(dtype).eps)
        assert threefry.normal_distance(moved.astype(dtype), below[1]) > threefry.NORMAL_ULPS[dtype]


@pytest.mark.parametrize("span", [(0, 1), (0, 977), (-5, 2**31 - 7)])
def test_integers_are_those_of_jax(span: tuple[int, int]):
    for seed in SEEDS:
        for dtype in ("int32", "int64"):
            key, mine = both(seed)
            theirs = jax.random.randint(key, (257,), *span, dtype=dtype)
            np.testing.assert_array_equal(theirs, threefry.randint(mine, (257,), *span, dtype))


@pytest.mark.parametrize("size", [1, 2, 1000, 3000])
def test_permutations_are_those_of_jax(size: int):
    key, mine = both(5)
    np.testing.assert_array_equal(jax.random.permutation(key, size), threefry.permutation(mine, size))


@pytest.mark.parametrize("features", [1, 7, 48])
def test_dropout_masks_are_those_of_the_model(features: int):
    key, mine = both(9)
    x = jnp.ones((3, 5, features), jnp.float32)
    words = threefry.random_bits(mine, 64, (3, 5, (features + 3) // 4))
    np.testing.assert_array_equal(dropout(x, 0.3, key=key) != 0, threefry.dropout_mask(words, features, 0.3))
