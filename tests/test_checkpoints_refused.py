"""Folders that cannot be brought in: one line that names the key, exit code 2, nothing written."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from safetensors.numpy import load_file, save_file

from growjax import load_checkpoint, save_checkpoint
from growjax.cli import main

DATA = ROOT / "tests" / "data"
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
Q = "model.layers.0.self_attn.q_proj.weight"


def config(**changes: Any) -> Callable[[Path], None]:
    """Changes keys of config.json; None takes one away."""

    def change(folder: Path) -> None:
        given = json.loads((folder / "config.json").read_text()) | changes
        (folder / "config.json").write_text(json.dumps({k: v for k, v in given.items() if v is not None}))

    return change


def tensors(edit: Callable[[dict[str, np.ndarray]], Any]) -> Callable[[Path], None]:
    """Edits the tensors."""

    def change(folder: Path) -> None:
        found = load_file(folder / SINGLE)
        edit(found)
        save_file(found, folder / SINGLE)

    return change


def header(edit: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """Edits the header of the file, and leaves its bytes alone."""

    def change(folder: Path) -> None:
        data = (folder / SINGLE).read_bytes()
        (size,) = struct.unpack("<Q", data[:8])
        found = json.loads(data[8 : 8 + size])
        edit(found)
        text = json.dumps(found).encode()
        (folder / SINGLE).write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])

    return change


def sharded(edit: Callable[[dict[str, Any], Path], Any]) -> Callable[[Path], None]:
    """Makes several files and an index of the folder, and edits the index."""

    def change(folder: Path) -> None:
        state, extras = load_checkpoint(folder)
        save_checkpoint(folder, state, extras, shard_bytes=10_000, replace=True)
        index = json.loads((folder / INDEX).read_text())
        edit(index, folder)
        (folder / INDEX).write_text(json.dumps(index))

    return change


def name_in_index(name: str, file: str) -> Callable[[Path], None]:
    return sharded(lambda index, folder: index["weight_map"].update({name: file}))


def first_file(index: dict[str, Any]) -> str:
    return index["weight_map"][Q]


def write(name: str, data: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(data) and None


def in_turn(*changes: Callable[[Path], Any]) -> Callable[[Path], None]:
    return lambda folder: [change(folder) for change in changes] and None


def without_weights(folder: Path) -> None:
    (folder / SINGLE).unlink()


def moved_out(folder: Path) -> None:
    """The weights lie elsewhere, and a link leads there."""
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir()
    (folder / SINGLE).rename(elsewhere / SINGLE)
    (folder / SINGLE).symlink_to(elsewhere / SINGLE)


def set_nan(found: dict[str, np.ndarray]) -> None:
    found[Q][3, 2] = np.nan


def leads_to_itself(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("config.json")


HEADER = json.dumps({"lr.x": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]}}).encode()
EIGHT = struct.pack("<Q", len(HEADER)) + HEADER + b"0"
VOCAB = json.dumps({"model": {"vocab": {"a": 0, "b": 64}}, "added_tokens": []}).encode()

BROKEN: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "no folder": ("llama", shutil.rmtree, "is no folder"),
    "no config": ("llama", lambda folder: (folder / "config.json").unlink(), "has no config.json"),
    "config is no JSON": ("llama", write("config.json", b"{"), "config.json is no JSON"),
    "config is a list": ("llama", write("config.json", b"[]"), "config.json holds no JSON object"),
    "no model_type": ("llama", config(model_type=None), "model_type is None"),
    "unknown family": ("llama", config(model_type="mamba"), "model_type is 'mamba'"),
    "another class": ("llama", config(architectures=["LlamaForSequenceClassification"]), "architectures"),
    "own code": ("llama", config(auto_map={"AutoModel": "x.Y"}), "auto_map"),
    "experts": ("qwen3", config(num_experts=8), "num_experts is set"),
    "quantised": ("llama", config(quantization_config={"bits": 4}), "quantization_config"),
    "size missing": ("llama", config(hidden_size=None), "lacks hidden_size"),
    "size is text": ("llama", config(hidden_size="16"), "hidden_size is '16'"),
    "size is zero": ("llama", config(num_attention_heads=0, head_dim=None), "num_attention_heads is 0"),
    "size is negative": ("gemma", config(hidden_size=-16), "hidden_size is -16"),
    "epsilon is beyond all floats": ("llama", config(rms_norm_eps=10**400), "rms_norm_eps is 1000"),
    "classes that are no names": ("llama", config(architectures=[{}]), "architectures is [{}]"),
    "layers beyond all lists": ("gemma2", config(num_hidden_layers=10**9, layer_types=None), "hidden_layers is 1000"),
    "a window in words": ("mistral", config(sliding_window="4096"), "sliding_window is '4096'"),
    "a window in words too": ("phi3", config(sliding_window="4096"), "sliding_window is '4096'"),
    "windows from a word on": (
        "qwen2",
        config(use_sliding_window=True, layer_types=None, max_window_layers="1"),
        "max_window_layers is '1'",
    ),
    "kinds in one word": ("qwen3", config(use_sliding_window=True, layer_types="sliding"), "layer_types is 's"),
    "a cap beyond all floats": ("gemma2", config(final_logit_softcapping=10**400), "final_logit_softcapping is 1000"),
    "a scale that is no number": ("gemma3_text", config(query_pre_attn_scalar=float("nan")), "attn_scalar is nan"),
    "config leads to itself": ("llama", leads_to_itself, "is a link that leads to itself"),
    "factors of eight bits": ("llama", write("growth_factors.safetensors", EIGHT), "lr.x is stored as F8_E4M3"),
    "size is too large": ("llama", config(num_hidden_layers=10**9), "model.layers.2.input_layernorm.weight is missing"),
    "activation": ("llama", config(hidden_act="tanh"), "hidden_act is 'tanh'"),
    "scaled positions": ("llama", config(rope_parameters={"rope_type": "yarn"}), "rope_type is 'yarn'"),
    "scaled as before": ("llama", config(rope_scaling={"type": "dynamic", "factor": 2}), "rope_scaling.rope_type"),
    "part of a head": ("llama", config(partial_rotary_factor=0.5), "partial_rotary_factor is 0.5"),
    "both ways": ("gemma", config(use_bidirectional_attention=True), "use_bidirectional_attention is True"),
    "a kind of layer": ("gemma2", config(layer_types=["full_attention", "chunked"]), "layer_types is ['full"),
    "a layer without a kind": ("gemma3_text", config(layer_types=["full_attention"]), "layer_types is ['full"),
    "no window": ("gemma2", config(sliding_window=0), "sliding_window is 0"),
    "a cap below 0": ("gemma2", config(final_logit_softcapping=-1.0), "final_logit_softcapping is -1.0"),
    "a cap that transformers leaves out": ("gemma3_text", config(attn_logit_softcapping=5.0), "attn_logit_softcapping"),
    "no scale": ("gemma2", config(query_pre_attn_scalar="12"), "query_pre_attn_scalar is '12'"),
    "positions of other kinds": ("gemma3_text", config(rope_parameters={"rope_type": "default"}), "rope_parameters"),
    "attention by layer": ("gpt2", config(scale_attn_by_inverse_layer_idx=True), "scale_attn_by_inverse_layer_idx"),
    "activation of GPT-2": ("gpt2", config(activation_function="quick_gelu"), "activation_function is 'quick"),
    "heads that do not divide": ("gpt2", config(n_head=3), "c_attn.weight has shape"),
    "no weights": ("llama", without_weights, "has no model.safetensors"),
    "a pickle alone": ("llama", in_turn(without_weights, write("pytorch_model.bin", b"x")), "pickle alone"),
    "a tensor missing": ("llama", tensors(lambda found: found.pop(Q)), f"{Q} is missing"),
    "a tensor too many": ("llama", tensors(lambda found: found.update(extra=np.ones(1, "f4"))), "no tensor extra"),
    "a bias too many": ("llama-untied", config(mlp_bias=False), "mlp.down_proj.bias"),
    "no head": ("llama", config(tie_word_embeddings=False), "lm_head.weight is missing"),
    "another head": ("llama-untied", config(tie_word_embeddings=True), "though config.json ties them"),
    "wrong shape": ("llama", config(intermediate_size=48), "has shape [40, 16]"),
    "eight bits": ("llama", tensors(lambda found: found.update({Q: found[Q].astype("i1")})), "stored as I8"),
    "NaN": ("llama", tensors(set_nan), f"{Q} holds NaN"),
    "empty file": ("llama", write(SINGLE, b""), "no whole safetensors file"),
    "header of 2^60 bytes": ("llama", write(SINGLE, struct.pack("<Q", 1 << 60) + b"{}"), "no whole safetensors file"),
    "header is no JSON": ("llama", write(SINGLE, struct.pack("<Q", 4) + b"abcd"), "no whole safetensors file"),
    "overlapping offsets": (
        "llama",
        header(lambda h: h[Q].update(data_offsets=h["model.norm.weight"]["data_offsets"], shape=[16])),
        "no whole safetensors file",
    ),
    "offsets beyond the file": (
        "llama",
        header(lambda h: h[Q].update(data_offsets=[h[Q]["data_offsets"][0], 1 << 40])),
        "no whole safetensors file",
    ),
    "unknown dtype": ("llama", header(lambda h: h[Q].update(dtype="F31")), "no whole safetensors file"),
    "cut short": ("llama", lambda f: write(SINGLE, (f / SINGLE).read_bytes()[:-9])(f), "no whole safetensors file"),
    "a link that leads out": ("llama", moved_out, "leads out of its folder"),
    "index is no JSON": ("llama", in_turn(without_weights, write(INDEX, b"[")), f"{INDEX} is no JSON"),
    "index without a map": ("llama", in_turn(without_weights, write(INDEX, b"{}")), "has no weight_map"),
    "index leads out": ("llama", name_in_index(Q, "../elsewhere/model.safetensors"), f"{Q} lies in '../elsewhere"),
    "index names a pickle": ("llama", name_in_index(Q, "pytorch_model.bin"), f"{Q} lies in 'pytorch_model.bin'"),
    "index names no file": ("llama", name_in_index(Q, "model-9.safetensors"), "model-9.safetensors is missing"),
    "index names an absent tensor": (
        "llama",
        sharded(lambda index, _: index["weight_map"].update(absent=first_file(index))),
        "absent is not in model-",
    ),
    "index lacks a tensor": ("llama", sharded(lambda index, _: index["weight_map"].pop(Q)), f"{Q} is not in {INDEX}"),
    "a file missing": (
        "llama",
        sharded(lambda index, folder: (folder / first_file(index)).unlink()),
        "is missing",
    ),
    "another tokenizer": ("llama", write("tokenizer.json", VOCAB), "the id 64, and the vocabulary ends at 63"),
    "an id without end": ("llama", write("tokenizer.json", b'{"model": {"vocab": {"a": Infinity}}}'), "no tokenizer"),
    "no tokenizer": ("llama", write("tokenizer.json", b'{"model": {"vocab": {"a": "b"}}}'), "is no tokenizer"),
}  # fmt: skip


ROADS = {"import": ["import"], "straight": ["widen", "--as-hf", "--json"]}
"""Into a state, and tensor by tensor into a wider folder."""

BARE = ("no folder", "no config", "config leads to itself")
"""What might have been meant as a state."""


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_folder(name: str, road: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    family, broken, words = BROKEN[name]
    words = "holds no state" if name in BARE and road == "straight" else words
    verb, *options = ROADS[road]
    folder = tmp_path / "checkpoint"
    shutil.copytree(DATA / family, folder)
    broken(folder)
    there = sorted(tmp_path.iterdir())
    assert main([verb, str(folder), "--out", str(tmp_path / "out"), *options]) == 2
    said = capfd.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and said.err.startswith("growjax: ")
    assert words in said.err and "Traceback" not in said.err, said.err
    assert sorted(tmp_path.iterdir()) == there


def test_a_hub_cache_is_read_through_its_links(tmp_path: Path):
    snapshot, blobs = tmp_path / "snapshots" / "0a1b", tmp_path / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, path in enumerate(sorted((DATA / "llama").iterdir())):
        shutil.copyfile(path, blobs / str(number))
        (snapshot / path.name).symlink_to(f"../../blobs/{number}")
    assert load_checkpoint(snapshot)[0].config == load_checkpoint(DATA / "llama")[0].config


def test_what_follows_from_the_configuration_may_be_stored_too(tmp_path: Path):
    shutil.copytree(DATA / "llama", tmp_path / "own")
    tensors(lambda found: found.update({"model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(2, "f4")}))(
        tmp_path / "own"
    )
    tensors(lambda found: found.update({"lm_head.weight": found["model.embed_tokens.weight"]}))(tmp_path / "own")
    bare = {k.removeprefix("model."): v for k, v in load_file(DATA / "llama" / SINGLE).items()}
    shutil.copytree(DATA / "llama", tmp_path / "bare")
    save_file(bare, tmp_path / "bare" / SINGLE)
    states = [load_checkpoint(path)[0] for path in (DATA / "llama", tmp_path / "own", tmp_path / "bare")]
    for other in states[1:]:
        assert "head" not in other.params
        np.testing.assert_array_equal(states[0].params["blocks"]["wq"], other.params["blocks"]["wq"])
