"""An interceptor knows the inside of jax that it exchanges, and says so in a line where it is another."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import jax
import pytest
from jax._src.random.prng import prngs as PRNGS  # noqa: TID251

from growjax.audit.inject import Injector
from growjax.audit.interceptor import Interceptor
from growjax.errors import UserError


def test_this_jax_is_known():
    before = dict(PRNGS)
    with Interceptor().watching() as asked:
        jax.random.bits(jax.random.key(0))
        jax.random.bits(jax.random.PRNGKey(1))
    assert asked == [(0, 0), (0, 1)] and before == PRNGS


@pytest.mark.parametrize("inside", [{}, {"prngs": {}}, {"prngs": {"threefry2x32": "one"}}, {"prngs": dict(PRNGS)}])
def test_another_jax_is_named(inside: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    """One without the table, without the entry, with another sort of entry, and one that looks draws up elsewhere."""
    monkeypatch.setitem(sys.modules, "jax._src.random.prng", SimpleNamespace(**inside))
    with pytest.raises(UserError, match=r"draws cannot be injected under jax [\d.]+, .* --inject none$"):
        Interceptor()
    Injector(None, {})  # pyright: ignore[reportArgumentType] # an audit that injects nothing asks nothing of this
