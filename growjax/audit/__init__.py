"""Randomness that can be audited: what a cell draws, derived again without JAX, and compared with what was recorded.

`threefry` and `draws` import no jax and nothing of growjax that makes keys: they are the second opinion. What a cell
draws `growjax.study.ledgers` says, what an operator draws stands beside it. `walk` reads traced programs, `interceptor`
watches running ones, and `check` puts them against a run's records.
"""
