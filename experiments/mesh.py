"""One model over many devices and processes: bits, memory and cost.

    python -m experiments.mesh --out artifacts/mesh.json [--only bits memory products restore]

Claims: (1) a continuation (train, widen by `lockstep` piece by piece, go on under dropout) has the same bits on one
device and on meshes of 1, 2, 4 and 8 devices, of 8 on every one that the rules allow, in 1, 2 and 4 processes, and in
each process; (2) widening in 4 processes takes of each no more than its share of the target and one piece of its
largest leaf, above its share of the source; and from one folder to another its shares of both, and that of the target
once more, which is being written; (3) a product cut over its output columns has the bits of the whole product's
columns. One that is cut over what it contracts has not, which is why no product is cut; (4) a state saved on 8 devices
is read on 8, 2 and 1 as it was. The cost is that of a step on a mesh beside the same step on one device, in turns, on
this machine's own cores: the seconds of many steps less those of few, by their number. Every device compiles the
program of a shard for itself: up to half an hour on two cores. What each group of processes says is written at once, in
a file that keeps what it holds of others from the same environment; what they write on stderr stays in a folder beside
it. Exits with 1 where a claim fails.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from growjax import runtime

NOTES = runtime.pin()

from growjax.files import write_text  # noqa: E402
from growjax.mesh.processes import Processes, be_patient, first, join, together  # noqa: E402
from growjax.proof.bench import Bench  # noqa: E402
from growjax.schema import Record  # noqa: E402

STEPS = {"batch_size": 16, "shards": 8, "segments": 1, "segment_steps": 2}
TURNS, FEW, ON_ONE, ON_MESH = 2, 4, 128, 32
"""Times that steps are timed on each side, and how many: few, and more than these on one device and on a mesh."""
DEVICES = (1, 2, 4, 8)
SMALLER = {1: (1, 1, 1), 2: (1, 2, 1), 4: (1, 2, 2)}
"""The mesh of fewer than 8 devices."""
TIMED = (2, 2, 2)
"""The mesh of 8 devices that is timed in several processes; in one all are."""
LIMIT = 3000.0
"""Seconds that one group of processes may take."""


def continuation(train: Any, feed: Any, config: Any) -> tuple[str, Any]:
    """(digest of all that it gives, last state)."""
    import numpy as np

    from growjax.grow.plan import default_target, make_plan
    from growjax.grow.widen import widen
    from growjax.record.store import state_digest
    from growjax.streams import Streams, root_key
    from growjax.train.state import init_state

    streams, live = Streams(root_key(0)), keys()
    source = train(init_state(config, key=streams.at("init", 0)), feed, live, **STEPS)
    plan = make_plan(config.model, default_target(config.model))
    wide = widen(source.state, plan, operator="lockstep", key=root_key(1, "study"))
    last = train(wide, feed, live, **STEPS, start=2)
    sha = hashlib.sha256(state_digest(last.state).encode())
    for done in (source, last):
        for array in done.trace:
            sha.update(np.asarray(array).tobytes())
    return sha.hexdigest(), last.state


def keys() -> Any:
    from growjax.streams import Streams, root_key
    from growjax.train.loop import run_keys

    return run_keys(Streams(root_key(0)), ("order", "dropout"))


class Timed:
    """Steps from a state on, once they are compiled."""

    def __init__(self, train: Any, feed: Any, state: Any, more: int):
        from growjax.train.programs import Programs

        self.train, self.feed, self.state, self.more = partial(train, programs=Programs()), feed, state, more
        self.call(FEW)

    def call(self, steps: int) -> float:
        import jax

        began = time.perf_counter()
        done = self.train(self.state, self.feed, keys(), **{**STEPS, "segment_steps": steps}, start=4)
        self.state = jax.block_until_ready(done.state)
        return time.perf_counter() - began

    def turn(self) -> tuple[float, float]:
        """Seconds of few steps, and of more."""
        return self.call(FEW), self.call(FEW + self.more)

    def step(self, turns: Sequence[tuple[float, float]]) -> float:
        """Seconds of a step: lowering, digests and evaluations are in both calls."""
        few, many = zip(*turns, strict=True)
        return (min(many) - min(few)) / self.more


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


def in_first(name: str, work: Callable[[], Any]) -> Any:
    """What comes of something in the first process, which has all cores for it; None in the others, which wait. They
    wait for a file: who waits in jax for processes that it has not met yet gives up after minutes."""
    done = Path(f"{name}.done")
    if first():
        made = work()
        done.touch()
        return made
    while not done.exists():
        time.sleep(0.05)
    return None


def bits() -> list[Record]:
    """Meshes of this process's group, beside one device of its first process."""
    import jax

    from growjax.mesh.cutting import make_mesh
    from growjax.mesh.rules import MeshShape, dividing
    from growjax.mesh.training import run_on_mesh
    from growjax.model.decoder import named_params
    from growjax.train.shards import run_sharded

    feed, config = setting()
    params = [(path, spec, shape.shape) for path, spec, shape in named_params(config.model)]
    rows: list[Record] = []
    one = partial(run_sharded, devices=jax.local_devices()[:1])

    def begun() -> Timed:
        digest, state = continuation(one, feed, config)
        rows.append({"mesh": None, "devices": 1, "digest": digest})
        return Timed(one, feed, state, ON_ONE)

    alone = in_first("one device", begun)
    for devices in DEVICES:
        each = devices // jax.process_count()
        chosen = [d for n in range(jax.process_count()) for d in _of(n)[:each]]
        shapes = dividing(devices, params) if devices == 8 else [MeshShape(*SMALLER[devices])]
        for shape in shapes if each else []:
            train = partial(run_on_mesh, mesh=make_mesh(shape, chosen))
            digest, state = continuation(train, feed, config)
            rows.append({"mesh": list(shape), "devices": devices, "digest": digest})
            if devices < 8 or jax.process_count() == 1 or shape == TIMED:
                rows[-1]["seconds"] = _beside(alone, Timed(train, feed, state, ON_MESH), str(shape))
            print(rows[-1], file=sys.stderr, flush=True)
    return rows


def _beside(alone: Timed | None, cut: Timed, name: str) -> Record | None:
    """Seconds of a step on one device of the first process and on a mesh, in turns."""
    one: list[Any] = []
    mesh: list[Any] = []
    for _ in range(TURNS):
        one.append(in_first(f"{name}, turn {len(one)}", lambda: alone and alone.turn()))
        mesh.append(cut.turn())
        together("the mesh's turn")
    if alone is None:
        return None
    return {"one device": alone.step(one), "mesh": cut.step(mesh), "calls": {"one device": one, "mesh": mesh}}


def _of(process: int) -> list[Any]:
    import jax

    return [d for d in jax.devices() if d.process_index == process]


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


def _of_states(name: str) -> list[Record]:
    return getattr(importlib.import_module("experiments.mesh_states"), name)()


WORKS = {
    "products": products,
    "restore": partial(_of_states, "restore"),
    "memory": partial(_of_states, "memory"),
    "bits": bits,
}
GROUPS = {"products": ((1, 1),), "restore": ((1, 8),), "memory": ((4, 4),), "bits": ((1, 8), (2, 8), (4, 8))}
"""(processes, devices) of each."""


def main() -> int:
    """Measures, prints and keeps the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("artifacts/mesh.json"))
    parser.add_argument("--only", nargs="+", choices=WORKS, default=list(WORKS))
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that processes end with their block
    own: Record = {"environment": runtime.environment(), "pins": runtime.pins(), "cores": runtime.cores()}
    figures: Record = json.loads(given.out.read_text()) if given.out.exists() else {}
    if {name: figures.get(name) for name in own} != own:
        figures = own
    logs = given.out.with_suffix(".logs")
    logs.mkdir(parents=True, exist_ok=True)
    for name in given.only:
        figures[name] = {}
        for processes, devices in GROUPS[name]:
            with tempfile.TemporaryDirectory() as folder:
                bench, began = Bench(Path(folder), watch=lambda what: print(what, file=sys.stderr)), time.monotonic()
                asked = ("experiments.mesh", {"work": name}, processes, devices)
                said = bench.each_of_processes(f"{name} in {processes}", *asked, limit=LIMIT, logs=logs)
            took = round(time.monotonic() - began, 1)
            figures[name][f"{processes} processes"] = {"seconds": took, "said": said}
            figures["claims"] = _claims(figures)
            write_text(given.out, json.dumps(figures, indent=2, sort_keys=True) + "\n")
    print(json.dumps(figures["claims"], indent=2))
    return 0 if all(figures["claims"].values()) else 1


def _claims(figures: Record) -> dict[str, bool]:
    """Of all that there is."""
    said = {part: [group["said"] for group in figures.get(part, {}).values()] for part in WORKS}
    rows = {part: [row for group in groups for process in group for row in process] for part, groups in said.items()}
    held = {}
    if rows["bits"]:
        held["bits"] = len({row["digest"] for row in rows["bits"]}) == 1
    if rows["restore"]:
        same = len({row["digest"] for row in rows["restore"]}) == 1
        held["restored"] = same and {row["devices"] for row in rows["restore"]} == {1, 2, 8}
    for process in (process for group in said["memory"] for process in group):
        for what in {row["what"]: None for row in process}:
            calls = [row for row in process if row["what"] == what and row["call"]]  # the first compiles as well
            # below what is there at the end, a peak is none: memory was taken before and lay idle
            peaks = [row["peak"] for row in calls if row["peak"] >= row["share of the target"]]
            source, target, piece = (calls[0][n] for n in ("share of the source", "share of the target", "one piece"))
            most = target + piece if what == "widened" else source + 2 * target
            held[what] = held.get(what, True) and bool(peaks) and min(peaks) <= most
    for row in rows["products"]:
        held["columns cut"] = held.get("columns cut", True) and row["differ, columns cut"] == 0
    return held


def work(options: Record) -> list[Record]:
    """What a process of a group is asked for."""
    if "processes" in options:
        join(Processes(*options["processes"]))
    else:
        be_patient()
    runtime.start()
    return WORKS[options["work"]]()


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):
        print(json.dumps([work(json.loads(sys.argv[1]))]))
        sys.exit(0)
    sys.exit(main())
