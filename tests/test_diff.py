"""Differences of runs and states, named down to the element."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT, growjax, with_new_checksums

from growjax.digests import leaf_digests, mix, total, words_hex, words_of
from growjax.errors import CheckFailed
from growjax.proof.diff import diff
from growjax.proof.differences import (
    Difference,
    computed_otherwise,
    figure_difference,
    leaf_difference,
    tree_difference,
    ulps_apart,
)
from growjax.record.integrity import read_receipt
from growjax.record.rundir import RunDir
from growjax.record.store import load_state, save_state
from growjax.study.presets import presets
from growjax.study.runner import run_study
from growjax.train import loop, state
from growjax.train.programs import module_digest


def planted_step(at: int, leaf: tuple[int, ...]) -> Any:
    """A training step that moves one element by one unit in the last place after step number `at`."""
    honest = state.train_step

    def step(before: Any, batch: Any, *, keys: Any = None) -> Any:
        after, metrics = honest(before, batch, keys=keys)
        weight = after.params["blocks"]["wq"]
        bits = jax.lax.bitcast_convert_type(weight, jnp.uint32).at[leaf].add(1)
        moved = jnp.where(after.step == at, jax.lax.bitcast_convert_type(bits, jnp.float32), weight)
        return after.replace(params={**after.params, "blocks": {**after.params["blocks"], "wq": moved}}), metrics

    return step


def test_diff_finds_the_element_from_digests(smoke_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """One ulp in one element at step 7, every digest recorded honestly afterwards; no state of that step is stored."""
    planted = tmp_path / "planted"
    monkeypatch.setattr(loop, "train_step", planted_step(7, (0, 3, 1, 2)))
    jax.clear_caches()
    run_study(dataclasses.replace(presets()["smoke"], operators=(), regimes=()), RunDir(planted))
    monkeypatch.undo()
    jax.clear_caches()
    for a, b in ((smoke_run, planted), (planted, smoke_run)):
        found = diff(a, b)
        assert found.difference is not None
        assert found.difference.step == 7 and found.difference.leaf == "blocks/wq" and found.difference.ulps == 1
        assert found.difference.element == (0, 3, 1, 2) and "update" in found.difference.what
        assert any("the program itself is another" in note for note in found.notes)
    done = growjax("diff", str(smoke_run), str(planted))
    assert done.code == 1 and "step 7, leaf blocks/wq, element [0, 3, 1, 2]" in done.out, done.err
    assert diff(planted, planted).difference is None


def test_runs_that_share_no_cell_are_not_the_same():
    done = growjax("diff", str(ROOT / "artifacts" / "smoke"), str(ROOT / "artifacts" / "crossed"))
    assert done.code == 1 and "nothing was compared" in done.out and "no difference" not in done.out, done.err


def test_names_within_a_module_do_not_count():
    """An instruction's name follows from what a process traced before: the first to trace a function gives its own."""

    def text(name: str, times: float) -> str:
        def inner(x: jax.Array) -> jax.Array:
            return jnp.sort(jnp.sin(x)) * times

        inner.__name__ = name
        outer = jax.jit(lambda x: jax.jit(inner)(x) + 1.0)
        return outer.lower(jnp.ones(64)).compile().as_text() or ""

    one, other = text("at_step", 2.0), text("at_site", 2.0)
    assert one != other and module_digest(one) == module_digest(other) != module_digest(text("at_step", 3.0))


def test_another_compilation_is_known_from_another_program():
    cell: dict[str, Any] = {"digests": {"program": "a"}, "module": "x"}
    assert computed_otherwise(cell, cell) is None
    assert "another module" in (computed_otherwise(cell, {**cell, "module": "y"}) or "")
    assert "program itself" in (computed_otherwise(cell, {"digests": {"program": "b"}, "module": "y"}) or "")
    assert computed_otherwise(cell, {"digests": {"program": "a"}}) is None  # recorded before modules were


def test_how_a_cell_was_compiled_is_no_part_of_its_result(smoke_run: Path, tmp_path: Path):
    """Another module and the same bits: no difference, and the same results."""
    receipt = read_receipt(smoke_run)
    trained = [cell for cell in receipt["cells"] if "program" in cell["digests"]]
    assert trained and all(len(cell["module"]) == 64 for cell in trained)
    for cell in trained:
        cell["module"] = "0" * 64
    other = with_new_checksums(receipt, tmp_path / "other")
    found = diff(smoke_run, other)
    assert found.difference is None and found.compared == len(receipt["cells"])
    assert read_receipt(other)["results"] == receipt["results"] and read_receipt(other)["root"] != receipt["root"]
    receipt = read_receipt(other)
    changed = next(cell for cell in receipt["cells"] if cell["kind"] == "probe")
    changed["digests"]["state"] = "1" * 64
    found = diff(smoke_run, with_new_checksums(receipt, tmp_path / "changed"))
    assert found.difference is not None and any("another module" in note for note in found.notes)
    alone = diff(smoke_run / "receipt.json", tmp_path / "changed" / "receipt.json")  # nothing else is at hand
    assert alone.difference is not None and alone.difference.cell == changed["id"]


def test_only_figures_are_ulps_apart():
    near = ({"loss": [(1.5).hex()]}, {"loss": [np.nextafter(1.5, 2).hex()]})
    assert figure_difference(*near) == ("loss[0]", 1.0)
    assert figure_difference({"program": "1e2a"}, {"program": "1e2b"}) == ("program", None)  # digests
    assert figure_difference({"lag": None}, {"lag": 3}) == ("lag", None)


def test_diff_of_states(smoke_run: Path, tmp_path: Path):
    cell = next(c for c in read_receipt(smoke_run)["cells"] if c["kind"] == "candidate")
    source = smoke_run / "cells" / cell["id"]
    honest = load_state(source)
    weights = np.asarray(honest.params["blocks"]["w_up"]).copy()
    weights[0, 2, 3] = np.nextafter(weights[0, 2, 3], np.float32(9))
    other = honest.replace(
        params={**honest.params, "blocks": {**honest.params["blocks"], "w_up": jnp.asarray(weights)}}
    )
    (tmp_path / "other").mkdir()
    save_state(tmp_path / "other", other)
    done = growjax("diff", str(source), str(tmp_path / "other"), "--json")
    assert done.code == 1, done.err
    found = json.loads(done.out)["difference"]
    assert (found["leaf"], found["element"], found["ulps"]) == ("params/blocks/w_up", [0, 2, 3], 1.0)
    values = max((tmp_path / "other").rglob("d/*"), key=lambda path: path.stat().st_size)
    data = values.read_bytes()
    values.write_bytes(data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :])
    with pytest.raises(CheckFailed, match="other"):
        diff(source, tmp_path / "other")
    assert growjax("diff", str(source), str(source)).code == 0
    assert growjax("diff", str(source), str(smoke_run)).code == 2


def test_a_leaf_that_one_state_lacks_is_named_in_the_tree_s_order():
    """Not in that of a set, which is another with every seed of hashes."""
    names = [f"leaf {n:02}" for n in range(20)]
    whole = {"b": {name: np.ones(1) for name in names}, "a-b": np.ones(1), "a": {"z": np.ones(1)}}
    assert tree_difference(whole, {"b": {}}) == tree_difference({"b": {}}, whole)
    assert (tree_difference(whole, {"b": {}}) or Difference("")).leaf == "a/z"
    lacking = whole | {"b": {name: np.ones(1) for name in names[7:]}}
    assert (tree_difference(whole, lacking) or Difference("")).leaf == "b/leaf 00"


def test_ulps():
    one, zero = np.float32(1), np.float32(0)
    assert ulps_apart(one, np.nextafter(one, np.float32(2))) == 1 and ulps_apart(zero, -zero) == 1
    assert ulps_apart(np.float32(-1e-45), np.float32(1e-45)) == 3  # -denormal, -0, 0, denormal
    assert ulps_apart(np.float64(1), np.nextafter(np.float64(1), 0)) == 1 and ulps_apart(3, 7) == 4
    found = leaf_difference("x", np.zeros((2, 3), np.float32), np.array([[0, 0, 0], [0, -0.0, 1]], np.float32))
    assert found and found.element == (1, 1) and found.ulps == 1


def test_digests_see_place_sign_and_order():
    """Each change of a leaf changes its digest alone; the digest is a sum, so any order of summing gives it."""
    tree = {"a": jnp.arange(1, 7, dtype=jnp.float32).reshape(2, 3), "b": jnp.ones(4), "c": jnp.int32(5)}
    base = np.asarray(jax.jit(leaf_digests)(tree))
    swapped = {**tree, "a": tree["a"].at[0, 0].set(2).at[0, 1].set(1)}
    for other in (swapped, {**tree, "a": -tree["a"]}, {**tree, "a": tree["a"].T.reshape(2, 3)}):
        changed = np.asarray(leaf_digests(other))
        assert np.all(changed[0] != base[0]) and np.array_equal(changed[1:], base[1:])
    assert np.array_equal(words_of(words_hex(base)), base)
    assert np.array_equal(total(base), base.sum(axis=0, dtype=np.uint32))
    words = np.arange(1 << 16, dtype=np.uint32) * np.uint32(65537)
    assert len(np.unique(mix(words))) == len(words)  # a bijection
    assert not np.any(mix(words[1:]) == mix(np.uint32(0) - words[1:]))  # x and -x
