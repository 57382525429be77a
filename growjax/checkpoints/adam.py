"""torch's AdamW as its `state_dict` has it: parameters by number, in groups. Arrays stand in place of tensors.

    {"state": {0: {"step", "exp_avg", "exp_avg_sq"}, ...}, "param_groups": [{"lr", "betas", "eps", ..., "params"}]}

Numbers follow the order in which a model lists its parameters, group by group. Trainer makes two groups: what decays,
and gains and biases, which do not. A group may name its parameters (`param_names`); then names count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from growjax.checkpoints.family import Family
from growjax.checkpoints.groups import Group
from growjax.checkpoints.moments import Moments, decayed, tensors_of
from growjax.config import ModelConfig, OptimConfig
from growjax.errors import UserError
from growjax.schema import Fields, Record
from growjax.values import finite_number

_OTHER = "give the moments of AdamW as torch keeps them, or leave them behind with --moments none"
_KEPT = ("step", "exp_avg", "exp_avg_sq")

DEFAULTS: Record = {
    "amsgrad": False,
    "maximize": False,
    "foreach": None,
    "capturable": False,
    "differentiable": False,
    "fused": None,
    "decoupled_weight_decay": True,
}
"""What a group of torch's AdamW says beside its rate, betas, epsilon and decay."""


class Options(NamedTuple):
    """What a run's AdamW was set to."""

    lr: float
    """As it stood at the last step."""
    initial_lr: float
    """What the schedule multiplies."""
    betas: tuple[float, float]
    eps: float
    weight_decay: float
    """Of the group that decays."""
    others: Record
    """What else a group says."""

    @classmethod
    def of(cls, optim: OptimConfig, lr: float) -> Options:
        """Those of growjax's own AdamW, where the rate stands at `lr`."""
        return cls(lr, optim.learning_rate, (optim.b1, optim.b2), optim.eps, optim.weight_decay, {})

    def constants(self, clip_norm: float) -> Record:
        """As a table of groups has them (`growjax.checkpoints.groups`)."""
        own = {"lr": self.initial_lr, "eps": self.eps, "weight_decay": self.weight_decay, "clip_norm": clip_norm}
        return own | {"betas": list(self.betas)}

    def optim(self, base: OptimConfig, *, total_steps: int) -> OptimConfig:
        """The same for growjax's own AdamW. Raises `UserError` for what it cannot be set to."""
        return base.replace(
            name="adamw",
            learning_rate=self.initial_lr,
            b1=self.betas[0],
            b2=self.betas[1],
            eps=self.eps,
            weight_decay=self.weight_decay,
            warmup_steps=0,
            total_steps=total_steps,
        )


def read_adam(found: Any, family: Family, model: ModelConfig, narrow: Fields | None = None) -> tuple[Moments, Options]:
    """Moments and settings from a `state_dict`. Where groups have constants of their own, `narrow` are those without
    the groups' factors (`lr`, `eps`, `weight_decay`). Raises `UserError`, in one line, for what is no AdamW's of this
    model."""
    state, groups = _parts(found)
    numbers = _numbered(groups, family, model)
    moments = Moments({}, {}, {})
    for name, number in numbers.items():
        kept = state.get(number)
        if not isinstance(kept, dict):
            raise UserError(f"the optimizer holds nothing of {name}", _OTHER)
        odd = next((key for key in (*kept, *_KEPT) if key not in _KEPT or key not in kept), None)
        if odd is not None:
            has = "holds" if odd in kept else "lacks"
            raise UserError(f"the optimizer's state of {name} {has} {odd!r:.60}", _OTHER)
        arrays = [kept[key] for key in _KEPT[1:]]
        if any(not isinstance(a, np.ndarray) or a.dtype.kind not in "fV" for a in arrays):
            raise UserError(f"the moments of {name} are no arrays of numbers", _OTHER)
        moments.exp_avg[name], moments.exp_avg_sq[name] = arrays
        moments.step[name] = whole(kept["step"], f"the step of {name}")
    return moments, _options(groups, narrow)


def whole(value: Any, what: str) -> int:
    """A count as a whole number; raises `UserError` where it is none."""
    if isinstance(value, int | float | np.ndarray | np.generic) and np.size(value) == 1:
        number = finite_number(np.asarray(value).item())
        if number is not None and 0 <= number < 2**31 and number == int(number):
            return int(number)
    raise UserError(f"{what} is {value!r:.60}", "it must be a whole number of steps")


def _parts(found: Any) -> tuple[dict[Any, Any], list[Record]]:
    state, groups = (found.get(k) for k in ("state", "param_groups")) if isinstance(found, dict) else (None, None)
    if (
        not isinstance(state, dict)
        or not isinstance(groups, list)
        or not groups
        or not all(isinstance(g, dict) and _all_of(int, g.get("params")) for g in groups)
        or not all(g.get("param_names") is None or _all_of(str, g["param_names"]) for g in groups)
    ):
        raise UserError("this is no state of an optimizer", _OTHER)
    return state, groups


def _all_of(kind: type, values: object) -> bool:
    return isinstance(values, list) and all(isinstance(value, kind) for value in values)


def _numbered(groups: list[Record], family: Family, model: ModelConfig) -> Record:
    """The number of every parameter by its name."""
    own = tensors_of(family, model)
    listed = [n for group in groups for n in group["params"]]
    named = [name for group in groups for name in group.get("param_names") or ()]
    if named:
        head = next(row.name for row in family.tensors if row.parameters == ("head",))
        order = [head if name == "lm_head.weight" else str(name) for name in named]  # as transformers 5 calls it
    else:
        sizes = [len(group["params"]) for group in groups]
        ways = [[part for part in way if part] for way in _groupings(family, model)]
        way = next((way for way in ways if [len(part) for part in way] == [n for n in sizes if n]), None)
        if way is None:
            expected = " and ".join(str(len(part)) for part in ways[0])
            raise UserError(
                f"the optimizer has groups of {sizes} parameters, and Trainer's of this model have {expected}", _OTHER
            )
        order = [name for part in way for name in part]
    if len(order) != len(listed) or sorted(order) != sorted(own):
        odd = sorted(set(order) ^ set(own)) or ["one twice"]
        raise UserError(f"the optimizer's parameters are not the model's: {odd[0]}", _OTHER)
    return dict(zip(order, listed, strict=True))


def _groupings(family: Family, model: ModelConfig) -> Iterator[list[list[str]]]:
    """How parameters may be dealt to groups: Trainer's way, that of its older releases (all but biases decay), and all
    in one."""
    order, decay = list(tensors_of(family, model)), decayed(family, model)
    yield [[n for n in order if n in decay], [n for n in order if n not in decay]]
    yield [[n for n in order if not n.endswith("bias")], [n for n in order if n.endswith("bias")]]
    yield [order]


def _options(groups: Sequence[Fields], narrow: Fields | None) -> Options:
    first = dict(groups[0])
    for key, value in (("amsgrad", False), ("maximize", False), ("decoupled_weight_decay", True)):
        found = first.get(key, value)
        if found is not value and not (key == "decoupled_weight_decay" and not first.get("weight_decay")):
            raise UserError(f"the optimizer's {key} is {found!r:.60}", _OTHER)
    try:
        for key in ("betas",) if narrow else ("lr", "betas", "eps"):
            values = [group.get(key) for group in groups]
            if any(value != values[0] for value in values):
                raise UserError(f"groups of the optimizer have {key} of their own", _OTHER)
        if narrow:
            share = float(first["lr"]) / float(first["initial_lr"]) if first["initial_lr"] else 0.0
            first |= {"lr": share * narrow["lr"], "initial_lr": narrow["lr"]}
            first |= {key: narrow[key] for key in ("eps", "weight_decay")}
        lr, eps, decay = (float(first[key]) for key in ("lr", "eps", "weight_decay"))
        b1, b2 = map(float, first["betas"])
        initial = float(first.get("initial_lr", lr))
    except (KeyError, TypeError, ValueError, OverflowError):
        raise UserError("the optimizer's groups lack lr, betas, eps or weight_decay as numbers", _OTHER) from None
    others = {k: first[k] for k in DEFAULTS if isinstance(first.get(k, object()), bool | None)}
    return Options(lr, initial, (b1, b2), eps, decay, others)


def write_adam(moments: Moments, groups: Sequence[Group], options: Options, dtype: str | np.dtype) -> Record:
    """The `state_dict` of an AdamW whose parameters lie in these groups, each with its factors; moments in `dtype`,
    rounded once."""
    state: dict[int, Any] = {}
    made: list[Record] = []
    for group in groups:
        numbers = list(range(len(state), len(state) + len(group.names)))
        for number, name in zip(numbers, group.names, strict=True):
            state[number] = {
                "step": np.asarray(moments.step[name], np.float32),
                "exp_avg": moments.exp_avg[name].astype(dtype),
                "exp_avg_sq": moments.exp_avg_sq[name].astype(dtype),
            }
        made.append(
            {
                "lr": options.lr * group.lr,
                "betas": options.betas,
                "eps": options.eps * group.eps,
                "weight_decay": options.weight_decay * group.decay if group.decays else 0.0,
                **DEFAULTS,
                **options.others,
                "initial_lr": options.initial_lr * group.lr,
                "params": numbers,
                "param_names": list(group.names),
            }
        )
    return {"state": state, "param_groups": made}
