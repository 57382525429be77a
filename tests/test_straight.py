"""Checkpoints widened tensor by tensor: the files of the road through memory, and nothing half-written."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from safetensors.numpy import load_file, save_file

from growjax import limits, load_checkpoint, save_checkpoint
from growjax.checkpoints import copies, straight
from growjax.checkpoints.folder import open_checkpoint
from growjax.checkpoints.groups import ASSUMED, GROUPS
from growjax.checkpoints.record import NAME, read_record
from growjax.checkpoints.stored import NUMPY, Tensors
from growjax.checkpoints.straight import plan_straight
from growjax.checkpoints.written import Writer, header
from growjax.cli import main
from growjax.errors import UserError
from growjax.grow.plan import default_target, make_plan
from growjax.grow.widen import widen
from growjax.streams import root_key

DATA = ROOT / "tests" / "data"
FOLDERS = sorted(path.name for path in DATA.iterdir())
SINGLE = "model.safetensors"
KEY = root_key(1, "study")
pytestmark = pytest.mark.usefixtures("quickly")


def stored_as(dtype: str, source: Path, folder: Path) -> Path:
    """A copy of a folder whose tensors are of another dtype, each with a number that has no full precision there."""
    shutil.copytree(source, folder)
    found = load_file(source / SINGLE)
    for value in found.values():
        value.reshape(-1)[-1] = 1e-38
    save_file({k: v.astype(NUMPY[dtype]) for k, v in found.items()}, folder / SINGLE)
    return folder


def both_roads(source: Path, out: Path, operator: str, shard_bytes: int = 10**9, **widths: int) -> list[Path]:
    """A folder by each road: through memory, and tensor by tensor."""
    state, extras = load_checkpoint(source)
    model = state.config.model
    target = model.replace(**widths) if widths else default_target(model)
    wide = widen(state, make_plan(model, target), operator=operator, key=KEY)
    save_checkpoint(out / "memory", wide, extras, shard_bytes=shard_bytes)
    (out / "straight").mkdir()
    with open_checkpoint(source) as opened:
        way = plan_straight(opened, target, operator=operator, key=KEY)
        assert way is not None
        way.write(out / "straight", shard_bytes=shard_bytes)
    return [out / "memory", out / "straight"]


def require_same_files(memory: Path, straight: Path) -> None:
    """All but the card, byte for byte."""
    files = {path.name: path.read_bytes() for path in memory.iterdir() if path.name != "README.md"}
    assert files == {path.name: path.read_bytes() for path in straight.iterdir()}


@pytest.mark.parametrize("name", FOLDERS)
def test_clones_of_every_family(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(copies, "CHUNK", 50)  # several chunks for each tensor
    require_same_files(*both_roads(DATA / name, tmp_path, "exact_copy", 20_000))


@pytest.mark.parametrize(
    ("name", "dtype", "operator", "widths"),
    [
        ("llama", "bfloat16", "lockstep", {"d_model": 20, "n_heads": 10, "d_ff": 47}),
        ("llama-untied", "float16", "net2net", {"d_model": 24, "n_kv_heads": 4, "n_heads": 8, "vocab_size": 70}),
        ("gpt2", "bfloat16", "exact_copy", {"d_model": 32, "n_heads": 8, "n_kv_heads": 8, "d_ff": 100}),
        ("qwen3", "bfloat16", "zero_pad", {}),
        ("llama-untied", "bfloat16", "perturbed:snr_db=10", {}),
        ("gpt2", "float32", "hypercloning_noisy+noise:sigma=0.1", {}),
        ("qwen2", "bfloat16", "structured", {}),
    ],
)
def test_operators_and_dtypes(
    name: str, dtype: str, operator: str, widths: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(straight, "CHUNK", 300)
    monkeypatch.setattr(copies, "CHUNK", 50)
    source = stored_as(dtype, DATA / name, tmp_path / "source")
    memory, way = both_roads(source, tmp_path, operator, **widths)
    require_same_files(memory, way)
    if operator == "lockstep":  # nobody knows how the narrow model was trained, and the table says so
        assert ASSUMED in json.loads((way / GROUPS).read_text())["note"]


def test_a_file_is_that_of_the_safetensors_library(tmp_path: Path):
    values = {"b": np.ones((3, 2), "f4"), "a": np.arange(5, dtype="f4"), "ä": np.zeros((1,), "f4")}
    save_file(values, tmp_path / "theirs", metadata={"format": "pt"})
    Sized = namedtuple("Sized", "name shape")
    with Writer(tmp_path, [Sized(name, value.shape) for name, value in values.items()], "float32", 10**6) as writer:
        for name, value in values.items():
            writer.add(name, value)
    assert (tmp_path / SINGLE).read_bytes() == (tmp_path / "theirs").read_bytes()
    assert header({"x": (2,)}, "bfloat16")[1]["x"] % 8 == 0


def run(*words: object) -> int:
    return main([str(word) for word in words])


def test_a_folder_says_how_it_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    source = stored_as("bfloat16", DATA / "llama", tmp_path / "my-llama")
    assert run("widen", source, "--as-hf", "--out", tmp_path / "wide", "--json") == 0
    described = json.loads(capfd.readouterr().out)
    record, card = read_record(tmp_path / "wide"), (tmp_path / "wide" / "README.md").read_text()
    assert record is not None and record["digest"] == described["digest"] and record["digest"] in card
    assert record["source"] | {"tensors": ""} == {
        "name": "my-llama", "model_type": "llama", "tensors": "", "record": None,
    }  # fmt: skip
    assert "`exact_copy`" in card and "the function is kept" in card and f"KL {described['stored']['kl']:.3g}" in card
    assert described["stored"]["kl"] < 1e-3 and record["tensors"] in card  # what bfloat16 makes of a model by itself
    monkeypatch.setattr("growjax.cli.straight.MEASURED", 10**9)
    assert run("widen", tmp_path / "wide", "--as-hf", "--out", tmp_path / "wider") == 0
    again = read_record(tmp_path / "wider")
    assert again is not None and again["source"]["record"] == record["digest"]
    assert again["source"]["tensors"] != record["source"]["tensors"]
    assert "not measured, both models at once take" in capfd.readouterr().out
    assert "not measured" in (tmp_path / "wider" / "README.md").read_text()

    for change in ({"seed": 2}, {"more": 1}, {"operator": None}, {"digest": "x"}, {"source": {}}):
        (tmp_path / "wide" / NAME).write_text(json.dumps(record | change))
        assert run("widen", tmp_path / "wide", "--as-hf", "--out", tmp_path / "no") == 2
        said = capfd.readouterr().err
        assert said.count("\n") == 1 and NAME in said and not (tmp_path / "no").exists()


def test_real_text_where_the_tokenizer_can_make_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    from tokenizers import Tokenizer, models

    source = tmp_path / "source"
    shutil.copytree(DATA / "llama", source)
    vocab = {
        character: n for n, character in enumerate(" abcdefghijklmnopqrstuvwxyz.,?!\"'ABCDEFGHIJKLMNOPQRSTUVWXYZ-")
    }
    Tokenizer(models.BPE(vocab, [])).save(str(source / "tokenizer.json"))
    assert run("widen", source, "--as-hf", "--out", tmp_path / "wide") == 0
    assert "on built-in stories, by its own tokenizer: KL" in " ".join(capfd.readouterr().out.split())
    assert (tmp_path / "wide" / "tokenizer.json").read_bytes() == (source / "tokenizer.json").read_bytes()


@pytest.mark.parametrize("operator", ["exact_copy", "perturbed", "aki", "ligo"])
def test_a_dry_run_reads_no_tensor(
    operator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    def never(*_: object) -> Any:
        raise AssertionError("a tensor was read")

    monkeypatch.setattr(Tensors, "mapped", never)
    words = ["widen", DATA / "llama", "--as-hf", "--out", tmp_path / "wide", "--operator", operator, "--dry-run"]
    assert run(*words, "--json") == 0
    described = json.loads(capfd.readouterr().out)
    assert described["before"]["parameters"] == 6480 and described["after"]["parameters"] > 10_000
    assert {"flops_per_token", "bytes"} <= described["after"].keys()
    if operator == "ligo":  # the source, the wide model, and what is read back of it; programs come on top
        held = described["before"]["bytes"] + 2 * described["after"]["bytes"]
        assert described["least_bytes"] == held and "peak_bytes" not in described
    else:
        assert described["peak_bytes"] > 0
    assert described["road"] == ("in memory" if operator == "ligo" else "tensor by tensor")
    assert described["keeps_function"] is (operator in ("exact_copy", "perturbed"))
    assert run(*words) == 0
    shown = capfd.readouterr().out
    assert "which positions are copied" in shown and described["exact"] in shown
    assert f"memory at {'least' if operator == 'ligo' else 'most'}" in shown
    assert not list(tmp_path.iterdir())


def test_a_dry_run_on_a_state(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    assert run("import", DATA / "llama", "--out", tmp_path / "state") == 0
    capfd.readouterr()
    assert run("widen", tmp_path / "state", "--out", tmp_path / "wide", "--dry-run", "--json") == 0
    described = json.loads(capfd.readouterr().out)
    assert described["road"] == "in memory" and not (tmp_path / "wide").exists()


def test_what_has_no_room_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    words = ["widen", DATA / "llama", "--as-hf", "--out", tmp_path / "wide"]
    usage = namedtuple("usage", "total used free")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage(1, 1, 1000))
        assert run(*words) == 2
        assert "its disk has 0.00 GB left" in capfd.readouterr().err
    with monkeypatch.context() as patch:
        patch.setattr(limits, "memory", lambda: 10**8)
        assert run(*words, "--operator", "structured") == 2
        assert "operator structured takes 0.5 GB of memory" in capfd.readouterr().err
    assert not list(tmp_path.iterdir())


def test_what_ends_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    put = Writer.put

    def broken(self: Writer, name: str, value: np.ndarray) -> None:
        if "mlp" in name:
            raise OSError(28, "No space left on device")
        put(self, name, value)

    monkeypatch.setattr(Writer, "put", broken)
    assert run("widen", DATA / "llama", "--as-hf", "--out", tmp_path / "wide") == 2
    assert not list(tmp_path.iterdir())
    with open_checkpoint(DATA / "llama") as opened, pytest.raises(UserError, match="cannot shrink"):
        plan_straight(opened, opened.model.replace(d_model=8), key=KEY)
