"""What Gemma's checkpoints have of their own: embeddings times a root of d_model, and gains of 1 + w."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from test_checkpoints import DATA, KEY, logits

from growjax import load_checkpoint, save_checkpoint
from growjax.checkpoints.stored import NUMPY
from growjax.grow.plan import make_plan
from growjax.grow.widen import widen


@pytest.mark.parametrize("name", ["gemma", "gemma2", "gemma3_text"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
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
    assert np.abs(logits(load_checkpoint(tmp_path / "wide")[0], ids) - own).max() < 2e-5 * np.abs(own).max()
    again, _ = load_checkpoint(tmp_path / "short")
    save_checkpoint(tmp_path / "long", again, extras, dtype="float32")
    rounded, exact = logits(again, ids), logits(load_checkpoint(tmp_path / "long")[0], ids)
    assert np.abs(rounded - exact).max() < 2e-5 * np.abs(exact).max()
