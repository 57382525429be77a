"""What every operator promises."""

from __future__ import annotations

from collections import Counter
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from growing import DATA, DETERMINISTIC, FEED, GROWTHS, KEY, MIXED, MODELS, doubled, on, under_way
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from growjax.errors import UserError
from growjax.grow.blocks import orthogonal
from growjax.grow.copying import new_entries
from growjax.grow.plan import WidthPlan, make_plan
from growjax.grow.registry import operators, parse_operator
from growjax.grow.widen import widen
from growjax.measure import divergences, escapes, law_parts, tree_escape
from growjax.model.axes import map_specs
from growjax.model.decoder import param_specs
from growjax.streams import root_key
from growjax.train.state import TrainState, loss_fn

pytestmark = pytest.mark.usefixtures("quickly")

KEPT = 1e-12  # largest logit difference in float64: rounding


def gap(source: TrainState, wide: TrainState) -> float:
    """Largest logit difference over the source's vocabulary."""
    models = ((s.config.model, s.params) for s in (source, wide))
    return divergences(*models, FEED.evaluation)["logit_max"]


def reaches(name: str, plan: WidthPlan) -> bool:
    """Which plans an operator can follow, by its docstring."""
    grown = [m for m in plan.maps.values() if m.grown]
    if name in ("hypercloning", "hypercloning_noisy", "mupscale"):
        return not any(m.uneven for m in grown)
    if name == "staged":
        return not any(m.uneven for m in grown) and len({m.new / m.old for m in grown}) == 1
    return True


@pytest.mark.parametrize(
    ("name", "phases"),
    [
        ("rms untied", (Phase.explicit,)),
        ("layer tied", ()),
        *(pytest.param(name, (Phase.generate,), marks=pytest.mark.slow) for name in MODELS | MIXED),
    ],
)
def test_every_operator_keeps_its_promise(name: str, phases: tuple[Phase, ...]):
    """To twice the width, and by a plan that is uneven everywhere, by drawn ones, or by no other."""
    model = (MODELS | MIXED)[name].replace(dtype="float64", n_layers=2)  # aki looks at the next layer
    source, seen = under_way(model), Counter()

    @settings(
        max_examples=6,
        phases=phases,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @example(19, 31, (6, 3), 8, 5)
    @given(
        st.sampled_from((16, 19, 32)),
        st.sampled_from((24, 31, 48)),
        st.sampled_from(((4, 2), (6, 3), (8, 4), (12, 4))),
        st.sampled_from((4, 8)),
        st.sampled_from((None, 5)),
    )
    def each(d_model: int, d_ff: int, heads: tuple[int, int], head_dim: int, seed: int | None) -> None:
        target = model.replace(d_model=d_model, d_ff=d_ff, n_heads=heads[0], n_kv_heads=heads[1], head_dim=head_dim)
        if target == model:
            return
        check(make_plan(model, target, key=None if seed is None else root_key(seed)))

    def check(plan: WidthPlan) -> None:
        for operator in operators():
            text = operator + (":steps=3" if operator == "ligo" else "")
            if not reaches(operator, plan):
                with pytest.raises(UserError, match=f"operator {operator}: "):
                    widen(source, plan, operator=text, key=KEY, data=DATA)
                seen[operator, "refused"] += 1
                continue
            apart = gap(source, widen(source, plan, operator=text, key=KEY, data=DATA))
            kept = parse_operator(text).keeps(plan)
            assert apart < KEPT if kept else apart > 1e-6, (operator, apart, kept, str(plan))
            seen[operator, kept] += 1

    if phases:
        each()
    check(doubled(source))
    never_kept = {"aki", "ligo", "mupscale", "scratch", "shrink_perturb"}
    assert {op for op, kept in seen if kept is True} | never_kept >= set(operators()) - {"zero_pad"}
    assert {op for op, kept in seen if kept is False} >= never_kept


def source_of(name: str) -> TrainState:
    return under_way(MODELS[name].replace(dtype="float64"))


@pytest.mark.parametrize(
    ("name", "dtype"), [("rms tied", "float32"), pytest.param("layer untied", "float64", marks=pytest.mark.slow)]
)
def test_dead_noise_is_known_from_live(name: str, dtype: str):
    """Block-diagonal weights and noise that cancels on both sides leave the cloned subspace and change nothing."""
    source = under_way(MODELS[name].replace(dtype=dtype))
    plan = doubled(source)

    def dead(operator: str) -> bool:
        seen = escapes(widen(source, plan, operator=operator, key=KEY), plan, FEED.evaluation[0])
        assert seen.weights > 0.01
        return seen.dead

    assert dead("staged") and dead("perturbed:cancel=both") and dead("exact_copy+noise:cancel=both,snr_db=0")
    assert not dead("perturbed") and not dead("perturbed:cancel=none") and not dead("structured")
    exact = escapes(widen(source, plan, operator="exact_copy", key=KEY), plan, FEED.evaluation[0])
    assert not exact.dead and exact.weights == 0


def test_dead_noise_never_shows_and_live_noise_does():
    source = source_of("rms untied")
    plan = doubled(source)
    paths = {op: on(widen(source, plan, operator=op, key=KEY), 20, DETERMINISTIC) for op in
             ("exact_copy+noise:cancel=inputs", "exact_copy+noise:cancel=both", "exact_copy")}  # fmt: skip
    live, dead, exact = paths.values()
    # float64 rounding, magnified by 20 steps
    assert gap(exact, dead) < 1e-10 < 1e-6 < gap(exact, live)


def test_noise_has_the_stated_size():
    source = source_of("rms untied")
    plan = doubled(source)
    exact = widen(source, plan, operator="exact_copy", key=KEY).params["blocks"]["w_up"]
    assert np.array_equal(widen(source, plan, operator="perturbed:sigma=0", key=KEY).params["blocks"]["w_up"], exact)
    for operator, size in (
        ("perturbed:sigma=0.3", 0.3),
        ("perturbed:snr_db=20", 0.1),
        ("perturbed:sigma=0.3,cancel=none", 0.3),
        ("hypercloning_noisy:snr_db=10", 10**-0.5),
    ):
        noise = widen(source, plan, operator=operator, key=KEY).params["blocks"]["w_up"] - exact
        rms = float(jnp.sqrt(jnp.mean(noise**2) / jnp.mean(exact**2)))
        assert abs(rms / size - 1) < 5 / (2 * noise.size) ** 0.5 * 2**0.5  # five standard deviations of an rms
        if "none" not in operator:  # N stands beside -N; float64 rounding of adding each to a weight
            assert np.abs(noise[:, :16] + noise[:, 16:]).max() < 1e-15


def test_asymmetric_reset_starts_new_entries_anew():
    source = under_way(MODELS["rms tied"])
    plan = doubled(source)
    wide = widen(source, plan, operator="asymmetric_reset", key=KEY)
    clone = widen(source, plan, operator="exact_copy", key=KEY)
    mu, count = wide.opt_state.mu["blocks"]["w_up"], wide.opt_state.count["blocks"]["w_up"]
    old = (slice(None), slice(0, 16), slice(0, 24))
    assert np.array_equal(mu[old], clone.opt_state.mu["blocks"]["w_up"][old]) and np.all(count[old] == 8)
    assert np.count_nonzero(mu) == np.count_nonzero(mu[old]) and np.mean(np.asarray(count) == 0) == 0.75
    assert int(wide.opt_state.schedule_step) == 8


def test_rewarm_lets_the_rate_of_new_entries_rise_from_0():
    source = source_of("rms tied")
    plan = doubled(source)
    first = {}
    for operator in ("asymmetric_reset", "exact_copy+rewarm:steps=4"):
        wide = widen(source, plan, operator=operator, key=KEY)
        first[operator] = on(wide, 1, DETERMINISTIC).params["blocks"]["w_up"] - wide.params["blocks"]["w_up"]
    full, warm = first.values()
    # differences of weights in float64: rounding of a weight over its small change
    for new in (np.s_[:, 16:], np.s_[:, :, 24:]):
        assert np.allclose(warm[new], full[new] / 4, rtol=1e-9)
    assert np.array_equal(warm[:, :16, :24], full[:, :16, :24])


def test_ligo_learns():
    """Its loss on the windows it trained on falls under the exact copy's, and it leaves the cloned subspace."""
    source = source_of("rms tied")
    plan = doubled(source)
    tokens = FEED.train.astype(jnp.int32)

    def loss(operator: str) -> float:
        wide = widen(source, plan, operator=operator, key=KEY, data=DATA)
        return float(loss_fn(wide.params, wide.config, (tokens[:, :-1], tokens[:, 1:]), dropout_key=None))

    assert loss("ligo:steps=30,learning_rate=0.003") < loss("exact_copy") - 0.01
    assert tree_escape(widen(source, plan, operator="ligo:steps=3", key=KEY, data=DATA).params, plan) > 1e-3
    with pytest.raises(UserError, match=r"operator ligo trains, and has no tokens"):
        widen(source, plan, operator="ligo", key=KEY)


def test_moments_become_what_is_asked():
    source = source_of("rms untied")
    plan = doubled(source)

    def opt(become: str):
        return widen(source, plan, operator=f"exact_copy+moments:become={become}", key=KEY).opt_state

    old, at = source.opt_state, lambda o: (o.mu["blocks"]["w_up"], o.nu["blocks"]["w_up"])
    (m, v), tiled = at(old), (1, 2, 2)
    for become, mu, nu, count in (("law", 0.5, 0.25, 8), ("copied", 1, 1, 8), ("zeroed", 0, 0, 0),
                                  ("refilled", 0, 0.25, 8)):  # fmt: skip
        found = opt(become)
        assert np.array_equal(at(found)[0], np.tile(m, tiled) * mu), become
        assert np.array_equal(at(found)[1], np.tile(v, tiled) * nu), become
        assert all(int(c) == count for c in jax.tree.leaves(found.count)), become


def test_law_parts_say_which_hold():
    source = source_of("rms untied")
    plan = doubled(source)

    def held(operator: str) -> set[str]:
        parts = law_parts(source, plan, widen(source, plan, operator=operator, key=KEY))
        return {name for name, holds in parts.items() if holds}

    everything = held("lockstep")
    factors = {"learning rates", "decay", "epsilon", "clipping"}
    assert len(everything) == 9 and held("exact_copy") == everything - factors
    assert held("exact_copy+law:clip=no") == everything - {"clipping"}
    assert held("mupscale:sigma=0") == everything - {"clipping"}
    assert held("lockstep+moments:become=refilled") == everything - {"first moments"}
    assert held("lockstep+schedule:horizon=40") == everything - {"schedule"}
    assert held("scratch") == set()
    plan = make_plan(source.config.model, plan.target.replace(vocab_size=source.config.model.vocab_size + 3))
    assert held("lockstep") == everything and held("exact_copy") == everything - factors  # of the old tokens


@pytest.mark.parametrize("name", ["rms untied", pytest.param("rms tied", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "growth", ["uneven", *(pytest.param(g, marks=pytest.mark.slow) for g in ("doubled", "within groups"))]
)
def test_moments_follow_the_gradients(name: str, growth: str):
    """Fed with the narrow model's gradients, the law's moments are the wide model's gradients: in every entry for
    clones; in old entries for padding with zeros (new ones have no direction yet); and there for the structured start,
    but for what writes the residual stream, whose norms then see mixtures too."""
    source = under_way(MODELS[name].replace(dtype="float64"), steps=3)
    plan = make_plan(source.config.model, source.config.model.replace(**GROWTHS[growth]))
    windows = FEED.evaluation[0].astype(jnp.int32)
    gradient = jax.jit(jax.grad(partial(loss_fn, dropout_key=None)), static_argnums=1)
    narrow = gradient(source.params, source.config, (windows[:, :-1], windows[:, 1:]))
    fed = source.replace(opt_state=source.opt_state._replace(mu=narrow))
    for operator in ("exact_copy", "structured", "zero_pad"):
        wide = widen(fed, plan, operator=operator, key=KEY)
        own = gradient(wide.params, wide.config, (windows[:, :-1], windows[:, 1:]))

        def apart(spec, mu, g, operator=operator):
            left_out = False if operator == "exact_copy" else new_entries(spec, plan)
            if operator == "structured":
                left_out = left_out | any(d.axis == "embed" and d.role == "writes" for d in spec.dims)
            return float(jnp.max(jnp.where(left_out, 0.0, jnp.abs(mu - g))))

        gaps = map_specs(apart, param_specs(source.config.model), wide.opt_state.mu, own)
        assert max(jax.tree.leaves(gaps)) < 1e-14, operator  # gradients of about 1e-2, float64 rounding


def test_orthogonal_mixtures():
    """Whatever the number of threads that NumPy's products would have."""
    large = []
    for threads in (1, 2):
        with threadpool_limits(threads, "blas"):
            large.append(orthogonal(512, key=root_key(0), keep_mean=True))
    assert np.array_equal(*large)
    for keep in (False, True):
        q = orthogonal(9, key=root_key(0), keep_mean=keep)
        assert np.abs(q @ q.T - np.eye(9)).max() < 1e-13  # float64 rounding of a QR factorisation
    assert np.abs(q @ np.ones(9) - 1).max() < 1e-13  # the same rounding
