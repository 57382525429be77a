"""Tokens that belong to a state are known by digest, wherever they lie."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from conftest import ROOT, with_new_checksums

from growjax.config import DataConfig, canonical_json
from growjax.data import corpus, tokens
from growjax.errors import CheckFailed, UserError
from growjax.record.integrity import read_receipt
from growjax.record.tokens_of import origin_of, recorded_origin, tokens_for

CONFIG = DataConfig(stories=100, vocab_size=300, seq_len=16, batch_size=2, eval_batches=1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of tokens: a run's own, others of its tokenizer, and two of other tokenizers, one of the same size."""
    base = tmp_path_factory.mktemp("tokens")
    own, found = corpus.read_stories(CONFIG), {}
    other = corpus.read_stories(CONFIG.replace(stories=300))
    for name, stories, size in (("own", own, 300), ("larger", own, 400), ("smaller", own, 290), ("alike", other, 300)):
        tokens.write_tokens(base / name, stories, CONFIG.replace(vocab_size=size))
        found[name] = base / name
    kin = {n: (base / "own" / n).read_bytes() for n in tokens.FILES}
    kin["train.bin"] = kin["train.bin"][: len(kin["train.bin"]) // 4 * 2]
    info = json.loads((base / "own" / tokens.INFO).read_text())
    info["tokens"]["train"] = len(kin["train.bin"]) // 2
    info["files"]["train.bin"] = hashlib.sha256(kin["train.bin"]).hexdigest()
    tokens.write_files(base / "kin", {**kin, tokens.INFO: json.dumps(info).encode()})
    return found | {"kin": base / "kin"}


@pytest.fixture
def state(tmp_path: Path, made: dict[str, Path]) -> Path:
    """A cell's folder in a run directory whose tokens are its own."""
    own = tokens.open_tokens(made["own"])
    receipt = json.loads((ROOT / "artifacts" / "smoke" / "receipt.json").read_text())
    for cell in receipt["cells"]:
        cell["inputs"] = {"tokens": own.digest}
        if cell["kind"] == "data":
            cell["digests"] = {"tokens": own.digest, **own.info["files"]}
    run = with_new_checksums(receipt, tmp_path / "run")
    recorded = next(cell for cell in read_receipt(run)["cells"] if cell["kind"] == "source")
    folder = run / "cells" / recorded["id"]
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(canonical_json(recorded) + "\n")
    shutil.copytree(made["own"], run / "data")
    return folder


def test_records_beside_a_state_are_input(state: Path, made: dict[str, Path]):
    """What `widen` wrote, or a cell's result, that is none or damaged is a line; what lies above need not be a run."""
    (state / "widen.json").write_text(json.dumps({"operator": "exact_copy", "plan": [], "origin": 3}))
    with pytest.raises(UserError, match=r"widen\.json is none that growjax wrote: origin"):
        recorded_origin(state)
    (state / "widen.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="nested too deep"):
        recorded_origin(state)
    (state / "widen.json").unlink()
    (state.parent.parent / "receipt.json").write_text('{"cells": 3}')
    assert recorded_origin(state) == (tokens.open_tokens(made["own"]).digest, None)
    (state / "result.json").write_text(json.dumps({"inputs": 3}))
    with pytest.raises(CheckFailed, match="is damaged"):
        recorded_origin(state)


def test_its_own_tokens_are_found(state: Path, made: dict[str, Path]):
    own = tokens.open_tokens(made["own"])
    assert recorded_origin(state) == origin_of(own)
    assert tokens_for(state, None, 300).digest == own.digest
    assert tokens_for(state, made["kin"], 300).digest != own.digest  # of the same tokenizer


@pytest.mark.parametrize("name", ["larger", "smaller", "alike"])
def test_tokens_of_another_tokenizer_are_refused(state: Path, made: dict[str, Path], name: str):
    with pytest.raises(UserError, match=r"another tokenizer .*the state has 300, digest"):
        tokens_for(state, made[name], 300)


def test_what_merely_lies_above_is_not_taken(state: Path, made: dict[str, Path]):
    data = state.parent.parent / "data"
    shutil.rmtree(data)
    shutil.copytree(made["alike"], data)
    with pytest.raises(UserError, match=r"no tokens that belong to .* \(its own have digest"):
        tokens_for(state, None, 300)
    (state / "result.json").unlink()
    with pytest.raises(UserError, match="no record of its tokens"):
        tokens_for(state, None, 300)


def test_a_widened_state_knows_its_tokens_too(tmp_path: Path, made: dict[str, Path]):
    """Its vocabulary may have grown, and its tokens stay those of the source."""
    own = tokens.open_tokens(made["own"])
    (tmp_path / "widen.json").write_text(
        json.dumps({"operator": "net2net", "plan": [], "origin": origin_of(own)._asdict()})
    )
    assert tokens_for(tmp_path, made["own"], 350).digest == own.digest
    for name in ("alike", "larger"):
        with pytest.raises(UserError, match="another tokenizer"):
            tokens_for(tmp_path, made[name], 350)


def test_without_a_record_only_more_ids_are_refused(tmp_path: Path, made: dict[str, Path]):
    assert tokens_for(tmp_path, made["alike"], 300)
    with pytest.raises(UserError, match=r"400 ids, the state has 300\)"):
        tokens_for(tmp_path, made["larger"], 300)
