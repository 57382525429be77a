"""States and batches are checked where they enter a program, before anything is computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from growing import BASE, DETERMINISTIC, FEED, filled

from growjax.config import TrainConfig
from growjax.errors import UserError
from growjax.streams import Streams, root_key
from growjax.train.loop import Feed, run, run_fingerprint
from growjax.train.shards import run_sharded
from growjax.train.state import TrainState, fresh_state, init_state, train_step

CONFIG = TrainConfig(model=BASE)
STATE = filled(CONFIG)


def enter(state: TrainState, feed: Feed = FEED) -> str:
    """What is traced of a run and never compiled."""
    numbers = (jnp.asarray(1, jnp.int32),) * 3
    return run_fingerprint((state, feed, DETERMINISTIC, *numbers), batch_size=4, max_steps=2, max_evals=2)


def without(tree: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: leaf for key, leaf in tree.items() if key != name}


STATES: dict[str, Callable[[TrainState], TrainState]] = {
    "a parameter is missing": lambda s: s.replace(params=without(s.params, "embedding")),
    "a parameter has another shape": lambda s: s.replace(
        params={**s.params, "embedding": s.params["embedding"][:, :8]}
    ),
    "parameters of another dtype": lambda s: s.replace(params=jax.tree.map(lambda x: x.astype(jnp.bfloat16), s.params)),
    "moments of another model": lambda s: s.replace(
        opt_state=s.opt_state._replace(mu=without(s.opt_state.mu, "embedding"))
    ),
    "another configuration": lambda s: s.replace(config=TrainConfig(model=BASE.replace(d_ff=32))),
    "a step for every layer": lambda s: s.replace(step=jnp.zeros(2, jnp.int32)),
    "a step that is no whole number": lambda s: s.replace(step=jnp.zeros(())),
}
FEEDS = {
    "windows of two lengths": Feed(FEED.train[:, :-1], FEED.evaluation),
    "no batches for evaluation": Feed(FEED.train, FEED.evaluation[0]),
    "tokens of another dtype": Feed(FEED.train.astype(jnp.int32), FEED.evaluation),
    "no windows": Feed(FEED.train[:0], FEED.evaluation),
}


@pytest.mark.parametrize("edit", STATES.values(), ids=STATES)
def test_a_state_that_is_not_its_configurations(edit: Callable[[TrainState], TrainState]):
    with pytest.raises(UserError):
        run(edit(STATE), FEED, DETERMINISTIC, batch_size=4, segments=1, segment_steps=1)
    with pytest.raises(UserError):
        run_sharded(edit(STATE), FEED, DETERMINISTIC, batch_size=4, shards=1, segments=1, segment_steps=1)


@pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)
def test_a_feed_that_is_none(feed: Feed):
    with pytest.raises(UserError, match="a feed is "):
        enter(STATE, feed)


def test_what_is_as_it_should_be_enters():
    assert len(enter(STATE)) == 64


def test_a_batch_that_is_none():
    tokens = jnp.zeros((2, 12), jnp.int32)
    for batch in ((tokens, tokens[:, 1:]), (tokens[0], tokens[0]), (tokens, tokens.astype(jnp.float32))):
        with pytest.raises(UserError, match="a batch is "):
            jax.eval_shape(train_step, STATE, batch)


def test_one_key_and_whole_parameters_make_a_state():
    key = Streams(root_key(0)).at("init", 0)
    with pytest.raises(UserError, match="one key of threefry"):
        init_state(CONFIG, key=jax.random.split(key))
    with pytest.raises(AssertionError):
        fresh_state(CONFIG, without(STATE.params, "embedding"))
