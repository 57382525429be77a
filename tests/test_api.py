"""`growjax/README.md`: its examples run, and its table is the decoder's own."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from growing import MODELS

import growjax
from growjax import make_state, run_keys, runtime
from growjax.config import TrainConfig
from growjax.errors import UserError
from growjax.model.decoder import init_params, named_params
from growjax.model.table import markdown, parameters
from growjax.streams import Streams, root_key

PAGE = (ROOT / "growjax" / "README.md").read_text()


OWN = """
copy = widen(state, plan, operator="exact_copy", key=root_key(1, "study"))
assert (4 * smaller.params["embedding"] == copy.params["embedding"]).all()
from growjax import MeasureInputs, measures
source = lambda: state.params
seen = [MeasureInputs(model, plan.target, plan, p, p, None, True, source, source) for p in (state.params, copy.params)]
same, wider = (measures()[-1].fn(given) for given in seen)
assert measures()[-1].selector == "zero-step norm ratio" and same == 1 < wider
"""
"""What the operator and the measure of the page do."""


def test_every_example_runs():
    code = "".join(re.findall(r"```python\n(.*?)```", PAGE, re.S)) + OWN
    env = {**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}  # what it checks holds to a tolerance
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "params/embedding is float32 [16, 50], where its configuration has float32 [50, 16]" in done.stdout


def test_the_table_is_that_of_the_decoder():
    found = re.search(r"<!-- table -->\n(.*?)<!-- end of table -->", PAGE, re.S)
    assert found and found[1] == markdown(), "put in what python -m growjax.model.table prints"
    for model in MODELS.values():
        for path, spec, _ in named_params(model):
            # Gauges follow from what stands beside a parameter; axes and roles are its own.
            assert [(d.axis, d.role) for d in parameters()[path][0].dims] == [(d.axis, d.role) for d in spec.dims]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p.pop("embedding"), "params/embedding is missing"),
        (lambda p: p.update(extra=np.zeros(3, np.float32)), "params/extra is no leaf"),
        (lambda p: p["blocks"].update(wq=p["blocks"]["wq"][:, :1]), "params/blocks/wq is float32"),
        (lambda p: p.update(embedding=np.asarray(p["embedding"], np.float64)), "params/embedding is float64"),
        (lambda p: p.update(embedding=p["embedding"] * np.nan), "params/embedding holds values"),
        (lambda p: p.update(embedding=[1.0]), "params/embedding"),
    ],
)
def test_parameters_of_ones_own_are_checked_leaf_by_leaf(change, words: str):
    config = TrainConfig(model=MODELS["rms tied"].replace(dtype="float32"))
    params = init_params(config.model, key=Streams(root_key(0)).at("init", 0))
    params = {**params, "blocks": dict(params["blocks"])}
    assert int(make_state(config, params).step) == 0
    change(params)
    with pytest.raises(UserError, match=words) as caught:
        make_state(config, params)
    assert caught.value.hint and "\n" not in str(caught.value)


def test_a_type_checker_reads_the_names_that_there_are():
    """Imports for type checkers and the table for everyone else name the same."""
    tree = ast.parse((ROOT / "growjax" / "__init__.py").read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and isinstance(node.body[0], ast.ImportFrom))
    imported = {
        alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert all(alias.asname == alias.name for node in block.body for alias in node.names)  # pyright: ignore
    assert imported == {**growjax._WHERE, **dict.fromkeys(growjax._MODULES, "growjax")}
    assert {*growjax.__all__} <= {*dir(growjax)} and all(hasattr(growjax, name) for name in growjax.__all__)
    with pytest.raises(AttributeError):
        growjax.nothing_here  # noqa: B018 # pyright: ignore


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: run_keys(Streams(root_key(0)), ("perturb",)), "no stream named perturb: choose among order, dropout"),
        (lambda: run_keys(Streams(root_key(0)), "order"), "live is 'order': give a tuple"),
        (lambda: Streams(root_key(0)).stream("orders"), "no stream is named orders"),
        (lambda: root_key(1, "Study"), "purpose is Study: choose one of source, study"),
    ],
)
def test_a_name_that_is_none(call, words: str):
    with pytest.raises(UserError, match=words):
        call()


def test_pins_that_come_too_late_are_said():
    """By a warning, since whoever calls `pin` seldom looks at what it returns."""
    code = "import jax; from growjax import runtime; assert len(runtime.pin()) == 1"
    env = {**runtime.without_pins(), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr.count("UserWarning: jax was imported before the pins were set") == 1
