"""What every cell of a study is computed from: tokens on the device, configurations, plan, and compiled programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np

from growjax.config import ModelConfig, TrainConfig
from growjax.data.batches import as_windows
from growjax.data.corpus import read_stories, source_digests
from growjax.data.kept import kept_or_made
from growjax.data.tokenizer import file_digest, read_file, vocabulary
from growjax.data.tokens import TokenFile, n_windows, require_windows, write_tokens
from growjax.errors import UserError
from growjax.grow.plan import WidthPlan, make_plan, reached
from growjax.model.decoder import flops_per_token
from growjax.record.cells import Recipe
from growjax.record.integrity import recorded_tokens
from growjax.record.rundir import RunDir
from growjax.streams import Streams, root_key
from growjax.study.account import Account, account
from growjax.study.checks import require_samples, require_vocabulary
from growjax.study.recipes import StudyCells, study_cells
from growjax.study.selection import Selection
from growjax.study.spec import StudySpec, trace_sizes
from growjax.train.loop import Feed, Run, RunKeys, run, run_keys
from growjax.train.programs import Programs
from growjax.train.shards import run_sharded
from growjax.train.state import TrainState

Sharded = Callable[..., Run]
"""`growjax.train.shards.run_sharded`, or what gives the same with its arguments."""


@dataclasses.dataclass(frozen=True, eq=False)
class Context:
    """A study at work; every worker has one of its own, and only its caches change."""

    spec: StudySpec
    run: RunDir
    tokens: TokenFile
    config: TrainConfig
    plan: WidthPlan
    feed: Feed
    cells: StudyCells
    programs: Programs
    states: StateCache
    sharded: Sharded = run_sharded
    """How virtual shards are run, to the same bits."""

    @property
    def target(self) -> TrainConfig:
        return self.config.replace(model=self.plan.target)

    @property
    def sizes(self) -> dict[str, int]:
        """Sizes of the traces (`trace_sizes`)."""
        return trace_sizes(self.spec, longest_run(self.spec, self.plan.source, self.plan.target))

    def account(self, recipe: Recipe) -> Account:
        """How a cell of this study that trains is run."""
        return account(recipe, self.cells.known)

    def keys(self, run: Account) -> RunKeys:
        """The keys of an account's live streams, and its fixed order."""
        if run.replicate is None:
            return run_keys(Streams(root_key(run.seed, run.purpose)), run.streams)
        return self.keys_of(run.streams, run.replicate, run.exchanged)

    def keys_of(self, live: Iterable[str], replicate: int, exchanged: Mapping[str, int]) -> RunKeys:
        """Keys of the live streams in a replicate, those of exchanged ones in theirs."""
        streams = Streams(root_key(self.spec.study_seed, "study"))
        keys = {name: streams.replicate(exchanged.get(name, replicate)).stream(name) for name in live}
        return RunKeys(keys.get("order"), keys.get("dropout"), jnp.asarray(replicate, jnp.int32))

    def train(self, state: TrainState, live: RunKeys, *, start: int, steps: int, every: int) -> Run:
        """So many steps from step `start` of the keys, evaluated at the start and every so often. Uses `state` up."""
        grid: Any = {"segments": steps // every, "segment_steps": every, "start": start}
        batch_size, shards = self.spec.data.batch_size, self.spec.shards
        if shards > 1:
            return self.sharded(
                state, self.feed, live, batch_size=batch_size, shards=shards, programs=self.programs, **grid
            )
        return run(state, self.feed, live, batch_size=batch_size, programs=self.programs, **grid, **self.sizes)


Kept = TypeVar("Kept")


class StateCache:
    """States and parameters that several cells need; the latest few are kept."""

    def __init__(self, keep: int = 24) -> None:
        self._keep = keep
        self._made: dict[Hashable, Any] = {}

    def get(self, key: Hashable, make: Callable[[], Kept]) -> Kept:
        """The value of `key`, made by `make()` if it is not at hand."""
        if key not in self._made:
            if len(self._made) >= self._keep:
                self._made.pop(next(iter(self._made)))
            self._made[key] = make()
        return self._made[key]


def prepare_tokens(
    directory: Path,
    spec: StudySpec,
    corpus: str | None = None,
    *,
    keep: Path | None = None,
    tokenizer: Path | None = None,
) -> TokenFile:
    """The tokens of a run: those it has already, checked, or read, split, trained and packed now.

    `corpus` is read in place of the one that the specification names. `keep` is a folder of tokens kept between runs.
    `tokenizer` is the file of the tokenizer that the specification names by its digest.
    """
    given = spec.data if corpus is None else spec.data.replace(corpus=corpus)
    if not (directory / "tokens.json").exists():
        vocabulary_file = _tokenizer_json(spec, tokenizer)

        def make() -> TokenFile:
            return write_tokens(directory, read_stories(given), spec.data, vocabulary_file)

        if keep is None or given.corpus.startswith("hf:"):
            return make()
        return kept_or_made(directory, keep, spec.data, source_digests(given), make)
    tokens = recorded_tokens(directory)
    # A hub data set may be out of reach now; its tokens are checked by their own digests all the same.
    if not given.corpus.startswith("hf:") and tokens.info["source"] != source_digests(given):
        raise UserError(
            f"the corpus {given.corpus} is no longer what {directory.parent} was begun with",
            "restore it, choose another --out, or start anew with --force",
        )
    return tokens


def _tokenizer_json(spec: StudySpec, tokenizer: Path | None) -> bytes | None:
    """The bytes of the tokenizer that a specification names by its digest; None where it names none."""
    name = spec.data.tokenizer
    if not name:
        return None
    data = None if tokenizer is None else read_file(tokenizer)
    if data is None or file_digest(data) != name:
        raise UserError(f"the tokenizer of digest {name[:12]} is not at hand", "name its file with --tokenizer")
    return data


def make_feed(spec: StudySpec, tokens: TokenFile) -> Feed:
    """Windows on the device: every training window, and evenly spread held-out ones for evaluation."""
    data = spec.data
    held_out = as_windows(tokens.validation, data.seq_len)
    wanted = data.eval_batches * data.batch_size
    spread = np.arange(wanted) * len(held_out) // wanted
    evaluation = held_out[spread].reshape(data.eval_batches, data.batch_size, -1)
    return Feed(jnp.asarray(as_windows(tokens.train, data.seq_len)), jnp.asarray(evaluation))


def make_context(spec: StudySpec, run: RunDir, tokens: TokenFile, sharded: Sharded = run_sharded) -> Context:
    """Everything a study's cells are computed from."""
    require_windows(len(tokens.train), len(tokens.validation), spec.data)
    require_samples(spec, n_windows(len(tokens.train), spec.data.seq_len))
    vocab_size = vocabulary(tokens.tokenizer())
    config = spec.train_config(vocab_size)
    require_vocabulary(vocab_size, config.model)
    plan = make_plan(config.model, spec.to.of(config.model))
    cells = study_cells(spec, unwidened_lag(spec, plan.source, plan.target))
    feed = make_feed(spec, tokens)
    return Context(spec, run, tokens, config, plan, feed, cells, Programs(), StateCache(), sharded)


def models_of(spec: StudySpec, vocab_size: int) -> tuple[ModelConfig, ModelConfig]:
    """(source, target) where the tokenizer fills so many ids. Makes no map of any axis."""
    source = spec.train_config(vocab_size).model
    return source, reached(source, spec.to.of(source))


def longest_run(spec: StudySpec, source: ModelConfig, target: ModelConfig) -> int:
    """Steps of the longest run after widening: what programs are sized for."""
    lags = [spec.long_lag, spec.horizon if isinstance(spec, Selection) else 0]
    if any(spec.entrants(regime) for regime in spec.all_regimes):
        lags.append(unwidened_lag(spec, source, target))
    return max([*lags, spec.continuation_lag] if spec.crossed else lags)


def unwidened_lag(spec: StudySpec, source: ModelConfig, target: ModelConfig) -> int:
    """How far the unwidened control goes on: as many steps as the others, or as many FLOPs."""
    if not spec.match_flops:
        return spec.continuation_lag
    ratio = flops_per_token(target, spec.data.seq_len) / flops_per_token(source, spec.data.seq_len)
    return max(spec.continuation_lag, round(spec.continuation_lag * ratio / spec.eval_every) * spec.eval_every)
