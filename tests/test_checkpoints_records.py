"""What came with a checkpoint into a state's folder, and an optimizer of torch's: read as strangers' input."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT

from growjax.checkpoints import keep, kept
from growjax.checkpoints.adam import read_adam, whole
from growjax.checkpoints.folder import open_checkpoint
from growjax.checkpoints.registry import FAMILIES
from growjax.errors import UserError

DATA = ROOT / "tests" / "data"

RUN = {
    "moments": {"from": "optimizer.pt", "step": 3},
    "options": {"lr": 0.1, "initial_lr": 0.1, "betas": [0.9, 0.99], "eps": 0, "weight_decay": 0.1, "others": {}},
    "dtype": "float32", "scheduler": {"last_epoch": 3}, "state": {},
}  # fmt: skip
STATE: dict[str, tuple[str, Any, str]] = {
    "no moments": ("trainer.json", {"a": 1}, "moments: Field required"),
    "settings of another": ("trainer.json", RUN | {"options": {"x": 1}}, "options.lr: Field required"),
    "a rate in words": ("trainer.json", RUN | {"options": {**RUN["options"], "lr": "0.1"}}, "options.lr"),
    "a rate without end": ("trainer.json", RUN | {"options": {**RUN["options"], "lr": float("inf")}}, "options.lr"),
    "a dtype of no tensor": ("trainer.json", RUN | {"dtype": "int4"}, "dtype: Input should be 'float32'"),
    "a schedule of no steps": ("trainer.json", RUN | {"scheduler": {"lr_lambdas": 5}}, "scheduler.lr_lambdas"),
    "a configuration of none": ("config.json", {"model_type": ["llama"]}, "model_type is ['llama']"),
    "a size in words": ("config.json", {"model_type": "llama", "vocab_size": "64"}, "vocab_size is '64'"),
}


def came_with(folder: Path) -> Path:
    """What lies in the folder of a state that is of a checkpoint."""
    with open_checkpoint(DATA / "llama") as opened:
        keep(dataclasses.replace(opened.extras, trainer=RUN), folder)
    return folder


def test_a_state_says_what_came_with_it(tmp_path: Path):
    extras = kept(came_with(tmp_path))
    assert extras is not None and extras.trainer == RUN


@pytest.mark.parametrize("name", STATE)
def test_a_state_with_a_broken_record(name: str, tmp_path: Path):
    file, record, words = STATE[name]
    (came_with(tmp_path) / "checkpoint" / file).write_text(json.dumps(record))
    with pytest.raises(UserError) as refused:
        kept(tmp_path)
    assert words in str(refused.value)


def test_what_is_no_optimizer_of_torch_s_is_refused():
    """Numbers that are none, groups that are none; a count beyond all floats."""
    family = FAMILIES["llama"]
    model = family.read(json.loads((DATA / "llama" / "config.json").read_text()))[0]
    for group in ({"params": [[1]]}, {"params": [0], "param_names": np.zeros(3)}, {"params": 5}):
        with pytest.raises(UserError, match="this is no state of an optimizer"):
            read_adam({"state": {}, "param_groups": [group]}, family, model)
    for count in (10**400, float("nan"), "3", np.array("3"), np.array([1j])):
        with pytest.raises(UserError, match="it must be a whole number of steps"):
            whole(count, "trainer_state.json: global_step")
