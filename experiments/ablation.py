"""What breaks when one rule of the exact-trajectory law is left out.

    python -m experiments.ablation --out artifacts/ablation.json [--steps 50]

Claim: with the whole law the wide run is the narrow run to float64 rounding; with any one rule left out it is not, by
ten orders of magnitude or more. Two layers, untied head, built-in stories, AdamW with learning rate 3e-3, decay and
clipping active, after 20 steps of narrow training. Each row is the largest logit difference on held-out tokens after 50
steps of both, at a large epsilon (1e-3) and at the usual one (1e-8), and its ratio to the complete law's own. Doubled
means k = 2 on every axis; longer heads and uneven widths are rules of their own. About two minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from growjax import runtime

NOTES = runtime.pin()
runtime.start()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from growjax.config import DataConfig, ModelConfig, OptimConfig  # noqa: E402
from growjax.data.batches import batch_at, window_ids  # noqa: E402
from growjax.files import write_text  # noqa: E402
from growjax.grow.copying import scaled_copy  # noqa: E402
from growjax.grow.law import LeafLaw, leaf_law  # noqa: E402
from growjax.grow.plan import WidthPlan, make_plan  # noqa: E402
from growjax.grow.widen import widen  # noqa: E402
from growjax.measure.divergence import divergences  # noqa: E402
from growjax.model.axes import ParamSpec, map_specs  # noqa: E402
from growjax.model.decoder import param_specs  # noqa: E402
from growjax.streams import Streams, root_key  # noqa: E402
from growjax.study.context import make_feed, prepare_tokens  # noqa: E402
from growjax.study.spec import StudySpec  # noqa: E402
from growjax.train.loop import Feed  # noqa: E402
from growjax.train.state import TrainState, init_state, train_step  # noqa: E402

MODEL = ModelConfig(
    d_model=16, n_layers=2, n_heads=2, n_kv_heads=2, head_dim=8, d_ff=32, tie_embeddings=False, dtype="float64"
)
BATCH = 4
SOURCE = 20
TARGETS: dict[str, dict[str, int]] = {
    "doubled": {"d_model": 32, "n_heads": 4, "n_kv_heads": 4, "d_ff": 64},
    "longer heads": {"head_dim": 32},
    "uneven": {"d_model": 24, "n_heads": 3, "n_kv_heads": 3, "d_ff": 48},
}


def text(operator: str) -> Callable[[TrainState, WidthPlan], TrainState]:
    """A candidate by an operator's text."""
    return lambda source, plan: widen(source, plan, operator=operator, key=root_key(1, "study"))


def moments_by(factor: Callable[[LeafLaw], np.ndarray]) -> Callable[[TrainState, WidthPlan], TrainState]:
    """The whole law, but for moments scaled by another factor."""

    def make(source: TrainState, plan: WidthPlan) -> TrainState:
        wide, old = text("lockstep")(source, plan), source.opt_state
        mu = scaled_copy(old.mu, plan, factor)
        nu = scaled_copy(old.nu, plan, lambda law: factor(law) ** 2)
        opt_state: Any = wide.opt_state._replace(mu=mu, nu=nu)
        return wide.replace(opt_state=opt_state)

    return make


def zeroed_under_the_count(source: TrainState, plan: WidthPlan) -> TrainState:
    """The whole law, but for moments of zero whose counts are carried."""
    wide = text("lockstep")(source, plan)
    mu, nu = (jax.tree.map(jnp.zeros_like, tree) for tree in (wide.opt_state.mu, wide.opt_state.nu))
    opt_state: Any = wide.opt_state._replace(mu=mu, nu=nu)
    return wide.replace(opt_state=opt_state)


def by_out_multiplicity(source: TrainState, plan: WidthPlan) -> TrainState:
    """The whole law, but for an r of one over the copies of what it writes: in moments, epsilon and clipping."""
    wide = text("lockstep")(source, plan)

    def factor(spec: ParamSpec) -> np.ndarray:
        times = np.ones((1,) * len(spec.dims))
        for i in (*spec.positions("writes"), *spec.positions("scales")):
            times = times / (plan.maps[spec.dims[i].axis].new / plan.maps[spec.dims[i].axis].old)
        return times

    def ratio(spec: ParamSpec, leaf: jax.Array, power: int) -> jax.Array:
        return leaf * jnp.asarray((factor(spec) / leaf_law(spec, plan).r) ** power)

    specs = param_specs(plan.source)
    mu = map_specs(lambda s, m: ratio(s, m, 1), specs, wide.opt_state.mu)
    nu = map_specs(lambda s, v: ratio(s, v, 2), specs, wide.opt_state.nu)
    opt_state: Any = wide.opt_state._replace(mu=mu, nu=nu)
    law: Any = wide.law
    law = law._replace(
        eps=map_specs(lambda s, eps: ratio(s, eps, 1), specs, law.eps),
        clip=map_specs(lambda s, clip: ratio(s, clip, -1), specs, law.clip),
    )
    return wide.replace(opt_state=opt_state, law=law)


def without_gauge(source: TrainState, plan: WidthPlan) -> TrainState:
    """Uneven copies all carried alike: each weight divided by its input's copies and nothing else."""
    wide = text("lockstep")(source, plan)

    def plain(spec: ParamSpec, new: jax.Array) -> jax.Array:
        times = np.ones((1,) * new.ndim)
        for i in spec.positions("reads"):
            axis_map = plan.maps[spec.dims[i].axis]
            shape = [-1 if j == i else 1 for j in range(new.ndim)]
            times = times / axis_map.counts[axis_map.index].reshape(shape)
        return new / jnp.asarray(leaf_law(spec, plan).s) * jnp.asarray(times)

    return wide.replace(params=map_specs(plain, param_specs(plan.source), wide.params))


ROWS: dict[str, tuple[str, Callable[[TrainState, WidthPlan], TrainState]]] = {
    "the whole law, doubled": ("doubled", text("lockstep")),
    "lr and wd not scaled": ("doubled", text("exact_copy+law:lr=no,decay=no")),
    "m, v copied unscaled": ("doubled", text("lockstep+moments:become=copied")),
    "m, v zeroed, counts too": ("doubled", text("lockstep+moments:become=zeroed")),
    "m, v zeroed, counts kept": ("doubled", zeroed_under_the_count),
    "m, v scaled like the weights": ("doubled", moments_by(lambda law: law.s)),
    "eps not scaled": ("doubled", text("exact_copy+law:eps=no")),
    "plain global clipping": ("doubled", text("exact_copy+law:clip=no")),
    "wd not scaled": ("doubled", text("exact_copy+law:decay=no")),
    "the whole law, longer heads": ("longer heads", text("lockstep")),
    "r by out multiplicity alone": ("longer heads", by_out_multiplicity),
    "the whole law, uneven": ("uneven", text("lockstep")),
    "uneven copies without a gauge": ("uneven", without_gauge),
    "plain clipping, uneven": ("uneven", text("exact_copy+law:clip=no")),
}


@partial(jax.jit, static_argnames="steps")
def train(state: TrainState, windows: jax.Array, first: int, *, steps: int) -> TrainState:
    """The state some steps on, without dropout."""

    def step(i: jax.Array, state: TrainState) -> TrainState:
        ids = window_ids(first + i, BATCH, windows.shape[0])
        return train_step(state, batch_at(windows, ids))[0]

    return jax.lax.fori_loop(0, steps, step, state)


def table(feed: Feed, vocab_size: int, eps: float, steps: int) -> dict[str, dict[str, float]]:
    """Every row at one epsilon: its difference, and the ratio to that of the whole law under the same growth."""
    optim = OptimConfig(learning_rate=3e-3, warmup_steps=5, total_steps=200, clip_norm=0.5, eps=eps)
    model = MODEL.replace(vocab_size=vocab_size, max_seq_len=feed.train.shape[1] - 1)
    spec = StudySpec(model=model, optim=optim)
    start = init_state(spec.train_config(vocab_size).replace(model=model), key=Streams(root_key(0)).at("init", 0))
    source = train(start, feed.train, 0, steps=SOURCE)
    narrow = train(source, feed.train, SOURCE, steps=steps)
    rows, whole = {}, {}
    for name, (growth, make) in ROWS.items():
        wide = train(make(source, make_plan(model, model.replace(**TARGETS[growth]))), feed.train, SOURCE, steps=steps)
        pair = [(s.config.model, s.params) for s in (narrow, wide)]
        gap = divergences(pair[0], pair[1], feed.evaluation)["logit_max"]
        whole.setdefault(growth, gap)
        rows[name] = {"difference": gap, "ratio": gap / whole[growth]}
    return rows


def main() -> int:
    """Measures, prints and keeps the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("artifacts/ablation.json"))
    parser.add_argument("--steps", type=int, default=50)
    given = parser.parse_args()
    spec = StudySpec(data=DataConfig(stories=400, vocab_size=300, seq_len=16, batch_size=BATCH, eval_batches=2))

    with tempfile.TemporaryDirectory() as folder:
        tokens = prepare_tokens(Path(folder), spec)
        feed, vocab_size = make_feed(spec, tokens), tokens.tokenizer().get_vocab_size()
    tables = {f"eps {eps:g}": table(feed, vocab_size, eps, given.steps) for eps in (1e-3, 1e-8)}
    figures = {"steps": given.steps, "rows": tables, "environment": runtime.environment(), "pins": runtime.pins()}
    write_text(given.out, json.dumps(figures, indent=2, sort_keys=True) + "\n")
    print(f"{'rule left out':<32}" + "".join(f"{name:>24}" for name in tables))
    for row in ROWS:
        cells = [tables[name][row] for name in tables]
        print(f"{row:<32}" + "".join(f"{c['difference']:>12.1e}{c['ratio']:>12.1e}" for c in cells))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
