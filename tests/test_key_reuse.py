"""A key used twice is named, in whichever form."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from growjax.audit import draws, threefry
from growjax.audit.interceptor import Interceptor, Recorded
from growjax.draws import entry, integers
from growjax.streams import Streams, at_site, root_key


def _twin(tmp_path: Path) -> None:
    for _ in range(2):
        jax.random.bits(jax.random.key(4, impl="threefry2x32"), (3,))


def _folded_twice(tmp_path: Path) -> None:
    key = jax.random.key(4)
    for _ in range(2):
        jax.random.bits(at_site(key, "attn", 1), (3,))


def _wrapped(tmp_path: Path) -> None:
    key = jax.random.fold_in(jax.random.key(4), 1)
    raw = jax.random.key_data(key)
    jax.random.bits(key, (3,))
    jax.random.bits(jax.random.wrap_key_data(raw), (3,))


def _restored(tmp_path: Path) -> None:
    key = jax.random.fold_in(jax.random.key(4), 1)
    np.save(tmp_path / "key.npy", np.asarray(jax.random.key_data(key)))
    jax.random.bits(key, (3,))
    jax.random.bits(jax.random.wrap_key_data(np.load(tmp_path / "key.npy")), (3,))


def _legacy(tmp_path: Path) -> None:
    key = jax.random.PRNGKey(4)
    for _ in range(2):
        jax.random.uniform(key, (3,))


def _in_a_program(tmp_path: Path) -> None:
    @jax.jit
    def program(key: jax.Array) -> jax.Array:
        return jax.random.bits(jax.random.fold_in(key, 1), (3,))

    program(jax.random.key(4))
    jax.random.bits(jax.random.fold_in(jax.random.key(4), 1), (3,))


@pytest.mark.parametrize("form", [_twin, _folded_twice, _wrapped, _restored, _legacy, _in_a_program])
def test_a_key_used_twice_is_named_in_every_form(form: Callable[[Path], None], tmp_path: Path):
    """Forms that JAX's own checker, which is on, lets pass."""
    recorded = Recorded({})
    with Interceptor().watching(recorded.give) as asked:
        form(tmp_path)
    assert any("served twice" in fault for fault in recorded.faults(asked))


def test_a_key_used_once_is_no_fault():
    ledger = {"order": entry("study", 1, ["order"], "", (0, 1), [{"at": [[]], "draw": integers(4, 9)}])}
    recorded = Recorded(ledger)
    with Interceptor().watching(recorded.give) as asked:
        streams = Streams(root_key(1, "study"))
        for step in range(2):
            drawn = jax.random.randint(streams.at("order", step), (4,), 0, 9, dtype=jnp.int32)
            key = draws.step_keys(draws.stream_key(ledger["order"]), range(step, step + 1), [])[0]
            np.testing.assert_array_equal(drawn, threefry.randint(key, (4,), 0, 9))
    assert recorded.faults(asked) == []
    assert Recorded(ledger).faults(asked[:-1]) != []  # a draw that nobody asked for
