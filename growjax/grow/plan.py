"""A width plan: for every named axis, which old position each new position copies."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np

from growjax.config import Architecture, ModelConfig
from growjax.domains import SIZE
from growjax.errors import UserError
from growjax.limits import require_room_for_model
from growjax.model.components import components
from growjax.schema import Record
from growjax.values import taken

WIDTHS = ("d_model", "n_heads", "n_kv_heads", "head_dim", "d_ff", "vocab_size")
"""Fields of `ModelConfig` that growth may enlarge."""

FIELDS = {"embed": "d_model", "heads": "n_heads", "kv_heads": "n_kv_heads", "head_dim": "head_dim", "mlp": "d_ff"}
"""The field that holds an axis's size."""

Options = Record
"""An operator's options by name: bool, int, float or str each, or None."""


@dataclasses.dataclass(frozen=True, eq=False)
class AxisMap:
    """One axis under growth: new position j copies old position `index[j]`."""

    axis: str
    old: int
    index: np.ndarray
    """int64 [new]; the first `old` positions are the old ones in place."""

    def _key(self) -> tuple[object, ...]:
        return (type(self), self.axis, self.old, self.index.tobytes())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AxisMap) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    @property
    def new(self) -> int:
        return len(self.index)

    @property
    def counts(self) -> np.ndarray:
        """int64 [old]: the multiplicity c(i), how many new positions copy old position i."""
        return np.bincount(self.index, minlength=self.old)

    @property
    def grown(self) -> bool:
        return self.new > self.old

    @property
    def in_rounds(self) -> bool:
        """Whether the new axis is the old one some whole times over, so that copying it is tiling it."""
        return self.new % self.old == 0 and bool(np.all(self.index == np.arange(self.new) % self.old))

    @property
    def copy_number(self) -> np.ndarray:
        """int64 [new]: how many copies of the same old position stand before each."""
        order = np.argsort(self.index, kind="stable")
        starts = np.concatenate([[0], np.cumsum(self.counts)[:-1]])
        number = np.empty(self.new, np.int64)
        number[order] = np.arange(self.new) - starts[self.index[order]]
        return number

    @property
    def uneven(self) -> bool:
        """Whether some positions have more copies than others."""
        return len(set(self.counts.tolist())) > 1

    @property
    def is_new(self) -> np.ndarray:
        """bool [new]: positions that did not exist before."""
        return np.arange(self.new) >= self.old


@dataclasses.dataclass(frozen=True)
class WidthPlan:
    """Source and target, and the map of every axis that either of them names."""

    source: ModelConfig
    target: ModelConfig
    maps: Mapping[str, AxisMap]

    def __hash__(self) -> int:
        return hash((self.source, self.target, tuple(self.maps.items())))

    def inexact(self) -> dict[str, str]:
        """Axes along which something cannot stay exact under this plan, and why; empty where everything can."""
        found = {
            axis: f"{why}; {FIELDS[axis]} {nearest_multiple(m.new, m.old)} would be exact"
            for axis, why in components(self.source).even.items()
            if (m := self.maps[axis]).uneven
        }
        if self.maps["vocab"].grown:
            found["vocab"] = (
                "the old tokens' logits are kept, their probabilities shrink by what the new tokens' softmax takes"
            )
        return found

    @property
    def exact(self) -> bool:
        """Whether clones keep the function, and under the whole law the trajectory; new tokens aside."""
        return not self.inexact().keys() - {"vocab"}

    def rows(self) -> list[PlanRow]:
        """Every axis, for a table."""
        described, rows = self.inexact(), []
        for m in self.maps.values():
            kept = "as it was" if not m.grown else "exact"
            if m.axis == "vocab" and m.grown:
                copies = "new rows: the mean row"
            else:
                copies = " and ".join(f"x{c}" for c in sorted(set(m.counts.tolist())))
            rows.append(
                PlanRow(
                    m.axis, m.old, m.new, copies, f"not exact: {described[m.axis]}" if m.axis in described else kept
                )
            )
        return rows

    def __str__(self) -> str:
        """The plan as a table of plain text."""
        rows = [("axis", "old", "new", "copies", "exact")] + [tuple(map(str, row)) for row in self.rows()]
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        return "\n".join(
            "  ".join((*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[4])) for row in rows
        )


class PlanRow(NamedTuple):
    """One axis of a plan, as it is reported."""

    axis: str
    old: int
    new: int
    copies: str
    exact: str


def vocabulary_grown(plan: WidthPlan) -> WidthPlan:
    """The plan that is left once new tokens are added, which is done before anything else."""
    vocab = plan.maps["vocab"]
    if not vocab.grown:
        return plan
    same = AxisMap("vocab", vocab.new, np.arange(vocab.new))
    return WidthPlan(plan.source.replace(vocab_size=vocab.new), plan.target, {**plan.maps, "vocab": same})


def nearest_multiple(value: int, unit: int) -> int:
    """The multiple of `unit`, at least one of it, that lies nearest to `value`."""
    return max(1, round(value / unit)) * unit


def _copies(axis: str, old: int, new: int, key: jax.Array | None) -> AxisMap:
    """Old positions in place, then copies: in rounds, or drawn at random where a key is given (Net2Net)."""
    if new == old:
        return AxisMap(axis, old, np.arange(old))
    extra = np.arange(old, new) % old if key is None else np.asarray(jax.random.randint(key, (new - old,), 0, old))
    return AxisMap(axis, old, np.concatenate([np.arange(old), extra]).astype(np.int64))


def reached(source: ModelConfig, target: ModelConfig) -> ModelConfig:
    """The target that growth comes to; refuses, with the nearest reachable one, what growth cannot do.

    Heads grow by whole heads, grouped queries by whole groups, and the source's rotary table is repeated where heads
    grow longer. Makes no map of any axis.
    """
    check_same(source, target)
    for name in WIDTHS:
        old, new = getattr(source, name), getattr(target, name)
        if new < old:
            raise UserError(f"cannot shrink {name} from {old} to {new}", f"the nearest reachable {name} is {old}")
    parts = components(source)
    for axis, why in parts.whole.items():
        name = FIELDS[axis]
        old, new = getattr(source, name), getattr(target, name)
        if new % old:
            raise UserError(
                f"{name} {old} cannot grow to {new}: {why}",
                f"the nearest reachable {name} is {nearest_multiple(new, old)}",
            )
    if parts.position.rotates:
        rope = source.rope_dim or source.head_dim
        target = target.replace(rope_dim=rope if target.head_dim > rope else source.rope_dim)
    old_group, new_group = _groups(source), _groups(target)
    if new_group < old_group:
        raise UserError(
            f"{target.n_heads} heads over {target.n_kv_heads} kv heads put {new_group} in a group where the source "
            f"has {old_group}, and a group can only be cloned whole",
            f"the nearest reachable n_heads is {old_group * target.n_kv_heads}",
        )
    return target


def _groups(model: ModelConfig) -> int:
    return model.n_heads // model.n_kv_heads


def make_plan(source: ModelConfig, target: ModelConfig, *, key: jax.Array | None = None) -> WidthPlan:
    """`dealt_plan`, of a target whose state fits in memory."""
    check_same(source, target)
    require_room_for_model(target)
    return dealt_plan(source, target, key=key)


def dealt_plan(source: ModelConfig, target: ModelConfig, *, key: jax.Array | None = None) -> WidthPlan:
    """The plan from `source` to what `target` comes to (see `reached`).

    Without a key copies are dealt in rounds (position j copies j mod old). With a key they are drawn at random
    (Chen et al. 2016, Net2Net, arXiv 1511.05641, eq. 2), but for the residual stream where a part takes even copies
    alone (LayerNorm, whose mean uneven ones would shift).
    """
    target, parts = reached(source, target), components(source)
    keys = dict.fromkeys(range(4)) if key is None else dict(enumerate(jax.random.split(key, 4)))
    groups = _copies("kv_heads", source.n_kv_heads, target.n_kv_heads, keys[0])
    inner = _copies("heads", _groups(source), _groups(target), keys[1])
    maps = {
        "embed": _copies("embed", source.d_model, target.d_model, None if "embed" in parts.even else keys[2]),
        "heads": _head_map(groups, inner),
        "kv_heads": groups,
        "head_dim": _copies("head_dim", source.head_dim, target.head_dim, None),
        "mlp": _copies("mlp", source.d_ff, target.d_ff, keys[3]),
        "vocab": _copies("vocab", source.vocab_size, target.vocab_size, None),
        "position": _copies("position", _positions(source), _positions(target), None),
        "layers": _copies("layers", source.n_layers, target.n_layers, None),
    }
    return WidthPlan(source, target, maps)


def _positions(config: ModelConfig) -> int:
    """Rows of a learned table of positions."""
    return config.position_offset + config.max_seq_len


def _head_map(groups: AxisMap, inner: AxisMap) -> AxisMap:
    """Query heads stand group after group: new head (b, p) copies old head (groups[b], inner[p])."""
    index = groups.index[:, None] * inner.old + inner.index[None, :]
    return HeadMap("heads", groups.old * inner.old, index.reshape(-1), groups, inner)


@dataclasses.dataclass(frozen=True, eq=False)
class HeadMap(AxisMap):
    """Query heads: the old ones are not the first positions when groups grow from within."""

    groups: AxisMap
    inner: AxisMap

    def _key(self) -> tuple[object, ...]:
        return (*super()._key(), self.groups, self.inner)

    @property
    def is_new(self) -> np.ndarray:
        return (self.groups.is_new[:, None] | self.inner.is_new[None, :]).reshape(-1)


_OF_PARTS = {"dialect", "bias", *Architecture._fields}
"""Fields of `ModelConfig` that count by what they amount to."""

_ROTARY = "rope_dim"
"""The field whose None stands for the head's length."""


def check_same(source: ModelConfig, target: ModelConfig) -> None:
    """Raises `UserError` where a target is other than its source in anything but its widths: every field of
    `ModelConfig` that is not among `WIDTHS` must stay, one that is added later too."""

    def of(config: ModelConfig) -> dict[str, object]:
        names = (field.name for field in dataclasses.fields(ModelConfig))
        own = {name: getattr(config, name) for name in names if name not in (*WIDTHS, *_OF_PARTS)}
        return config.architecture._asdict() | own

    new = of(target)
    for name, old in of(source).items():
        also = source.head_dim if name == _ROTARY and old is None else old
        if new[name] not in (old, also):
            raise UserError(
                f"growth in width leaves {name} at {old}, not {new[name]}", f"the nearest reachable {name} is {old}"
            )


def default_target(source: ModelConfig, factor: int = 2) -> ModelConfig:
    """The paper's target: twice the width in d_model, heads and mlp, heads as long as before."""
    factor = taken(SIZE, factor, "factor")
    return source.replace(
        d_model=source.d_model * factor,
        n_heads=source.n_heads * factor,
        n_kv_heads=source.n_kv_heads * factor,
        d_ff=source.d_ff * factor,
    )
