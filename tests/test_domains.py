"""Every field has a domain: what it may be, in one form, on the command line and in Python alike."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import itertools
import math
import typing
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_schema import CLASSES

from growjax.checkpoints.folder import fill
from growjax.cli import VERBS, module_of
from growjax.cli.arguments import parse
from growjax.config import Config, ModelConfig, OptimConfig, TrainConfig
from growjax.domains import DOMAINS
from growjax.errors import UserError
from growjax.grow.plan import default_target
from growjax.streams import Streams, root_key
from growjax.study.presets import presets
from growjax.study.spec import CrossedLevels, StudySpec, TargetWidths
from growjax.train.loop import advance
from growjax.train.state import TrainState, init_state
from growjax.values import MOST, MOST_SEED, Flag, Maybe, Real, Several, Whole, as_float32

COMMANDS: dict[str, Any] = {
    name: found
    for verb in VERBS
    for name, found in vars(importlib.import_module(module_of(verb))).items()
    if name.endswith("Arguments")
}


def test_every_field_has_chosen_a_domain():
    for name, cls in CLASSES.items():
        assert set(DOMAINS[name]) == {f.name for f in dataclasses.fields(cls)}, name


def test_every_number_of_a_command_has_one():
    for name, cls in COMMANDS.items():
        hints = typing.get_type_hints(cls)
        numbers = {f for f, hint in hints.items() if {int, float} & {hint, *typing.get_args(hint)}}
        assert set(DOMAINS.get(name, {})) == numbers, name
    assert set(DOMAINS) == {*CLASSES, *(name for name in COMMANDS if name in DOMAINS)}


def of_kind(domain: Any) -> Any:
    """The domain below None and tuples."""
    return of_kind(domain.of) if isinstance(domain, Maybe | Several) else domain


NUMBERS = [
    (cls, name, domain)
    for kind, cls in CLASSES.items()
    for name, domain in DOMAINS[kind].items()
    if isinstance(of_kind(domain), Whole | Real | Flag)
]
BAD = [math.nan, math.inf, -math.inf, -1, 10**400, 10**5000, -(10**5000), "1", b"1", [1], {}, object(), 1j]
BAD += [np.float32("nan"), np.int64(-1), np.zeros(2), 3e38 * 10]


@pytest.mark.parametrize(("cls", "name", "domain"), NUMBERS, ids=lambda x: getattr(x, "__name__", str(x)))
def test_what_is_no_such_number_is_refused(cls: Any, name: str, domain: Any):
    """In one line that names the field, whatever it is; by a copy with the change too."""
    bad = [*BAD, *([0.5, 1.5, 2**63, np.uint64(2**64 - 1)] if isinstance(of_kind(domain), Whole) else [])]
    least = getattr(of_kind(domain), "least", 0)
    for value in bad:
        if least <= -1 and not isinstance(value, np.ndarray) and value == -1:
            continue
        for one in ((value,),) if isinstance(domain, Several) else (value,):
            with pytest.raises(UserError, match=name) as caught:
                cls().replace(**{name: one})
            assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
    if not isinstance(domain, Maybe):
        with pytest.raises(UserError, match=name):
            cls(**{name: None})


FORMS = [int, float, np.int8, np.int64, np.uint16, np.float32, np.float64, bool, np.bool_, jax.numpy.asarray]


@given(st.sampled_from(NUMBERS), st.integers(0, 100), st.sampled_from(FORMS))
@settings(max_examples=300, deadline=None)
def test_equal_configurations_have_equal_digests(case: Any, number: int, form: Any):
    """However the number is written; and every field is plain Python."""
    cls, name, domain = case
    wrap = (lambda x: (x,)) if isinstance(domain, Several) else (lambda x: x)
    number = int(form(number))
    try:
        plain = cls(**{name: wrap(number)})
    except UserError:
        with pytest.raises(UserError):
            cls(**{name: wrap(form(number))})
        return
    other = cls(**{name: wrap(form(number))})
    assert other == plain and hash(other) == hash(plain)
    assert (
        other.digest() == plain.digest()
        and other.to_dict() == plain.to_dict() == cls.from_dict(plain.to_dict()).to_dict()
    )
    kind = {Whole: int, Real: float, Flag: bool}[type(of_kind(domain))]
    value = getattr(other, name)
    assert type(value[0] if isinstance(value, tuple) else value) is kind


def test_texts_lists_and_zeros_have_one_form(tmp_path):
    assert OptimConfig(weight_decay=-0.0).to_dict() == OptimConfig(weight_decay=0).to_dict() == {"weight_decay": 0.0}
    assert str(OptimConfig(weight_decay=-0.0).weight_decay) == "0.0"
    listed: Any = StudySpec(source_steps=[np.int32(300), 600.0], operators=["scratch"])  # pyright: ignore[reportArgumentType]
    assert listed == StudySpec(source_steps=(300, 600), operators=("scratch",)) and hash(listed)
    assert StudySpec().data.replace(corpus=tmp_path / "a.txt").corpus == str(tmp_path / "a.txt")
    for wrong in ({"operators": "exact_copy"}, {"regimes": 3}, {"model": {}}, {"to": ModelConfig()}, {"preset": 1}):
        with pytest.raises(UserError, match=next(iter(wrong))):
            StudySpec(**wrong)


def test_presets_keep_their_digests():
    found = {name: spec.digest()[:12] for name, spec in presets().items()}
    assert found == {"quick": "eadac79b66c7", "crossed": "f02d78e982e5", "regimes": "0581fcb36220",
                     "smoke": "6b0d8f02b847", "paper": "a28dd4d0e3ef"}  # fmt: skip


@pytest.mark.parametrize("optim", ["adamw", "muon", "lion", "sgd"])
def test_what_must_divide_by_zero_is_refused(optim: Any):
    """Betas of 1 where the optimizer corrects for them, in the precision that they are used in, and no epsilon: the
    row of a token may have no gradient at all, and tied or not, that of a position beyond all windows has none."""
    divides = domains_of_one(optim)
    for name in ("b1", "b2", "muon_beta"):
        for value, model in (
            (1.0, ModelConfig()),
            (1 - 1e-12, ModelConfig()),
            (1 - 1e-12, ModelConfig(dtype="float64")),
        ):
            refused = name in divides and (value == 1 or model.dtype == "float32")
            if refused:
                with pytest.raises(UserError, match=f"optim.{name}"):
                    TrainConfig(model, OptimConfig(name=optim, **{name: value}))
            else:
                TrainConfig(model, OptimConfig(name=optim, **{name: value}))
    models = (ModelConfig(), ModelConfig(tie_embeddings=False), ModelConfig(dialect="layer"))
    for eps, model in itertools.product((0.0, 1e-42), models):
        if divides:
            with pytest.raises(UserError, match=r"optim\.eps"):
                TrainConfig(model, OptimConfig(name=optim, eps=eps))
        else:
            TrainConfig(model, OptimConfig(name=optim, eps=eps))


def domains_of_one(optim: str) -> tuple[str, ...]:
    return {"adamw": ("b1", "b2"), "muon": ("b1", "b2", "muon_beta")}.get(optim, ())


@pytest.mark.parametrize("words", [
    ("train", "--seed", "-1"), ("train", "--seed", str(2**63)), ("train", "--seed", "9" * 5000),
    ("train", "--workers", "-1"),
    ("train", "--steps", "1000000000000000"), ("train", "--optim.clip-norm", "inf"), ("train", "--optim.eps", "nan"),
    ("train", "--optim.learning-rate", "1e39"), ("train", "--model.d-model", "1000000000000"),
    ("widen", "x", "--out", "y", "--seed", "-1"), ("widen", "x", "--out", "y", "--to.d-model", "-8"),
    ("study", "--stream", "dropout=4294967303"), ("study", "--stream", "dropout=" + "9" * 5000),
    ("study", "--stochastic-replicates", "1000000000"),
    ("study", "--crossed.order", "99999", "--crossed.dropout", "99999", "--crossed.perturb", "1"),
    ("study", "--study-seed", "1e3"), ("verify", "x", "--workers", "99999"),
    ("audit", "x", "--step", "-1"), ("operators", "--steps", "0"),
], ids=lambda words: " ".join(words)[:40])  # fmt: skip
def test_commands_refuse_the_same(words: tuple[str, ...]):
    module = importlib.import_module(module_of(words[0]))
    kind = next(found for name, found in vars(module).items() if name.endswith("Arguments"))
    with pytest.raises(UserError) as caught:
        parse(kind, list(words[1:]), verb=words[0])
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_the_largest_that_are_taken():
    assert StudySpec(study_seed=MOST_SEED, stream=(f"dropout={MOST}",)).exchanged() == {"dropout": MOST}
    assert TargetWidths(d_model=MOST).of(ModelConfig()).d_model == MOST
    with pytest.raises(UserError, match="crossed streams have levels"):
        CrossedLevels(order=1)
    assert as_float32(1e39) == math.inf and isinstance(ModelConfig(), Config)


NOTHING: Any = None
"""Where a number is refused before anything else is looked at."""
CALLS = {
    "seed": lambda n: root_key(n),
    "replicate": lambda n: Streams(root_key(0)).replicate(n),
    "replicate of a stream": lambda n: Streams(root_key(0), {"dropout": n}),
    "shard_bytes": lambda n: fill(NOTHING, NOTHING, shard_bytes=n),
    "batch_size": lambda n: advance(state(), 1, feed=NOTHING, run_keys=NOTHING, batch_size=n),
    "segment_steps": lambda n: advance(state(), n, feed=NOTHING, run_keys=NOTHING, batch_size=1),
    "start": lambda n: advance(state(), 1, feed=NOTHING, run_keys=NOTHING, batch_size=1, start=n),
    "factor": lambda n: default_target(ModelConfig(), n),
}


@functools.cache
def state() -> TrainState:
    """A state; what is refused leaves it as it is."""
    return init_state(TrainConfig(), key=Streams(root_key(0)).at("init", 0))


@pytest.mark.parametrize("name", CALLS)
def test_numbers_that_functions_take_have_one_too(name: str):
    for value in (-1, 2**64, math.nan, math.inf, "1", None, 1.01):
        with pytest.raises(UserError, match=name.partition(" ")[0]):
            CALLS[name](value)


def test_streams_hang_from_a_key_and_have_names():
    key = root_key(0)
    for wrong in (0, None, jax.random.key_data(key), jax.random.split(key, 2), jax.random.key(0, impl="rbg")):
        for taker in (Streams, lambda key: init_state(TrainConfig(), key=key)):
            with pytest.raises(UserError, match="is needed"):
                taker(wrong)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match="no stream is named 'droput'"):
        Streams(root_key(0), {"droput": 1})
