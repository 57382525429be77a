"""The training programs of a study, walked: every random primitive belongs to a stream and a step, and none is left."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from growjax.audit import threefry
from growjax.audit.shared import described
from growjax.audit.walk import Found, program_draws, twice
from growjax.draws import Ledger, bits_shape
from growjax.record.cells import CONTINUED
from growjax.record.integrity import state_of
from growjax.schema import Record
from growjax.study.account import recipe_of
from growjax.study.context import Context
from growjax.study.ledgers import LAYERED
from growjax.train.loop import RunKeys, run_fingerprint, traced_run
from growjax.train.shards import sharded_fingerprint, traced_sharded
from growjax.train.state import TrainState


def expected(ledger: Ledger, *, sharded: bool = False) -> set[tuple]:
    """What a program must draw for a ledger: stream, path below the step, shape. Sites of layers stand once: the loop
    over layers varies their last number.

    Programs of virtual shards are given the step and the shard as arguments, where a loop varies the step.
    """
    found = set()
    for stream, entry in ledger.items():
        for site in entry["sites"]:
            for path in site["at"]:
                shape = bits_shape(site["draw"])
                names = tuple(threefry.name_tag(p) if isinstance(p, str) else p for p in path)
                if len(path) > 1 and path[-2] in LAYERED:
                    names = (*names[:-1], "varying")
                names = (names[0], "argument", *names[2:]) if path[:1] == ["shard"] else names
                ends = [("split 0",), ("split 1",)] if site["draw"]["distribution"] == "integers" else [()]
                found |= {(stream, ("argument" if sharded else "varying", *names, *end), shape) for end in ends}
    return found


def walked(state: TrainState, ctx: Context, live: RunKeys) -> tuple[list[Found], str]:
    """Every random primitive of the training program of a state under these keys, and the program's fingerprint."""
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state)
    batch_size, shards = ctx.spec.data.batch_size, ctx.spec.shards
    number = jnp.zeros((), jnp.int32)
    of_keys = RunKeys(*(None if key is None else name for name, key in live._asdict().items()))  # pyright: ignore[reportArgumentType]
    of_feed = jax.tree.map(lambda _: "tokens", ctx.feed)
    if shards > 1:
        programs = traced_sharded(state.config, batch_size=batch_size, shards=shards)
        batch = jax.eval_shape(programs["batch"], ctx.feed, live, number)
        found = program_draws(programs["batch"], (ctx.feed, live, number), jax.tree.leaves((of_feed, of_keys, "lag")))
        labels = (jax.tree.map(lambda _: "state", shapes.params), ("tokens", "tokens"), of_keys.dropout, "lag", "shard")
        arguments = (shapes.params, batch, live.dropout, number, number)
        found += program_draws(programs["shard"], arguments, jax.tree.leaves(labels))
        return found, sharded_fingerprint(state, ctx.feed, live, batch_size=batch_size, shards=shards)
    arguments = (shapes, ctx.feed, live, *(number,) * 3)
    function = traced_run(batch_size=batch_size, **ctx.sizes)
    labels = (jax.tree.map(lambda _: "state", shapes), of_feed, of_keys, "start", "segments", "segment_steps")
    text = run_fingerprint(arguments, batch_size=batch_size, **ctx.sizes)
    return program_draws(function, arguments, jax.tree.leaves(labels)), text


def program_faults(found: list[Found], ledger: Ledger, *, sharded: bool = False) -> list[str]:
    """What does not hold of a program: draws of no stream, draws left over or missing, keys used twice."""
    training = {name: entry for name, entry in ledger.items() if name != "init"}
    wanted, faults = expected(training, sharded=sharded), []
    for draw in found:
        if draw.primitive != "random_bits" or draw.origin not in ("order", "dropout"):
            faults.append(f"the program draws by {draw.primitive} from a key of no stream ({draw.place})")
        elif (draw.origin, draw.path, draw.shape) not in wanted:
            faults.append(f"the program draws {list(draw.shape)} from {draw.place}, which the ledger does not have")
    drawn = {(draw.origin, draw.path, draw.shape) for draw in found}
    faults += [f"the ledger has draws of {place[0]} {list(place[2])} that the program does not make"
               for place in wanted - drawn]  # fmt: skip
    return faults + [f"the program uses the key {draw.place} twice" for draw in twice(found)]


class ProgramWalk:
    """Walks each program of a study once."""

    def __init__(self, ctx: Context, cells: dict[str, Record]):
        self.ctx, self.cells = ctx, cells
        self.primitives = 0
        self._known: dict[object, tuple[list[Found], str]] = {}

    @property
    def count(self) -> int:
        """How many programs were walked."""
        return len(self._known)

    def cell(self, cell: Record) -> list[str]:
        """Faults of the program that filled a cell."""
        state_cell = cell
        while state_cell["kind"] in CONTINUED:
            state_cell = self.cells[state_cell["parents"][0]]
        state = self.ctx.states.get(("state", state_cell["id"]), lambda: state_of(self.ctx.run.cells, state_cell["id"]))
        names = self.ctx.account(recipe_of(cell)).streams
        live = self.ctx.keys_of(names, 0, {})
        leaves, structure = jax.tree.flatten(state)
        key = (structure, tuple((x.shape, x.dtype) for x in leaves), tuple(names))
        if key not in self._known:
            self._known[key] = walked(state, self.ctx, live)
            self.primitives += len(self._known[key][0])
        found, fingerprint = self._known[key]
        faults = program_faults(found, cell["digests"]["ledger"], sharded=self.ctx.spec.shards > 1)
        if fingerprint != cell["digests"]["program"]:
            faults.append("the program that filled it is not the one walked here")
        return [f"{described(cell)}: {fault}" for fault in faults]
