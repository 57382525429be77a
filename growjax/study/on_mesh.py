"""Cells that train on a mesh, in one process or several.

Several processes are led by one beside them, which does all that a study does and stores what comes of it, with a jax
of its own. They only compute: for every run each is sent what it needs, and of the state its own pieces; process 0
sends back what came of it. So a run directory holds the same bytes, however many they are.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from growjax import runtime
from growjax.config import ModelConfig, TrainConfig
from growjax.digests import named_leaves
from growjax.errors import CheckFailed, UserError
from growjax.grow.operator import GrowthData
from growjax.grow.plan import dealt_plan
from growjax.grow.widen import widen
from growjax.mesh.cutting import make_mesh, on_host, shardings
from growjax.mesh.messages import Inbox, Message, leave, receive, send, send_fault
from growjax.mesh.processes import Processes, enter, first
from growjax.mesh.rules import MeshShape
from growjax.mesh.training import run_on_mesh
from growjax.record.store import as_tree, from_tree, load_state, save_state, shapes_of
from growjax.schema import Record
from growjax.streams import root_key
from growjax.train.check import check_finite
from growjax.train.loop import Feed, Run, RunKeys, Trace
from growjax.train.programs import Programs
from growjax.train.shards import lowered_programs, sharded_fingerprint
from growjax.train.state import TrainState

_KEY = "threefry2x32"


class Widening(NamedTuple):
    """What is to be widened, of folders that every process sees."""

    source: str
    target: Record
    """The target's model."""
    operator: str
    seed: int
    out: str
    batch_size: int = 0
    """Of an operator that trains."""


class OnMesh:
    """Work on a mesh. Called, it trains as `growjax.train.shards.run_sharded` does."""

    def __init__(self, shape: MeshShape, led: Sequence[socket.socket] = ()):
        """`led`: connections to the processes that compute, in their order; this one does where there are none."""
        self.shape, self.led = shape, led
        self._sent: Feed | None = None
        self._mesh = None if led else make_mesh(shape)
        for one in led:
            send(one, {"mesh": list(shape)})
        if led:
            self._done()

    def __call__(
        self,
        state: TrainState,
        feed: Feed,
        run_keys: RunKeys,
        *,
        programs: Programs | None = None,
        **grid: int,
    ) -> Run:
        """As `run_sharded`, whose further arguments are `grid`. The state that comes back is whole, on this process's
        first device."""
        sizes = {name: grid[name] for name in ("batch_size", "shards")}
        lowered = lowered_programs(state, feed, run_keys, **sizes, device=jax.local_devices()[0])
        print_ = sharded_fingerprint(state, feed, run_keys, **sizes)
        module = (programs or Programs()).modules(print_, lowered)
        if self._mesh is not None:
            done = run_on_mesh(state, feed, run_keys, mesh=self._mesh, **grid)  # pyright: ignore[reportArgumentType]
            whole = jax.tree.map(jnp.asarray, on_host(done.state, self._mesh))
            return done._replace(state=whole, module=module)
        self._tell(state, feed, run_keys, grid)
        arrays: Any = self._done()[1]
        trace = Trace(*arrays)
        leaves, structure = jax.tree.flatten(state)
        made = [jnp.asarray(self._done()[1][0]) for _ in leaves]
        return Run(jax.tree.unflatten(structure, made), trace, print_, module)

    def _tell(self, state: TrainState, feed: Feed, run_keys: RunKeys, grid: dict[str, int]) -> None:
        keys = {name: jax.random.key_data(key) for name, key in run_keys._asdict().items() if name in _live(run_keys)}
        new = self._sent is not feed
        arrays = [*keys.values(), run_keys.fixed_order, *(feed if new else ())]
        leaves = {path: [str(leaf.dtype), list(leaf.shape)] for path, leaf in named_leaves(as_tree(state))}
        said: Record = {"grid": grid, "keys": list(keys), "feed": new, "mesh": list(self.shape),
                "config": state.config.to_dict(), "leaves": leaves}  # fmt: skip
        for one in self.led:
            send(one, said, [np.asarray(x) for x in arrays])
        self._sent = feed
        for leaf in map(np.asarray, jax.tree.leaves(state)):
            for number, one in enumerate(self.led):
                pieces = self._from(number)[0]["pieces"]
                send(one, {}, [leaf[tuple(slice(*cut) for cut in piece)] for piece in pieces])

    def widen(self, asked: Widening, windows: np.ndarray | None = None) -> Record:
        """Widens a stored state piece by piece, and stores it; returns its digest and its schedule. `windows`: uint16
        or uint32 [N, T + 1], for operators that train."""
        if self._mesh is not None:
            return _widened(asked, self._mesh, windows)
        for one in self.led:
            send(one, {"widen": asked._asdict(), "mesh": list(self.shape)}, [] if windows is None else [windows])
        return self._done()[0]

    def _done(self) -> Message:
        """What process 0 sends once all have done their part. Raises the fault of any of them, as it comes."""
        while True:
            there = wait(self.led)
            for number in (n for n, one in enumerate(self.led) if one in there):
                got = self._from(number)  # of all but process 0 nothing else than a fault can come
                if number == 0:
                    return got

    def _from(self, number: int) -> Message:
        try:
            return receive(self.led[number])
        except UserError as error:
            raise UserError(f"process {number}: {error.fault}", error.hint) from None
        except CheckFailed:
            raise CheckFailed(f"process {number} ended in the middle of its work: see what it said") from None


@contextlib.contextmanager
def leading(led: Sequence[socket.socket]) -> Iterator[None]:
    """Processes that compute end with the block, and as it ended."""
    end: Record = {"end": 1}
    try:
        yield
        end = {"end": 0}
    except UserError as error:
        end = {"fault": error.fault, "hint": error.hint}
        raise
    finally:
        for one in led:
            with contextlib.suppress(CheckFailed):
                send(one, end)
            one.close()


def follow(leader: socket.socket, over: Callable[[Inbox], None] = lambda inbox: None) -> int:
    """Computes what is asked for until the end; returns the exit code. Raises what ended it. `over` is as in `Inbox`:
    a process of its own gives `leave`, so that it never waits for one that is gone."""
    inbox, meshes = Inbox(leader, over), {}
    feed: list[Feed] = []
    while True:
        said, arrays = inbox.receive()
        if "end" in said:
            return said["end"]
        try:
            shape = MeshShape(*said["mesh"])
            mesh = meshes[shape] if shape in meshes else meshes.setdefault(shape, make_mesh(shape))
            if "widen" in said:
                done = _widened(Widening(**said["widen"]), mesh, *arrays)
                if first():
                    send(leader, done)
            elif "grid" in said:
                _trained(leader, inbox, said, arrays, feed, mesh)
            elif first():
                send(leader, {})
        except Exception as error:
            if isinstance(error, UserError) and inbox.end is None:
                send_fault(leader, error)  # perhaps of this process alone, and others wait for it
            elif end := inbox.ended(within=1.0):
                raise end from None  # what came of it here says nothing
            else:
                raise


def _trained(
    leader: socket.socket, inbox: Inbox, said: Record, arrays: list[np.ndarray], feed: list[Feed], mesh: Mesh
) -> None:
    """`feed` holds the last one that was sent."""
    keys = {name: jax.random.wrap_key_data(jnp.asarray(arrays.pop(0)), impl=_KEY) for name in said["keys"]}
    live = RunKeys(keys.get("order"), keys.get("dropout"), jnp.asarray(arrays.pop(0)))
    if said["feed"]:
        feed[:] = [Feed(*map(jnp.asarray, arrays))]
    state = from_tree(shapes_of(said["leaves"]), TrainConfig.from_dict(said["config"]))
    own = jax.tree.map(lambda leaf, there: _own(leader, inbox, leaf, there), state, shardings(state, mesh))
    done = run_on_mesh(own, feed[0], live, mesh=mesh, **said["grid"])
    if first():
        send(leader, {}, [np.asarray(x) for x in done.trace])
    for leaf in jax.tree.leaves(done.state):
        whole = np.asarray(on_host(leaf, mesh))
        if first():
            send(leader, {}, [whole])


def _widened(asked: Widening, mesh: Mesh, windows: np.ndarray | None = None) -> Record:
    state = load_state(Path(asked.source), mesh=mesh)
    check_finite(state)
    plan = dealt_plan(state.config.model, ModelConfig.from_dict(asked.target))
    data = None if windows is None else GrowthData(jnp.asarray(windows), asked.batch_size)
    wide = widen(state, plan, operator=asked.operator, key=root_key(asked.seed, "study"), data=data)
    schedule = {"step": int(wide.opt_state.schedule_step), "horizon": wide.config.optim.total_steps}
    return {"digest": save_state(Path(asked.out), wide), "schedule": schedule}


def _own(leader: socket.socket, inbox: Inbox, leaf: Any, there: NamedSharding) -> jax.Array:
    """What this process's devices hold of a leaf, as the leader sends it."""
    places = there.devices_indices_map(leaf.shape)
    own = {d: index for d, index in places.items() if d.process_index == jax.process_index()}
    cuts = [[s.indices(n) for s, n in zip(index, leaf.shape, strict=True)] for index in own.values()]
    send(leader, {"pieces": cuts})
    pieces = [jax.device_put(x, d) for x, d in zip(inbox.receive()[1], own, strict=True)]
    return jax.make_array_from_single_device_arrays(leaf.shape, there, pieces)


def _live(keys: RunKeys) -> list[str]:
    return [name for name in ("order", "dropout") if getattr(keys, name) is not None]


def main(argv: list[str]) -> int:
    """`python -m growjax.study.on_mesh HOST:PORT HOW MANY SECONDS`: process 0, as the leader starts it. The leader says
    what ends it."""
    coordinator, of, seconds = argv
    with contextlib.suppress(UserError, CheckFailed):
        return follow(enter(Processes(coordinator, int(of), 0), timeout=int(seconds)), partial(leave, quietly=True))
    return 2


if __name__ == "__main__":
    runtime.start()
    sys.exit(main(sys.argv[1:]))
