"""Training on a mesh, with the bits of one device: `growjax.train.shards`, of a state that is cut.

Parameters, moments, counts and factors lie cut over `fsdp` and `tensor`, and the update works on pieces. It goes entry
by entry, so that a piece of the update is the update of a piece. Four things do not, and each has one form on all
meshes:

    gradients   of a virtual shard come from the single-device program of `growjax.train.shards`, on parameters gathered
                whole on the device; a gather copies
    their sum   is the fixed tree over virtual shards, of which every device computes its own piece
    the norm    is taken of whole leaves, one leaf at a time
    Muon        orthogonalises whole matrices: the state is gathered for its update, and cut again

So no product is cut: a device holds, while it computes a shard, all parameters and all gradients, and at other times
its piece alone. On a CPU a product cut over its output columns has the bits of the whole product's columns. One that is
cut over what it contracts has not (seven to nine entries of ten differ), and every layer has such products: forwards
after heads and hidden units, backwards before them. Sums over fixed cuts would be another program, with other bits than
one device's.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from growjax.config import TrainConfig
from growjax.errors import UserError
from growjax.mesh.cutting import (
    ALL,
    Cuts,
    cut_digests,
    digests_of_pieces,
    flat,
    gathered,
    local,
    place,
    placed,
    repeated,
    shape_of,
    state_cuts,
)
from growjax.mesh.rules import AXES, require_shards
from growjax.model.axes import is_spec
from growjax.model.decoder import Params, param_specs
from growjax.train import shards as virtual
from growjax.train.check import check_state
from growjax.train.directions import goes_by_entry
from growjax.train.loop import Feed, Run, RunKeys, Trace, check_feed, evaluate
from growjax.train.programs import Programs
from growjax.train.state import TrainState, apply_gradients

Part = tuple[jax.Array, Params]
"""Loss and gradients of a virtual shard, or their sums over some."""


@jax.jit
def _added(a: Part, b: Part) -> Part:
    return virtual.tree_sum([a, b])


@partial(jax.jit, donate_argnums=0)
def _stacked(parts: list[Part]) -> Part:
    return jax.tree.map(lambda *x: jnp.stack(x), *parts)


def _subtrees(parts: Iterable[Part], size: int) -> list[Part]:
    """Sums over so many parts each, a power of two: whole subtrees of the fixed tree, each pair as soon as it is
    there."""
    done: list[tuple[int, Part]] = []
    for part in parts:
        level = 1
        while level < size and done and done[-1][0] == level:
            part, level = _added(done.pop()[1], part), 2 * level
        done.append((level, part))
    return [part for _, part in done]


@partial(jax.jit, static_argnames=("mesh", "cuts", "shards"), donate_argnums=0)
def _reduced(parts: Part, *, mesh: Mesh, cuts: Cuts, shards: int) -> Part:
    """The mean over virtual shards: parts [n, ...] whole, a row or more from each device, to a piece of the mean."""

    def one(rows: jax.Array, cut: P) -> jax.Array:
        for over in reversed(AXES):  # rows from along the fastest axis first come to stand in the shards' order
            axis = cut.index(over) if over in cut else None
            if axis is None:
                rows = jax.lax.all_gather(rows, over, axis=0, tiled=True)
            else:
                rows = jax.lax.all_to_all(rows, over, split_axis=axis + 1, concat_axis=0, tiled=True)
        return virtual.tree_sum(list(rows)) / shards

    def mean(parts: Part) -> Part:
        loss, grads = parts
        leaves, structure = jax.tree.flatten(grads)
        made = [one(leaf, cut) for leaf, cut in zip(leaves, cuts, strict=True)]
        return one(loss, P()), jax.tree.unflatten(structure, made)

    own = jax.tree.unflatten(jax.tree.structure(parts[1]), list(cuts))
    return jax.shard_map(mean, mesh=mesh, in_specs=(ALL,), out_specs=(P(), own), check_vma=False)(parts)


@jax.jit
def _squares(grad: jax.Array, weight: jax.Array | None) -> jax.Array:
    """A whole leaf's part of `growjax.train.optim.global_norm`, squared."""
    return jnp.sum(jnp.square(grad) if weight is None else weight * jnp.square(grad))


@jax.jit
def _root(squares: list[jax.Array]) -> jax.Array:
    return jnp.sqrt(optax.tree.sum(squares))


@partial(jax.jit, static_argnames=("mesh", "cuts"), donate_argnames="state")
def _updated(
    state: TrainState, loss: jax.Array, grads: Params, norm: jax.Array, *, mesh: Mesh, cuts: Cuts
) -> tuple[TrainState, jax.Array]:
    """The state after an update that goes by entries, and the digests of its parameters."""
    own: TrainState = jax.tree.unflatten(jax.tree.structure(state), cuts)

    def update(state: TrainState, loss: jax.Array, grads: Params, norm: jax.Array) -> tuple[TrainState, jax.Array]:
        state = apply_gradients(state, loss, grads, norm=norm)[0]
        return state, digests_of_pieces(jax.tree.leaves(state.params), flat(own.params), shape_of(mesh))

    made = jax.shard_map(update, mesh=mesh, in_specs=(own, P(), own.params, P()), out_specs=(own, P()), check_vma=False)
    return made(state, loss, grads, norm)


@partial(jax.jit, donate_argnames="state")
def _updated_whole(state: TrainState, loss: jax.Array, grads: Params, norm: jax.Array) -> TrainState:
    return apply_gradients(state, loss, grads, norm=norm)[0]


@partial(jax.jit, static_argnames="config")
def _evaluated(params: Params, windows: jax.Array, *, config: TrainConfig) -> jax.Array:
    nothing: Any = None
    return evaluate(TrainState(params=params, opt_state=nothing, step=nothing, config=config), windows)


class _Steps:
    """A state at work on a mesh."""

    def __init__(self, state: TrainState, feed: Feed, run_keys: RunKeys, mesh: Mesh, batch_size: int, shards: int):
        self.feed, self.run_keys, self.batch_size, self.shards = feed, run_keys, batch_size, shards
        self.mesh, self.state = mesh, placed(state, mesh)
        self.cuts = flat(state_cuts(self.state, mesh))
        self.of_params = self.cuts[: len(jax.tree.leaves(state.params))]
        mine = [(n, d) for n, d in enumerate(mesh.devices.flat) if d.process_index == jax.process_index()]
        each = shards // mesh.devices.size
        self.places = [(d, range(n * each, (n + 1) * each)) for n, d in mine]
        self.subtree = each & -each
        optim, specs = state.config.optim, jax.tree.leaves(param_specs(state.config.model), is_leaf=is_spec)
        self.by_entry = all(goes_by_entry(optim, spec) for spec in specs)
        law = self.state.law
        self.clip: list[jax.Array | None] = [None] * len(self.of_params)
        if law is not None:
            self.clip = [self.whole_leaf(leaf) for leaf in jax.tree.leaves(law.clip)]

    def whole_leaf(self, leaf: jax.Array) -> jax.Array:
        """On this process's first device."""
        cut = leaf.sharding.spec  # pyright: ignore[reportAttributeAccessIssue]
        return local(gathered([leaf], mesh=self.mesh, cuts=(cut,))[0])[0]

    def whole_params(self) -> list[Params]:
        """For each device of this process."""
        leaves, structure = jax.tree.flatten(self.state.params)
        found = [local(x) for x in gathered(leaves, mesh=self.mesh, cuts=self.of_params)]
        return [jax.tree.unflatten(structure, list(own)) for own in zip(*found, strict=True)]

    def parts(self, lag: np.int32, pool: ThreadPoolExecutor) -> Part:
        """Sums of virtual shards, [n, ...]: from each device its own."""
        batch = virtual.batch_of_step(self.feed, self.run_keys, lag, batch_size=self.batch_size)

        def one(place: tuple[Any, range], params: Params) -> Part:
            device, numbers = place
            given = jax.device_put((batch, self.run_keys.dropout, lag), device)

            def shard(number: int) -> Part:
                at = jax.device_put(np.int32(number), device)
                made = virtual.shard_gradients(params, *given, at, config=self.state.config, shards=self.shards)
                return jax.block_until_ready(made)

            return _stacked(_subtrees(map(shard, numbers), self.subtree))

        found = list(pool.map(one, self.places, self.whole_params()))
        rows = self.shards // self.subtree

        def together(*pieces: jax.Array) -> jax.Array:
            sharding = NamedSharding(self.mesh, ALL)
            return jax.make_array_from_single_device_arrays((rows, *pieces[0].shape[1:]), sharding, list(pieces))

        return jax.tree.map(together, *found)

    def step(self, lag: np.int32, pool: ThreadPoolExecutor) -> tuple[Any, Any, Any]:
        """One training step: (loss, norm of the gradients, digests of the parameters after it)."""
        parts = self.parts(lag, pool)
        loss, grads = _reduced(parts, mesh=self.mesh, cuts=self.of_params, shards=self.shards)
        squares = [_squares(self.whole_leaf(g), w) for g, w in zip(jax.tree.leaves(grads), self.clip, strict=True)]
        norm = repeated(self.mesh, _root(squares))
        if self.by_entry:
            self.state, rows = _updated(self.state, loss, grads, norm, mesh=self.mesh, cuts=self.cuts)
        else:
            whole: Any = jax.tree.map(self.whole_leaf, (self.state, loss, grads, norm))
            self.state = place(_updated_whole(*whole), state_cuts(self.state, self.mesh), self.mesh)
            rows = cut_digests(jax.tree.leaves(self.state.params), mesh=self.mesh, cuts=self.of_params)
        return local(loss)[0], local(norm)[0], local(rows)[0]

    def lowered(self) -> list[jax.stages.Lowered]:
        """The single-device programs whose bits these are."""
        return virtual.lowered_programs(
            self.state,
            self.feed,
            self.run_keys,
            batch_size=self.batch_size,
            shards=self.shards,
            device=self.places[0][0],
        )

    def mark(self) -> tuple[Any, Any]:
        """(held-out loss, digests of the whole state)."""
        rows = cut_digests(jax.tree.leaves(self.state), mesh=self.mesh, cuts=self.cuts)
        loss = _evaluated(self.whole_params()[0], self.feed.evaluation, config=self.state.config)
        # No device may wait long for this one in what they do together next.
        return jax.block_until_ready(loss), local(rows)[0]


def run_on_mesh(
    state: TrainState,
    feed: Feed,
    run_keys: RunKeys,
    *,
    mesh: Mesh,
    batch_size: int,
    shards: int,
    segments: int,
    segment_steps: int,
    start: int = 0,
    programs: Programs | None = None,
) -> Run:
    """`growjax.train.shards.run_sharded` on a mesh: the same trace, and the same state, cut. Every process of the mesh
    calls it with the same arguments; `feed` and `run_keys` are whole in each, `state` is whole or cut. The state handed
    in is used up.

    Fingerprint and modules are those of the single-device programs, which it computes cut; modules are compiled and
    digested where `programs` are given to keep them.

    Raises `UserError` where batch, mesh and shards do not divide, or for a state whose arrays are not those of its
    configuration.
    """
    check_state(state)
    check_feed(feed)
    if shards < 1 or batch_size % shards:
        raise UserError(f"a batch of {batch_size} has no {shards} equal shards", "choose a divisor of the batch size")
    require_shards(shape_of(mesh), shards)
    prints = virtual.sharded_fingerprint(state, feed, run_keys, batch_size=batch_size, shards=shards)
    at = _Steps(state, feed, run_keys, mesh, batch_size, shards)
    steps, marks = [], [at.mark()]
    with ThreadPoolExecutor(len(at.places)) as pool:
        for number in range(segments * segment_steps):
            steps.append(at.step(np.int32(start + number), pool))
            if (number + 1) % segment_steps == 0:
                marks.append(at.mark())
    eval_loss, of_states = zip(*jax.device_get(marks), strict=True)
    loss, norm, rows = (np.stack(x) for x in zip(*jax.device_get(steps), strict=True))
    of_steps: Any = (loss.astype(np.float32), norm.astype(np.float32), rows)
    of_marks: Any = (np.array(eval_loss, np.float64), np.stack(of_states))
    module = "" if programs is None else programs.modules(prints, at.lowered())
    return Run(at.state, Trace(*of_steps, *of_marks), prints, module)
