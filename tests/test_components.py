"""A decoder is its parts: what configurations mean, what plans say of them, and that nobody asks for a preset."""

from __future__ import annotations

import re
from itertools import product
from typing import get_args

import pytest
from conftest import ROOT
from growing import BASE, MIXED, MODELS

from growjax.config import PRESETS, Activation, Architecture, Dialect, Mlp, ModelConfig, Norm, Position
from growjax.errors import UserError
from growjax.grow.plan import default_target, make_plan
from growjax.model.components import components
from growjax.model.decoder import param_specs

BOOLS = (False, True)
ALL = [
    Architecture(*values)
    for values in product(get_args(Norm), get_args(Position), get_args(Mlp), get_args(Activation), BOOLS, BOOLS, BOOLS)
]


def test_the_presets_are_what_they_were():
    assert ModelConfig().architecture == ("rms", "rotary", "gated", "silu", False, False, False)
    assert ModelConfig(dialect="layer").architecture == ("layer", "learned", "plain", "gelu", True, True, True)
    assert ModelConfig(bias=True).architecture[4:] == (True, True, True)
    assert ModelConfig(dialect="layer", bias=False).architecture[4:] == (False, False, False)
    assert ModelConfig(bias=True, mlp_bias=False).architecture[4:] == (True, True, False)


@pytest.mark.parametrize("dialect", get_args(Dialect))
def test_every_part_can_be_chosen_under_either_preset(dialect: Dialect):
    for architecture in ALL:
        config = BASE.replace(dialect=dialect, **architecture._asdict())
        assert config.architecture == architecture
        assert ModelConfig.from_dict(config.to_dict()) == config
        assert (config.described == dialect) == (architecture == PRESETS[dialect])
    assert BASE.replace(position="learned", mlp_bias=True).described == "rms, position learned, mlp_bias True"


def test_the_small_models_take_every_value_of_every_part():
    taken = {pair for model in (MODELS | MIXED).values() for pair in model.architecture._asdict().items()}
    assert taken == {pair for architecture in ALL for pair in architecture._asdict().items()}


@pytest.mark.parametrize(
    ("fields", "hint"),
    [
        ({"norm": "batch"}, "one of rms, layer"),
        ({"position": "alibi"}, "one of rotary, learned, none"),
        ({"mlp": "mixture"}, "one of gated, plain"),
        ({"activation": "tanh"}, "one of silu, gelu, gelu_erf, relu"),
        ({"dialect": "gpt"}, "one of rms, layer"),
        ({"dialect": "layer", "position": "rotary", "head_dim": 3}, "even head_dim"),
        ({"rotary_dim": 3}, "even head_dim"),
        ({"rotary_dim": 6}, "choose 4 at most"),
        ({"rope_scaling": (2.0, 1.0)}, "give 1 or 4"),
        ({"rope_scaling": (2.0, 4.0, 4.0, 32)}, "swap them"),
    ],
)
def test_what_is_no_part_is_refused(fields: dict, hint: str):
    with pytest.raises(UserError, match=hint):
        BASE.replace(**fields)


@pytest.mark.parametrize("position", ["learned", "none"])
def test_only_rotary_positions_ask_for_even_heads(position: Position):
    model = BASE.replace(position=position, head_dim=3)
    assert make_plan(model, model.replace(head_dim=5)).exact
    with pytest.raises(UserError, match="the nearest reachable head_dim is 8"):
        make_plan(BASE, BASE.replace(head_dim=6))


def test_a_plan_says_for_every_combination_what_is_not_exact():
    """One line, where a norm that subtracts a mean meets uneven copies of what it norms; everything else is exact.
    Activations go unit by unit, so one is enough."""
    for architecture in (one for one in ALL if one.activation == "silu"):
        model = BASE.replace(**architecture._asdict())
        assert make_plan(model, default_target(model)).inexact() == {}
        uneven = make_plan(model, model.replace(d_model=20, n_heads=6, n_kv_heads=3, d_ff=31))
        lines = [row for row in uneven.rows() if "not exact" in row.exact]
        assert [row.axis for row in lines] == (["embed"] if components(model).norm.subtracts_mean else [])
        assert uneven.exact == (not lines) and all("\n" not in row.exact for row in lines)


def test_the_same_parts_are_the_same_model_whatever_the_preset():
    same = BASE.replace(dialect="layer", **PRESETS["rms"]._asdict())
    assert param_specs(same) == param_specs(BASE) and make_plan(BASE, default_target(same)).exact
    with pytest.raises(UserError, match="leaves norm at rms, not layer"):
        make_plan(BASE, BASE.replace(dialect="layer"))


def test_parts_own_the_parameters_that_they_need():
    names = {name: {*param_specs(model), *param_specs(model)["blocks"]} for name, model in (MODELS | MIXED).items()}
    assert {name for name, found in names.items() if "positions" in found} == {
        "layer tied", "layer untied", "rms learned gelu", "layer relu"
    }  # fmt: skip
    assert {"attn_norm_bias", "final_norm_bias", "bq", "q_gain", "w_gate"} <= names["layer rotary geglu"]
    assert not {"bo", "b_up", "b_gate", "b_down"} & names["layer rotary geglu"]
    assert {"b_up", "b_down"} <= names["rms learned gelu"] and "bq" not in names["rms learned gelu"]
    assert "bo" in names["rms without positions"] and "bk" in names["rms qkv biases"]
    assert not {"w_gate", "b_up", "attn_norm_bias"} & names["rms without positions"]


def test_nobody_asks_for_the_name_of_a_preset_or_of_a_part():
    """Names are turned into parts in one place, and from there on parts are asked."""
    asked = re.compile(r"(dialect|norm|position|mlp|activation)\b[\"\])]* *(==|!=|in) *[\"(\[]")
    found = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "growjax").rglob("*.py")
        if any(asked.search(line.split("#")[0]) for line in path.read_text().splitlines())
    }
    assert found == {"growjax/config.py", "growjax/model/components.py"}
