"""What a measure is given: one frozen object whose costly parts are computed when first asked for, and then kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import jax
import jax.numpy as jnp

from growjax.config import ModelConfig
from growjax.grow.plan import WidthPlan
from growjax.measure.divergence import divergences
from growjax.model.decoder import Params


class Curve(NamedTuple):
    """A validation-loss curve from step 0 on."""

    steps: tuple[int, ...] = ()
    """Rising step numbers, counted from the candidate's start."""
    losses: tuple[float, ...] = ()
    """Nats per token, one for each step."""


NO_CURVE = Curve()


@dataclasses.dataclass(frozen=True, eq=False)
class MeasureInputs:
    """A candidate where a measure is taken: at its zero step, after a probe, or after a continuation.

    The arrays are those of the run itself: read them, and change none of them in place (no donation).
    """

    source_config: ModelConfig
    config: ModelConfig
    """Of the candidate; the source's own where the source goes on unwidened."""
    plan: WidthPlan
    """The one that the operator followed: its own copies."""
    params: Params
    """The candidate's parameters now."""
    params_before: Params
    """The same before its first step."""
    windows: jax.Array
    """Held-out tokens for evaluation, uint16 or uint32 [E, B, T + 1]: E batches; targets are one ahead."""
    related: bool
    """Whether the candidate was made from the source (`scratch` was not, nor is the unwidened source widened)."""
    load_source: Callable[[], Params]
    load_continued: Callable[[], Params | None]
    curve: Curve = NO_CURVE
    """Validation loss up to now; of a continuation up to the lag that all candidates share. Empty at the zero step."""

    @cached_property
    def source(self) -> Params:
        """The source's parameters where the candidate was made of them."""
        return self.load_source()

    @cached_property
    def continued(self) -> Params | None:
        """The source's parameters after it went on, unwidened, for as long as the probe, with the same keys; at the
        zero step the source's own. None after a continuation, whose end the source's states are not kept for."""
        return self.load_continued()

    @cached_property
    def against_source(self) -> dict[str, float]:
        """`growjax.measure.divergence` of the candidate with the source at the start: kl, logit_rms, logit_max, loss,
        loss_gap."""
        return divergences((self.source_config, self.source), (self.config, self.params), self.windows)

    @cached_property
    def against_continued(self) -> dict[str, float] | None:
        """The same with the source continued for as long; None where `continued` is."""
        if self.continued is None:
            return None
        return divergences((self.source_config, self.continued), (self.config, self.params), self.windows)

    @cached_property
    def change(self) -> Params:
        """`params` minus `params_before`."""
        return jax.tree.map(jnp.subtract, self.params, self.params_before)
