"""Planted faults are caught and named; what is as it should be passes."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import Shown, growjax, quick_programs, with_new_checksums

from experiments import ledger_cost
from growjax.audit import check, draws, threefry
from growjax.audit.check import check_ledgers, open_run, receipt_faults
from growjax.audit.inject import Injector
from growjax.audit.programs import program_faults, walked
from growjax.cli.audit import _print as print_audit
from growjax.draws import key_hex
from growjax.model import layers
from growjax.model.components import NORMS
from growjax.record.rundir import RunDir
from growjax.report.audit import page, verdict
from growjax.streams import STREAMS, Streams, root_key
from growjax.study import fill
from growjax.study.account import Account
from growjax.study.context import Context
from growjax.study.presets import presets
from growjax.study.recipes import study_cells
from growjax.study.runner import run_study
from growjax.study.spec import StudySpec
from growjax.train.loop import RunKeys
from growjax.train.programs import Programs
from growjax.train.state import init_state

SMOKE = presets()["smoke"]
TINY = SMOKE.replace(source_steps=(10,), operators=("exact_copy",), stochastic_replicates=1)


@pytest.fixture(scope="module")
def opened(smoke_run: Path) -> tuple[dict, Context]:
    """The smoke run's receipt and context."""
    return open_run(RunDir(smoke_run))


def test_a_run_passes_and_every_draw_is_derived_twice(smoke_run: Path, shown: Shown):
    described = shown.said("audit")
    counts = described["counts"]
    cells = RunDir(smoke_run).receipt()["cells"]
    ledgers = [cell["digests"]["ledger"] for cell in cells if cell["kind"] != "data"]
    distinct = {(s.key, str(s.draw)) for ledger in ledgers for s in draws.served(ledger)}
    assert counts["distinct draws, each by JAX and in NumPy"] == len(distinct) > 0
    assert counts["values drawn, over all cells"] == sum(e["draws"] for ledger in ledgers for e in ledger.values())
    assert counts["cells that drew nothing"] == sum(not ledger for ledger in ledgers) + 1
    assert counts["comparisons under common randomness"] == 2 * 2 * (
        2 + 1
    )  # sources, kinds, replicates of both regimes
    assert {cell["kind"] for cell in described["cells"]} == {"source", "candidate", "probe", "continuation"}
    page = (smoke_run / "report" / "audit.html").read_text()
    assert described["not_checked"] == []
    assert "Every draw is accounted for" in page and "and give the recorded bits" in page and "http" not in page
    assert all(e["key"] in page for ledger in ledgers for e in ledger.values())


def test_what_was_not_checked_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """With no cell run again, and of states on an accelerator; by the command and on the page."""
    asked, states = "cells run with draws as data", "of those cells, compared in their states too"
    empty = {"root": "0" * 64, "normal_distance": {}, "cells": [], "streams": [], "faults": [], "holds": True}
    none = {**empty, "counts": {asked: 0, states: 0}, "injected": [], "not_checked": [check.NONE_INJECTED]}
    card = {**empty, "counts": {asked: 2, states: 0}, "injected": ["a", "b"], "not_checked": []}
    described = page(none)
    assert f"not checked: {check.NONE_INJECTED}" in described and "What was checked holds." in described
    assert "accounted for" not in described and "recorded bits" not in described
    print_audit(none, verdict(none), tmp_path)
    said = capsys.readouterr().out
    assert f"not checked: {check.NONE_INJECTED}" in said and "accounted for" not in said
    described = page(card)
    assert "their states are not compared" in described and "recorded bits" not in described
    assert verdict(card) == "every draw is accounted for"


def test_every_ledger_of_a_study_is_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def filled(*_: object) -> dict:
        for name in ("candidate_ledger", "trained_ledger"):
            getattr(fill, name)(None, None, None)
        return {"cells": cells}

    for name in ("candidate_ledger", "trained_ledger"):
        monkeypatch.setattr(fill, name, lambda *_: None)
    monkeypatch.setattr(ledger_cost, "run_study", filled)
    cells = ["tokens", "candidate", "probe"]
    assert ledger_cost.measured(TINY, tmp_path)["ledgers"] == 2
    cells.append("another, whose ledger something else derives")
    with pytest.raises(AssertionError, match="2 ledgers of 4 cells"):
        ledger_cost.measured(TINY, tmp_path)


def test_virtual_shards_draw_once_and_apart(tmp_path: Path):
    """A batch's order is drawn once for all shards, and each shard has masks of its own."""
    run = RunDir(tmp_path / "run")
    with quick_programs():
        run_study(TINY.replace(operators=(), regimes=("stochastic",), shards=2), run)
        described = check.audit(run)
    assert described["faults"] == [] and described["counts"]["cells run with draws as data"] > 0
    cell = next(c for c in described["cells"] if c["kind"] == "probe" and c["regime"] == "stochastic")
    masks = cell["streams"]["dropout"]["sites"][0]
    assert len(masks["at"]) == 2 * (1 + 2 * SMOKE.model.n_layers) and masks["draw"]["shape"][0] == 2
    assert cell["streams"]["order"]["sites"][0]["draw"]["shape"] == [SMOKE.data.batch_size]


def test_a_step_of_a_cell_shows_what_it_drew(smoke_run: Path):
    cell = next(
        c for c in RunDir(smoke_run).receipt()["cells"] if c["kind"] == "continuation" and c["digests"]["ledger"]
    )
    done = growjax("audit", str(smoke_run), "--cell", cell["id"], "--step", "7", "--json")
    shown = {(row["stream"], row["site"]): row for row in json.loads(done.out)["drawn"]}
    key = Streams(root_key(SMOKE.study_seed, "study")).replicate(cell["replicate"]).at("order", 7)
    row = shown["order", ""]
    assert row["first"] == jax.random.randint(key, (4,), 0, row["draw"]["high"], jnp.int32).tolist()
    assert ("dropout", "attn/0") in shown


def stream_cell(receipt: dict, stream: str, **wanted: Any) -> dict:
    """The first cell of a receipt with a stream and these labels."""
    found = (c for c in receipt["cells"] if stream in c["digests"].get("ledger", {}))
    return next(c for c in found if all(c[k] == v for k, v in wanted.items()))


def _edit(receipt: dict) -> str:
    stream_cell(receipt, "dropout", kind="probe")["digests"]["ledger"]["dropout"]["draws"] += 1
    return "dropout.draws is recorded as"


def _remove(receipt: dict) -> str:
    del stream_cell(receipt, "perturb")["digests"]["ledger"]["perturb"]
    return "stream perturb is live in this cell, and not recorded"


def _other_seed(receipt: dict) -> str:
    key = key_hex(draws.below(draws.root("study", 2), ["replicate", 0, "order"]))
    stream_cell(receipt, "order", kind="probe", replicate=0)["digests"]["ledger"]["order"]["key"] = key
    return "order.key is recorded as"


def _deterministic_draw(receipt: dict) -> str:
    ledger = stream_cell(receipt, "dropout", kind="probe")["digests"]["ledger"]
    found = next(c for c in receipt["cells"] if c["regime"] == "deterministic" and c["kind"] == "probe")
    found["digests"]["ledger"] = {"dropout": ledger["dropout"]}
    return "stream dropout is recorded as drawn, and is not live in this cell"


def _other_batches(receipt: dict) -> str:
    cell = stream_cell(receipt, "order", kind="probe", operator="exact_copy", replicate=0)
    path = ["replicate", 5, "order"]
    key = key_hex(draws.below(draws.root("study", 1), path))
    cell["digests"]["ledger"]["order"] |= {"path": path, "key": key}
    return "are compared and had different batches"


@pytest.mark.parametrize("plant", [_edit, _remove, _other_seed, _deterministic_draw, _other_batches])
def test_an_edited_ledger_is_caught(opened: tuple[dict, Context], plant: Callable[[dict], str]):
    receipt, ctx = opened
    assert check_ledgers(receipt, ctx).faults == []
    planted = copy.deepcopy(receipt)
    named = plant(planted)
    faults = check_ledgers(planted, ctx).faults
    assert any(named in fault for fault in faults), faults
    # the root would have to be made anew as well, and the cell's own record
    stored = receipt_faults(planted, ctx.run)
    assert any("root" in f for f in stored) and any("not the one stored with the cell" in f for f in stored)


def test_the_command_names_an_edited_ledger(smoke_run: Path, tmp_path: Path):
    run = tmp_path / "run"
    (run / "cells").mkdir(parents=True)
    for part in ("data", *(f"cells/{p.name}" for p in (smoke_run / "cells").iterdir())):
        (run / part).symlink_to(smoke_run / part)
    receipt = RunDir(smoke_run).receipt()
    _edit(receipt)
    (run / "receipt.json").write_text(json.dumps(receipt))
    done = growjax("audit", str(run), "--inject", "none")
    assert done.code == 1 and "is damaged in cell" in done.err, done.err
    with_new_checksums(receipt, run)
    done = growjax("audit", str(run), "--inject", "none", "--json")
    faults = json.loads(done.out)["faults"]
    assert done.code == 1 and any("dropout.draws is recorded as" in fault for fault in faults), faults


def planted_run(path: Path, spec: StudySpec = TINY) -> tuple[dict, Context]:
    """A tiny study in this process; its receipt and context."""
    run = RunDir(path)
    run_study(spec, run)
    return open_run(run)


def test_faults_of_a_run_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A run whose randomness is not what its recipes say: what is recorded are the keys that the run held."""
    good, other = Context.keys, Streams(root_key(2, "study")).replicate(0)

    def planted(self: Context, run: Account) -> RunKeys:
        found = good(self, run)
        if found.dropout is None:  # the deterministic regime draws batches and masks
            return found._replace(order=other.stream("order"), dropout=other.stream("dropout"))
        return found._replace(order=other.stream("order")) if run.wide else found  # the candidate, not its control

    with monkeypatch.context() as patch:
        patch.setattr(Context, "keys", planted)
        receipt, ctx = planted_run(tmp_path / "run", TINY.replace(deterministic_replicates=1))
    faults = check_ledgers(receipt, ctx).faults
    for named in ("order.key is recorded as", "stream dropout is recorded as drawn, and is not live",
                  "are compared and had different batches"):  # fmt: skip
        assert any(named in fault for fault in faults), (named, faults)


def test_a_seed_offset_in_the_environment_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JAX_RANDOM_SEED_OFFSET", "3")
    jax.config.update("jax_random_seed_offset", 3)
    try:
        with quick_programs():
            receipt, ctx = planted_run(tmp_path / "run", TINY.replace(operators=(), regimes=()))
    finally:
        jax.config.update("jax_random_seed_offset", 0)
    faults = [*receipt_faults(receipt, ctx.run), *check_ledgers(receipt, ctx).faults]
    assert any("JAX_RANDOM_SEED_OFFSET was 3" in f for f in faults) and any(
        "order.key is recorded" in f for f in faults
    )


def test_an_altered_mask_is_named(opened: tuple[dict, Context], monkeypatch: pytest.MonkeyPatch):
    """In one element, in the recorded draws and in the program."""
    receipt, ctx = opened
    cells = {cell["id"]: cell for cell in receipt["cells"]}
    recipe = next(t.probe for t in ctx.cells.trajectories if t.regime == "stochastic")
    injector = Injector(ctx, cells)
    assert injector.cell(recipe).faults == []
    one = next(s for s in draws.served(cells[recipe.id]["digests"]["ledger"]) if s.stream == "dropout" and s.step == 2)
    words = draws.bits(one.key, one.draw)
    flat = words.reshape(-1)
    flat[5] ^= np.uint32(0xFFFF) if (flat[5] & 0xFFFF) < 6554 else flat[5] & np.uint32(0xFFFF)
    turned = threefry.dropout_mask(words, one.draw["shape"][-1], 0.1) != draws.values(one.key, one.draw)
    assert turned.sum() == 1
    faults = injector.cell(recipe, {one.key: words}).faults
    assert any("the parameters after step 3 are others" in fault for fault in faults), faults

    good = layers.dropout

    def altered(x: jax.Array, rate: float, *, key: jax.Array) -> jax.Array:
        return good(x, rate, key=key).at[0, 0, 0].set(0)

    with monkeypatch.context() as patch:
        patch.setattr(layers, "dropout", altered)
        jax.clear_caches()  # what was traced already has the mask as it should be
        program = Injector(dataclasses.replace(ctx, programs=Programs()), cells)
        faults = program.cell(recipe).faults
    jax.clear_caches()
    assert any("the parameters after step 1 are others" in fault for fault in faults), faults


def test_a_walk_names_what_belongs_to_no_stream(opened: tuple[dict, Context], monkeypatch: pytest.MonkeyPatch):
    _, ctx = opened
    state = init_state(ctx.config, key=Streams(root_key(0)).at("init", 0))
    live = ctx.keys_of(("dropout",), 0, {})
    trajectory = next(
        t for t in ctx.cells.trajectories if t.regime == "stochastic" and t.probe.label["operator"] == "unwidened"
    )
    ledger = check.derived_ledger(ctx, trajectory.probe)
    ledger = {"dropout": ledger["dropout"]}
    assert program_faults(walked(state, ctx, live)[0], ledger) == []
    quiet = ctx.keys_of((), 0, {})
    assert walked(state, ctx, quiet)[0] == []
    good = layers.rms_norm

    def noisy(x: jax.Array, gain: jax.Array, eps: float) -> jax.Array:
        return good(x, gain, eps) + 0 * jax.random.uniform(jax.random.key(3), x.shape, x.dtype)

    with monkeypatch.context() as patch:
        patch.setitem(NORMS, "rms", dataclasses.replace(NORMS["rms"], function=noisy))
        jax.clear_caches()
        faults = program_faults(walked(state, ctx, quiet)[0], {})
    jax.clear_caches()
    assert any("from a key of no stream" in fault for fault in faults), faults


def test_a_new_candidate_or_stream_changes_nothing_of_the_others(monkeypatch: pytest.MonkeyPatch):
    few = study_cells(SMOKE, 36)
    more = study_cells(SMOKE.replace(operators=(*SMOKE.operators, "net2net"), regimes=(*SMOKE.regimes, "order")), 36)
    assert {r.id for r in few.all()} < {r.id for r in more.all()}
    before = {s: jax.random.key_data(Streams(root_key(0)).at(s, 3)).tolist() for s in STREAMS}
    monkeypatch.setattr("growjax.streams.STREAMS", ("new", *STREAMS))
    after = {s: jax.random.key_data(Streams(root_key(0)).at(s, 3)).tolist() for s in ("new", *STREAMS)}
    assert before == {s: after[s] for s in before} and after["new"] not in before.values()
