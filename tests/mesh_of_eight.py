"""What `test_mesh.py` asks a process with 8 devices: prints one JSON document."""

from __future__ import annotations

import json
import math
import sys
from functools import partial
from pathlib import Path
from typing import Any

from growjax import runtime

runtime.pin()
runtime.start()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from jax.sharding import Mesh, PartitionSpec  # noqa: E402

from growjax.config import ModelConfig, OptimConfig, TrainConfig  # noqa: E402
from growjax.grow.moments import law_moments, restart_new_entries  # noqa: E402
from growjax.grow.plan import WidthPlan, make_plan  # noqa: E402
from growjax.grow.widen import widen  # noqa: E402
from growjax.mesh import cutting  # noqa: E402
from growjax.mesh.cutting import bytes_of, make_mesh, placed  # noqa: E402
from growjax.mesh.rules import MeshShape  # noqa: E402
from growjax.mesh.training import run_on_mesh  # noqa: E402
from growjax.record.store import load_state, save_state, state_digest  # noqa: E402
from growjax.streams import Streams, root_key  # noqa: E402
from growjax.train.loop import Feed, Run, run_keys  # noqa: E402
from growjax.train.shards import run_sharded  # noqa: E402
from growjax.train.state import TrainState, init_state  # noqa: E402

MODEL = ModelConfig(d_model=16, n_layers=1, n_heads=2, n_kv_heads=2, d_ff=24, vocab_size=64, max_seq_len=8, dropout=0.1)
STREAMS, SIZES = Streams(root_key(0)), {"batch_size": 8, "shards": 8, "segments": 1, "segment_steps": 1}


def digests(run: Run) -> list[str]:
    return [np.asarray(x).tobytes().hex() for x in run.trace] + [run.program]


def grown_plan(state: TrainState) -> WidthPlan:
    """Uneven growth of the residual stream and of groups."""
    return make_plan(state.config.model, state.config.model.replace(d_model=24, n_heads=4, n_kv_heads=4))


def grown_further(state: TrainState) -> TrainState:
    """With warm-ups ended in what is copied from new entries."""
    plan = make_plan(state.config.model, state.config.model.replace(d_model=32))
    return widen(state, plan, operator="exact_copy+reset", key=root_key(2, "study"))


def grown(state: TrainState) -> TrainState:
    """With counts by entry, and new ones on a schedule of their own."""
    return widen(state, grown_plan(state), operator="sparkling:rewarm=2+law", key=root_key(1, "study"))


def read_in_strips(mesh: Mesh) -> bool:
    """Arrays cut along first and last axes, in strips that do not divide a piece; bits of no number among them."""
    bits, sizes, same = np.random.default_rng(0).integers(0, 2**16, 4096).astype(np.uint16), [], []
    cutting.STRIP = 100
    for dtype, shape, cut in (
        (np.float32, (4, 12, 10), (None, "fsdp", "tensor")),
        (jnp.bfloat16, (12, 44), ("tensor", "fsdp")),
        (np.int32, (6, 3), ("fsdp", None)),
        (np.float32, (2, 2, 40), ("tensor", None, "fsdp")),
        (np.float32, (5,), (None,)),
        (np.float32, (), ()),
    ):
        whole = bits.view(dtype)[: math.prod(shape)].reshape(shape)
        made = list(cutting.strips(cutting.repeated(mesh, whole, PartitionSpec(*cut))))
        sizes += [strip.nbytes for strip in made]
        same.append(b"".join(strip.tobytes() for strip in made) == whole.tobytes())
    return all(same) and max(sizes) <= 100 and len(sizes) > 30


def main(folder: Path) -> dict[str, Any]:
    tokens = np.random.default_rng(0).integers(0, 64, (64, 9)).astype(np.uint16)
    feed = Feed(jnp.asarray(tokens[16:]), jnp.asarray(tokens[:16].reshape(2, 8, 9)))
    live = run_keys(STREAMS, ("order", "dropout"))
    config = TrainConfig(MODEL, OptimConfig(warmup_steps=1, total_steps=8))

    one: Any = partial(run_sharded, **SIZES, devices=jax.devices()[:1])
    first = one(init_state(config, key=STREAMS.at("init", 0)), feed, live)
    shape, found = MeshShape(2, 2, 2), dict[str, Any]()
    mesh = make_mesh(shape)
    narrow = placed(first.state, mesh)
    plan = grown_plan(narrow)
    counts = restart_new_entries(law_moments(narrow.opt_state, plan), plan).count
    found["counts"] = bytes_of(counts) / (sum(leaf.nbytes for leaf in jax.tree.leaves(counts)) * shape.data)
    made = grown(first.state), grown(narrow)
    pairs = [made, [grown_further(state) for state in made]]
    found["widened"] = all(state_digest(one) == state_digest(other) for one, other in pairs)
    plain = one(made[0], feed, live, start=1)
    cut = run_on_mesh(made[1], feed, live, mesh=mesh, **SIZES, start=1)  # pyright: ignore[reportArgumentType]
    found["trained"] = [a == b for a, b in zip(digests(plain), digests(cut), strict=True)]
    name = state_digest(plain.state)
    found["state"] = [name == state_digest(cut.state), name != state_digest(first.state)]
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(plain.state))
    found["bytes"] = bytes_of(cut.state) / (size * shape.data)  # 1 where nothing is held twice
    folder.mkdir()
    found["stored"] = save_state(folder, cut.state) == name
    for number, devices in ((2, MeshShape(tensor=2)), (8, MeshShape(fsdp=8))):
        there = load_state(folder, mesh=make_mesh(devices, jax.devices()[:number]))
        found[f"on {number}"] = [state_digest(there) == name, len(there.params["embedding"].devices())]
    found["strips"] = read_in_strips(mesh)
    found["on 1"] = [state_digest(load_state(folder)) == name, 1]
    return found


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
