"""Recorded cells computed again, damage found in its place, and differences named down to the element."""

from __future__ import annotations

import base64
import dataclasses
import json
import random
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT, growjax, sealed_again

from growjax import runtime
from growjax.config import canonical_json
from growjax.digests import leaf_digests, mix, named_leaves, total, words_hex, words_of
from growjax.errors import CheckFailed, NotComparable, UserError
from growjax.proof.compare import leaf_difference, ulps_apart
from growjax.proof.diff import diff
from growjax.proof.verify import check_comparable, choose, in_order
from growjax.record.integrity import check_stored, read_receipt
from growjax.record.rundir import RunDir
from growjax.record.store import _abstract, _read_leaves, as_tree, load_state, save_state
from growjax.study.runner import run_study
from growjax.study.spec import presets
from growjax.train import loop, state


def test_verify_from_the_receipt_alone(smoke_run: Path, tmp_path: Path):
    """Two cells and their ancestors, from a receipt without its run directory; the new run is kept for `diff`."""
    shutil.copy(smoke_run / "receipt.json", tmp_path / "alone.json")
    out = tmp_path / "again"
    done = growjax("verify", str(tmp_path / "alone.json"), "--cells", "2", "--out", str(out), "--json")
    assert done.code == 0, done.err + done.out
    told = json.loads(done.out)
    assert told["outcome"] == "identical" and told["stored"] == 0 and 2 < told["checked"] < told["cells"]
    assert diff(smoke_run, out).difference is None


def altered(run: Path, out: Path, change: Any) -> Path:
    """A receipt with something else in it, sealed as if it had been recorded so."""
    receipt = read_receipt(run)
    change(receipt, {cell["id"]: cell for cell in receipt["cells"]})
    return sealed_again(receipt, out)


def first_of(cells: dict[str, Any], kind: str) -> Any:
    return next(c for c in in_order(list(cells.values())) if c["kind"] == kind)


def test_a_committed_run_comes_out_again(tmp_path: Path):
    """The command of the README: a probe of the published quick study with all its ancestors, the source's training
    among them; on another CPU model the bits agree, or verify names it."""
    path = "artifacts/quick/receipt.json"
    command = f"python -m growjax verify {path} --cells 1"
    assert command in " ".join((ROOT / "README.md").read_text().split())
    receipt = json.loads((ROOT / path).read_text())
    done = growjax("verify", path, "--cells", "1", "--out", str(tmp_path / "again"), "--json")
    if receipt["environment"]["cpu"] == runtime.environment()["cpu"]:
        assert done.code == 0, done.err + done.out
        assert json.loads(done.out)["checked"] == 6 and json.loads(done.out)["outcome"] == "identical"
    else:
        assert done.code == 0 or (done.code == 3 and "cpu" in done.err), done.err


def test_verify_names_the_first_difference(smoke_run: Path, tmp_path: Path):
    named: dict[str, str] = {}

    def change(header: Any, cells: Any) -> None:
        cell = first_of(cells, "source")
        words = np.frombuffer(base64.b64decode(cell["digests"]["params_at"]), "<u2").copy()
        words.reshape(10, -1)[6:, 5] ^= 1  # from step 7 on, in the sixth leaf
        cell["digests"]["params_at"] = base64.b64encode(words.tobytes()).decode()
        loss = float.fromhex(cell["exact"]["eval_loss"][1])
        other = float(np.nextafter(np.nextafter(loss, 9), 9))
        cell["metrics"]["eval_loss"][1], cell["exact"]["eval_loss"][1] = other, other.hex()
        named["cell"] = cell["id"]

    done = growjax("verify", str(altered(smoke_run, tmp_path / "run", change)), "--cells", "1", "--json")
    assert done.code == 1, done.err + done.out
    told = json.loads(done.out)
    assert told["outcome"] == "different"
    found = told["difference"]
    assert (found["cell"], found["step"], found["leaf"]) == (named["cell"], 7, "blocks/wk")
    assert found["ulps"] == 2 and "eval_loss[1]" in found["what"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("packages.jaxlib", "0.12.0"), ("device_kind", "NVIDIA H100"), ("pins", None)],
)
def test_verify_says_what_is_not_comparable(smoke_run: Path, tmp_path: Path, field: str, value: str):
    def change(header: Any, cells: Any) -> None:
        if field == "pins":
            header["pins"]["xla_flags"]["--xla_cpu_max_isa"] = "AVX512"
            return
        *path, last = field.split(".")
        at = header["environment"]
        for name in path:
            at = at[name]
        at[last] = value

    run = altered(smoke_run, tmp_path / "run", change)
    done = growjax("verify", str(run))
    assert done.code == 3 and done.err.count("\n") == 1, done.err
    assert (field if field != "pins" else "pins.xla_flags.--xla_cpu_max_isa") in done.err


def test_verify_of_another_cpu(smoke_run: Path, tmp_path: Path):
    """The CPU's model may differ as long as bits do not; where they do, it is named."""

    def elsewhere(header: Any, cells: Any) -> None:
        header["environment"]["cpu"]["model"] = "Another CPU"

    def otherwise(header: Any, cells: Any) -> None:
        elsewhere(header, cells)
        first_of(cells, "source")["digests"]["trace"] = "0" * 64

    for change, code in ((elsewhere, 0), (otherwise, 3)):
        run = altered(smoke_run, tmp_path / change.__name__, change)
        done = growjax(
            "verify", str(run), "--cells", first_of({c["id"]: c for c in read_receipt(run)["cells"]}, "source")["id"]
        )
        assert done.code == code and "cpu.model was" in done.out + done.err, done.err + done.out


def test_verify_by_another_growjax(smoke_run: Path):
    receipt = read_receipt(smoke_run)
    here, pins = receipt["environment"], receipt["pins"]
    check_comparable(receipt, here=here, pins=pins)
    check_comparable(receipt, here={**here, "python": "3.13.1"}, pins=pins)  # may differ: row B7
    with pytest.raises(NotComparable, match="schema"):
        check_comparable({**receipt, "schema": 1}, here=here, pins=pins)


def test_choosing_cells(smoke_run: Path):
    receipt = read_receipt(smoke_run)
    ids = {cell["id"] for cell in receipt["cells"]}
    assert choose(receipt, ("all",)) == ids and len(choose(receipt, ("3",))) == 3
    assert choose(receipt, ("3",)) <= choose(receipt, ("5",))
    one = min(ids)
    assert choose(receipt, (one[:12], max(ids))) == {one, max(ids)}
    with pytest.raises(UserError, match="0 cells have an id"):
        choose(receipt, ("nothing",))


def flip(data: bytes, at: int, bit: int) -> bytes:
    return data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :]


def test_flipped_bits_in_receipts_are_located(smoke_run: Path, tmp_path: Path):
    """60 one-bit flips in digests, figures and configuration: each is caught, in the right cell or part."""
    text = (smoke_run / "receipt.json").read_bytes()
    receipt, rng, seen = json.loads(text), random.Random(0), Counter()
    cell = receipt["cells"][0]
    for number in range(60):
        if number % 4 == 3:
            part = rng.choice(("config", "environment", "pins", "inputs", "programs", "preflight", "source_code"))
            name, span = part, canonical_json(receipt[part]).encode()
        else:
            cell = rng.choice(receipt["cells"])
            name, span = cell["id"], canonical_json(cell[("digests", "metrics", "exact")[number % 4]]).encode()
        begin = text.index((f'{{"digest":"{cell["digest"]}' if name == cell["id"] else f'"{name}":').encode())
        at = text.index(span, begin) + 1 + rng.randrange(len(span) - 2)
        (tmp_path / "receipt.json").write_bytes(flip(text, at, rng.randrange(8)))
        with pytest.raises(CheckFailed) as caught:
            read_receipt(tmp_path)
        located = name in str(caught.value)
        # a flip may break the JSON itself; outside the cells there is then no part left to name
        assert located or (number % 4 == 3 and "outside its cells" in str(caught.value)), (name, str(caught.value))
        seen["located" if located else "unreadable"] += 1
    assert seen["located"] > 45


def damaged_leaf(folder: Path, honest: Any) -> set[str]:
    """The leaves that differ from the honest ones in what can be read, whatever was recorded of them."""
    info = json.loads((folder / "state.json").read_text())
    try:
        found = dict(named_leaves(_read_leaves(folder, _abstract(info["leaves"]))))
    except UserError as error:
        return {str(error).partition("leaf ")[2].partition(" ")[0]}
    return {name for name, leaf in named_leaves(honest) if leaf_difference(name, leaf, found[name])}


def test_flipped_bits_in_stored_cells_are_located(smoke_run: Path, tmp_path: Path):
    """40 one-bit flips in value bytes of states, traces and results: caught, with the cell, and the leaf of a state."""
    receipt, rng, seen = read_receipt(smoke_run), random.Random(1), Counter()
    candidates = [cell for cell in receipt["cells"] if cell["kind"] in ("source", "candidate")]
    for number in range(40):
        cell = rng.choice(candidates)
        folder, honest = tmp_path / "cells" / cell["id"], None
        shutil.rmtree(tmp_path / "cells", ignore_errors=True)
        shutil.copytree(smoke_run / "cells" / cell["id"], folder)
        if number % 4 < 2:
            honest = as_tree(load_state(folder))
            path = max(folder.rglob("d/*"), key=lambda p: p.stat().st_size)  # holds the values of all leaves
            at = rng.randrange(path.stat().st_size)
        else:
            path = folder / ("result.json" if number % 4 == 2 else "state.json")
            at = rng.randrange(path.stat().st_size)
        path.write_bytes(flip(path.read_bytes(), at, rng.randrange(8)))
        changed = damaged_leaf(folder, honest) if number % 4 < 2 else set()
        if number % 4 < 2 and not changed:  # a byte between the values
            seen["no value"] += 1
            check_stored(tmp_path, {**receipt, "cells": [cell]})
            continue
        with pytest.raises(CheckFailed) as caught:
            check_stored(tmp_path, {**receipt, "cells": [cell]})
        assert cell["id"] in str(caught.value), str(caught.value)
        assert not changed or any(f"leaf {name}" in str(caught.value) for name in changed), str(caught.value)
        seen["state" if changed else "record"] += 1
    assert seen["state"] >= 15 and seen["record"] == 20


def test_flipped_bits_in_storage_metadata_change_no_value_unseen(smoke_run: Path, tmp_path: Path):
    receipt, rng = read_receipt(smoke_run), random.Random(2)
    cell = next(c for c in receipt["cells"] if c["kind"] == "source")
    seen = Counter()
    for _ in range(16):
        folder = tmp_path / "cells" / cell["id"]
        shutil.rmtree(tmp_path / "cells", ignore_errors=True)
        shutil.copytree(smoke_run / "cells" / cell["id"], folder)
        names = [
            p for p in (folder / "state").rglob("*") if p.is_file() and p.stat().st_size and p.stat().st_size < 20000
        ]
        path = rng.choice(names)
        path.write_bytes(flip(path.read_bytes(), rng.randrange(path.stat().st_size), rng.randrange(8)))
        try:
            check_stored(tmp_path, {**receipt, "cells": [cell]})
            seen["unchanged"] += 1
        except CheckFailed as error:
            assert cell["id"] in str(error)
            seen["caught"] += 1
    assert seen["caught"] and seen.total() == 16


def test_damage_ends_verify_with_1(smoke_run: Path, tmp_path: Path):
    shutil.copytree(smoke_run, tmp_path / "run")
    cell = next(c for c in read_receipt(smoke_run)["cells"] if c["kind"] == "probe")
    trace = tmp_path / "run" / "cells" / cell["id"] / "metrics.jsonl"
    trace.write_bytes(flip(trace.read_bytes(), 3000, 0))
    done = growjax("verify", str(tmp_path / "run"))
    assert done.code == 1 and done.err.count("\n") == 1 and cell["id"] in done.err, done.err


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


def test_diff_finds_the_element_from_digests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """One ulp in one element at step 37, every digest recorded honestly afterwards; no state of that step is stored."""
    spec = dataclasses.replace(presets()["smoke"], source_steps=(40,), operators=(), regimes=())
    run_study(spec, RunDir(tmp_path / "a"))
    jax.clear_caches()
    monkeypatch.setattr(loop, "train_step", planted_step(37, (1, 3, 1, 2)))
    run_study(spec, RunDir(tmp_path / "b"))
    monkeypatch.undo()
    jax.clear_caches()
    for a, b in (("a", "b"), ("b", "a")):
        found = diff(tmp_path / a, tmp_path / b)
        assert found.difference is not None
        assert found.difference.step == 37 and found.difference.leaf == "blocks/wq" and found.difference.ulps == 1
        assert found.difference.element == (1, 3, 1, 2) and "update" in found.difference.what
        assert any("two different programs" in note for note in found.notes)
    done = growjax("diff", str(tmp_path / "a"), str(tmp_path / "b"))
    assert done.code == 1 and "step 37, leaf blocks/wq, element [1, 3, 1, 2]" in done.out, done.err
    assert diff(tmp_path / "a", tmp_path / "a").difference is None


def test_diff_of_states(smoke_run: Path, tmp_path: Path):
    cell = next(c for c in read_receipt(smoke_run)["cells"] if c["kind"] == "candidate")
    source = smoke_run / "cells" / cell["id"]
    honest = load_state(source)
    weights = np.asarray(honest.params["blocks"]["w_up"]).copy()
    weights[1, 2, 3] = np.nextafter(weights[1, 2, 3], np.float32(9))
    other = honest.replace(
        params={**honest.params, "blocks": {**honest.params["blocks"], "w_up": jnp.asarray(weights)}}
    )
    (tmp_path / "other").mkdir()
    save_state(tmp_path / "other", other)
    done = growjax("diff", str(source), str(tmp_path / "other"), "--json")
    assert done.code == 1, done.err
    found = json.loads(done.out)["difference"]
    assert (found["leaf"], found["element"], found["ulps"]) == ("params/blocks/w_up", [1, 2, 3], 1.0)
    assert growjax("diff", str(source), str(source)).code == 0
    assert growjax("diff", str(source), str(smoke_run)).code == 2


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


def test_receipts_say_how_to_obtain_the_corpus(smoke_run: Path):
    receipt = read_receipt(smoke_run)
    assert receipt["inputs"]["corpus"]["kind"] == "builtin" and re.fullmatch("[0-9a-f]{64}", receipt["results"])
    assert receipt["preflight"]["verdict"] == "passed" and len(receipt["preflight"]["canaries"]) == 7
    assert receipt["environment"]["cpu"]["model"] and receipt["pins"]["pinned"]
