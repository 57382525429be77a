"""Hugging Face folders in and out: logits as transformers computes them, and the same tensors back."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT, quick_programs
from growing import BASE, MIXED, MODELS, filled
from safetensors.numpy import load_file, save_file

from growjax import load_checkpoint, save_checkpoint
from growjax.checkpoints import Extras, keep, kept
from growjax.checkpoints.stored import NUMPY
from growjax.cli import main
from growjax.config import ModelConfig, TrainConfig
from growjax.errors import UserError
from growjax.grow.operator import GrowthData
from growjax.grow.plan import default_target, make_plan
from growjax.grow.registry import operators
from growjax.grow.widen import widen
from growjax.model.decoder import forward
from growjax.streams import root_key
from growjax.train.state import TrainState

DATA = ROOT / "tests" / "data"
FOLDERS = sorted(path.name for path in DATA.iterdir())
KEY = root_key(1, "study")
_forward = jax.jit(forward, static_argnums=0)

STORIES = ROOT.parent / "shared" / "data" / "stories260k"
needs_stories = pytest.mark.skipif(
    not STORIES.is_dir(), reason="the real checkpoint stories260k lies beside the project only where it was put there"
)


def logits(state: TrainState, ids: Any) -> np.ndarray:
    return np.asarray(_forward(state.config.model, state.params, jnp.asarray(ids)))


def doubled(state: TrainState, operator: str = "exact_copy") -> TrainState:
    plan = make_plan(state.config.model, default_target(state.config.model))
    return widen(state, plan, operator=operator, key=KEY)


@pytest.mark.parametrize("name", FOLDERS)
def test_logits_are_those_of_transformers_and_tensors_come_back(name: str, tmp_path: Path):
    state, extras = load_checkpoint(DATA / name)
    reference = np.load(DATA / name / "reference.npz")
    size = np.abs(reference["logits"]).max()
    assert (
        np.abs(logits(state, reference["ids"]) - reference["logits"]).max() < 2e-5 * size
    )  # float32 rounding, as transformers has it
    assert state.config.model.dropout == 0 and int(state.step) == 0
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(state.opt_state))

    save_checkpoint(tmp_path / "same", state, extras)
    source, same = (load_file(folder / "model.safetensors") for folder in (DATA / name, tmp_path / "same"))
    assert source.keys() == same.keys()
    jax.tree.map(np.testing.assert_array_equal, source, same)
    own = json.loads((DATA / name / "config.json").read_text())
    written = json.loads((tmp_path / "same" / "config.json").read_text())
    said = {key: value for key, value in own.items() if value is not None}
    assert {key: written[key] for key in said} == said
    if "rope_theta" in own.get("rope_parameters", {}):  # one for all layers
        base = "rope_theta" if "rope_theta" in written else "rotary_emb_base"
        assert written[base] == own["rope_parameters"]["rope_theta"]


@pytest.mark.parametrize("name", FOLDERS)
def test_a_wide_folder_keeps_the_function(name: str, tmp_path: Path):
    state, extras = load_checkpoint(DATA / name)
    reference = np.load(DATA / name / "reference.npz")
    save_checkpoint(tmp_path / "wide", doubled(state), extras, shard_bytes=30_000)
    wide, _ = load_checkpoint(tmp_path / "wide")
    assert wide.config.model.d_model == 2 * state.config.model.d_model
    assert (
        np.abs(logits(wide, reference["ids"]) - reference["logits"]).max() < 2e-5 * np.abs(reference["logits"]).max()
    )  # float32 rounding
    index = json.loads((tmp_path / "wide" / "model.safetensors.index.json").read_text())
    held = {file: set(load_file(tmp_path / "wide" / file)) for file in set(index["weight_map"].values())}
    assert len(held) > 1 and all(name in held[file] for name, file in index["weight_map"].items())
    assert sum(map(len, held.values())) == len(index["weight_map"])
    heads = {"lm_head.weight", "embed_out.weight"}
    assert bool(heads & index["weight_map"].keys()) is not state.config.model.tie_embeddings


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_short_floats_are_kept_as_stored(dtype: str, tmp_path: Path):
    source = {k: v.astype(NUMPY[dtype]) for k, v in load_file(DATA / "llama" / "model.safetensors").items()}
    (tmp_path / "short").mkdir()
    (tmp_path / "short" / "config.json").write_bytes((DATA / "llama" / "config.json").read_bytes())
    save_file(source, tmp_path / "short" / "model.safetensors")
    state, extras = load_checkpoint(tmp_path / "short")
    assert extras.dtype == dtype
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(state.params)} == {"float32"}
    save_checkpoint(tmp_path / "again", state, extras)
    again, _ = load_checkpoint(tmp_path / "again")
    jax.tree.map(np.testing.assert_array_equal, state.params, again.params)
    raw = {f: (tmp_path / f / "model.safetensors").stat().st_size for f in ("short", "again")}
    assert abs(raw["short"] - raw["again"]) < 100
    save_checkpoint(tmp_path / "long", state, extras, dtype="float32")
    assert load_checkpoint(tmp_path / "long")[1].dtype == "float32"
    if dtype == "float16":
        state.params["final_norm_gain"] = state.params["final_norm_gain"] * 1e6
        with pytest.raises(UserError, match=r"model\.norm\.weight does not fit into float16"):
            save_checkpoint(tmp_path / "over", state, extras)
        assert not (tmp_path / "over").exists()


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (MODELS["rms tied"], "LlamaForCausalLM"),
        (BASE.replace(qkv_bias=True), "Qwen2ForCausalLM"),
        (MODELS["rms untied"], "Qwen3ForCausalLM"),
        (MODELS["layer untied"].replace(n_kv_heads=4), "GPT2LMHeadModel"),
        (MIXED["rms normed after"], "Olmo2ForCausalLM"),
        (MIXED["layer parallel gelu_erf"], "GPTNeoXForCausalLM"),
        (MIXED["layer relu"].replace(n_kv_heads=4, position_offset=2), "OPTForCausalLM"),
        (BASE.replace(rotary_dim=2), "Phi3ForCausalLM"),
        (BASE.replace(rope_scaling=(8.0, 1.0, 4.0, 8)), "LlamaForCausalLM"),
    ],
)
def test_a_state_of_our_own_finds_its_stock_architecture(model: ModelConfig, words: str, tmp_path: Path):
    state = filled(TrainConfig(model=model))
    save_checkpoint(tmp_path / "out", state)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["architectures"] == [words]
    back, _ = load_checkpoint(tmp_path / "out")
    jax.tree.map(np.testing.assert_array_equal, state.params, back.params)
    tokens = np.arange(10)[None]
    np.testing.assert_array_equal(logits(state, tokens), logits(back, tokens))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (BASE.replace(norm="layer"), "no place for norm layer"),
        (BASE.replace(position="none"), "no place for position none"),
        (BASE.replace(head_dim=8, rope_dim=4), "rope_dim 4"),
        (BASE.replace(n_heads=6, bias=True), "hidden_size 16 and 6"),
        (BASE.replace(layer_windows=(5,)), "layer_windows"),
        (BASE.replace(norm_place="both", qk_norm=True, qk_norm_over="all"), "no place for"),
    ],
)
def test_what_no_stock_architecture_holds_is_refused(model: ModelConfig, words: str, tmp_path: Path):
    with pytest.raises(UserError, match=words):
        save_checkpoint(tmp_path / "out", filled(TrainConfig(model=model)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "others",
    [
        {"tie_embeddings": True},
        {"tie_embeddings": False},
        {"tie_embeddings": False, "norm_place": "after", "qk_norm_over": "all"},
    ],
)
def test_norms_of_queries_and_keys_come_to_the_one_epsilon_of_a_stock_architecture(others: Any, tmp_path: Path):
    model = BASE.replace(qk_norm=True, norm_eps=1e-4, qk_norm_eps=3e-3, **others)
    state = filled(TrainConfig(model=model))
    save_checkpoint(tmp_path / "out", state)
    back, _ = load_checkpoint(tmp_path / "out")
    assert back.config.model.norm_eps == 3e-3 and back.config.model.qk_norm_eps is None
    tokens = np.arange(12)[None]
    own = logits(state, tokens)
    # float32 rounding of gains that make up for another epsilon
    assert np.abs(logits(back, tokens) - own).max() < 2e-6 * np.abs(own).max()


def test_a_window_cuts_the_sequence_and_comes_back(tmp_path: Path):
    config = json.loads((DATA / "mistral" / "config.json").read_text()) | {"sliding_window": 8}
    (tmp_path / "model.safetensors").write_bytes((DATA / "mistral" / "model.safetensors").read_bytes())
    (tmp_path / "config.json").write_text(json.dumps(config))
    state, extras = load_checkpoint(tmp_path)
    assert state.config.model.max_seq_len == 8 and "sliding_window" in extras.notes[0]
    save_checkpoint(tmp_path / "out", doubled(state), extras)
    written = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (written["sliding_window"], written["max_position_embeddings"]) == (8, 32)


def test_extras_are_kept_beside_a_state(tmp_path: Path):
    config = json.loads((DATA / "llama" / "config.json").read_text())
    extras = Extras("model", config, "bfloat16", {"tokenizer.json": b"{ }\n"}, ("a note",))
    keep(extras, tmp_path)
    assert kept(tmp_path) == extras and kept(tmp_path / "nowhere") is None


def test_options_of_the_command_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    source, state, out = tmp_path / "source", str(tmp_path / "state"), tmp_path / "out"
    shutil.copytree(DATA / "qwen3", source)
    for name in ("tokenizer.json", "chat_template.jinja"):
        (source / name).write_bytes(b'{"model":  {"vocab": {"a": 0}}}\r\n')
    assert main(["import", str(DATA / "qwen3"), "--out", state]) == 0
    assert "qwen3, 8,048 parameters" in capfd.readouterr().out
    options = ["--tokenizer", str(source), "--dtype", "bfloat16", "--max-shard-mb", "0.005"]
    assert main(["export", state, "--out", str(out), *options, "--json"]) == 0
    files = json.loads(capfd.readouterr().out)["files"]
    assert len([name for name in files if name.endswith(".safetensors")]) > 1
    for name in ("tokenizer.json", "chat_template.jinja", "generation_config.json"):
        assert (out / name).read_bytes() == (source / name).read_bytes()
    again, extras = load_checkpoint(out)
    assert extras.dtype == "bfloat16" and again.config == load_checkpoint(source)[0].config
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert main(["export", state, "--out", str(out)]) == 2 and "is there already" in capfd.readouterr().err
    assert (
        main(["export", state, "--out", state, "--force"]) == 2 and "no Hugging Face folder" in capfd.readouterr().err
    )
    assert main(["export", state, "--out", str(out / "x"), "--tokenizer", str(DATA / "qwen3")]) == 2
    assert "holds no tokenizer" in capfd.readouterr().err
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


@pytest.fixture(scope="module")
def stories() -> tuple[TrainState, dict[str, Any]]:
    return load_checkpoint(STORIES)[0], json.loads((STORIES / "reference.json").read_text())


@needs_stories
def test_a_real_checkpoint_has_its_published_loss(stories: tuple[TrainState, dict[str, Any]]):
    from tokenizers import Tokenizer

    state, reference = stories
    tokenizer = Tokenizer.from_file(str(STORIES / "tokenizer.json"))
    lines = (STORIES.parent / "tinystories" / "validation.jsonl").read_text().splitlines()
    ids = np.zeros((len(reference["stories"]), 512), np.int32)
    real = np.zeros(ids.shape, bool)
    for row, story in enumerate(reference["stories"]):
        text = json.loads(lines[story["line"]])["text"].strip()
        assert hashlib.sha256(text.encode()).hexdigest() == story["sha256_of_stripped_text"]
        found = tokenizer.encode(text).ids[:512]
        assert len(found) == story["tokens_with_bos"]
        ids[row, : len(found)], real[row, : len(found)] = found, True
    seen = np.concatenate([logits(state, part) for part in np.split(ids[:, :-1], 8)]).astype(np.float64)
    largest = seen.max(-1, keepdims=True)
    levels = (largest + np.log(np.exp(seen - largest).sum(-1, keepdims=True)))[..., 0]
    losses = levels - np.take_along_axis(seen, ids[:, 1:, None], -1)[..., 0]
    assert real[:, 1:].sum() == reference["stories_tokens"]
    assert (
        abs(losses[real[:, 1:]].mean() - reference["stories_mean_loss_per_token"]) < 1e-4
    )  # nats: float32 against float64


@needs_stories
def test_a_real_checkpoint_goes_on_with_its_published_words(stories: tuple[TrainState, dict[str, Any]]):
    state, reference = stories
    prompts = reference["prompts"]
    ids = np.zeros((len(prompts), 80), np.int32)
    ends = np.array([len(p["ids"]) for p in prompts])
    for row, prompt in enumerate(prompts):
        ids[row, : ends[row]] = prompt["ids"]
    wide = doubled(state)
    for model in (state, wide):
        for n in range(48):
            last = ends + n
            ids[np.arange(len(ids)), last] = logits(model, ids)[np.arange(len(ids)), last - 1].argmax(-1)
        for row, prompt in enumerate(prompts):
            assert ids[row, ends[row] : ends[row] + 48].tolist() == prompt["greedy"]
            ids[row, ends[row] :] = 0


@needs_stories
def test_every_operator_that_promises_to_keep_the_function_keeps_that_of_a_real_checkpoint(
    stories: tuple[TrainState, dict[str, Any]], tmp_path: Path
):
    state, reference = stories
    plan = make_plan(state.config.model, default_target(state.config.model))
    ids = np.array([(p["ids"] + p["greedy"])[:48] for p in reference["prompts"]])
    own, gaps = logits(state, ids), {}
    data = GrowthData(jnp.asarray(ids, jnp.uint16), 4)
    with quick_programs():
        for name, operator in operators().items():
            if operator.keeps(plan, operator.options):
                wide = widen(state, plan, operator=name, key=KEY, data=data)
                gaps[name] = float(np.abs(logits(wide, ids) - own).max())
    assert {"exact_copy", "structured", "lemon", "zero_pad", "lockstep"} <= gaps.keys()
    assert max(gaps.values()) < 2e-5 * np.abs(own).max(), gaps  # float32 rounding
