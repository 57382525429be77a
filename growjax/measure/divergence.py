"""Two models on the same held-out tokens: divergence, logit distance, loss."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from growjax.config import ModelConfig
from growjax.model.decoder import Params, forward
from growjax.train.state import token_losses


@partial(jax.jit, static_argnames=("reference_config", "config"))
def _compare(
    reference: Params, params: Params, windows_EBT: jax.Array, *, reference_config: ModelConfig, config: ModelConfig
) -> dict[str, jax.Array]:
    def one(windows: jax.Array) -> dict[str, jax.Array]:
        inputs, targets = windows[:, :-1].astype(jnp.int32), windows[:, 1:].astype(jnp.int32)
        a = forward(reference_config, reference, inputs).astype(jnp.float64)
        b = forward(config, params, inputs).astype(jnp.float64)
        shared = a.shape[-1]  # new tokens take part in b's softmax, and in nothing else
        log_p, log_q = jax.nn.log_softmax(a), jax.nn.log_softmax(b)[..., :shared]
        apart = b[..., :shared] - a
        return {
            "kl": jnp.mean(jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1)),
            "logit_square": jnp.mean(jnp.square(apart)),
            "logit_max": jnp.max(jnp.abs(apart)),
            "loss": jnp.mean(token_losses(b, targets)),
            "reference_loss": jnp.mean(token_losses(a, targets)),
        }

    rows = jax.lax.map(one, windows_EBT)
    largest = jnp.max(rows.pop("logit_max"))
    return {name: jnp.mean(values) for name, values in rows.items()} | {"logit_max": largest}


def divergences(
    reference: tuple[ModelConfig, Params], model: tuple[ModelConfig, Params], windows_EBT: jax.Array
) -> dict[str, float]:
    """How `model` differs from `reference` on windows uint16 or uint32 [E, B, T + 1].

    kl: KL(reference || model), nats per token, >= 0 but for rounding, 0 is the same function. logit_rms: root mean
    square of logit differences. logit_max: the largest. loss: the model's, nats per token. loss_gap: its loss minus
    the reference's, negative is better. A model with more tokens is compared on the reference's. Logits are taken to
    float64 before any of it.
    """
    values = _compare(reference[1], model[1], windows_EBT, reference_config=reference[0], config=model[0])
    host = {name: float(value) for name, value in jax.device_get(values).items()}
    return {
        "kl": host["kl"],
        "logit_rms": host["logit_square"] ** 0.5,
        "logit_max": host["logit_max"],
        "loss": host["loss"],
        "loss_gap": host["loss"] - host["reference_loss"],
    }
