"""What each field of a configuration may be: one domain for every field, on the command line and in Python alike.

A value is taken in the one form that its domain has (1.0 for a whole number is 1, True is 1, a number of NumPy's is
Python's), so that equal configurations have equal digests. A field that is new chooses its domain here.
"""

from __future__ import annotations

import dataclasses
import math
import operator
import os
import struct
from collections.abc import Iterable
from typing import Any, Literal, Protocol, get_args

from growjax.errors import UserError

Dtype = Literal["float32", "bfloat16", "float64"]
Dialect = Literal["rms", "layer"]
Norm = Literal["rms", "layer"]
Position = Literal["rotary", "learned", "none"]
Mlp = Literal["gated", "plain"]
Activation = Literal["silu", "gelu"]
Optimizer = Literal["adamw", "lion", "muon", "sgd"]
Split = Literal["auto", "file", "paragraph"]

MOST = 2**31 - 1
"""Of sizes, steps and counts: what 32 bits with a sign hold."""

MOST_SEED = 2**63 - 1
"""What `jax.random.key` takes."""

LARGEST, SMALLEST = 3.4028234663852886e38, 1.1754943508222875e-38
"""Float32's largest number, and the smallest above 0 that a processor does not take for 0."""


def as_float32(value: float) -> float:
    """What float32 holds of a number; beyond `LARGEST` it is infinite."""
    try:
        return struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)


class Domain(Protocol):
    """What a field may be."""

    def take(self, value: object) -> object:
        """The value in its one form. Raises ValueError where it is none of the domain's; the text says what is."""
        ...


@dataclasses.dataclass(frozen=True)
class Whole:
    """Whole numbers from `least` to `most`, both included."""

    least: int = 0
    most: int = MOST

    def take(self, value: Any) -> int:
        try:
            number = operator.index(value)
        except TypeError:
            real = finite_number(value)
            number = int(real) if real is not None and real.is_integer() else None
        if number is None or not self.least <= number <= self.most:
            raise ValueError(f"give a whole number from {self.least} to {self.most}")
        return number


@dataclasses.dataclass(frozen=True)
class Real:
    """Finite numbers from `least` to `most`, both included, or neither where they are `open`."""

    least: float = 0.0
    most: float = LARGEST
    open: bool = False
    hint: str = ""

    def take(self, value: object) -> float:
        number = finite_number(value)
        inside = number is not None and (
            self.least < number < self.most if self.open else self.least <= number <= self.most
        )
        if number is None or not inside:
            among = "between" if self.open else "from"
            raise ValueError(
                f"give a number {among} {self.least:g} {'and' if self.open else 'to'} {self.most:g}{self.hint}"
            )
        return number + 0.0  # no -0.0


@dataclasses.dataclass(frozen=True)
class Flag:
    """True or False."""

    def take(self, value: object) -> bool:
        if isinstance(value, str) or finite_number(value) not in (0.0, 1.0):
            raise ValueError("give True or False")
        return bool(value)


@dataclasses.dataclass(frozen=True)
class Name:
    """One of some words."""

    among: tuple[str, ...]

    def take(self, value: object) -> str:
        if not isinstance(value, str) or value not in self.among:
            raise ValueError(f"choose one of {', '.join(self.among)}")
        return str(value)


@dataclasses.dataclass(frozen=True)
class Text:
    """Any text, paths included."""

    blank: bool = True
    hint: str = "give a text"

    def take(self, value: object) -> str:
        text = os.fspath(value) if isinstance(value, os.PathLike) else value
        if not isinstance(text, str) or not (self.blank or text):
            raise ValueError(self.hint)
        return str.__str__(text)


@dataclasses.dataclass(frozen=True)
class Maybe:
    """None, or what another domain has."""

    of: Domain

    def take(self, value: object) -> object:
        return None if value is None else self.of.take(value)


@dataclasses.dataclass(frozen=True)
class Several:
    """A tuple of what another domain has."""

    of: Domain

    def take(self, value: object) -> tuple[object, ...]:
        if isinstance(value, str) or not isinstance(value, Iterable):
            raise ValueError("give a tuple")
        return tuple(self.of.take(one) for one in value)


@dataclasses.dataclass(frozen=True)
class Part:
    """A configuration of another class, by its name."""

    kind: str

    def take(self, value: object) -> object:
        if not any(cls.__name__ == self.kind for cls in type(value).__mro__):
            raise ValueError(f"give a {self.kind}")
        return value


def finite_number(value: Any) -> float | None:
    """A finite Python number, or None."""
    if isinstance(value, str | bytes | bytearray):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


SIZE, COUNT, STEPS, SEED, FLAG = Whole(1), Whole(0), Whole(1), Whole(0, MOST_SEED), Flag()
POSITIVE, AT_LEAST_0, SHARE = Real(SMALLEST), Real(), Real(0.0, 1.0)
WORKERS = Whole(0, 4096)

DOMAINS: dict[str, dict[str, Domain]] = {
    "ModelConfig": {
        "d_model": SIZE,
        "n_layers": SIZE,
        "n_heads": SIZE,
        "n_kv_heads": SIZE,
        "head_dim": SIZE,
        "d_ff": SIZE,
        "vocab_size": SIZE,
        "max_seq_len": SIZE,
        "dialect": Name(get_args(Dialect)),
        "norm": Maybe(Name(get_args(Norm))),
        "position": Maybe(Name(get_args(Position))),
        "mlp": Maybe(Name(get_args(Mlp))),
        "activation": Maybe(Name(get_args(Activation))),
        "qkv_bias": Maybe(FLAG),
        "attn_out_bias": Maybe(FLAG),
        "mlp_bias": Maybe(FLAG),
        "tie_embeddings": FLAG,
        "qk_norm": FLAG,
        "bias": Maybe(FLAG),
        "dropout": Real(0.0, 0.9999),
        "rope_theta": POSITIVE,
        "rope_dim": Maybe(SIZE),
        "norm_eps": POSITIVE,
        "qk_norm_eps": Maybe(POSITIVE),
        "init_std": AT_LEAST_0,
        "dtype": Name(get_args(Dtype)),
    },
    "OptimConfig": {
        "name": Name(get_args(Optimizer)),
        "learning_rate": POSITIVE,
        "warmup_steps": COUNT,
        "total_steps": STEPS,
        "end_fraction": SHARE,
        "b1": SHARE,
        "b2": SHARE,
        "muon_beta": SHARE,
        "eps": AT_LEAST_0,
        "weight_decay": AT_LEAST_0,
        "clip_norm": Real(hint=" (0 turns clipping off)"),
    },
    "TrainConfig": {"model": Part("ModelConfig"), "optim": Part("OptimConfig")},
    "DataConfig": {
        "corpus": Text(blank=False, hint="give builtin, a path, a pattern or hf:NAME"),
        "split": Name(get_args(Split)),
        "stories": COUNT,
        "text_field": Text(),
        "encoding": Text(),
        "validation_fraction": Real(0.0, 1.0, open=True),
        "vocab_size": Whole(257, 65536),
        "seq_len": SIZE,
        "batch_size": SIZE,
        "eval_batches": SIZE,
    },
    "TargetWidths": dict.fromkeys(("d_model", "n_heads", "n_kv_heads", "head_dim", "d_ff", "vocab_size"), COUNT),
    "CrossedLevels": dict.fromkeys(("order", "dropout", "perturb"), COUNT),
    "StudySpec": {
        "preset": Text(),
        "model": Part("ModelConfig"),
        "to": Part("TargetWidths"),
        "optim": Part("OptimConfig"),
        "data": Part("DataConfig"),
        "source_seeds": Several(SEED),
        "source_steps": Several(STEPS),
        "operators": Several(Text()),
        "regimes": Several(Text()),
        **dict.fromkeys(("stochastic_replicates", "deterministic_replicates", "few_replicates", "finalists"), SIZE),
        **dict.fromkeys(("probe_lag", "continuation_lag", "eval_every", "source_eval_every"), STEPS),
        "long_lag": COUNT,
        "study_seed": SEED,
        "shards": SIZE,
        **dict.fromkeys(("pool", "family_regimes", "stream"), Several(Text())),
        "rates": Several(POSITIVE),
        "crossed": Part("CrossedLevels"),
        "match_flops": FLAG,
    },
    # of commands: their numbers
    "TrainArguments": {"workers": WORKERS, "seed": SEED, "steps": Several(STEPS), "eval_every": STEPS, "shards": SIZE},
    "StudyArguments": {"workers": WORKERS},
    "WidenArguments": {"seed": SEED},
    "VerifyArguments": {"workers": WORKERS},
    "ExportArguments": {"max_shard_mb": POSITIVE},
    "AuditArguments": {"step": COUNT},
    "OperatorsArguments": {"steps": STEPS},
}
"""By class and field. Every field of every configuration stands here, and every number that a command takes."""

SECTIONS = {"ModelConfig": "model.", "OptimConfig": "optim.", "DataConfig": "data.", "TargetWidths": "to.",
            "CrossedLevels": "crossed."}  # fmt: skip
"""What stands before a field's name where it is given, as on the command line."""


def normalise(config: Any) -> None:
    """Gives every field of a frozen dataclass its one form, in place, before anyone sees it. Raises `UserError`, which
    names the field, where a value is not of the field's domain."""
    kind = type(config).__name__
    for name, domain in DOMAINS.get(kind, {}).items():
        value = getattr(config, name)
        try:
            object.__setattr__(config, name, domain.take(value))
        except ValueError as error:
            raise UserError(f"{SECTIONS.get(kind, '')}{name} is {shown(value)}", str(error)) from None


def taken(domain: Domain, value: object, name: str) -> Any:
    """One value in its form, for a function's argument of that name; raises `UserError`."""
    try:
        return domain.take(value)
    except ValueError as error:
        raise UserError(f"{name} is {shown(value)}", str(error)) from None


def shown(value: object) -> str:
    """A value in a message, of whatever length it is."""
    try:
        text = str(value)
    except ValueError:  # a number of more digits than Python writes
        return "too long to be reported"
    return text if len(text) <= 80 else f"{text[:80]}..."
