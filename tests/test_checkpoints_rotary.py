"""Rotary positions in config.json: both forms, scaled or of part of a head, and what cannot be read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT

from growjax import load_checkpoint, save_checkpoint
from growjax.checkpoints.registry import family_of
from growjax.config import ModelConfig
from growjax.errors import UserError
from growjax.model.rotary import frequencies

DATA = ROOT / "tests" / "data"

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
EARLIER: dict[str, dict[str, Any]] = {
    "llama-scaled": {"rope_theta": 100.0, "rope_scaling": LLAMA3},
    "qwen2-scaled": {"rope_theta": 1e4, "rope_scaling": {"type": "linear", "factor": 4}},
    "gpt_neox": {"rotary_emb_base": 10000, "rotary_pct": 0.5},
    "gpt_neox-sequential": {"rotary_emb_base": 500, "rotary_pct": 0.75},
    "phi3": {"rope_theta": 10000.0, "partial_rotary_factor": 0.75, "rope_scaling": None},
}
"""How transformers 4 says what these folders say as 5 does."""


def given(name: str) -> dict[str, Any]:
    return json.loads((DATA / name / "config.json").read_text())


def read(config: dict[str, Any]) -> ModelConfig:
    return family_of(config).read(config)[0]


@pytest.mark.parametrize("name", EARLIER)
def test_both_forms_are_read_and_written(name: str, tmp_path: Path):
    later = given(name)
    earlier = {k: v for k, v in later.items() if k not in ("rope_parameters", *EARLIER[name])} | EARLIER[name]
    assert read(earlier) == read(later)
    shutil.copytree(DATA / name, tmp_path / "earlier")
    (tmp_path / "earlier" / "config.json").write_text(json.dumps(earlier))
    state, extras = load_checkpoint(tmp_path / "earlier")
    save_checkpoint(tmp_path / "out", state, extras)
    written = json.loads((tmp_path / "out" / "config.json").read_text())
    assert written["rope_parameters"] == later["rope_parameters"]
    for key in EARLIER[name]:
        if key != "rope_scaling":
            assert written[key] == earlier[key]
    kind = later["rope_parameters"]["rope_type"]
    assert (written.get("rope_scaling") or {"rope_type": "default"})["rope_type"] == kind
    only_earlier = {k: v for k, v in written.items() if k != "rope_parameters"}
    only_later = {k: v for k, v in written.items() if k not in EARLIER[name]}
    assert read(only_earlier) == read(only_later) == state.config.model


def test_frequencies_of_llama_3():
    """By the rule of the paper's code, written down on its own: what turns fast stays, what turns slowly is divided by
    the factor, and between them the share goes linearly with the turns."""
    model = ModelConfig(head_dim=64, rope_theta=5e5, rope_scaling=(8.0, 1.0, 4.0, 8192))
    plain = frequencies(model.replace(rope_scaling=()))
    for own, rate in zip(frequencies(model), plain, strict=True):
        wavelength = 2 * np.pi / rate
        if wavelength < 8192 / 4:
            expected = rate
        elif wavelength > 8192 / 1:
            expected = rate / 8
        else:
            smooth = (8192 / wavelength - 1) / (4 - 1)
            expected = (1 - smooth) * rate / 8 + smooth * rate
        assert own == pytest.approx(expected, rel=1e-14)  # float64 rounding
    assert np.array_equal(frequencies(model.replace(rope_scaling=(4.0,))), plain / 4)


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("llama", {"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "rope_scaling.rope_type is 'dynamic'"),
        ("llama", {"rope_parameters": {"rope_type": "yarn", "factor": 2.0}}, "rope_parameters.rope_type is 'yarn'"),
        ("phi3", {"rope_scaling": {"type": "longrope", "short_factor": [1, 1, 1]}}, "rope_type is 'longrope'"),
        ("phi3", {"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_type is 'linear'"),
        ("llama", {"rope_scaling": LLAMA3 | {"factor": None}}, "lacks factor"),
        ("llama", {"rope_scaling": LLAMA3 | {"factor": "8"}}, "factor is '8'"),
        ("llama", {"rope_scaling": LLAMA3 | {"low_freq_factor": 4.0}}, "low no less than high"),
        ("llama", {"rope_scaling": "linear"}, "rope_scaling is 'linear'"),
        ("llama", {"rope_parameters": {"full_attention": {"rope_theta": 1e4}}}, "full_attention"),
        ("llama", {"rope_theta": -1.0, "rope_parameters": None}, "rope_theta is -1.0"),
        ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5"),
        ("gpt_neox", {"rope_parameters": {"partial_rotary_factor": 0.1}}, "nothing is left that turns"),
        ("gpt_neox", {"rope_parameters": {"partial_rotary_factor": 1.5}}, "rotary_pct is 1.5"),
        ("gpt_neox", {"rope_parameters": {"partial_rotary_factor": 0.9}}, "even length, not 3"),
        ("opt", {"word_embed_proj_dim": 8}, "word_embed_proj_dim is 8"),
        ("opt", {"do_layer_norm_before": False}, "do_layer_norm_before is False"),
        ("opt", {"_remove_final_layer_norm": True}, "_remove_final_layer_norm is True"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_key(name: str, changes: dict[str, Any], words: str):
    with pytest.raises(UserError, match=words):
        read(given(name) | changes)


def test_a_share_is_written_so_that_it_is_read_again():
    """`int(length * (n / length))` is n - 1 for some lengths."""
    for head_dim in range(2, 200):
        for turned in {2, head_dim // 4 * 2, head_dim // 3 * 2} - {0}:
            if turned <= head_dim and head_dim % 2 == 0:
                model = ModelConfig(
                    dialect="layer", position="rotary", bias=True, activation="gelu_erf", head_dim=head_dim, n_heads=2,
                    n_kv_heads=2, d_model=2 * head_dim, rotary_dim=turned if turned < head_dim else None,
                )  # fmt: skip
                config = family_of({"model_type": "gpt_neox"}).write(model, "float32")
                assert read(config).rotary_dim == model.rotary_dim
