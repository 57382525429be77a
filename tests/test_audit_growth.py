"""What widening draws is what operators declare, their own and registered ones."""

from __future__ import annotations

import doctest

import jax
import jax.numpy as jnp
import pytest
from conftest import ROOT
from growing import MODELS, filled

from growjax.audit import draws
from growjax.audit.interceptor import Interceptor, Recorded
from growjax.config import ModelConfig, OptimConfig, TrainConfig
from growjax.draws import key_hex, normals
from growjax.grow import operator
from growjax.grow.operator import Draws, GrowthData
from growjax.grow.plan import WidthPlan, default_target, make_plan
from growjax.grow.registry import operators, parse_operator, register_operator, unregister_operator
from growjax.grow.widen import widen
from growjax.streams import Streams, at_site, root_key
from growjax.study.ledgers import growth_ledger
from growjax.syntax import canonical
from growjax.train.state import TrainState, init_state

pytestmark = pytest.mark.usefixtures("quickly")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        pytest.param({"dialect": "layer"}, marks=pytest.mark.slow),
        pytest.param({"norm": "layer", "mlp": "gated", "qkv_bias": True}, marks=pytest.mark.slow),
        pytest.param({"position": "learned", "mlp": "plain", "mlp_bias": True}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_every_operator_draws_what_it_declares(fields: dict):
    """Watched from outside: no draw is left over, and none is missing."""
    source = ModelConfig(
        d_model=8,
        n_layers=1,
        n_heads=2,
        n_kv_heads=1,
        head_dim=4,
        d_ff=8,
        vocab_size=32,
        max_seq_len=8,
        **fields,
    )
    config = TrainConfig(model=source, optim=OptimConfig(total_steps=100, warmup_steps=5))
    state = init_state(config, key=Streams(root_key(0)).at("init", 0))
    plan = make_plan(source, source.replace(d_model=16, n_heads=4, n_kv_heads=2, d_ff=16, vocab_size=34))
    data = GrowthData(jnp.zeros((9, 9), jnp.uint16), 2)
    texts = [*operators(), "perturbed:cancel=both+noise:cancel=none", "exact_copy+noise+noise"]
    texts = [text if text != "ligo" else "ligo:steps=2" for text in texts]
    interceptor, drew = Interceptor(), set()
    for text in texts:
        for exchanged in ({}, {"perturb": 3}):
            ledger = growth_ledger(text, plan, Streams(root_key(1, "study"), exchanged), seed=1, exchanged=exchanged)
            assert all(e["key"] == key_hex(draws.stream_key(e)) for e in ledger.values()), text
            recorded = Recorded(ledger)
            with interceptor.watching(recorded.give) as asked:
                widen(state, plan, operator=text, key=root_key(1, "study"), data=data, exchanged=exchanged)
            assert recorded.faults(asked) == [], text
            drew |= {text.partition(":")[0].partition("+")[0]} if asked else set()
    assert drew - {"exact_copy"} == {name for name, op in operators().items() if op.draws}


def shifted(state: TrainState, plan: WidthPlan, *, streams: Streams, by: float = 0.1) -> TrainState:
    """The exact copy with noise on its embedding."""
    new = operators()["exact_copy"].fn(state, plan, streams=streams)
    table = new.params["embedding"]
    noise = by * jax.random.normal(at_site(streams.at("perturb", 0), "embedding"), table.shape, table.dtype)
    return new.replace(params={**new.params, "embedding": table + noise})


@pytest.mark.parametrize("declared", [True, False])
def test_a_registered_operator_is_audited_by_what_it_declares(declared: bool):
    source = MODELS["rms tied"]
    plan = make_plan(source, default_target(source))
    shape = (source.vocab_size, plan.target.d_model)
    described: Draws = {"perturb": lambda plan, options: [(["embedding", 0], normals(shape))]}
    register_operator("shifted", shifted, draws=described if declared else None)
    try:
        assert parse_operator("shifted:by=0.2").streams == ({"perturb"} if declared else set())
        streams = Streams(root_key(1, "study"))
        recorded = Recorded(growth_ledger("shifted", plan, streams, seed=1))
        with Interceptor().watching(recorded.give) as asked:
            widen(filled(TrainConfig(model=source)), plan, operator="shifted", key=root_key(1, "study"))
        assert (recorded.faults(asked) == []) == declared and len(asked) == 1
    finally:
        unregister_operator("shifted")


def test_a_study_asks_no_audit_what_operators_draw():
    """The second opinion stands above what it checks."""
    for floor in ("draws", "model", "train", "grow", "measure", "record", "study"):
        place = ROOT / "growjax" / floor
        for path in [place.with_suffix(".py")] if not place.is_dir() else place.rglob("*.py"):
            modules = {imported.module for imported in canonical(path.read_text())[1]}
            assert not [name for name in modules if name.startswith("growjax.audit")], path


def test_the_contract_s_example_runs():
    results = doctest.testmod(operator, extraglobs={"jax": jax})
    assert results.attempted >= 3 and results.failed == 0
