"""A small continuation that holds every kind of step: training, widening, going on under dropout. What the contract's
rows compare, each time in other surroundings.

    python -m growjax.proof.reference_run '{"every": 4}'

prints digests as one JSON document; nothing in it depends on where or when it runs. With '{"ask": true}' it prints what
the device here is instead, once the canaries have passed: `doctor` asks a process that ends, so as not to hold an
accelerator itself while others are to have it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from growjax import runtime
from growjax.schema import Record

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from growjax.train.state import TrainState

TRAIN, GO_ON = 6, 12


def reference_run(
    *,
    every: int = 4,
    shards: int = 1,
    rows: int = 16,
    stored: str | None = None,
    moved: str | None = None,
    mesh: Sequence[int] | None = None,
    operator: str = "perturbed",
) -> Record:
    """Trains for 6 steps, widens with noise, goes on for 12 steps with order and dropout live.

    `every`: steps between evaluations of the continuation. `shards`: virtual shards of a batch. `rows`: windows in a
    batch, of 32 tokens each, over all of which weight gradients contract. `stored`: a folder through which the widened
    state goes, by way of Orbax; `moved`: a folder it is moved to in between. `mesh`: devices along each axis of a mesh,
    on which all of it is done then. `operator`: by which it is widened.
    """
    import jax.numpy as jnp
    import numpy as np

    from growjax.config import ModelConfig, OptimConfig, TrainConfig
    from growjax.data.batches import as_windows
    from growjax.data.grammar import stories
    from growjax.data.tokenizer import encode, train_tokenizer
    from growjax.digests import digest, total, words_hex
    from growjax.grow.plan import default_target, make_plan
    from growjax.grow.widen import widen
    from growjax.mesh.cutting import make_mesh
    from growjax.mesh.rules import MeshShape
    from growjax.mesh.training import run_on_mesh
    from growjax.preflight.canaries import CANARIES
    from growjax.record.store import state_digest
    from growjax.streams import Streams, root_key
    from growjax.train.loop import Feed, run, run_keys
    from growjax.train.shards import run_sharded
    from growjax.train.state import init_state

    described = list(stories(120))
    tokenizer = train_tokenizer(described, 300)
    windows = as_windows(encode(tokenizer, described), 32)
    feed = Feed(jnp.asarray(windows[32:]), jnp.asarray(windows[:32].reshape(2, 16, -1)))
    model = ModelConfig(
        d_model=32, n_heads=2, n_kv_heads=2, d_ff=96, vocab_size=tokenizer.get_vocab_size(), max_seq_len=32
    )
    config = TrainConfig(model, OptimConfig(warmup_steps=2, total_steps=60))
    sizes: Record = {"max_steps": GO_ON, "max_evals": GO_ON + 1}
    train: Any = partial(run_sharded, shards=shards) if shards > 1 else partial(run, **sizes)
    on = None if mesh is None else make_mesh(MeshShape(*mesh))
    if on is not None:
        train = partial(run_on_mesh, mesh=on, shards=shards)
    train = partial(train, batch_size=rows)
    streams, study = Streams(root_key(0)), root_key(1, "study")
    live = run_keys(streams, ("order", "dropout"))
    start = init_state(config, key=streams.at("init", 0))
    source = train(start, feed, live, segments=1, segment_steps=TRAIN)
    before = state_digest(source.state)
    wide = widen(source.state, make_plan(model, default_target(model)), operator=operator, key=study)
    widened = state_digest(wide)
    if stored is not None:
        wide = _through_storage(wide, Path(stored), moved, on)
    # its own randomness again, from the step where the source stood
    last = train(
        wide, feed, run_keys(Streams(study), ("order", "dropout")), segments=GO_ON // every, segment_steps=every
    )
    steps = [words_hex(total(row)) for row in np.concatenate([source.trace.params_digest, last.trace.params_digest])]
    return {
        "tokenizer": json.loads(tokenizer.to_str())["model"]["merges"][-1],
        "source": before,
        "widened": widened,
        "params after each step": steps,
        "losses": [float(x).hex() for x in last.trace.loss],
        "last evaluation": float(last.trace.eval_loss[-1]).hex(),
        "state": state_digest(last.state),
        "programs": [source.program, last.program],
        "canaries": {name: digest(CANARIES[name]().value) for name in ("long product", "many reductions")},
    }


def here() -> Record:
    """Environment, pins and number of devices, in an environment in which the canaries have passed."""
    import jax

    from growjax.preflight.verdict import preflight

    preflight()
    return {"environment": runtime.environment(), "pins": runtime.pins(), "devices": jax.device_count()}


def _through_storage(state: TrainState, folder: Path, moved: str | None, mesh: Mesh | None) -> TrainState:
    from growjax.mesh.processes import first, together
    from growjax.record.store import load_state, save_state

    if first():
        folder.mkdir(parents=True)
    together("a folder is made")
    save_state(folder, state)
    if moved is not None:
        folder = folder.rename(moved) if first() else Path(moved)
        together("a folder is moved")
    return load_state(folder, mesh=mesh)


def main(argv: list[str]) -> int:
    """Prints the digests; a second run in the same process is asked for by {"again": true}, and with {"processes":
    [HOST:PORT, HOW MANY, WHICH]} this is one of several."""
    runtime.pin()
    options = json.loads(argv[0]) if argv else {}
    if "processes" in options:
        from growjax.mesh.processes import Processes, join

        join(Processes(*options.pop("processes")))
    elif "mesh" in options:
        from growjax.mesh.processes import be_patient

        be_patient()
    runtime.start()
    if options.get("ask"):
        print(json.dumps(here()))
        return 0
    again = options.pop("again", False)
    print(json.dumps([reference_run(**options) for _ in range(2 if again else 1)]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
