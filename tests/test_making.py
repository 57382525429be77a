"""What an operator trains before its candidate's step 0 is counted, by the candidate's name alone."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from selections import SMOKE, asked, smoke_source

from growjax.audit.check import open_run
from growjax.errors import UserError
from growjax.grow.plan import make_plan
from growjax.grow.widen import widen
from growjax.record.integrity import finished_receipt
from growjax.record.rundir import RunDir
from growjax.record.store import load_state, save_state
from growjax.report.csv_tables import csv_files
from growjax.report.formatting import contents_of
from growjax.report.selection import write_selection
from growjax.select.runner import pool, run_selection
from growjax.select.summary import beyond, summarise_selection
from growjax.streams import root_key
from growjax.study.rows import Summary
from growjax.study.selection import read_spec
from growjax.study.summary import summarise

NAMES = ["exact_copy", "perturbed", "asymmetric_reset", "structured", "scratch"]


@cache
def summed(name: str) -> Summary:
    """The published quick study, as if `structured` were the candidate of that name."""
    receipt: Any = finished_receipt(ROOT / "artifacts" / "quick")

    def cell(found: Any) -> Any:
        return {**found, "operator": name} if found["operator"] == "structured" else found

    config = {**receipt["config"], "operators": [n if n != "structured" else name for n in NAMES]}
    changed: Any = {**receipt, "config": config, "cells": [cell(found) for found in receipt["cells"]]}
    return summarise(changed)


def test_a_study_charges_it_to_tokens_saved_and_to_the_cost():
    trained, plain = summed("ligo:steps=3"), summed("zero_pad")
    tokens = 3 * trained["run"]["batch_size"] * trained["run"]["seq_len"]
    was = {(r["source"], r["regime"], r["lag"], r["candidate"]): r["tokens_saved"] for r in plain["ranking"]}
    charged = [row for row in trained["ranking"] if row["candidate"] == "ligo:steps=3"]
    assert len(charged) == 2 * 2 * 2
    for row in charged:
        before = was[row["source"], row["regime"], row["lag"], "zero_pad"]
        assert before is not None and row["tokens_saved"] == before - tokens
    others = [row for row in trained["ranking"] if row["candidate"] != "ligo:steps=3"]
    assert all(r["tokens_saved"] == was[r["source"], r["regime"], r["lag"], r["candidate"]] for r in others)
    cost, before = ({r["kind"]: r for r in s["cost"]} for s in (trained, plain))
    assert cost["candidate"]["target_steps"] == 3 * 2 and before["candidate"]["target_steps"] == 0
    (row,) = trained["making"]
    assert cost["candidate"]["flops"] == 2 * row["flops"] > 0 and row["tokens"] == tokens
    assert cost | {"candidate": 0} == before | {"candidate": 0}


def test_curves_and_auc_stay_by_the_steps_after_it_and_the_page_says_so():
    trained, plain = summed("ligo:steps=3"), summed("zero_pad")

    def figures(summary: Summary) -> list[Any]:
        return [[c[key] for key in ("steps", "tokens", "flops", "mean")] for c in summary["curves"]]

    assert sorted(figures(trained)) == sorted(figures(plain))
    assert sorted(r["auc_mean"] for r in trained["ranking"]) == sorted(r["auc_mean"] for r in plain["ranking"])
    tokens = trained["making"][0]["tokens"]
    assert set(trained["notes"]) - set(plain["notes"]) == {
        f"ligo:steps=3 was trained for 3 steps of the target's width ({tokens:,} tokens) before "
        "its step 0. Lags, losses and AUC are by steps after that; tokens saved and what it took count it."
    }
    tables, without = (csv_files(dict(s), contents_of(dict(s))) for s in (trained, plain))
    assert tables.keys() - without.keys() == {"making.csv"}
    assert tables["making.csv"].startswith("candidate,steps,tokens,flops\nligo:steps=3,3,")


@pytest.fixture(scope="module")
def source(smoke_run: Path) -> Path:
    return smoke_source(smoke_run)


@pytest.fixture(scope="module")
def trained(quickly: None, source: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A selection of a source of 1,024 rows and a tokenizer of 300 ids, with a candidate whose operator trains for 2
    steps."""
    state, padded, run = load_state(source), tmp_path_factory.mktemp("padded"), tmp_path_factory.mktemp("trained")
    rows = make_plan(state.config.model, state.config.model.replace(vocab_size=1024))
    save_state(padded, widen(state, rows, operator="exact_copy", key=root_key(0)))
    shutil.copy(source.parents[1] / "data" / "tokenizer.json", padded)
    run_selection(asked(padded, 10, operators=("exact_copy", "ligo:steps=2"), replicates_at_most=1), RunDir(run))
    return RunDir(run)


def test_a_padded_vocabulary_is_the_same_number_while_it_races_and_afterwards(trained: RunDir):
    """The guess that a loss at step 0 is held against is one among the model's rows, of which the tokenizer fills some:
    in the race, in its summary, and in an audit."""
    summary = summarise_selection(finished_receipt(trained.path))
    assert all(np.log(300) < row["loss"] < np.log(1024) for row in summary["standings"])
    assert len(summary["standings"]) == 2 and summary["run"]["vocab_size"] == 300
    assert len(open_run(trained)[1].cells.extensions) == 2


def test_an_operator_that_trains_is_charged_or_left_out(source: Path):
    """Of the pool, `ligo` is left out where its 100 steps are more than an eighth of the budget."""
    fits = len(pool()) * 4 + 100
    within = asked(source, 800, operators=pool(), named=False)
    assert within.making == 100 and "ligo" in within.operators and not within.left_out_by_budget
    without = asked(source, 799, operators=pool(), named=False)
    assert without.making == 0 and without.operators == tuple(n for n in pool() if n != "ligo")
    assert without.left_out_by_budget == ("ligo",) and "the 7 steps that it trains" in beyond("ligo:steps=7")
    assert read_spec(json.loads(json.dumps(without.to_dict()))) == without
    with pytest.raises(UserError, match=f"give at least {fits}, 100 of which"):
        asked(source, fits - 1, operators=pool())
    with pytest.raises(UserError, match=rf"give at least {fits - 104}, name"):
        asked(source, fits - 105, operators=pool(), named=False)


def test_what_an_operator_trains_is_spent_and_shown(trained: RunDir, tmp_path: Path):
    """In the race and its replay; and a receipt of a race that did not count it is read as it was run."""
    receipt = finished_receipt(trained.path)
    summary = summarise_selection(receipt)
    assert receipt["config"]["making"] == 2 and summary["answer"]["spent"] == 10 == summary["rungs"][0]["steps"]
    assert {row["kind"]: row["target_steps"] for row in summary["cost"] if row["target_steps"]} == {
        "candidate": 2, "rung": 8
    }  # fmt: skip
    tokens = 2 * SMOKE.data.batch_size * SMOKE.data.seq_len
    assert [(row["candidate"], row["steps"], row["tokens"]) for row in summary["making"]] == [
        ("ligo:steps=2", 2, tokens)
    ]
    (said,) = [note for note in summary["notes"] if "ligo" in note]
    assert said.startswith(f"ligo:steps=2 was trained for 2 steps of the target's width ({tokens} tokens)")
    assert said.endswith("by steps after that.")
    write_selection(tmp_path / "page", summary)
    assert said in (tmp_path / "page" / "selection.md").read_text()
    table = (tmp_path / "page" / "tables" / "making.csv").read_text()
    assert table.splitlines()[1].startswith(f"ligo:steps=2,2,{tokens},")
    earlier: Any = {**receipt, "config": {k: v for k, v in receipt["config"].items() if k != "making"}}
    found = summarise_selection(earlier)
    assert found["answer"]["spent"] == 8 and found["cost"] == summary["cost"] and found["making"] == summary["making"]
    assert any("did not count them" in note for note in found["notes"])
