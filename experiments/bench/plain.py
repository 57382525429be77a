"""Plain Flax as a worker of the bench: Linen modules, Optax, one jitted step per batch, nothing done for speed.

The style is that of small teaching code bases: einsum attention over the whole square, softmax cross-entropy over
all logits at once, batches from the host.
"""

from __future__ import annotations

import sys
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.bench.setting import B1, B2, CLIP, DECAY, DROPOUT, EPS, Peer, Size, serve, shared, windows
from growjax.model.decoder import Params
from growjax.schema import Record


class Block(nn.Module):
    """Attention and MLP behind norms."""

    width: int

    @nn.compact
    def __call__(self, x: jax.Array, cos: jax.Array, sin: jax.Array, train: bool) -> jax.Array:
        heads = self.width // 32
        dense: Any = lambda size, name: nn.Dense(size, use_bias=False, name=name)  # noqa: E731
        y = nn.RMSNorm(epsilon=1e-5, name="attn_norm")(x)
        q, k, v = (dense(self.width, n)(y).reshape(*y.shape[:2], heads, 32) for n in ("wq", "wk", "wv"))

        def rotate(z: jax.Array) -> jax.Array:
            return z * cos + jnp.concatenate([-z[..., 16:], z[..., :16]], -1) * sin

        scores = jnp.einsum("bthk,bshk->bhts", rotate(q), rotate(k)) / 32**0.5
        seen = jnp.tril(jnp.ones(scores.shape[-2:], bool))
        shares = jax.nn.softmax(jnp.where(seen, scores, -jnp.inf), axis=-1)
        out = jnp.einsum("bhts,bshk->bthk", shares, v).reshape(x.shape)
        x = x + nn.Dropout(DROPOUT, deterministic=not train)(dense(self.width, "wo")(out))
        y = nn.RMSNorm(epsilon=1e-5, name="mlp_norm")(x)
        hidden = nn.silu(dense(3 * self.width, "w_gate")(y)) * dense(3 * self.width, "w_up")(y)
        return x + nn.Dropout(DROPOUT, deterministic=not train)(dense(self.width, "w_down")(hidden))


class Decoder(nn.Module):
    """Tokens to logits."""

    size: Size

    @nn.compact
    def __call__(self, tokens: jax.Array, train: bool) -> jax.Array:
        size = self.size
        embed = nn.Embed(size.vocab, size.width, name="embedding")
        angles = jnp.arange(size.length)[:, None] * 10000.0 ** (-jnp.arange(16) / 16)
        angles = jnp.concatenate([angles, angles], -1)[:, None]
        cos, sin = jnp.cos(angles).astype(jnp.float32), jnp.sin(angles).astype(jnp.float32)
        x = nn.Dropout(DROPOUT, deterministic=not train)(embed(tokens))
        for layer in range(size.layers):
            x = Block(size.width, name=f"block{layer}")(x, cos, sin, train)
        return embed.attend(nn.RMSNorm(epsilon=1e-5, name="final_norm")(x))


def parameters(first: dict[str, np.ndarray], size: Size) -> Params:
    """The shared first parameters under this module's names."""
    tree: Record = {
        "embedding": {"embedding": first["embedding"]},
        "final_norm": {"scale": first["final_norm_gain"]},
    }
    for layer in range(size.layers):
        one = {name: first[f"blocks/{name}"][layer] for name in ("wq", "wk", "wv", "wo", "w_up", "w_gate", "w_down")}
        block: Record = {}
        for name, value in one.items():
            outputs = 3 * size.width if name in ("w_up", "w_gate") else size.width
            block[name] = {"kernel": value.reshape(-1, outputs)}
        for name in ("attn_norm", "mlp_norm"):
            block[name] = {"scale": first[f"blocks/{name}_gain"][layer]}
        tree[f"block{layer}"] = block
    return jax.tree.map(jnp.asarray, tree)


def peer(size: Size, path: str) -> Peer:
    """A jitted step that the host calls with each batch."""
    first, tokens, model = shared(path), windows(size).astype(np.int32), Decoder(size)
    rates = jnp.asarray(first["rates"], jnp.float32)
    mask: Any = lambda params: jax.tree_util.tree_map_with_path(lambda p, _: p[-1].key != "scale", params)  # noqa: E731
    optimizer = optax.chain(
        optax.clip_by_global_norm(CLIP),
        optax.adamw(lambda i: rates[i], b1=B1, b2=B2, eps=EPS, weight_decay=DECAY, mask=mask),
    )

    def loss(params: Params, batch: jax.Array, key: jax.Array | None) -> jax.Array:
        keys = None if key is None else {"dropout": key}
        logits = model.apply({"params": params}, batch[:, :-1], key is not None, rngs=keys)
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch[:, 1:]).mean()  # pyright: ignore[reportArgumentType]

    @jax.jit
    def step(params: Params, moments: optax.OptState, batch: jax.Array, key: jax.Array | None) -> tuple:
        value, grads = jax.value_and_grad(loss)(params, batch, key)
        changes, moments = optimizer.update(grads, moments, params)
        return optax.apply_updates(params, changes), moments, value

    start = parameters(first, size)
    rng = np.random.default_rng(0)

    def steps(count: int) -> None:
        params, moments, key = start, optimizer.init(start), jax.random.key(0)
        for _ in range(count):
            key, own = jax.random.split(key)
            params, moments, value = step(params, moments, tokens[rng.integers(0, len(tokens), size.batch)], own)
            float(value)  # a script logs its loss

    def losses() -> list[float]:
        params, moments, found = start, optimizer.init(start), []
        for rows in first["rows"]:
            params, moments, value = step(params, moments, tokens[rows], None)
            found.append(float(value))
        return found

    @jax.jit
    def evaluate(params: Params, batch: jax.Array) -> jax.Array:
        return loss(params, batch, None)

    held_out = windows(size, 8 * size.batch, seed=1).astype(np.int32).reshape(8, size.batch, -1)

    def continuation(count: int, every: int, dropout: bool = True) -> None:
        params, moments, key = start, optimizer.init(start), jax.random.key(0)
        for number in range(count + 1):
            if number % every == 0:
                float(np.mean([float(evaluate(params, batch)) for batch in held_out]))
            key, own = jax.random.split(key)
            rows = rng.integers(0, len(tokens), size.batch)
            if number < count:
                params, moments, _ = step(params, moments, tokens[rows], own if dropout else None)

    def pool(candidates: int, count: int, every: int) -> None:
        for _ in range(candidates):
            for dropout in (False, True):
                peer(size, path).more["continuation"](count, every, dropout)  # a new jitted step: compiled again

    return Peer(steps, losses, {"continuation": continuation, "pool": pool})


if __name__ == "__main__":
    serve(peer(Size(*(int(x) for x in sys.argv[1].split(","))), sys.argv[2]))
