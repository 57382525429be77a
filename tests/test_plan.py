"""Plans for chips that are not here: bytes by hand, the compiler's figures, what more chips may change, refusals."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from growjax import limits
from growjax.cli import main
from growjax.config import ModelConfig, OptimConfig, TrainConfig
from growjax.errors import UserError
from growjax.mesh.rules import MeshShape, dividing, meshes
from growjax.mesh.training import _evaluated
from growjax.model.decoder import count_params, named_params
from growjax.plan import described, here
from growjax.plan.chips import CHIPS, Chip, chip_named
from growjax.plan.choice import USABLE, batches, cheapest, choose, kept_by, least_chips, options
from growjax.plan.growth import shapes_of
from growjax.plan.memory import Batch, held, leaves, peak, phases
from growjax.plan.roofline import axis_link, link_traffic, step_seconds
from growjax.plan.saved import Saved, saved
from growjax.streams import root_key
from growjax.train.shards import shard_gradients
from growjax.train.state import TrainState

TINY = ModelConfig(
    d_model=8, n_layers=2, n_heads=2, n_kv_heads=2, head_dim=4, d_ff=16, vocab_size=32, max_seq_len=16, dropout=0.0
)
MADE_UP = Chip("made-up", 1e9, 1e9, {"float32": 1e9}, 1e6, 64, None, "made up")

SMALL = ModelConfig(d_model=64, n_layers=2, n_heads=2, n_kv_heads=1, head_dim=32, d_ff=192, vocab_size=2048)
OPTIMIZERS = {"adamw": 2, "lion": 1, "sgd": 1}


def test_bytes_of_a_made_up_model_by_hand():
    """One table, two layers of four projections, three matrices and two gains, and a last gain."""
    parameters = 4 * (32 * 8 + 2 * (4 * 8 * 8 + 3 * 8 * 16 + 2 * 8) + 8)
    state = shapes_of(TrainConfig(TINY))
    whole = held(list(leaves(state, MeshShape())))
    leaf_count = len(jax.tree.leaves(state.params))
    assert whole == {
        "parameters": parameters, "moments": 2 * parameters, "counts": 4 * leaf_count + 8, "factors": 0
    }  # fmt: skip
    halves = held(list(leaves(state, MeshShape(fsdp=2))))
    assert halves["parameters"] == parameters / 2  # every axis `embed` is cut, those of the gains too
    quarters = held(list(leaves(state, MeshShape(fsdp=2, tensor=2))))
    assert quarters["parameters"] == parameters / 4 + 4 * 8 / 4  # the last gain has one axis, and is cut in two
    [gathering, gradients, *_] = phases(state, MeshShape(fsdp=2), Batch(4, 16, 4), Saved(7, 5))
    assert gradients.bytes["gathered parameters"] == parameters
    assert gradients.bytes["gradients"] == 2 * parameters  # the sum of a shard's, and the next one's
    assert gradients.bytes["batch"] == 4 * 16 * 8
    assert (gradients.bytes["activations"], gradients.bytes["temporaries"]) == (7, 5)
    assert gathering.total < gradients.total == peak([gathering, gradients]).total


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_keeps_its_own_number_of_moments(name: str):
    state = shapes_of(TrainConfig(TINY, OptimConfig(name=name)))
    rows = held(list(leaves(state, MeshShape())))
    second = 0 if name == "adamw" else 4 * len(jax.tree.leaves(state.params))
    assert rows["moments"] == OPTIMIZERS[name] * rows["parameters"] + second


def test_memory_is_what_the_compiler_says_of_a_tiny_shape():
    """Of one virtual shard's program, on the CPU that is here: parameters, gradients, batch, activations and work."""
    config, windows, length = TrainConfig(SMALL.replace(n_layers=1)), 4, 64
    params = shapes_of(config).params
    batch = (jax.ShapeDtypeStruct((windows, length), jnp.int32),) * 2
    number = jax.ShapeDtypeStruct((), jnp.int32)
    lowered = shard_gradients.lower(params, batch, root_key(0), number, number, config=config, shards=1)
    found = lowered.compile().memory_analysis()
    assert found is not None
    measured = found.temp_size_in_bytes + found.argument_size_in_bytes + found.output_size_in_bytes
    kept = saved(config, windows, length, cpu=True)
    planned = 2 * 4 * count_params(config.model) + 8 * windows * length + kept.activations + kept.temporaries
    # 8 % off, and 6 at most on the shapes of artifacts/plan.json: a chunk of logits counts for more where all is small
    assert planned == pytest.approx(measured, rel=0.1)


def test_an_evaluation_takes_as_many_windows_as_a_step():
    """`train` evaluates them on one device (`growjax.study.context.make_feed`), here as the compiler has it."""
    config, windows, length = TrainConfig(SMALL), 8, 64
    [batch, *_] = batches(8, windows, length)
    params, feed = shapes_of(config).params, jax.ShapeDtypeStruct((2, windows, length + 1), jnp.uint16)
    found = _evaluated.lower(params, feed, config=config).compile().memory_analysis()
    assert found is not None
    state = shapes_of(config)
    cpu = dataclasses.replace(MADE_UP, name="cpu")
    made = {phase.name: phase for phase in phases(state, MeshShape(fsdp=8), batch, kept_by(state, batch, cpu))}
    here = made["evaluation"].bytes
    assert here["temporaries"] == pytest.approx(found.temp_size_in_bytes, rel=0.1)  # 1 % here
    assert here["gathered parameters"] == 4 * count_params(SMALL)
    fewer = batches(8, windows, length, evaluated=1)[0]
    small = {phase.name: phase for phase in phases(state, MeshShape(fsdp=8), fewer, kept_by(state, fewer, cpu))}
    assert 6 * small["evaluation"].bytes["temporaries"] < here["temporaries"]


def test_activations_grow_with_windows_and_nothing_else_does():
    one, three = (saved(TrainConfig(SMALL), n, 64, cpu=False).activations for n in (1, 3))
    assert three == 3 * one > 0
    deep = SMALL.replace(n_layers=16)
    assert saved(TrainConfig(deep), 1, 64, cpu=False).activations > 7 * one


SIZES = st.sampled_from([1, 2, 4, 8])


@settings(max_examples=40, deadline=None)
@given(SIZES, SIZES, SIZES, st.sampled_from([64, 128]), st.sampled_from([2, 8]), st.booleans())
def test_more_chips_never_hold_more(data: int, fsdp: int, tensor: int, width: int, heads: int, tied: bool):
    model = SMALL.replace(d_model=width, n_heads=heads, n_kv_heads=heads, d_ff=3 * width, tie_embeddings=tied)
    state = shapes_of(TrainConfig(model))

    def pieces(mesh: MeshShape) -> dict[str, int]:
        return held(list(leaves(state, mesh)))

    here = MeshShape(data, fsdp, tensor)
    at, more = pieces(here), pieces(here._replace(fsdp=2 * fsdp))
    assert all(more[kind] <= at[kind] for kind in at)
    assert pieces(here._replace(data=2 * data)) == at
    assert at["parameters"] >= 4 * count_params(model) / here.pieces
    rows = list(leaves(state, here))
    sent = link_traffic(rows, here, Batch(1024, 64, here.size))
    assert all((sent[axis] > 0) == (here.along(axis) > 1) for axis in sent)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from([1, 2, 4, 8]), st.integers(1, 4), st.floats(1.1, 8))
def test_faster_chips_and_smaller_batches_take_less(chips: int, times: int, faster: float):
    state, mesh = shapes_of(TrainConfig(TINY)), MeshShape(fsdp=chips)

    def seconds(chip: Chip, size: int) -> float:
        return step_seconds(state, mesh, Batch(size, 16, chips), Saved(1000 * size, 0), chip).total

    now = seconds(MADE_UP, 8)
    quick = Chip("q", 1e9, faster * 1e9, {"float32": faster * 1e9}, faster * 1e6, 64, None, "made up")
    assert seconds(quick, 8) == pytest.approx(now / faster)  # rounding
    assert seconds(MADE_UP, 8 + 8 * times) > now


def test_the_meshes_of_a_plan_are_those_that_the_rules_allow():
    state = shapes_of(TrainConfig(SMALL))
    [batch, *_] = batches(8, 8, 64)
    found = options(state, CHIPS["h100"], 8, batch)
    assert [o.mesh for o in found] == list(meshes(8))
    assert [o.mesh for o in found if not o.why_not] == dividing(8, [(p, s, x.shape) for p, s, x in named_params(SMALL)])
    best = cheapest(found)
    assert best is not None and best.seconds is not None
    assert best.seconds.total == min(o.seconds.total for o in found if o.seconds)
    odd = options(shapes_of(TrainConfig(SMALL.replace(d_model=66, d_ff=198))), CHIPS["h100"], 4, Batch(4, 64, 4))
    assert any("does not divide" in o.why_not for o in odd)


def test_nothing_fits_and_how_many_would_do():
    state = shapes_of(TrainConfig(SMALL))
    batch = Batch(8, 64, 8, 1)
    kept = kept_by(state, batch, MADE_UP)
    need = min(peak(phases(state, mesh, batch, kept)).total for mesh in meshes(8))
    chip = Chip("made-up", need / USABLE * 1.0001, 1e12, {"float32": 1e12}, 1e9, 64, None, "made up")
    assert least_chips(state, chip, batch) == 8
    with pytest.raises(UserError, match=r"nothing fits on 2 of made-up: .* GB a chip .*: the least .* 8: --chips 8"):
        choose(state, chip, 2, batches(2, 8, 64, evaluated=1))
    none = Chip("made-up", 1e6, 1e12, {"float32": 1e12}, 1e9, 64, None, "made up")
    with pytest.raises(UserError, match="no number of them that divides a batch of 8 would do: choose another --chip"):
        choose(state, none, 2, batches(2, 8, 64, evaluated=1))
    joined = dataclasses.replace(chip, joined=4)
    with pytest.raises(UserError, match="8 have the memory, but what joins more than 4 has no public figure here"):
        choose(state, joined, 2, batches(2, 8, 64, evaluated=1))


THREES = SMALL.replace(d_model=96, n_heads=6, n_kv_heads=6, head_dim=16, vocab_size=2304)
"""What 3, 6 and 12 chips divide as well."""


def needed(state: TrainState, chips: int, size: int) -> int:
    """Bytes a chip on the mesh and in the shards that take least."""
    ways = batches(chips, size, 64, evaluated=1)
    return min(peak(phases(state, m, way, kept_by(state, way, MADE_UP))).total for way in ways for m in meshes(chips))


def test_every_number_of_shards_and_of_chips_that_divides_a_batch_is_tried():
    assert [way.shards for way in batches(8, 24, 64)] == [8, 24]
    assert [way.shards for way in batches(1, 12, 64)] == [1, 2, 3, 4, 6, 12]
    state = shapes_of(TrainConfig(THREES))
    chip = dataclasses.replace(MADE_UP, memory=needed(state, 12, 12) / USABLE * 1.0001)
    assert least_chips(state, chip, Batch(12, 64, 12, 1)) == 12


def test_devices_of_one_machine_share_its_memory():
    state = shapes_of(TrainConfig(SMALL))
    least = needed(state, 1, 8) / USABLE * 1.0001
    machine = dataclasses.replace(MADE_UP, shared=least, memory=least / 4, joined=4)
    with pytest.raises(UserError, match="the least that would do are 1: --chips 1"):
        choose(state, machine, 4, batches(4, 8, 64, evaluated=1))
    small = dataclasses.replace(machine, shared=0.9 * least, memory=0.9 * least / 4)
    with pytest.raises(UserError, match="no number of them that divides a batch of 8 would do"):
        choose(state, small, 4, batches(4, 8, 64, evaluated=1))


def test_chips_on_two_nodes_have_the_link_between_them(monkeypatch: pytest.MonkeyPatch):
    chip = CHIPS["h100"]
    assert [chip.link_among(group, 24) == chip.link for group in (4, 8, 6, 3, 24)] == [True, True, False, False, False]
    assert chip.link_among(6, 6) == chip.link
    assert axis_link(MeshShape(4, 6, 1), "fsdp", chip) == chip.beyond
    assert axis_link(MeshShape(3, 8, 1), "fsdp", chip) == chip.link
    found = choose(shapes_of(TrainConfig(TINY)), chip, 24, batches(24, 24, 16))
    tried: list[int] = []
    monkeypatch.setattr(described, "fastest", lambda state, chip, each, ways: tried.append(each))
    assert described.fewest(shapes_of(TrainConfig(TINY)), chip, 24, found) is None
    assert tried == [1, 2, 4, 8]  # of 24 chips the second three, six and twelve lie on two nodes


def test_a_cpu_is_measured_by_a_small_product_on_a_cpu(monkeypatch: pytest.MonkeyPatch):
    sizes, clock = [], iter(range(10**6))
    monkeypatch.setattr(here, "product_rate", lambda devices, *given: sizes.append((devices, *given[:2])) or 1e9)
    monkeypatch.setattr(here, "copy_rate", lambda devices, clock: 1e9)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")  # whose memory is not asked for
    chips = [here.cpu_chip(2, tokens=n, width=w, clock=lambda: next(clock)) for n, w in ((512, 64), (10**6, 65536))]
    assert sizes == [(jax.devices("cpu")[:2], 512, 64), (jax.devices("cpu")[:2], 1024, 1024)]
    assert all(chip.shared == 2 * chip.memory == limits.host_memory() for chip in chips)


def test_figures_of_chips_are_figures():
    for name, chip in CHIPS.items():
        assert chip.name == name and chip.source
        assert 0 < chip.link < chip.bandwidth < min(chip.rates.values())
        assert 1e9 < chip.memory < 1e12 and math.isfinite(chip.rates["bfloat16"])
    with pytest.raises(UserError, match="no chip is named 'h1000': choose one of a100"):
        chip_named("h1000")
    with pytest.raises(UserError, match="float32 products on tpu-v5e: choose --dtype bfloat16"):
        CHIPS["tpu-v5e"].rate("float32")
    with pytest.raises(UserError, match="choose --chips up to 256"):
        CHIPS["tpu-v6e"].link_among(257, 257)


MODEL = ["--model.d-model", "64", "--model.max-seq-len", "64", "--chip", "h100", "--chips", "2"]
"""A verb's options."""


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--chips", "2"], "there is nothing to plan for: name a source"),
        ([*MODEL, "--chip", "h1000"], "no chip is named 'h1000'"),
        ([*MODEL, "--to.d-model", "32"], "32"),
        ([*MODEL, "--seq-len", "65"], "windows of 65 tokens do not fit a model of 64"),
        ([*MODEL, "--batch-size", "3"], "a batch of 3 has no 2 equal shards"),
        ([*MODEL, "--budget", "10"], "give at least"),
        ([*MODEL, "--operator", "nothing"], "nothing"),
        ([*MODEL, "--to.d-model", "96", "--operator", "hypercloning"], "hypercloning"),
        ([*MODEL, "--to.d-ff", "288", "--optim.name", "muon", "--operator", "lockstep"], "Muon has no law"),
        ([*MODEL, "--chip", "tpu-v5e"], "no public figure of float32"),
    ],
)
def test_refusals_in_one_line(words: list[str], line: str, capsys: pytest.CaptureFixture[str]):
    assert main(["plan", *words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("growjax: ") and err.count("\n") == 1
    assert line in err


def test_a_plan_for_machines(capsys: pytest.CaptureFixture[str]):
    assert main(["plan", *MODEL, "--dtype", "bfloat16", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["best"]["bytes"] == sum(found["best"]["kinds"].values())
    assert found["best"]["seconds"] == pytest.approx(sum(found["best"]["parts"].values()))  # rounding
    assert {"widening", "selection", "training", "plan", "meshes"} <= found.keys()


def test_a_source_has_its_own_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["plan", str(tmp_path), *MODEL]) == 2
    assert "leave out --model.d-model" in capsys.readouterr().err
