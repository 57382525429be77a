"""The studies that have a name."""

from __future__ import annotations

from growjax.config import DataConfig, ModelConfig, OptimConfig
from growjax.study.spec import PAPER_OPERATORS, CrossedLevels, StudySpec

PUBLISHED = ("net2net", "aki", "hypercloning", "hypercloning_noisy", "lemon", "zero_pad", "shrink_perturb", "mupscale",
             "staged", "ligo", "sparkling")  # fmt: skip
"""The eleven published ways to widen that the paper's families are compared with."""


def presets() -> dict[str, StudySpec]:
    """The studies that have a name."""
    quick = StudySpec(
        preset="quick",
        model=ModelConfig(d_model=48, n_layers=2, n_heads=3, n_kv_heads=3, head_dim=16, d_ff=144),
        optim=OptimConfig(learning_rate=4e-3, warmup_steps=50, total_steps=1000),
        data=DataConfig(stories=8000, batch_size=12),
        source_steps=(300, 600),
    )
    # What decides who wins: one source, every warm start under 4 x 4 x 3 levels of a stream.
    crossed = quick.replace(
        preset="crossed",
        source_steps=(600,),
        operators=PAPER_OPERATORS,
        crossed=CrossedLevels(order=4, dropout=4, perturb=3),
    )
    # The stochastic regime split: order alone, dropout alone, both, neither.
    regimes = quick.replace(
        preset="regimes", source_steps=(600,), regimes=("deterministic", "order", "dropout", "stochastic")
    )
    smoke = StudySpec(
        preset="smoke",
        model=ModelConfig(d_model=16, n_heads=2, n_kv_heads=2, head_dim=8, d_ff=32, n_layers=1),
        optim=OptimConfig(learning_rate=4e-3, warmup_steps=5, total_steps=100),
        data=DataConfig(stories=400, vocab_size=300, seq_len=16, batch_size=4, eval_batches=2),
        source_steps=(10, 20),
        source_eval_every=10,
        probe_lag=4,
        continuation_lag=12,
        eval_every=4,
        stochastic_replicates=2,
        deterministic_replicates=1,
    )
    # The paper's question: its families in both regimes, beside the published ways and scratch, at three lags.
    paper = StudySpec(
        preset="paper",
        model=ModelConfig(d_model=64, n_layers=4, n_heads=4, n_kv_heads=4, head_dim=16, d_ff=128),
        optim=OptimConfig(learning_rate=3e-3, warmup_steps=100, total_steps=4000),
        data=DataConfig(corpus="hf:roneneldan/TinyStories", stories=50000, vocab_size=2048, seq_len=64, batch_size=16),
        source_seeds=(0, 1),
        source_steps=(1000, 2000),
        operators=(*PAPER_OPERATORS, "lockstep"),
        pool=(*PUBLISHED, "scratch"),
        stochastic_replicates=8,
        deterministic_replicates=8,
        family_regimes=("order", "dropout"),
        rates=(0.5, 1.0, 2.0),
        long_lag=512,
    )
    return {spec.preset: spec for spec in (quick, crossed, regimes, smoke, paper)}
