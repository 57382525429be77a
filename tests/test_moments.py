"""Adam's moments, step and factors beside a checkpoint's weights: in, out, and through growth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT
from growing import BASE, DATA, filled
from safetensors.numpy import load_file, save_file

from growjax import load_checkpoint, save_checkpoint
from growjax.checkpoints import torch_files
from growjax.checkpoints.adam import Options, read_adam, write_adam
from growjax.checkpoints.groups import groups_of
from growjax.checkpoints.moments import decayed, moments_of, no_folds, tensors_of, with_moments
from growjax.checkpoints.registry import family_of
from growjax.checkpoints.trainer import FACTORS, GROUPS, SAFE, STATE, bring_in, hand_on
from growjax.cli import main
from growjax.config import OptimConfig, TrainConfig
from growjax.errors import UserError
from growjax.grow.plan import default_target, make_plan
from growjax.grow.widen import widen
from growjax.streams import root_key
from growjax.train.state import TrainState, loss_fn
from growjax.train.warm import warmed_state

FOLDERS = ROOT / "tests" / "data"
ORDER: dict[str, list[list[str]]] = json.loads((ROOT / "tests" / "torch_order.json").read_text())
"""By folder: names that `Trainer` decays, and those that it does not, in torch's order (`experiments/trainer.py`)."""
pytestmark = pytest.mark.usefixtures("quickly")
SETTINGS = Options(1e-3, 3e-3, (0.9, 0.95), 1e-8, 0.1, {})


def loaded(name: str) -> tuple[TrainState, Any]:
    return load_checkpoint(FOLDERS / name)[0], family_of(json.loads((FOLDERS / name / "config.json").read_text()))


def stored(name: str, seed: int = 0) -> dict[str, dict[str, np.ndarray]]:
    """Moments of every tensor of a folder, each a number of its own."""
    rng = np.random.default_rng(seed)
    shapes = {n: v.shape for n, v in load_file(FOLDERS / name / "model.safetensors").items()}
    first = {n: rng.normal(size=shape).astype(np.float32) for n, shape in shapes.items()}
    return {"exp_avg": first, "exp_avg_sq": {n: np.square(v) for n, v in first.items()}}


def trainers(name: str) -> dict[str, Any]:
    """What `Trainer` would have saved of them, with arrays for tensors."""
    values, groups = stored(name), ORDER[name]
    order = [n for group in groups for n in group]
    state = {
        i: {"step": np.float32(20), **{kind: values[kind][n] for kind in ("exp_avg", "exp_avg_sq")}}
        for i, n in enumerate(order)
    }
    common = {"lr": 1e-3, "betas": [0.9, 0.95], "eps": 1e-8, "initial_lr": 3e-3, "amsgrad": False, "fused": True}
    ends = np.cumsum([0, *map(len, groups)])
    made = [
        {**common, "weight_decay": wd, "params": list(range(a, b))}
        for wd, a, b in zip((0.1, 0.0), ends[:-1], ends[1:], strict=True)
    ]
    return {"state": state, "param_groups": made}


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDERS.iterdir()))
def test_parameters_are_numbered_as_torch_numbers_them(name: str):
    state, family = loaded(name)
    order, decay = list(tensors_of(family, state.config.model)), decayed(family, state.config.model)
    head = {"embed_out.weight": "lm_head.weight"}  # as transformers 5 calls it, not its files
    assert [[head.get(n, n) for n in order if (n in decay) is d] for d in (True, False)] == ORDER[name]


@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen3"])
def test_an_optimizer_comes_in_and_goes_out(name: str):
    state, family = loaded(name)
    found = trainers(name)
    moments, options = read_adam(found, family, state.config.model)
    assert options == SETTINGS._replace(others={"amsgrad": False, "fused": True})
    state = with_moments(state, moments, family)
    assert {int(c) for c in jax.tree.leaves(state.opt_state.count)} == {20}
    own = dict(zip(("exp_avg", "exp_avg_sq"), moments_of(state, family, no_folds(state.config.model)), strict=False))
    jax.tree.map(np.testing.assert_array_equal, own, stored(name))
    up = own["exp_avg"]["transformer.h.0.mlp.c_fc.weight" if name == "gpt2" else "model.layers.0.mlp.up_proj.weight"]
    np.testing.assert_array_equal(state.opt_state.mu["blocks"]["w_up"][0], up if name == "gpt2" else up.T)
    again = write_adam(
        moments_of(state, family, no_folds(state.config.model)),
        groups_of(None, family, state.config.model),
        options,
        "float32",
    )
    jax.tree.map(np.testing.assert_array_equal, again["state"], found["state"])
    for written, read in zip(again["param_groups"], found["param_groups"], strict=True):
        assert {key: written[key] for key in read if key != "betas"} == {k: v for k, v in read.items() if k != "betas"}
    del again["param_groups"][0]["params"][0]
    with pytest.raises(UserError, match="parameters are not the model's"):
        read_adam(again, family, state.config.model)


FAULTS: dict[str, tuple[Any, str]] = {
    "no state": (lambda d: d.pop("state"), "no state of an optimizer"),
    "one group": (lambda d: d["param_groups"].pop(), r"groups of \[15\] parameters, and Trainer's .* 15 and 5"),
    "a parameter without moments": (lambda d: d["state"].pop(0), r"holds nothing of model\.embed_tokens\.weight"),
    "amsgrad": (lambda d: d["state"][0].update(max_exp_avg_sq=0), "max_exp_avg_sq"),
    "momentum": (lambda d: d["state"].update({0: {"momentum_buffer": 0}}), "holds 'momentum_buffer'"),
    "coupled decay": (lambda d: d["param_groups"][0].update(decoupled_weight_decay=False), "decoupled_weight_decay"),
    "two rates": (lambda d: d["param_groups"][1].update(lr=1.0), "lr of their own"),
    "half a step": (lambda d: d["state"][0].update(step=np.float32(0.5)), "must be a whole number"),
    "text": (lambda d: d["state"][0].update(exp_avg="x"), "no arrays of numbers"),
    "another shape": (lambda d: d["state"][0].update(exp_avg=np.zeros((64, 8), np.float32)), r"shape \[64, 8\]"),
    "a square below 0": (lambda d: d["state"][0].update(exp_avg_sq=-d["state"][0]["exp_avg_sq"]), "squares"),
    "no number": (lambda d: d["state"][0]["exp_avg"].fill(np.nan), "hold values that are no numbers"),
    "layers at two steps": (lambda d: d["state"][1].update(step=np.float32(3)), r"moments of \[3, 20\] steps"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_no_optimizer_of_the_model_is_refused_in_one_line(fault: str):
    state, family = loaded("llama")
    found = trainers("llama")
    FAULTS[fault][0](found)
    with pytest.raises(UserError, match=FAULTS[fault][1]):
        with_moments(state, read_adam(found, family, state.config.model)[0], family)


def run_folder(folder: Path, name: str = "llama") -> dict[str, np.ndarray]:
    """A training run's folder, with its moments as safetensors; returns those."""
    folder.mkdir()
    for file in ("config.json", "model.safetensors"):
        (folder / file).write_bytes((FOLDERS / name / file).read_bytes())
    held = {f"{kind}.{n}": v for kind, values in stored(name).items() for n, v in values.items()}
    said = {key: value for key, value in SETTINGS._asdict().items() if key != "others"}
    save_file(held | {"step": np.asarray(20)}, folder / SAFE, {"optimizer": json.dumps(said)})
    (folder / STATE).write_text(json.dumps({"global_step": 20, "max_steps": 40, "log_history": [{"loss": 3.0}]}))
    return held


def test_moments_go_through_growth_by_the_law(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    narrow = run_folder(tmp_path / "run")
    assert main(["import", str(tmp_path / "run"), "--out", str(tmp_path / "state"), "--json"]) == 0
    described = json.loads(capfd.readouterr().out)
    assert described["moments"] == {"from": SAFE, "step": 20} and described["step"] == 20
    options = ["--as-hf", "--out", str(tmp_path / "wide"), "--operator", "lockstep"]
    assert main(["widen", str(tmp_path / "state"), *options]) == 0
    assert f"`{STATE}`" in (tmp_path / "wide" / "README.md").read_text()
    wide, weights = load_file(tmp_path / "wide" / SAFE), load_file(tmp_path / "wide" / "model.safetensors")
    source, factors = load_file(FOLDERS / "llama" / "model.safetensors"), load_file(tmp_path / "wide" / FACTORS)
    assert wide["step"] == 20
    groups = (table := json.loads((tmp_path / "wide" / GROUPS).read_text()))["groups"]
    assert "note" not in table  # the constants are the run's own
    by_name = {name: group for group in groups for name in group["params"]}
    assert by_name.keys() == source.keys() and [g["weight_decay"] > 0 for g in groups] == sorted(
        [g["weight_decay"] > 0 for g in groups], reverse=True
    )
    for name, group in by_name.items():
        assert not group["element_wise"] and all(factors[f"{k}.{name}"].size == 1 for k in ("lr", "eps"))
        old = tuple(slice(n) for n in source[name].shape)  # even copies, in rounds: the old entries come first
        s, r = group["lr_factor"], group["eps_factor"]
        np.testing.assert_array_equal(weights[name][old], np.float32(s) * source[name])
        np.testing.assert_array_equal(wide[f"exp_avg.{name}"][old], np.float32(r) * narrow[f"exp_avg.{name}"])
        np.testing.assert_array_equal(
            wide[f"exp_avg_sq.{name}"][old], np.float32(r) ** 2 * narrow[f"exp_avg_sq.{name}"]
        )
        assert group["clip_weight"] == s / r and group["decay_factor"] == 1 / s
        assert group["lr"] == 3e-3 * s and group["eps"] == 1e-8 * r
        assert group["weight_decay"] == (0.1 / s if name in ORDER["llama"][0] else 0)
    assert {g["eps_factor"] for g in groups} == {0.5, 1.0}  # no factor is 1 throughout
    described = json.loads((tmp_path / "wide" / STATE).read_text())
    assert described["global_step"] == 20 and described["log_history"] == [{"loss": 3.0}]
    again, extras = load_checkpoint(tmp_path / "wide")
    assert int(again.step) == 20 and extras.trainer["options"]["lr"] == 1e-3
    for kind in ("lr", "decay", "eps", "clip"):
        first = jax.tree.leaves(getattr(again.law, kind))
        assert {float(f) for factor in first for f in np.ravel(factor)} == {
            float(g[n]) for g in groups for n in (f"{kind}_factor", f"{kind}_weight") if n in g
        }
    optim = again.config.optim
    assert (optim.learning_rate, optim.weight_decay, optim.total_steps) == (3e-3, 0.1, 40)


def test_uneven_growth_has_factors_by_element(tmp_path: Path):
    run_folder(tmp_path / "run")
    state, extras = load_checkpoint(tmp_path / "run")
    plan = make_plan(state.config.model, state.config.model.replace(d_ff=50))
    save_checkpoint(tmp_path / "wide", widen(state, plan, operator="lockstep", key=root_key(1, "study")), extras)
    weights, factors = (load_file(tmp_path / "wide" / name) for name in ("model.safetensors", FACTORS))
    source = load_file(FOLDERS / "llama" / "model.safetensors")
    groups = json.loads((tmp_path / "wide" / GROUPS).read_text())["groups"]
    uneven = {name for group in groups if group["element_wise"] for name in group["params"]}
    assert {name.split(".mlp.")[1] for name in uneven} == {"gate_proj.weight", "up_proj.weight", "down_proj.weight"}
    for name in uneven:
        axis = 1 if "down" in name else 0
        copied = np.take(source[name], plan.maps["mlp"].index, axis)
        for kind in ("lr", "decay", "eps", "clip"):
            np.broadcast_to(factors[f"{kind}.{name}"], copied.shape)
        np.testing.assert_allclose(weights[name], copied * factors[f"lr.{name}"], rtol=1e-6)  # float32 rounding
    again, _ = load_checkpoint(tmp_path / "wide")
    own = widen(state, plan, operator="lockstep", key=root_key(1, "study")).law
    for kind in ("lr", "decay", "eps", "clip"):
        pairs = [jax.tree.leaves(getattr(law, kind)) for law in (own, again.law)]
        for (a, b), p in zip(zip(*pairs, strict=True), jax.tree.leaves(again.params), strict=True):
            np.testing.assert_array_equal(np.broadcast_to(a, p.shape), np.broadcast_to(b, p.shape))
    assert factors["lr.model.layers.0.mlp.down_proj.weight"].shape == (1, 50)
    assert factors["eps.model.layers.0.mlp.up_proj.weight"].shape == (50, 1)


def test_what_moments_have_no_place_for(tmp_path: Path):
    run_folder(tmp_path / "run")
    state, extras = load_checkpoint(tmp_path / "run")
    plan = make_plan(state.config.model, default_target(state.config.model))
    wide = widen(state, plan, operator="asymmetric_reset", key=root_key(1, "study"))
    with pytest.raises(UserError, match=r"a count for each of its entries.*--moments none"):
        save_checkpoint(tmp_path / "out", wide, extras, moments="safetensors")
    assert not (tmp_path / "out").exists()
    for form in ("auto", "none"):
        save_checkpoint(tmp_path / form, wide, extras, moments=form)
        assert not (tmp_path / form / SAFE).exists()
    assert "moments stayed behind: blocks/" in (tmp_path / "auto" / "README.md").read_text()
    lion = filled(TrainConfig(model=BASE, optim=OptimConfig(name="lion")))
    with pytest.raises(UserError, match="lion trains this state"):
        save_checkpoint(tmp_path / "lion", lion, moments="safetensors")
    assert not (tmp_path / "lion").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda held: held.pop("step"), "step is missing"),
        (lambda held: held.pop("exp_avg.model.norm.weight"), r"exp_avg\.model\.norm\.weight is missing"),
        (lambda held: held.update({"exp_avg.x": np.zeros(1, np.float32)}), r"exp_avg\.x, which is no parameter's"),
        (
            lambda held: held.update({"exp_avg.model.norm.weight": np.zeros(3, np.float32)}),
            r"F32 \[3\], where .* \[16\]",
        ),
        (lambda held: held.update({"step": np.zeros(2, np.int64)}), "step is no single number"),
    ],
)
def test_broken_moments_are_refused_and_nothing_is_written(
    change: Any, words: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    held = run_folder(tmp_path / "run") | {"step": np.asarray(20)}
    change(held)
    save_file(held, tmp_path / "run" / SAFE)
    with pytest.raises(UserError, match=words):
        load_checkpoint(tmp_path / "run")
    assert main(["import", str(tmp_path / "run"), "--out", str(tmp_path / "state")]) == 2
    assert capfd.readouterr().err.count("\n") == 1 and not (tmp_path / "state").exists()
    assert not np.any(load_checkpoint(tmp_path / "run", moments="none")[0].opt_state.mu["embedding"])


def test_without_torch_its_files_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(torch_files, "has_torch", lambda: False)
    run_folder(tmp_path / "run")
    (tmp_path / "run" / SAFE).rename(tmp_path / "moments.safetensors")
    (tmp_path / "run" / "optimizer.pt").write_bytes(b"PK")
    assert main(["import", str(tmp_path / "run"), "--out", str(tmp_path / "state")]) == 2
    assert "torch's, which is not installed: pip install -e '.[torch]'" in capfd.readouterr().err
    options = ["--out", str(tmp_path / "state"), "--json", "--moments"]
    assert main(["import", str(tmp_path / "run"), *options, str(tmp_path / "moments.safetensors")]) == 0
    assert json.loads(capfd.readouterr().out)["moments"] == {"from": "moments.safetensors", "step": 20}
    for given in ("warm:0", "warm", str(tmp_path / "nowhere"), str(FOLDERS / "llama")):
        assert main(["widen", str(tmp_path / "state"), "--out", str(tmp_path / "out"), "--moments", given]) == 2
        assert capfd.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_warm_moments_estimate_the_gradient_and_its_square():
    state = filled(TrainConfig(model=BASE.replace(dropout=0.0), optim=OptimConfig(clip_norm=0.0, b2=0.9)))
    windows = DATA.windows[:12].reshape(3, 4, -1)
    made, again = (warmed_state(state, windows) for _ in range(2))
    gradient = jax.jit(jax.grad(lambda p, w: loss_fn(p, state.config, (w[:, :-1], w[:, 1:]), dropout_key=None)))
    grads = [gradient(state.params, w) for w in windows.astype(jnp.int32)]
    jax.tree.map(np.testing.assert_array_equal, made, again)
    jax.tree.map(np.testing.assert_array_equal, made.params, state.params)
    assert int(made.step) == 0 and int(made.opt_state.schedule_step) == 0
    assert {int(c) for c in jax.tree.leaves(made.opt_state.count)} == {3}
    weights = np.float64([0.81, 0.9, 1.0])
    for power, tree in ((1, made.opt_state.mu), (2, made.opt_state.nu)):
        mean = jax.tree.map(lambda *g, n=power: np.average(np.stack(g) ** n, 0, weights), *grads)
        corrected = jax.tree.map(lambda m: m / (1 - 0.9**3), tree)
        size = max(np.abs(m).max() for m in jax.tree.leaves(mean))
        # float32 rounding of gradients and of their running means
        jax.tree.map(lambda a, b, s=size: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6 * s), corrected, mean)


def test_moments_that_are_handed_on_come_back(tmp_path: Path):
    state, family = loaded("qwen2")
    with_some = with_moments(state, read_adam(trainers("qwen2"), family, state.config.model)[0], family)
    none = no_folds(state.config.model)
    hand_on(tmp_path, with_some.replace(step=jnp.int32(20)), family, {}, written=none, form="safetensors")
    assert {path.name for path in tmp_path.iterdir()} == {SAFE, STATE}
    again, record = bring_in(state, family, tmp_path / SAFE)
    jax.tree.map(np.testing.assert_array_equal, again.opt_state.mu, with_some.opt_state.mu)
    jax.tree.map(np.testing.assert_array_equal, again.opt_state.nu, with_some.opt_state.nu)
    assert int(again.step) == 20 and record["options"]["initial_lr"] == state.config.optim.learning_rate
