"""Cells that train on a mesh, in one process or several.

Process 0 does all that a study does, and stores what comes of it. The others only compute: for every run they are sent
what they need of it, and of the state their own pieces. They read and write no file. So a run directory holds the same
bytes, however many they are.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from growjax.config import ModelConfig, TrainConfig
from growjax.digests import named_leaves
from growjax.errors import CheckFailed, UserError
from growjax.grow.plan import dealt_plan
from growjax.grow.widen import widen
from growjax.mesh.cutting import make_mesh, on_host, shape_of, shardings
from growjax.mesh.rules import MeshShape
from growjax.mesh.training import run_on_mesh
from growjax.record.store import as_tree, from_tree, load_state, save_state, shapes_of
from growjax.schema import Record
from growjax.streams import root_key
from growjax.train.check import check_finite
from growjax.train.loop import Feed, Run, RunKeys
from growjax.train.programs import Programs
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


class OnMesh:
    """Work on a mesh, in all processes of it. Called, it trains as `growjax.train.shards.run_sharded` does."""

    def __init__(self, mesh: Mesh, others: Sequence[socket.socket] = ()):
        """`others`: the connections of process 0 to the other processes."""
        self.mesh, self.others = mesh, others
        self._sent: Feed | None = None

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
        keys = {name: jax.random.key_data(key) for name, key in run_keys._asdict().items() if name in _live(run_keys)}
        arrays = [*keys.values(), run_keys.fixed_order]
        new = self._sent is not feed
        leaves = {path: [str(leaf.dtype), list(leaf.shape)] for path, leaf in named_leaves(as_tree(state))}
        said: Record = {"grid": grid, "keys": list(keys), "feed": new, "mesh": list(shape_of(self.mesh)),
                "config": state.config.to_dict(), "leaves": leaves}  # fmt: skip
        for other in self.others:
            _send(other, said, [np.asarray(x) for x in (*arrays, *(feed if new else ()))])
        self._sent = feed
        host = jax.tree.map(np.asarray, state)
        cut = jax.tree.map(self._scattered, host, shardings(host, self.mesh))
        done = run_on_mesh(cut, feed, run_keys, mesh=self.mesh, programs=programs, **grid)  # pyright: ignore[reportArgumentType]
        return done._replace(state=jax.tree.map(jnp.asarray, on_host(done.state, self.mesh)))

    def widen(self, asked: Widening) -> str:
        """Widens a stored state piece by piece, and stores it; returns its digest."""
        for other in self.others:
            _send(other, {"widen": asked._asdict(), "mesh": list(shape_of(self.mesh))}, [])
        return _widened(asked, self.mesh)

    def _scattered(self, leaf: np.ndarray, there: NamedSharding) -> jax.Array:
        pieces = there.devices_indices_map(leaf.shape)
        for number, other in enumerate(self.others, start=1):
            _send(other, {}, [leaf[index] for device, index in pieces.items() if device.process_index == number])
        return jax.make_array_from_callback(leaf.shape, there, lambda index: leaf[index])


@contextlib.contextmanager
def leading(others: Sequence[socket.socket]) -> Iterator[None]:
    """The other processes end with the block, and as it ended."""
    end: Record = {"end": 1}
    try:
        yield
        end = {"end": 0}
    except UserError as error:
        end = {"end": 2, "fault": error.fault, "hint": error.hint}
        raise
    finally:
        for other in others:
            with contextlib.suppress(OSError):
                _send(other, end, [])
            other.close()


def follow(head: socket.socket) -> int:
    """Computes what process 0 asks for until it ends; returns the exit code. Raises what ended it."""
    feed, meshes = None, {}
    while True:
        said, arrays = _receive(head)
        if "end" in said:
            if "fault" in said:
                raise UserError(said["fault"], said["hint"])
            return said["end"]
        shape = MeshShape(*said["mesh"])
        mesh = meshes.setdefault(shape, make_mesh(shape))
        if "widen" in said:
            _widened(Widening(**said["widen"]), mesh)
            continue
        keys = {name: jax.random.wrap_key_data(jnp.asarray(arrays.pop(0)), impl=_KEY) for name in said["keys"]}
        live = RunKeys(keys.get("order"), keys.get("dropout"), jnp.asarray(arrays.pop(0)))
        if said["feed"]:
            feed = Feed(*map(jnp.asarray, arrays))
        assert feed is not None
        state = from_tree(shapes_of(said["leaves"]), TrainConfig.from_dict(said["config"]))
        own = jax.tree.map(lambda leaf, there: _own(head, leaf, there), state, shardings(state, mesh))
        done = run_on_mesh(own, feed, live, mesh=mesh, **said["grid"])
        on_host(done.state, mesh)


def _widened(asked: Widening, mesh: Mesh) -> str:
    state = load_state(Path(asked.source), mesh=mesh)
    check_finite(state)
    plan = dealt_plan(state.config.model, ModelConfig.from_dict(asked.target))
    wide = widen(state, plan, operator=asked.operator, key=root_key(asked.seed, "study"))
    return save_state(Path(asked.out), wide)


def _own(head: socket.socket, leaf: Any, there: NamedSharding) -> jax.Array:
    """What this process's devices hold of a leaf, as process 0 sends it."""
    devices = [d for d in there.devices_indices_map(leaf.shape) if d.process_index == jax.process_index()]
    pieces = [jax.device_put(x, d) for x, d in zip(_receive(head)[1], devices, strict=True)]
    return jax.make_array_from_single_device_arrays(leaf.shape, there, pieces)


def _live(keys: RunKeys) -> list[str]:
    return [name for name in ("order", "dropout") if getattr(keys, name) is not None]


def _send(to: socket.socket, said: Record, arrays: Sequence[np.ndarray]) -> None:
    text = json.dumps({"said": said, "arrays": [[x.dtype.name, x.shape] for x in arrays]}).encode()
    to.sendall(len(text).to_bytes(8, "little") + text)
    for array in arrays:
        to.sendall(np.ascontiguousarray(array).tobytes())


def _receive(head: socket.socket) -> tuple[Any, list[np.ndarray]]:
    body = json.loads(_bytes(head, int.from_bytes(_bytes(head, 8), "little")))
    arrays = []
    for name, shape in body["arrays"]:
        dtype = jnp.dtype(name)
        arrays.append(np.frombuffer(_bytes(head, int(np.prod(shape)) * dtype.itemsize), dtype).reshape(shape))
    return body["said"], arrays


def _bytes(head: socket.socket, count: int) -> bytearray:
    found, at = bytearray(count), 0
    while at < count:
        got = head.recv_into(memoryview(found)[at:])
        if not got:
            raise CheckFailed("process 0 ended in the middle of its work")
        at += got
    return found
