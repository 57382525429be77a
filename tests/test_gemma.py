"""What Gemma's checkpoints have of their own: embeddings times a root of d_model, and gains of 1 + w."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from test_checkpoints import DATA, KEY, logits

from growjax import load_checkpoint, save_checkpoint
from growjax.checkpoints.stored import NUMPY
from growjax.grow.plan import make_plan
from growjax.grow.widen import widen


@pytest.mark.parametrize(("name", "dtype"), [("gemma", "float32"), ("gemma2", "bfloat16")])
def test_embeddings_are_multiplied_by_a_root_in_the_dtype_of_the_tensors(name: str, dtype: str, tmp_path: Path):
    """And what leaves with another width, or another dtype, is multiplied by another, and is the same function."""
    shutil.copytree(DATA / name, tmp_path / "source")
    config = json.loads((tmp_path / "source" / "config.json").read_text()) | {"dtype": dtype}
    assert load_checkpoint(DATA / name)[0].config.model.embed_scale == 4.0
    (tmp_path / "source" / "config.json").write_text(json.dumps(config))
    state, extras = load_checkpoint(tmp_path / "source")
    model = state.config.model
    wide = widen(state, make_plan(model, model.replace(d_model=20)), key=KEY)
    assert wide.config.model.embed_scale == 4.0
    save_checkpoint(tmp_path / "wide", wide, extras, dtype="float32")
    save_checkpoint(tmp_path / "short", wide, extras, dtype="bfloat16")
    scales = {folder: load_checkpoint(tmp_path / folder)[0].config.model.embed_scale for folder in ("wide", "short")}
    assert scales == {"wide": float(np.float32(20**0.5)), "short": float(NUMPY["bfloat16"].type(20**0.5))}
    ids = np.load(DATA / name / "reference.npz")["ids"]
    own = logits(state, ids)
    # float32 rounding of sums over twice the width
    assert np.abs(logits(load_checkpoint(tmp_path / "wide")[0], ids) - own).max() < 2e-5 * np.abs(own).max()
    again, _ = load_checkpoint(tmp_path / "short")
    save_checkpoint(tmp_path / "long", again, extras, dtype="float32")
    rounded, exact = logits(again, ids), logits(load_checkpoint(tmp_path / "long")[0], ids)
    # float32 rounding of a table by which another scale is made up for
    assert np.abs(rounded - exact).max() < 2e-5 * np.abs(exact).max()


def test_gains_of_bfloat16_come_back_bit_by_bit(tmp_path: Path):
    source = {k: v.astype(NUMPY["bfloat16"]) for k, v in load_file(DATA / "gemma" / "model.safetensors").items()}
    (tmp_path / "short").mkdir()
    shutil.copy(DATA / "gemma" / "config.json", tmp_path / "short")
    save_file(source, tmp_path / "short" / "model.safetensors")
    state, extras = load_checkpoint(tmp_path / "short")
    save_checkpoint(tmp_path / "again", state, extras)
    again = load_file(tmp_path / "again" / "model.safetensors")
    assert source.keys() == again.keys() and all(source[k].tobytes() == again[k].tobytes() for k in source)


def test_transformers_4_describes_gemma_3_in_other_keys(tmp_path: Path):
    shutil.copytree(DATA / "gemma3_text", tmp_path / "old")
    config = json.loads((tmp_path / "old" / "config.json").read_text())
    assert config.pop("rope_parameters")["full_attention"]["factor"] == 8.0 and config.pop("layer_types")
    older = {"rope_theta": 1e6, "rope_local_base_freq": 1e4, "sliding_window_pattern": 3}
    scaling = {"rope_scaling": {"rope_type": "linear", "factor": 8.0}}
    (tmp_path / "old" / "config.json").write_text(json.dumps(config | older | scaling))
    (state, extras), (new, _) = (load_checkpoint(path) for path in (tmp_path / "old", DATA / "gemma3_text"))
    assert state.config == new.config
    save_checkpoint(tmp_path / "out", state, extras)
    written = json.loads((tmp_path / "out" / "config.json").read_text())
    assert older.items() <= written.items() and scaling["rope_scaling"].items() <= written["rope_scaling"].items()
    assert load_checkpoint(tmp_path / "out")[0].config == new.config
