"""Plans of growth: the shapes of what operators make, what widening moves, and a selection's candidates."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from test_plan import MADE_UP, MODEL, TINY

from growjax import limits
from growjax.cli import main
from growjax.config import TrainConfig
from growjax.errors import UserError
from growjax.grow.plan import dealt_plan, default_target
from growjax.grow.widen import widen
from growjax.mesh.copying import _copied as copied
from growjax.mesh.rules import AXES, MeshShape, cut_of, names_of
from growjax.model.axes import is_spec
from growjax.model.decoder import count_params, param_specs
from growjax.plan.growth import place_of, selecting, sent_round, shapes_of, target_shapes, widening
from growjax.plan.memory import held, leaves, trees_of
from growjax.record.store import save_state
from growjax.select.runner import pool
from growjax.streams import root_key
from growjax.train.state import init_state


def test_a_target_has_the_bytes_of_what_its_operator_makes():
    """Of a source that was grown before, too: counts by entry, factors and warm-ups."""
    plan, key = dealt_plan(TINY, default_target(TINY)), root_key(1, "study")
    source = init_state(TrainConfig(TINY), key=key)
    made = widen(source, plan, operator="asymmetric_reset+law+rewarm:steps=4+schedule:horizon=99", key=key)
    found = target_shapes(
        shapes_of(source.config), plan, operator="asymmetric_reset+law+rewarm:steps=4+schedule:horizon=99"
    )
    assert list(leaves(found, MeshShape())) == list(leaves(made, MeshShape()))
    assert found.config == made.config
    further = dealt_plan(made.config.model, made.config.model.replace(d_ff=64))
    again = widen(made, further, operator="exact_copy", key=key)
    twice = target_shapes(found, further, operator="exact_copy")
    assert list(leaves(twice, MeshShape())) == list(leaves(again, MeshShape()))
    counted = held(list(leaves(target_shapes(source, plan, operator="asymmetric_reset"), MeshShape())))
    assert counted["counts"] == counted["parameters"] + 8  # no leaf of it stays as narrow as it was


def test_a_target_that_has_no_room_here_has_shapes(monkeypatch: pytest.MonkeyPatch):
    plan, source = dealt_plan(TINY, default_target(TINY)), init_state(TrainConfig(TINY), key=root_key(0))
    monkeypatch.setattr(limits, "memory", lambda: 10_000)
    target_shapes(source, plan, operator="scratch")
    with pytest.raises(UserError, match="takes at least"):
        widen(source, plan, operator="scratch", key=root_key(0))


def test_an_operator_that_trains_needs_no_tokens_for_its_shapes():
    plan = dealt_plan(TINY, default_target(TINY))
    found = target_shapes(shapes_of(TrainConfig(TINY)), plan, operator="ligo+reset")
    assert held(list(leaves(found, MeshShape())))["counts"] > 4 * count_params(TINY)
    assert jax.tree.map(jnp.shape, found.params) == jax.tree.map(jnp.shape, shapes_of(TrainConfig(plan.target)).params)


def permuted(jaxpr: Any, times: int = 1) -> Counter[str]:
    """Bytes that a device hands on along each axis of a mesh in a program."""
    found: Counter[str] = Counter()
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "ppermute":
            [over] = eqn.params["axis_name"]
            found[over] += times * eqn.invars[0].aval.size * eqn.invars[0].aval.dtype.itemsize
        for inner in jaxprs_in_params(eqn.params):
            found += permuted(inner, times * eqn.params.get("length", 1))
    return found


@pytest.mark.parametrize("grown", [("embed", "mlp"), ("embed",), ("mlp",)])
@pytest.mark.parametrize("mesh", [MeshShape(fsdp=2, tensor=2), MeshShape(fsdp=4), MeshShape(2, 2, 4)])
def test_what_widening_moves_is_what_its_program_moves(grown: tuple[str, ...], mesh: MeshShape):
    """Of matrices that are cut on both axes, grown along both or along one of them."""
    source = init_state(TrainConfig(TINY), key=root_key(0))
    fields = {"embed": {"d_model": 16}, "mlp": {"d_ff": 24}}
    plan = dealt_plan(TINY, TINY.replace(**{k: v for axis in grown for k, v in fields[axis].items()}))
    devices = Mesh(np.full(mesh, jax.devices()[0]), AXES)  # of no use but to trace
    found: Counter[str] = Counter()
    specs = jax.tree.leaves(param_specs(TINY), is_leaf=is_spec)
    for _, tree in trees_of(source):
        for spec, leaf in zip(specs, tree, strict=True):
            names = names_of(spec)
            maps = [plan.maps[name] for name in names]
            if leaf.ndim:
                index = tuple(jnp.asarray(m.index, jnp.int32) if m.grown else None for m in maps)
                cut, wide = (P(*cut_of(names, shape, mesh)) for shape in (leaf.shape, [m.new for m in maps]))
                program = partial(copied, mesh=devices, source=cut, target=wide)
                found += permuted(jax.make_jaxpr(program)(leaf, index, None).jaxpr)
    assert sent_round(source, plan, mesh) == dict(found)


def test_widening_moves_what_stands_elsewhere():
    plan = dealt_plan(TINY, default_target(TINY))
    source, target = (shapes_of(TrainConfig(model)) for model in (plan.source, plan.target))
    alone, cut = (widening(source, target, plan, mesh, MADE_UP) for mesh in (MeshShape(), MeshShape(fsdp=2)))
    assert alone.moved == 0 < cut.moved
    assert alone.read == sum(row.whole for row in leaves(source, MeshShape()))
    assert cut.peak < alone.peak


def test_a_state_is_widened_whole_where_it_cannot_be_piece_by_piece():
    mesh, source = MeshShape(fsdp=2), shapes_of(TrainConfig(TINY))
    plan, tokens = (dealt_plan(TINY, default_target(TINY).replace(vocab_size=size)) for size in (32, 40))
    places = [
        place_of(source, p, mesh, operator=o) for p, o in ((plan, "lockstep"), (plan, "scratch"), (tokens, "lockstep"))
    ]
    assert places == [mesh, MeshShape(), MeshShape()]
    assert place_of(source, plan, MeshShape(fsdp=3), operator="lockstep") == MeshShape()  # does not divide the source


def test_a_selection_side_by_side():
    source, target = (shapes_of(TrainConfig(model)) for model in (TINY, default_target(TINY)))
    asked = {"candidates": 4, "budget": 100, "horizon": 64, "first": 16, "every": 8, "step": 2.0}
    found = selecting(source, target, chips=8, each=2, **asked)
    assert (found.side_by_side, found.seconds, found.rungs) == (4, 50.0, (16, 32, 64))
    assert found.chip_hours == pytest.approx(100 * 2.0 * 2 / 3600)  # rounding
    with pytest.raises(UserError, match="give at least 64"):
        selecting(source, target, chips=8, each=2, **asked | {"budget": 63})


def test_a_selection_has_the_candidates_that_can_follow(capsys: pytest.CaptureFixture[str]):
    found = []
    for width in ("128", "96"):
        assert main(["plan", *MODEL, "--to.d-model", width, "--budget", "800", "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out)["selection"]["candidates"])
    assert found[0] == len(pool()) > found[1]


def test_a_source_is_read_as_it_is_stored(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    plan = dealt_plan(TINY, default_target(TINY))
    grown = widen(
        init_state(TrainConfig(TINY), key=root_key(0)), plan, operator="asymmetric_reset+law", key=root_key(1)
    )
    save_state(tmp_path, grown)
    words = ["plan", str(tmp_path), "--chips", "1"]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["widening"]["read"] == sum(leaf.nbytes for leaf in jax.tree.leaves(grown))
    assert found["best"]["kinds"]["factors"] > 0
    assert main([*words, "--dtype", "float64"]) == 2
    assert "is kept in float32" in capsys.readouterr().err
