"""What a study is, and the presets."""

from __future__ import annotations

import dataclasses
import re

from growjax.config import Config, DataConfig, ModelConfig, OptimConfig, TrainConfig
from growjax.errors import UserError, require
from growjax.record.reader import CELLS
from growjax.study.names import DIGEST_STEP, Given
from growjax.values import MOST

REGIMES: dict[str, tuple[str, ...]] = {
    "deterministic": (),
    "stochastic": ("order", "dropout"),
    "order": ("order",),
    "dropout": ("dropout",),
}
"""A regime is the set of random streams that are live."""

EXCHANGEABLE = ("order", "dropout", "perturb", "structure", "init")
"""The streams whose randomness `--stream` exchanges (of `init`: that of candidates; a source's is its seed)."""

GROWTH_STREAMS = ("perturb", "structure", "init")
"""The streams that widening itself draws from: together they are a candidate's growth randomness."""

CROSSED = "crossed"
"""What cells of crossed streams have in place of a regime: both streams are live, each in a replicate of its own."""

UNWIDENED = "unwidened"
"""The control that goes on as the source it is."""

PAPER_OPERATORS = ("exact_copy", "perturbed", "asymmetric_reset", "structured")
"""The paper's four families of candidates."""


@dataclasses.dataclass(frozen=True)
class TargetWidths(Config):
    """Widths of the target; 0 takes twice the source's (of head_dim, the source's own)."""

    d_model: int = 0
    n_heads: int = 0
    n_kv_heads: int = 0
    head_dim: int = 0
    d_ff: int = 0
    vocab_size: int = 0
    """0 takes the source's own; more adds tokens."""

    def of(self, source: ModelConfig) -> ModelConfig:
        """The target's configuration."""
        doubled = {"d_model": 2, "n_heads": 2, "n_kv_heads": 2, "head_dim": 1, "d_ff": 2, "vocab_size": 1}
        widths = {name: getattr(self, name) or getattr(source, name) * times for name, times in doubled.items()}
        return source.replace(**widths)


@dataclasses.dataclass(frozen=True)
class CrossedLevels(Config):
    """Levels of each stream, every one of which meets all of the others; 0 in all three leaves the design out."""

    order: int = 0
    dropout: int = 0
    perturb: int = 0
    """Of the draws of widening itself; a candidate that draws nothing runs once for all levels."""

    def check(self) -> None:
        levels = (self.order, self.dropout, self.perturb)
        if any(levels) and min(levels) < 1:
            raise UserError(f"crossed streams have levels {levels}", "give at least 1 of each, or 0 of all")

    def __bool__(self) -> bool:
        return self.order > 0


@dataclasses.dataclass(frozen=True)
class StudySpec(Config):
    """The whole experiment, as data. Its digest names it; every cell follows from it."""

    preset: str = "quick"
    """What the options that are not given are taken from: quick, smoke, crossed, regimes or paper."""
    model: ModelConfig = ModelConfig()
    """The source model; its vocabulary and sequence length follow from `data`."""
    to: TargetWidths = TargetWidths()
    optim: OptimConfig = OptimConfig()
    data: DataConfig = DataConfig()
    source_seeds: tuple[int, ...] = (0,)
    """A source is trained from each."""
    source_steps: tuple[int, ...] = (300, 600)
    """Training steps at which a source state is taken. With `source`, steps after its own; 0 takes it as it is."""
    operators: tuple[str, ...] = (*PAPER_OPERATORS, "scratch")
    """Candidates, each NAME or NAME:option=value,..., with any parts behind it (+PART:option=value,...); the
    command operators lists them. The unwidened source always runs beside them."""
    pool: tuple[str, ...] = ()
    """Further candidates, each with `few_replicates`."""
    regimes: tuple[str, ...] = ("deterministic", "stochastic")
    """Which random streams are live as candidates go on: deterministic (none), stochastic (batch order and dropout),
    order, dropout."""
    stochastic_replicates: int = 3
    """Replicates of a regime with a live stream: other draws in each, the same for every candidate."""
    deterministic_replicates: int = 2
    """Replicates of a regime with none: fixed batch orders 0, 1, ..."""
    family_regimes: tuple[str, ...] = ()
    """Further regimes, of the same four, in which the paper's families alone go on, each with `few_replicates`."""
    rates: tuple[float, ...] = ()
    """Multiples of the source's learning rate at which the families go on as well, each with `few_replicates`."""
    few_replicates: int = 3
    """Replicates of what is not worth all of them."""
    probe_lag: int = 16
    """Steps after widening to which every candidate is looked at first."""
    continuation_lag: int = 128
    """Steps after widening to which every candidate goes on."""
    long_lag: int = 0
    """Lag to which the first `finalists` of every ranking in `regimes` go on, in `few_replicates`; 0: none does."""
    finalists: int = 3
    """How many go on to `long_lag`."""
    eval_every: int = 8
    """Steps between evaluations of a continuation."""
    source_eval_every: int = 50
    study_seed: int = 1
    """Root of all randomness of candidates and continuations; sources hang from their own seeds."""
    shards: int = 1
    """Virtual shards of a batch, spread over the devices there are; part of what a cell is, unlike the devices."""
    stream: tuple[str, ...] = ()
    """STREAM=REPLICATE, such as dropout=7: that stream draws as in another replicate, and all else is held."""
    crossed: CrossedLevels = CrossedLevels()
    """Beside the regimes: every candidate under crossed streams of order, dropout and perturb, to say what decides who
    wins."""
    match_flops: bool = True
    """Whether the unwidened source goes on until it has used a wide continuation's FLOPs."""
    source: tuple[str, ...] = ()
    """Sources that were not trained here, in place of seeds: states, run directories or Hugging Face checkpoints of one
    model, which is then `model`. A specification holds DIGEST@STEP of each."""

    def check(self) -> None:
        steps = self.source_steps
        require(bool(steps) and list(steps) == sorted(set(steps)) and (steps[0] > 0 or bool(self.source)),
             f"source_steps are {steps}", "give rising step numbers of at least 1")  # fmt: skip
        require(bool(self.source_seeds) and len(set(self.source_seeds)) == len(self.source_seeds),
             f"source_seeds are {self.source_seeds}", "give at least one seed, each once")  # fmt: skip
        require(all(s % self.source_eval_every == 0 for s in steps),
             f"source_steps {steps} are no multiples of source_eval_every {self.source_eval_every}",
             "choose steps that evaluations fall on")  # fmt: skip
        self.check_lags()
        for regime in self.all_regimes:
            require(regime in REGIMES, f"no regime is named {regime!r}", f"choose among {', '.join(REGIMES)}")
        for name, values in (("operators", self.candidates), ("regimes", self.all_regimes), ("source", self.source)):
            require(len(set(values)) == len(values), f"{name} names {values} twice", "name each once")
        require(bool(self.families) or not (self.family_regimes or self.rates),
             "family_regimes or rates are given, and operators name no family of the paper's",
             f"name one of {', '.join(PAPER_OPERATORS)}")  # fmt: skip
        self.exchanged()
        self.train_config(self.data.vocab_size)
        require(self.data.batch_size % self.shards == 0,
             f"a batch of {self.data.batch_size} has no {self.shards} equal shards",
             "choose a divisor of --data.batch-size")  # fmt: skip
        require(not (self.crossed and self.stream), "crossed streams and exchanged streams are asked for at once",
             "leave out --stream or --crossed")  # fmt: skip
        require(
            UNWIDENED not in self.candidates, f"{UNWIDENED} is no operator", "leave it out: it always runs as a control"
        )
        require(self._cells() <= CELLS, f"a study of {self._cells()} cells",
             f"lower seeds, steps, operators, replicates or crossed levels to {CELLS} cells at most")  # fmt: skip

    def check_lags(self) -> None:
        """Raises `UserError` for lags that do not rise, or that no evaluation falls on."""
        for name in ("probe_lag", "continuation_lag", "long_lag"):
            require(getattr(self, name) % self.eval_every == 0,
                 f"{name} {getattr(self, name)} is no multiple of eval_every {self.eval_every}",
                 "choose lags that evaluations fall on")  # fmt: skip
        require(self.probe_lag < self.continuation_lag,
             f"probe_lag {self.probe_lag} is not under continuation_lag {self.continuation_lag}",
             "probe for a shorter lag")  # fmt: skip
        require(self.long_lag == 0 or self.continuation_lag < self.long_lag,
             f"long_lag {self.long_lag} is not beyond continuation_lag {self.continuation_lag}",
             "give a longer one, or 0")  # fmt: skip

    def _cells(self) -> int:
        """How many cells there are at most."""
        crossed, operators = self.crossed, len(self.candidates)
        runs = sum(3 * sum(self.entrants(regime).values()) for regime in self.all_regimes)
        levels = operators * crossed.perturb * (1 + crossed.order * crossed.dropout)
        return 1 + len(self.source) + self.states() * (1 + operators + runs + levels)

    def states(self) -> int:
        """How many source states there are to widen."""
        trained = sum(step > 0 for step in self.source_steps) * len(self.source_seeds)
        return trained if not self.source else len(self.source) * (trained + (0 in self.source_steps))

    def given(self) -> list[Given]:
        """The sources that were not trained here. Raises `UserError` for one that is no DIGEST@STEP
        (`growjax.study.sources.resolve` makes a path one)."""
        found = [DIGEST_STEP.fullmatch(word) for word in self.source]
        if None in found:
            word = self.source[found.index(None)]
            raise UserError(f"source {word[:80]!r} is no DIGEST@STEP", "take the specification that a study recorded")
        return [Given(one[1], int(one[2])) for one in found if one]

    def exchanged(self) -> dict[str, int]:
        """By stream: the replicate whose randomness it is given."""
        found: dict[str, int] = {}
        for word in self.stream:
            name, _, replicate = word.partition("=")
            number = int(replicate) if re.fullmatch("[0-9]{1,10}", replicate) else MOST + 1
            if name not in EXCHANGEABLE or number > MOST or name in found:
                raise UserError(
                    f"stream {word[:80]!r} exchanges no stream",
                    f"write each of {', '.join(EXCHANGEABLE)} at most once, as in dropout=7 (the most is {MOST})",
                )
            found[name] = number
        return found

    def train_config(self, vocab_size: int) -> TrainConfig:
        """Model and optimizer of the sources, for a vocabulary that the tokenizer filled. With a tokenizer that is
        given, the model's own may be larger (a padded table); that of a source that was not trained here stays."""
        if self.source:
            return TrainConfig(model=self.model, optim=self.optim)
        vocab_size = max(vocab_size, self.model.vocab_size) if self.data.tokenizer else vocab_size
        model = self.model.replace(vocab_size=vocab_size, max_seq_len=max(self.model.max_seq_len, self.data.seq_len))
        return TrainConfig(model=model, optim=self.optim)

    def replicates(self, regime: str) -> int:
        """How many replicates a regime has."""
        if regime in self.family_regimes:
            return self.few_replicates
        return self.stochastic_replicates if REGIMES[regime] else self.deterministic_replicates

    @property
    def longest_lag(self) -> int:
        """How far a candidate goes on at most."""
        return max(self.continuation_lag, self.long_lag)

    @property
    def all_regimes(self) -> tuple[str, ...]:
        """Every regime in which a candidate goes on."""
        return (*self.regimes, *self.family_regimes)

    @property
    def families(self) -> tuple[str, ...]:
        """The paper's families among the candidates."""
        return tuple(name for name in self.operators if name in PAPER_OPERATORS)

    @property
    def at_rates(self) -> dict[str, tuple[str, float]]:
        """By candidate: the family and the multiple of the learning rate, where it is not the source's own."""
        pairs = [(name, rate) for name in self.families for rate in self.rates if rate != 1]
        return {f"{name}+rate:times={rate!r}": (name, rate) for name, rate in pairs}

    @property
    def pool_of_all(self) -> tuple[str, ...]:
        """Candidates that are ranked with each other: those of `operators` and of `pool`."""
        return (*self.operators, *self.pool)

    @property
    def candidates(self) -> tuple[str, ...]:
        """Every widened candidate, those at other learning rates behind the rest."""
        return (*self.pool_of_all, *self.at_rates)

    def ranked(self, regime: str) -> tuple[str, ...]:
        """Candidates that are ranked with each other in a regime."""
        return self.families if regime in self.family_regimes else self.pool_of_all

    def entrants(self, regime: str) -> dict[str, int]:
        """Who goes on in a regime, the unwidened source first, and in how many replicates."""
        few, all_of_them = self.few_replicates, self.replicates(regime)
        if regime in self.family_regimes:
            return dict.fromkeys((UNWIDENED, *self.families), few)
        fewer = dict.fromkeys((*self.pool, *self.at_rates), few)
        most = max([all_of_them, *fewer.values()])
        return {UNWIDENED: most, **dict.fromkeys(self.operators, all_of_them), **fewer}


def trace_sizes(spec: StudySpec, lag: int) -> dict[str, int]:
    """Sizes of the traces of a study whose longest continuation takes `lag` steps: one pair for the whole study, so
    that runs of a shape share their program."""
    strides = [b - a for a, b in zip((0, *spec.source_steps), spec.source_steps, strict=False)]
    evaluations = [n // spec.source_eval_every for n in strides] + [lag // spec.eval_every]
    return {"max_steps": max(*strides, lag), "max_evals": max(evaluations) + 1}
