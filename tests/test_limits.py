"""What cannot run here is refused before anything is allocated, and what are no samples are not counted as some."""

from __future__ import annotations

import itertools
import tracemalloc
from pathlib import Path

import jax
import numpy as np
import pytest

from growjax import limits
from growjax.config import DataConfig, ModelConfig, OptimConfig, TrainConfig
from growjax.data.batches import window_ids
from growjax.errors import UserError
from growjax.grow.plan import make_plan
from growjax.model.decoder import param_shapes
from growjax.streams import Streams, root_key
from growjax.study.checks import require_room_for_study, require_samples
from growjax.study.presets import presets
from growjax.study.recordable import require_recordable
from growjax.study.runner import check
from growjax.study.spec import CrossedLevels, TargetWidths
from growjax.train.state import init_state
from growjax.values import MOST

SMOKE = presets()["smoke"]
SIZES = ("d_model", "d_ff", "n_layers", "vocab_size", "max_seq_len", "head_dim")


HUGE = [
    SMOKE.replace(to=TargetWidths(d_model=MOST // 8 * 8)),
    SMOKE.replace(to=TargetWidths(vocab_size=10**9)),
    SMOKE.replace(to=TargetWidths(d_ff=MOST)),
    SMOKE.replace(model=SMOKE.model.replace(d_model=10**9)),
    SMOKE.replace(model=SMOKE.model.replace(n_layers=10**9)),
    SMOKE.replace(model=SMOKE.model.replace(max_seq_len=2**24, d_model=4096, dialect="layer")),
    SMOKE.replace(data=SMOKE.data.replace(batch_size=10**9)),
    SMOKE.replace(data=SMOKE.data.replace(stories=2 * 10**9)),
    SMOKE.replace(source_steps=(2 * 10**9,)),
    SMOKE.replace(continuation_lag=2 * 10**9),
]


@pytest.mark.parametrize("number", range(len(HUGE)))
def test_what_cannot_fit_is_refused(number: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "memory", lambda: 64 << 30)
    with pytest.raises(UserError, match=r"takes? at least .* GB of memory"):
        check(HUGE[number])


def test_what_no_reader_would_take_is_refused(monkeypatch: pytest.MonkeyPatch):
    """A record that is larger than one that is read, and a study of too many cells."""
    require_recordable(SMOKE)
    long = SMOKE.replace(source_steps=(10**7,), operators=(), regimes=())
    with pytest.raises(
        UserError, match=r"10000000 steps without .*: give steps in between, \d{6} apart at most"
    ) as said:
        require_recordable(long)
    most = int(said.value.hint.split("between, ")[1].split()[0])
    require_recordable(long.replace(source_steps=(most // 10 * 10,)))
    with pytest.raises(UserError, match=r"a study of 100131 cells: lower .* to 20000 cells at most"):
        SMOKE.replace(crossed=SMOKE.crossed.replace(order=100, dropout=100, perturb=1))
    monkeypatch.setattr("growjax.study.recordable.RECEIPT_BYTES", 10**5)
    with pytest.raises(UserError, match=r"the receipt would take some .* MB, and 0 MB are read: do it in parts"):
        require_recordable(SMOKE)


def test_a_receipt_is_no_larger_than_was_reckoned(smoke_run: Path, monkeypatch: pytest.MonkeyPatch):
    size = (smoke_run / "receipt.json").stat().st_size
    monkeypatch.setattr("growjax.study.recordable.RECEIPT_BYTES", size)
    with pytest.raises(UserError, match="the receipt would take"):
        require_recordable(SMOKE)
    monkeypatch.setattr("growjax.study.recordable.RECEIPT_BYTES", 2 * size)
    require_recordable(SMOKE)


def test_shapes_of_any_model_take_no_memory():
    """A stranger's receipt may name one that fits nowhere."""
    tracemalloc.start()
    try:
        shapes = param_shapes(ModelConfig(head_dim=4 * 10**6))
        assert tracemalloc.get_traced_memory()[1] < 10**7  # a table of its rotary positions alone has 64 MB
    finally:
        tracemalloc.stop()
    assert max(max(leaf.shape) for leaf in jax.tree.leaves(shapes)) == 4 * 10**6


def test_in_python_too():
    big = ModelConfig(d_model=MOST, d_ff=MOST)
    with pytest.raises(UserError, match="d_model 2147483647"):
        init_state(TrainConfig(big, OptimConfig()), key=Streams(root_key(0)).at("init", 0))
    with pytest.raises(UserError, match="d_model 2147483647"):
        make_plan(ModelConfig(), ModelConfig(d_model=MOST, d_ff=MOST))


@pytest.mark.parametrize("name", presets())
def test_the_presets_fit_a_small_machine(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "memory", lambda: 1 << 30)
    require_room_for_study(presets()[name])
    assert 0 < limits.least_bytes(TrainConfig()) < limits.least_bytes(TrainConfig(), tokens=16, steps=9)


def test_the_limit_of_a_group_of_processes_counts(tmp_path, monkeypatch: pytest.MonkeyPatch):
    there = limits.memory()
    (tmp_path / "max").write_text("max\n")
    (tmp_path / "limit").write_text("123456\n")
    monkeypatch.setattr(limits, "CGROUPS", (str(tmp_path / "max"), str(tmp_path / "none")))
    assert limits.memory() >= there > 123456
    monkeypatch.setattr(limits, "CGROUPS", (str(tmp_path / "limit"),))
    assert limits.memory() == 123456


# --- samples ---


def drawn_by(spec, regime: str, n_windows: int) -> list[tuple]:
    """What each replicate of a regime sees: the windows of its first steps, and its dropout's key."""
    from growjax.study.spec import REGIMES

    seen, live = [], REGIMES[regime]
    streams = Streams(root_key(spec.study_seed, "study"))
    for replicate in range(spec.replicates(regime)):
        keys = {n: streams.replicate(spec.exchanged().get(n, replicate)).stream(n) for n in live}
        ids = window_ids(0, 48, n_windows, key=keys.get("order"), order=replicate)
        dropout = jax.random.key_data(keys["dropout"]).tolist() if "dropout" in keys and spec.model.dropout else None
        seen.append((np.asarray(ids).tobytes(), str(dropout)))
    return seen


CASES = [
    (regime, windows, dropout, stream)
    for regime in ("deterministic", "stochastic", "order", "dropout")
    for windows, dropout in itertools.product((1, 2, 3, 4), (0.0, 0.1))
    for stream in ((), ("order=7",), ("dropout=7",), ("order=7", "dropout=7"))
]


@pytest.mark.parametrize("regime", ["deterministic", "stochastic", "order", "dropout"])
def test_replicates_that_repeat_are_refused_and_no_others(regime: str):
    """Against what the replicates really see."""
    for own, windows, dropout, stream in CASES:
        if own != regime:
            continue
        spec = SMOKE.replace(regimes=(regime,), stochastic_replicates=3, deterministic_replicates=3, stream=stream,
                             model=SMOKE.model.replace(dropout=dropout))  # fmt: skip
        seen = drawn_by(spec, regime, windows)
        if len(set(seen)) == len(seen):
            require_samples(spec, windows)
        else:
            with pytest.raises(UserError, match=f"3 replicates of regime {regime} repeat each other bit for bit"):
                require_samples(spec, windows)


def test_crossed_levels_that_repeat_are_refused():
    spec = SMOKE.replace(regimes=(), crossed=CrossedLevels(order=2, dropout=2, perturb=1))
    require_samples(spec, 2)
    with pytest.raises(UserError, match=r"2 crossed levels of order .*--crossed.order 1"):
        require_samples(spec, 1)
    dry = spec.replace(model=spec.model.replace(dropout=0))
    with pytest.raises(UserError, match=r"2 crossed levels of dropout .*model\.dropout is 0"):
        require_samples(dry, 2)
    require_samples(dry.replace(crossed=CrossedLevels(order=2, dropout=1, perturb=1)), 2)


def test_a_rate_that_drops_nothing_is_none():
    """Masks have 16 bits for each entry."""
    spec = SMOKE.replace(crossed=CrossedLevels(order=2, dropout=3, perturb=1))
    require_samples(spec.replace(model=spec.model.replace(dropout=2**-16)), 64)
    with pytest.raises(UserError, match=r"3 crossed levels of dropout repeat .* \(model\.dropout is 1e-06\)"):
        require_samples(spec.replace(model=spec.model.replace(dropout=1e-6)), 64)


def test_a_single_replicate_is_always_one():
    one = SMOKE.replace(stochastic_replicates=1, deterministic_replicates=1, model=SMOKE.model.replace(dropout=0))
    require_samples(one, 1)


def test_stories_of_the_built_in_corpus_are_larger_than_the_least():
    from growjax.data import grammar

    assert min(len(story) for story in grammar.stories(300)) > limits.STORY_BYTES
    limits.require_room_for_stories(DataConfig(corpus="x.txt", stories=2 * 10**9))
