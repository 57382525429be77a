"""Training states on disk, through Orbax. A state is a folder `state/` beside a `state.json` that says what it holds.

Orbax gives values back bit for bit, but two saves of one state differ in their files, so what is checked is the digest
of the leaves, never of the files.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import unflatten_dict
from jax.sharding import Mesh

from growjax.config import TrainConfig, canonical_json
from growjax.digests import InParts, at_once, digests, named_leaves
from growjax.errors import UserError
from growjax.files import carry_checkpoint, explain, plain_name, write_text
from growjax.limits import require_room
from growjax.mesh.cutting import mesh_of, shardings, strips
from growjax.mesh.processes import first, together
from growjax.model.decoder import param_shapes
from growjax.record.checksums import read_checked, with_checksum
from growjax.record.file_types import Leaf, StateInfo, Widened
from growjax.record.reader import RECORD_BYTES, parse, read_bytes, typed
from growjax.schema import Record
from growjax.train.check import check_state
from growjax.train.optim import LawFactors, OptState
from growjax.train.state import TrainState

_RESTORE = "restore the folder from a copy, or make it again"

_ONE_AT_A_TIME = threading.Lock()  # Orbax runs an event loop of its own for each call


class DamagedState(UserError):
    """A stored state that is not what was written."""


StateTree = Record
"""Nested dicts of arrays, or of their shapes."""


def as_tree(state: TrainState) -> StateTree:
    """The state as nested dicts of arrays: the form that is stored and whose digest names it."""
    tree: StateTree = {
        "params": state.params,
        "opt_state": state.opt_state._asdict(),
        "step": state.step,
    }
    if state.law is not None:
        tree["law"] = {name: factors for name, factors in state.law._asdict().items() if factors is not None}
    return tree


def from_tree(tree: StateTree, config: TrainConfig) -> TrainState:
    """The inverse of `as_tree`."""
    return TrainState(
        params=tree["params"],
        opt_state=OptState(**tree["opt_state"]),
        step=tree["step"],
        law=LawFactors(**tree["law"]) if "law" in tree else None,
        config=config,
    )


def state_digest(state: TrainState) -> str:
    """SHA-256 that names a state: every leaf of it, not its configuration. However it is cut, strip by strip."""
    return digests(as_tree(state), read=_read)[0]


def _read(leaf: jax.Array) -> InParts:
    """A leaf; one on a mesh strip by strip, so that it is never whole."""
    if mesh_of(leaf) is None:
        return at_once(leaf)
    return InParts(leaf.dtype.name, leaf.shape, leaf.nbytes, (strip.data for strip in strips(leaf)))


@contextlib.contextmanager
def _orbax(directory: Path) -> Iterator[Path]:
    """A folder as Orbax takes it, in every process the same."""
    with _ONE_AT_A_TIME:
        if jax.process_count() > 1:
            yield directory.absolute()
        else:
            with plain_name(directory) as folder:  # Orbax takes names for patterns, and no relative path
                yield folder


def _quietly() -> None:
    # What goes wrong is raised as well; asyncio logs the failures of whichever reads came second.
    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="orbax")
    warnings.filterwarnings("ignore", message="coroutine .* was never awaited", category=RuntimeWarning)
    _hush_late_reads()


@functools.cache
def _hush_late_reads() -> None:
    """Keeps reads that end after the first that failed, with nobody left to report to and Orbax's event loop closed,
    from printing over the one line. They come at any time, from any thread, so this stands before the first read."""
    honest = sys.unraisablehook

    def hook(unraisable: sys.UnraisableHookArgs) -> None:
        code = getattr(unraisable.object, "cr_code", None)
        orphan = code is not None and "orbax" in code.co_filename
        if not orphan and str(unraisable.exc_value) != "Event loop is closed":
            honest(unraisable)

    sys.unraisablehook = hook


def save_state(directory: Path, state: TrainState, *, beside: Path | None = None) -> str:
    """Writes `state/` and `state.json` into a folder, which is made where it is not there yet; returns the state's
    digest. What came with the checkpoint that the state in the folder `beside` is of goes with it.

    Of a state on a mesh every process calls this, and writes its own pieces to a folder that all of them see.
    """
    from orbax.checkpoint import v1 as ocp

    _quietly()
    directory.mkdir(parents=True, exist_ok=True)
    tree = as_tree(state)
    mesh = mesh_of(state.step)
    with _orbax(directory) as folder:
        ocp.save(str(folder / "state"), tree)
    name, by_leaf = digests(tree, read=_read)
    leaves = {path: [str(leaf.dtype), list(leaf.shape), by_leaf[path]] for path, leaf in named_leaves(tree)}
    info = with_checksum({"config": state.config.to_dict(), "state": name, "leaves": leaves})
    if mesh is None or first():
        write_text(directory / "state.json", canonical_json(info) + "\n")
        if beside is not None:
            carry_checkpoint(beside, directory)
    if mesh is not None:
        together("a state is stored")
    return name


def shapes_of(leaves: Mapping[str, Sequence[Any]]) -> StateTree:
    """The nested dicts of shapes that a flat table of leaves, [dtype, shape, …] by path, describes."""
    shapes = {path: jax.ShapeDtypeStruct(tuple(shape), jnp.dtype(dtype)) for path, (dtype, shape, *_) in leaves.items()}
    return unflatten_dict(shapes, sep="/")


def _abstract(leaves: Mapping[str, Leaf], config: TrainConfig, mesh: Mesh | None) -> StateTree:
    """`shapes_of` leaves, each with where it is to be."""
    tree = shapes_of(leaves)
    if mesh is None:
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        return jax.tree.map(lambda leaf: leaf.update(sharding=device), tree)
    state = from_tree(tree, config)
    return as_tree(jax.tree.map(lambda leaf, there: leaf.update(sharding=there), state, shardings(state, mesh)))


def load_state(directory: Path, *, mesh: Mesh | None = None) -> TrainState:
    """The state of a folder, checked against its recorded digests; on a mesh, whatever it was stored from, if there is
    one, and then in every process of it. Raises `UserError` where it is no state, and of these `DamagedState` where it
    cannot be read, or is not what was written, with the leaf where one is damaged."""
    _quietly()
    info = read_info(directory)
    config = TrainConfig.from_dict(info["config"])
    if mesh is None:
        require_room(config)
    strange = UserError(f"{directory}/state.json describes no state of its own configuration", _RESTORE)
    if not _plausible(info["leaves"], config):
        raise strange
    try:
        tree = _read_leaves(directory, _abstract(info["leaves"], config, mesh))
        state = from_tree(tree, config)
    except (KeyError, TypeError, AttributeError):
        raise strange from None
    name, found = digests(tree, read=_read)
    for path, (_, _, recorded) in info["leaves"].items():
        if found[path] != recorded:
            raise DamagedState(f"the checkpoint {directory}/state is damaged in leaf {path}", _RESTORE)
    if name != info["state"]:
        raise DamagedState(f"the checkpoint {directory}/state is damaged: its digest is not the recorded one", _RESTORE)
    return state


def stored_shapes(directory: Path) -> TrainState:
    """The shapes of the state of a folder, of which no array is read. Raises `UserError` where it is no state."""
    info = read_info(directory)
    try:
        state = from_tree(shapes_of(info["leaves"]), TrainConfig.from_dict(info["config"]))
        check_state(state)
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"{directory}/state.json describes no state of its own configuration", _RESTORE) from None
    return state


AT_MOST = 16
"""Times as many values as parameters, in a state: moments, counts and the law's factors beside them."""


def _plausible(leaves: Mapping[str, Leaf], config: TrainConfig) -> bool:
    """Whether leaves are those of a state of a configuration, as far as says that it may be read into memory."""
    own = {
        f"params/{path}": (str(leaf.dtype), list(leaf.shape)) for path, leaf in named_leaves(param_shapes(config.model))
    }
    described = {path: (dtype, shape) for path, (dtype, shape, _) in leaves.items()}
    held = sum(math.prod(shape) for _, shape in own.values())
    return own == {path: described[path] for path in described if path.startswith("params/")} and (
        sum(math.prod(shape) for _, shape in described.values()) <= AT_MOST * held
    )


def read_info(directory: Path) -> StateInfo:
    """What a folder's `state.json` says. Raises `UserError` where there is none, or where it is none, `DamagedState`
    where it is damaged."""
    path = directory / "state.json"
    try:
        info = read_checked(path)
    except FileNotFoundError:
        raise UserError(
            f"{directory} holds no growjax state", "name a folder that holds state.json and state/"
        ) from None
    if info is None:
        raise DamagedState(f"{path} is damaged", _RESTORE)
    return typed(StateInfo, info, str(path))


def read_widened(directory: Path) -> Widened | None:
    """What `widen` wrote beside a state; None where it wrote nothing there. Raises `UserError` where that is none."""
    path = directory / "widen.json"
    try:
        return typed(Widened, parse(read_bytes(path, RECORD_BYTES).decode("utf-8", errors="replace"), path), str(path))
    except FileNotFoundError:
        return None
    except ValueError:
        raise UserError(f"{path} is no record of a widening", _RESTORE) from None


def _read_leaves(directory: Path, abstract: StateTree) -> StateTree:
    from orbax.checkpoint import v1 as ocp

    try:
        with _orbax(directory) as folder:
            return ocp.load(str(folder / "state"), abstract)  # pyright: ignore[reportReturnType]
    except Exception as error:  # Orbax and TensorStore raise many kinds; all mean that the files are not whole
        described = explain(error)
        if isinstance(described, UserError) and "no such file" not in described.fault:
            raise described from None
        text = str(error)
        leaf = next((path for path, _ in named_leaves(abstract) if path.replace("/", ".") in text), None)
        where = f"leaf {leaf} of " if leaf else ""
        raise DamagedState(
            f"{where}the checkpoint {directory}/state cannot be read ({type(error).__name__})", _RESTORE
        ) from None
