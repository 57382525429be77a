"""What an operator trains before its candidate's step 0 is counted, by the candidate's name alone."""

from __future__ import annotations

from functools import cache
from typing import Any

from conftest import ROOT

from growjax.record.integrity import finished_receipt
from growjax.report.csv_tables import csv_files
from growjax.report.formatting import contents_of
from growjax.study.rows import Summary
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
