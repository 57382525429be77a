"""How operators are composed, registered and reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from conftest import Entry, Shown, growjax
from growing import BASE, KEY, MODELS, doubled, under_way

from growjax.errors import UserError
from growjax.grow import registry
from growjax.grow.operator import Operator
from growjax.grow.plan import WidthPlan, make_plan
from growjax.grow.promises import always, never
from growjax.grow.registry import operators, parse_operator, parts, register_operator, unregister_operator
from growjax.grow.widen import widen
from growjax.streams import Streams, root_key
from growjax.train.state import TrainState

pytestmark = pytest.mark.usefixtures("quickly")

KEPT = 1e-12  # largest logit difference in float64: rounding


def test_operators_are_known_apart():
    for operator in (*operators().values(), *parts().values()):
        assert operator.summary.endswith(".") and operator.paper
    read = parse_operator("perturbed:sigma=1e-2,cancel=none+moments:become=zeroed+noise:snr_db=1e+1")
    assert read.operator.name == "perturbed" and read.options == {"sigma": 0.01, "cancel": "none"}
    assert [(part.name, options) for part, options in read.parts] == [
        ("moments", {"become": "zeroed"}),
        ("noise", {"snr_db": 10.0}),
    ]
    for text in ("nothing", "perturbed:sigma", "perturbed:colour=1", "perturbed:sigma=red", "exact_copy+nothing",
                 "exact_copy+law:lr=maybe", "", "exact_copy+perturbed"):  # fmt: skip
        with pytest.raises(UserError):
            parse_operator(text)
    source = under_way(MODELS["rms tied"], steps=1)
    with pytest.raises(UserError, match="another source"):
        widen(source, make_plan(MODELS["layer tied"], MODELS["layer tied"].replace(d_ff=30)), key=root_key(0))


def test_parts_draw_from_streams_of_their_own():
    """Two parts that draw, and an operator that does, share no key."""
    source = under_way(MODELS["rms tied"].replace(dtype="float64"))
    plan = doubled(source)

    def weights(text: str) -> Any:
        return widen(source, plan, operator=text, key=KEY).params["blocks"]["w_up"]

    one = weights("exact_copy+noise") - weights("exact_copy")
    both = weights("exact_copy+noise+noise") - weights("exact_copy+noise")
    own = weights("perturbed") - weights("exact_copy")
    for a, b in ((one, both), (one, own), (both, own)):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.1


def halved(state: TrainState, plan: WidthPlan, *, streams: Streams, by: float = 0.5) -> TrainState:
    """The exact copy at half its size."""
    new = operators()["exact_copy"].fn(state, plan, streams=streams)
    return new.replace(params=jax.tree.map(lambda p: p * by, new.params))


def test_an_operator_from_outside(monkeypatch: pytest.MonkeyPatch):
    source = under_way(BASE)
    try:
        register_operator("halved", halved)
        wide = widen(source, doubled(source), operator="halved:by=0.25+law", key=KEY)
        exact = widen(source, doubled(source), operator="lockstep", key=KEY)
        assert np.array_equal(wide.params["embedding"], exact.params["embedding"] * 0.25) and wide.law is not None
        with pytest.raises(UserError, match="named 'halved' already"):
            register_operator("halved", halved)
    finally:
        unregister_operator("halved")
    assert "halved" not in operators()
    for name, fn in (("two words", halved), ("silent", lambda state, plan, *, streams: state)):
        with pytest.raises(UserError):
            register_operator(name, fn)


@pytest.mark.parametrize(
    ("found", "described"),
    [
        (Operator("halved", halved, "registered", "unpublished", never), None),
        (Operator("other", halved, "registered", "unpublished", always), "is no Operator of that name"),
        (halved, "is no Operator of that name"),
        (ImportError("no module"), r"cannot be loaded \(ImportError: no module\)"),
    ],
)
def test_entry_points(found: Any, described: str | None, monkeypatch: pytest.MonkeyPatch):
    def entries(*, group: str) -> list[Entry]:
        assert group == "growjax.operators"
        return [Entry("halved", found)]

    monkeypatch.setattr(registry.importlib.metadata, "entry_points", entries)
    registry._installed.cache_clear()
    try:
        if described is None:
            assert operators()["halved"] is found
        else:
            with pytest.raises(UserError, match=described):
                operators()
    finally:
        monkeypatch.undo()
        registry._installed.cache_clear()


def test_widen_says_what_holds(smoke_run: Path, tmp_path: Path):
    def described(operator: str, *words: str) -> dict[str, Any]:
        out = tmp_path / operator.partition(":")[0]
        done = growjax("widen", str(smoke_run), "--operator", operator, "--out", str(out), "--json", *words)
        assert done.code == 0, done.err
        return json.loads(done.out)

    lockstep = described("lockstep")
    assert all(lockstep["law"].values()) and not lockstep["escape"]["dead"]
    # nats per token; only float32 rounding is left
    assert lockstep["stored"] == lockstep["zero_step"] and lockstep["zero_step"]["kl"] < 1e-9
    assert lockstep["schedule"] == {"step": 20, "horizon": 100}
    done = growjax("widen", str(tmp_path / "lockstep"), "--operator", "staged", "--out", str(tmp_path / "staged"),
                   "--tokens", str(smoke_run / "data"))  # fmt: skip
    assert done.code == 0 and "warning: dead noise" in done.out and "largest logit difference" in done.out, done.err
    assert "holds for first moments, second moments, counts, schedule" in done.out
    assert "does not hold for weights, learning rates, decay, epsilon, clipping" in done.out


def test_the_operators_verb_measures(shown: Shown):
    described = shown.said("operators")
    rows = {row["name"]: row for row in described["operators"]}
    assert {part["name"] for part in described["parts"]} == set(parts())
    for row in rows.values():
        assert row["zero_step"] < KEPT and row["summary"] and row["paper"]
    assert rows["lockstep"]["first_step"] < KEPT and rows["lockstep"]["trajectory"] < 1e-11  # rounding of 20 steps
    assert rows["exact_copy"]["first_step"] > 1e-3 and rows["exact_copy"]["trajectory"] > 1e-3
    assert not rows["exact_copy"]["dead"]
