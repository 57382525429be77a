"""SPARKLING (arXiv 2602.02472) and what it shares with the parts `reset` and `rewarm`: moments, rates, compositions."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from growing import BASE, DETERMINISTIC, KEY, filled, on, under_way

from growjax.checkpoints.groups import factors_of, law_of
from growjax.checkpoints.registry import FAMILIES
from growjax.config import OptimConfig, TrainConfig
from growjax.errors import UserError
from growjax.grow.copying import new_entries
from growjax.grow.plan import make_plan
from growjax.grow.widen import widen
from growjax.model.axes import map_specs
from growjax.model.decoder import param_specs
from growjax.record.store import as_tree, load_state, save_state, state_digest
from growjax.train.check import check_state
from growjax.train.state import TrainState, optimizer

pytestmark = pytest.mark.usefixtures("quickly")

TWICE = {"d_model": 32, "n_heads": 8, "n_kv_heads": 4, "d_ff": 48}
FOUR = {"d_model": 64, "n_heads": 16, "n_kv_heads": 8, "d_ff": 96}
PLAIN = OptimConfig("sgd", 0.5, 4, 40, 0.1, b1=0.0, weight_decay=0.0, clip_norm=0.0)
"""Its updates are the rates themselves where every gradient is -1: peak 0.5 after 4 steps, 0.05 from step 40 on."""


def grown(state: TrainState, widths: dict[str, int], text: str) -> TrainState:
    model = state.config.model
    return widen(state, make_plan(model, model.replace(**widths)), operator=text, key=KEY)


def f(t: float, warmup: int, total: int, first: float, peak: float, last: float) -> float:
    """Eq. 25 and 26."""
    if t < warmup:
        return first + (peak - first) * t / warmup
    return last + (peak - last) * 0.5 * (1 + np.cos(np.pi * (t - warmup) / (total - warmup)))


def shared(t: int, optim: OptimConfig = PLAIN) -> float:
    last = optim.learning_rate * optim.end_fraction
    return f(min(t, optim.total_steps), optim.warmup_steps, optim.total_steps, 0.0, optim.learning_rate, last)


def rewarmed(t: int, te: int, warm: int, ratio: float, optim: OptimConfig = PLAIN) -> float:
    """Eq. 27 and 28."""
    e, last = shared(te, optim), optim.learning_rate * optim.end_fraction
    return f(t - te, warm, optim.total_steps - te, e, ratio * e, last)


def at_step(state: TrainState, te: int) -> TrainState:
    return state.replace(opt_state=state.opt_state._replace(schedule_step=jnp.asarray(te, jnp.int32)))


@partial(jax.jit, static_argnums=1)
def rates(state: TrainState, steps: int) -> jax.Array:
    """[steps, d_model, d_ff]: the rate of every entry of `w_up`, step by step."""
    tx, grads = optimizer(state.config), jax.tree.map(lambda p: -jnp.ones_like(p), state.params)

    def one(opt, _):
        updates, opt = tx.update(grads, opt, state.params, law=state.law)
        return opt, updates["blocks"]["w_up"][0]

    return jax.lax.scan(one, state.opt_state, length=steps)[1]


@pytest.fixture(scope="module")
def plain() -> TrainState:
    return grown(filled(TrainConfig(BASE.replace(dtype="float64"), PLAIN)), TWICE, "sparkling:rewarm=6,ratio=1.5")


STEPS, CLOSE = 44, {"rtol": 1e-6}  # rates are float32, and rounded a handful of times


@pytest.mark.parametrize("te", [8, 4])
def test_the_rate_is_that_of_the_paper(plain: TrainState, te: int):
    """Of new entries and of old ones, at every step to the schedule's end and behind it."""
    found = np.asarray(rates(at_step(plain, te), STEPS))
    everyone = [shared(t) for t in range(te, te + STEPS)]
    own = [rewarmed(t, te, 6, 1.5) if t < 40 else 0.05 for t in range(te, te + STEPS)]
    new = np.zeros(found.shape[1:], bool)
    new[16:], new[:, 24:] = True, True
    np.testing.assert_allclose(found[:, ~new], np.repeat(np.array(everyone)[:, None], (~new).sum(), 1), **CLOSE)
    np.testing.assert_allclose(found[:, new], np.repeat(np.array(own)[:, None], new.sum(), 1), **CLOSE)
    assert found[0, -1, -1] == pytest.approx(everyone[0])  # rates are float32
    assert found[6, -1, -1] == pytest.approx(1.5 * everyone[0])  # and here


def test_where_the_paper_s_schedule_has_no_value(plain: TrainState):
    """In the first warm-up, with no room for the rise, behind the last step, and after a schedule that starts anew."""

    def new(te: int, state: TrainState = plain) -> np.ndarray:
        return np.asarray(rates(at_step(state, te), STEPS))[:, -1, -1]

    early = [shared(t) if t < 4 else rewarmed(t, 4, 6, 1.5) if t < 40 else 0.05 for t in range(1, 1 + STEPS)]
    np.testing.assert_allclose(new(1), early, **CLOSE)
    late = [shared(37) * (1 + 0.5 * n / 6) for n in range(3)] + [0.05] * (STEPS - 3)
    np.testing.assert_allclose(new(37), late, **CLOSE)
    np.testing.assert_allclose(new(41), 0.05, **CLOSE)
    counted = jax.tree.map(lambda c: c + 9, plain.opt_state.count)
    restarted = plain.replace(opt_state=plain.opt_state._replace(count=counted))
    np.testing.assert_allclose(new(0, restarted), [shared(t) for t in range(STEPS)], **CLOSE)


def test_under_a_constant_rate():
    optim = PLAIN.replace(end_fraction=1.0, warmup_steps=0)
    wide = grown(filled(TrainConfig(BASE.replace(dtype="float64"), optim)), TWICE, "sparkling:rewarm=6,ratio=1.5")
    found = np.asarray(rates(at_step(wide, 8), STEPS))
    own = [rewarmed(t, 8, 6, 1.5, optim) if t < 40 else 0.5 for t in range(8, 8 + STEPS)]
    np.testing.assert_allclose(found[:, -1, -1], own, **CLOSE)
    np.testing.assert_allclose(found[:, 0, 0], 0.5, **CLOSE)


def test_a_second_growth_has_a_second_schedule(plain: TrainState):
    """What the first growth added goes on by its own; a `rewarm` that follows rises from 0."""
    middle = plain.replace(opt_state=plain.opt_state._replace(
        schedule_step=jnp.asarray(11, jnp.int32), count=jax.tree.map(lambda c: c + 3, plain.opt_state.count)
    ))  # fmt: skip
    steps = np.arange(11, 21)
    first, everyone = [rewarmed(t, 8, 6, 1.5) for t in steps], [shared(t) for t in steps]
    second = [rewarmed(t, 11, 2, 2.0) for t in steps]
    from_0 = [shared(t) * min((t - 10) / 4, 1) for t in steps]
    for text, own in (("sparkling:rewarm=2,ratio=2", second), ("asymmetric_reset+rewarm:steps=4", from_0)):
        wide = grown(middle, FOUR, text)
        check_state(wide)
        found = np.asarray(rates(wide, 10))
        for entry, expected in (((0, 0), everyone), ((31, 0), first), ((0, 47), first), ((32, 0), own), ((5, 95), own)):
            np.testing.assert_allclose(found[:, *entry], expected, err_msg=f"{text} {entry}", **CLOSE)
    assert grown(middle, FOUR, "net2net").law is None


def test_moments_of_old_entries_are_kept_as_they_are():
    """Eq. 24; weights as in the exact copy, and 250 steps to 1.3 times the rate."""
    source = under_way(BASE)
    wide, copy = (grown(source, TWICE, text) for text in ("sparkling", "exact_copy"))
    jax.tree.map(np.testing.assert_array_equal, wide.params, copy.params)
    old, law = np.s_[:, :16, :24], wide.law
    for mine, theirs in ((wide.opt_state.mu, source.opt_state.mu), (wide.opt_state.nu, source.opt_state.nu)):
        moment = np.asarray(mine["blocks"]["w_up"])
        assert np.array_equal(moment[old], theirs["blocks"]["w_up"])
        assert np.count_nonzero(moment) == np.count_nonzero(moment[old])
    count = np.asarray(wide.opt_state.count["blocks"]["w_up"])
    assert np.all(count[old] == 8) and count.sum() == 8 * count[old].size
    assert law is not None and law.warm is not None and law.ratio is not None
    assert set(np.unique(law.warm["blocks"]["w_up"])) == {0, 250}
    assert set(np.unique(law.ratio["blocks"]["w_up"])) == {0, np.float32(1.3)}


def test_a_part_that_starts_entries_anew_does_so_once():
    """`reset` leaves the warm-up of this growth, and ends one of an earlier; `rewarm` never goes by carried counts."""
    source = under_way(BASE)
    middle = on(grown(source, TWICE, "sparkling:rewarm=6"), 2, DETERMINISTIC)
    for state, widths in ((source, TWICE), (middle, FOUR)):
        made = {text: state_digest(grown(state, widths, text)) for text in (
            "asymmetric_reset+rewarm:steps=6", "exact_copy+rewarm:steps=6", "exact_copy+reset+rewarm:steps=6",
            "exact_copy+rewarm:steps=6+reset", "sparkling:rewarm=6", "sparkling:rewarm=6+reset", "asymmetric_reset",
            "exact_copy+reset",
        )}  # fmt: skip
        same = list(made.values())
        assert len(set(same[:4])) == len(set(same[4:6])) == len(set(same[6:])) == 1
        assert len(set(same)) == 3
    assert made["exact_copy+reset"] == state_digest(grown(middle, FOUR, "sparkling:rewarm=6+moments+reset"))
    plan = make_plan(middle.config.model, middle.config.model.replace(**FOUR))
    ended = grown(middle, FOUR, "exact_copy+reset").law
    assert ended is not None
    for tree in (ended.warm, ended.ratio):
        cold = map_specs(lambda s, w: not np.any(np.where(new_entries(s, plan), w, 0)), param_specs(plan.source), tree)
        assert all(jax.tree.leaves(cold)) and any(np.any(w) for w in jax.tree.leaves(tree))


def test_a_state_with_and_one_without_ratios_is_stored(tmp_path: Path):
    """What has none is as it was before there were any."""
    for text, there in (("asymmetric_reset+rewarm", False), ("sparkling", True)):
        state = on(grown(under_way(BASE), TWICE, text), 1, DETERMINISTIC)
        assert ("ratio" in as_tree(state)["law"]) is there
        name = save_state(tmp_path / text, state)
        again = load_state(tmp_path / text)
        assert state_digest(again) == name and jax.tree.structure(again) == jax.tree.structure(state)
        ran = [state_digest(on(s, 2, DETERMINISTIC)) for s in (state, again)]
        assert ran[0] == ran[1]
    assert state.law is not None
    with pytest.raises(UserError, match="law/ratio is given without law/warm"):
        check_state(state.replace(law=state.law._replace(warm=None)))


def test_ratios_go_with_a_checkpoint_s_factors():
    state = grown(under_way(BASE), TWICE, "sparkling")
    family, model, law = FAMILIES["llama"], state.config.model, state.law
    assert law is not None and law.ratio is not None
    laid = factors_of(law, family, model, jax.tree.map(lambda _: 1.0, state.params))
    arrays = {f"{kind}.{name}": value for kind, values in laid.items() for name, value in values.items()}
    again = law_of(arrays, family, model)
    assert again.ratio is not None and again.warm is not None
    for tree, back in ((law.warm, again.warm), (law.ratio, again.ratio)):
        wide = (jax.tree.map(lambda f, p: np.broadcast_to(f, p.shape), t, state.params) for t in (tree, back))
        jax.tree.map(np.testing.assert_array_equal, *wide)
