"""HyperCloning's published form in Hugging Face's own layout, leaf by leaf."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from safetensors.numpy import load_file

from growjax import load_checkpoint, save_checkpoint
from growjax.grow.plan import default_target, make_plan
from growjax.grow.widen import widen
from growjax.streams import root_key

DATA = ROOT / "tests" / "data"
TABLES = ("embed_tokens.weight", "embed_in.weight")
HEADS = ("lm_head.weight", "embed_out.weight")


def cloned(name: str, value: np.ndarray, k: int, heads: int) -> np.ndarray:
    """A stored tensor of the k times wider model, by the formula (Samragh et al. 2024, arXiv 2409.12903, section 3.2).

    torch keeps y = W x as [outputs, inputs]. Where input and output are k copies of the narrow ones, one after another,
    W becomes k x k blocks W / k, and a bias or a norm k copies of itself; a table of embeddings has copied outputs
    alone, the head copied inputs alone. Heads are copied whole, so that each turns as it did: of fused projections
    [heads, (query, key, value), length, inputs] the first axis is copied.
    """
    if name.endswith(TABLES):
        return np.concatenate([value] * k, axis=1)
    if name.endswith(HEADS):
        return np.concatenate([value] * k, axis=1) / k
    if "query_key_value" in name:
        by_head = np.concatenate([value.reshape(heads, 3, -1, *value.shape[1:])] * k, axis=0)
        value = by_head.reshape(-1, *value.shape[1:])
        return value if value.ndim == 1 else np.concatenate([value] * k, axis=1) / k
    if value.ndim == 1:
        return np.concatenate([value] * k)
    return np.block([[value] * k] * k) / k


@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("name", ["llama-untied", "gpt_neox"])
def test_every_tensor_is_what_the_formula_says(name: str, k: int, tmp_path: Path):
    state, extras = load_checkpoint(DATA / name)
    plan = make_plan(state.config.model, default_target(state.config.model, k))
    save_checkpoint(tmp_path / "wide", widen(state, plan, operator="hypercloning", key=root_key(1, "study")), extras)
    source, wide = (load_file(folder / "model.safetensors") for folder in (DATA / name, tmp_path / "wide"))
    own, written = (json.loads((folder / "config.json").read_text()) for folder in (DATA / name, tmp_path / "wide"))
    sizes = {"hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads"} & {*own}
    assert {key: written[key] for key in sizes} == {key: k * own[key] for key in sizes}
    assert source.keys() == wide.keys()
    for path, value in source.items():
        expected = cloned(path, value, k, own["num_attention_heads"])
        assert np.array_equal(wide[path], expected), path  # bit for bit: k is a power of two
