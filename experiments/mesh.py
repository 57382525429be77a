"""One model over many devices and processes: bits, memory and cost.

    python -m experiments.mesh --out artifacts/mesh.json

Claims: (1) a continuation (train, widen by `lockstep` piece by piece, go on under dropout) has the same bits on one
device and on every mesh of 1, 2, 4 and 8 devices that the rules allow, in 1, 2 and 4 processes; (2) widening in 4
processes takes of each no more than its share of the target and one piece of its largest leaf, above its share of the
source; (3) a product cut over its output columns has the bits of the whole product's columns. One that is cut over what
it contracts has not, which is why no product is cut. The cost is that of a step on the mesh beside the same step on one
device, in turns, on this machine's own cores. Every device compiles the program of a shard for itself: half an hour on
two cores. Exits with 1 where a claim fails.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import hashlib
import json
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from growjax import runtime

NOTES = runtime.pin()

from growjax.files import write_text  # noqa: E402
from growjax.proof.bench import Bench  # noqa: E402
from growjax.schema import Record  # noqa: E402

STEPS = {"batch_size": 16, "shards": 8, "segments": 1, "segment_steps": 2}


def continuation(train: Any, feed: Any, config: Any) -> tuple[str, Any, float]:
    """(digest of all that it gives, last state, seconds of a step once all is compiled)."""
    import numpy as np

    from growjax.grow.plan import default_target, make_plan
    from growjax.grow.widen import widen
    from growjax.record.store import state_digest
    from growjax.streams import Streams, root_key
    from growjax.train.loop import run_keys
    from growjax.train.state import init_state

    streams = Streams(root_key(0))
    live = run_keys(streams, ("order", "dropout"))
    source = train(init_state(config, key=streams.at("init", 0)), feed, live, **STEPS)
    plan = make_plan(config.model, default_target(config.model))
    wide = widen(source.state, plan, operator="lockstep", key=root_key(1, "study"))
    last = train(wide, feed, live, **STEPS, start=2)
    sha = hashlib.sha256(state_digest(last.state).encode())
    for done in (source, last):
        for array in done.trace:
            sha.update(np.asarray(array).tobytes())
    began = time.perf_counter()
    more = train(last.state, feed, live, **{**STEPS, "segment_steps": 4}, start=4)
    return sha.hexdigest(), more.state, (time.perf_counter() - began) / 4


def setting() -> tuple[Any, Any]:
    """(feed, training configuration) of the smallest model."""
    import jax.numpy as jnp
    import numpy as np

    from growjax.config import ModelConfig, OptimConfig, TrainConfig
    from growjax.train.loop import Feed

    tokens = np.random.default_rng(0).integers(0, 304, (128, 33)).astype(np.uint16)
    model = ModelConfig(
        d_model=32, n_layers=2, n_heads=2, n_kv_heads=2, d_ff=96, vocab_size=304, max_seq_len=32, dropout=0.1
    )
    feed = Feed(jnp.asarray(tokens[32:]), jnp.asarray(tokens[:32].reshape(2, 16, 33)))
    return feed, TrainConfig(model, OptimConfig(warmup_steps=2, total_steps=60))


def bits() -> list[Record]:
    """Every mesh of this process's group, beside one device where the group is one process."""
    import jax

    from growjax.mesh.cutting import make_mesh
    from growjax.mesh.rules import dividing
    from growjax.mesh.training import run_on_mesh
    from growjax.model.decoder import named_params
    from growjax.train.shards import run_sharded

    feed, config = setting()
    params = [(path, spec, shape.shape) for path, spec, shape in named_params(config.model)]
    alone, rows = jax.process_count() == 1, []
    one = partial(run_sharded, devices=jax.local_devices()[:1])
    if alone:
        digest, _, took = continuation(one, feed, config)
        rows.append({"mesh": None, "devices": 1, "digest": digest, "seconds": took})
    for devices in (1, 2, 4, 8):
        each = devices // jax.process_count()
        chosen = [d for n in range(jax.process_count()) for d in _of(n)[:each]]
        for shape in dividing(devices, params) if each else []:
            train = partial(run_on_mesh, mesh=make_mesh(shape, chosen))
            digest, _, took = continuation(train, feed, config)
            row: Record = {"mesh": list(shape), "devices": devices, "digest": digest, "seconds": took}
            if alone:
                row["one device, then"] = continuation(one, feed, config)[2]
            rows.append(row)
            print(row, file=sys.stderr)
    return rows


def _of(process: int) -> list[Any]:
    import jax

    return [d for d in jax.devices() if d.process_index == process]


def memory() -> list[Record]:
    """Widening a state of 20 million parameters, both moments included, piece by piece."""
    import jax
    import numpy as np

    from experiments.widen_bench import status
    from growjax.config import ModelConfig, TrainConfig
    from growjax.grow.plan import default_target, make_plan
    from growjax.grow.widen import widen
    from growjax.mesh.cutting import bytes_of, local, make_mesh, shardings
    from growjax.mesh.rules import MeshShape
    from growjax.streams import root_key
    from growjax.train.state import fresh_state

    model = ModelConfig(d_model=512, n_layers=5, n_heads=8, n_kv_heads=8, head_dim=64, d_ff=1408, vocab_size=8192)
    config, mesh = TrainConfig(model=model), make_mesh(MeshShape(fsdp=2, tensor=2))

    def filled(leaf: jax.ShapeDtypeStruct, there: Any) -> jax.Array:
        def piece(index: Any) -> np.ndarray:
            shape = [len(range(*s.indices(n))) for s, n in zip(index, leaf.shape, strict=True)]
            return np.full(shape, 1, leaf.dtype)

        return jax.make_array_from_callback(leaf.shape, there, piece)

    from growjax.model.decoder import param_shapes

    shapes = jax.eval_shape(
        lambda: fresh_state(config, jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), param_shapes(model)))
    )
    source = jax.tree.map(filled, shapes, shardings(shapes, mesh))
    plan, rows = make_plan(model, default_target(model)), []
    for call in ("first", "second"):  # the first compiles, and its peak holds what that takes
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what was freed goes back to the system
        before = status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")
        wide = jax.block_until_ready(widen(source, plan, operator="exact_copy", key=root_key(1, "study")))
        peak = status("VmHWM") - before
        largest = max(sum(data.nbytes for data in local(leaf)) for leaf in jax.tree.leaves(wide))
        rows.append(
            {"call": call, "peak above the source": peak, "share of the source": bytes_of(source),
             "share of the target": bytes_of(wide), "one piece": largest}
        )  # fmt: skip
        del wide
    return rows


def products() -> list[Record]:
    """How many entries of cut products differ from the whole product's: [M, K] times [K, N]."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from growjax.model.products import product

    rows, compiled = [], jax.jit(product)
    for m, k, n in ((64, 32, 96), (512, 64, 192), (512, 256, 768), (1024, 512, 512), (96, 96, 24)):
        a, b = (jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate(((m, k), (k, n))))
        whole = np.asarray(compiled(a, b))
        for cuts in (2, 4, 8):
            parts = [np.asarray(compiled(a, jnp.copy(piece))) for piece in jnp.split(b, cuts, axis=1)]
            over = [
                np.asarray(compiled(x, y)) for x, y in zip(jnp.split(a, cuts, 1), jnp.split(b, cuts, 0), strict=True)
            ]
            while len(over) > 1:
                over = [x + y for x, y in zip(over[::2], over[1::2], strict=True)]
            rows.append({
                "shape": [m, k, n], "cuts": cuts,
                "differ, columns cut": int((np.concatenate(parts, 1) != whole).sum()),
                "differ, contraction cut": int((over[0] != whole).sum()), "of": m * n,
            })  # fmt: skip
    return rows


WORKS = {"bits": bits, "memory": memory, "products": products}


def main() -> int:
    """Measures, prints and keeps the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("artifacts/mesh.json"))
    parser.add_argument("--only", nargs="+", choices=WORKS, default=list(WORKS))
    given = parser.parse_args()
    figures: Record = {"environment": runtime.environment(), "pins": runtime.pins()}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), watch=lambda what: print(what, file=sys.stderr))
        for name in given.only:
            for processes, devices in {"bits": ((1, 8), (2, 8), (4, 8)), "memory": ((4, 4),)}.get(name, ((1, 1),)):
                said = bench.each_of_processes(name, "experiments.mesh", {"work": name}, processes, devices)
                figures.setdefault(name, {})[f"{processes} processes"] = said
    write_text(given.out, json.dumps(figures, indent=2, sort_keys=True) + "\n")
    held = {**_claims(figures)}
    print(json.dumps(held, indent=2))
    return 0 if all(held.values()) else 1


def _claims(figures: Record) -> dict[str, bool]:
    held = {}
    if "bits" in figures:
        held["bits"] = len({row["digest"] for rows in figures["bits"].values() for row in rows[0]}) == 1
    for row in (process[-1] for process in figures.get("memory", {}).get("4 processes", ())):
        within = row["peak above the source"] <= row["share of the target"] + row["one piece"]
        held["memory"] = held.get("memory", True) and within
    for row in (row for process in figures.get("products", {}).values() for row in process[0]):
        held["columns cut"] = held.get("columns cut", True) and row["differ, columns cut"] == 0
    return held


def work(options: Record) -> list[Record]:
    """What a process of a group is asked for."""
    if "processes" in options:
        from growjax.mesh.processes import Processes, join

        join(Processes(*options["processes"]))
    runtime.start()
    return WORKS[options["work"]]()


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):
        print(json.dumps([work(json.loads(sys.argv[1]))]))
        sys.exit(0)
    sys.exit(main())
