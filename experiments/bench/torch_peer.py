"""PyTorch as a worker of the bench, eager or by `torch.compile`: the same model, batch, precision and optimizer."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]
from torch.nn import functional  # pyright: ignore[reportMissingImports]

from experiments.bench.setting import B1, B2, CLIP, DECAY, DROPOUT, EPS, Peer, Size, serve, shared, windows

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Block(nn.Module):
    """Attention and MLP behind norms; attention by the library's fused function."""

    def __init__(self, width: int, head: int) -> None:
        super().__init__()
        self.head = head
        self.attn_norm, self.mlp_norm = nn.RMSNorm(width, eps=1e-5), nn.RMSNorm(width, eps=1e-5)
        self.wq, self.wk, self.wv, self.wo = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.w_up, self.w_gate = (nn.Linear(width, 3 * width, bias=False) for _ in range(2))
        self.w_down, self.dropout = nn.Linear(3 * width, width, bias=False), nn.Dropout(DROPOUT)

    def forward(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        y = self.attn_norm(x)
        q, k, v = (f(y).view(batch, length, -1, self.head).transpose(1, 2) for f in (self.wq, self.wk, self.wv))

        def rotate(z: torch.Tensor) -> torch.Tensor:
            half = self.head // 2
            return (z * cos + torch.cat([-z[..., half:], z[..., :half]], -1) * sin).to(z.dtype)

        out = functional.scaled_dot_product_attention(rotate(q), rotate(k), v, is_causal=True)
        x = x + self.dropout(self.wo(out.transpose(1, 2).reshape(batch, length, width)))
        y = self.mlp_norm(x)
        return x + self.dropout(self.w_down(functional.silu(self.w_gate(y)) * self.w_up(y)))


class Decoder(nn.Module):
    """Tokens and targets to the mean loss; the head is the embedding."""

    def __init__(self, size: Size, first: dict[str, np.ndarray]) -> None:
        super().__init__()
        self.embedding = nn.Embedding(size.vocab, size.width)
        self.blocks = nn.ModuleList([Block(size.width, size.head) for _ in range(size.layers)])
        self.final_norm, self.dropout = nn.RMSNorm(size.width, eps=1e-5), nn.Dropout(DROPOUT)
        half = size.head // 2
        angles = torch.arange(size.length)[:, None] * 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
        angles = torch.cat([angles, angles], 1)
        self.register_buffer("cos", angles.cos().float())
        self.register_buffer("sin", angles.sin().float())
        with torch.no_grad():
            self.embedding.weight.copy_(torch.from_numpy(first["embedding"]))
            self.final_norm.weight.copy_(torch.from_numpy(first["final_norm_gain"]))
            for number, block in enumerate(self.blocks):
                for name in ("wq", "wk", "wv", "wo", "w_up", "w_gate", "w_down"):
                    weight: Any = getattr(block, name).weight
                    value = first[f"blocks/{name}"][number].reshape(weight.shape[1], weight.shape[0])
                    weight.copy_(torch.from_numpy(np.ascontiguousarray(value.T)))
                for name in ("attn_norm", "mlp_norm"):
                    getattr(block, name).weight.copy_(torch.from_numpy(first[f"blocks/{name}_gain"][number]))

    def forward(self, tokens: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        x = self.dropout(self.embedding(tokens))
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        logits = self.final_norm(x) @ self.embedding.weight.T
        return functional.cross_entropy(logits.view(-1, logits.shape[-1]).float(), targets.reshape(-1))


class Training:
    """A model with its optimizer, at the shared first parameters."""

    def __init__(self, size: Size, first: dict[str, np.ndarray], compiled: bool) -> None:
        self.size, self.rates = size, first["rates"].tolist()
        self.model = Decoder(size, first).to(DEVICE)
        self.loss: Any = torch.compile(self.model) if compiled else self.model
        decayed = [p for n, p in self.model.named_parameters() if "norm" not in n]
        plain = [p for n, p in self.model.named_parameters() if "norm" in n]
        groups = [{"params": decayed, "weight_decay": DECAY}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(B1, B2), eps=EPS, fused=True)
        self.number = 0

    def step(self, batch: torch.Tensor) -> torch.Tensor:
        for group in self.optimizer.param_groups:
            group["lr"] = self.rates[self.number % len(self.rates)]
        self.number += 1
        with torch.autocast(DEVICE, torch.bfloat16, enabled=self.size.bits == 16):
            value = self.loss(batch[:, :-1], batch[:, 1:])
        self.optimizer.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self.optimizer.step()
        return value.detach()


def peer(size: Size, path: str, compiled: bool, threads: int) -> Peer:
    """Batches are gathered from tokens in the device's memory. On a CPU a loss is read after each step, as a script
    logs it; on a GPU, which would wait for that, after all of them. Float32 products are float32 on both."""
    torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    first, tokens = shared(path), torch.from_numpy(windows(size).astype(np.int64)).to(DEVICE)
    held_out = torch.from_numpy(windows(size, 8 * size.batch, seed=1).astype(np.int64)).to(DEVICE)
    held_out = held_out.view(8, size.batch, -1)
    training = Training(size, first, compiled)

    def steps(count: int) -> None:
        training.model.train()
        for number in range(count):
            value = training.step(tokens[torch.randint(0, len(tokens), (size.batch,), device=DEVICE)])
            if DEVICE == "cpu" or number + 1 == count:
                value.item()

    def losses() -> list[float]:
        fresh = Training(size, first, compiled)
        fresh.model.eval()
        return [fresh.step(tokens[torch.from_numpy(rows.astype(np.int64))]).item() for rows in first["rows"]]

    def continuation(count: int, every: int) -> None:
        def evaluate() -> float:
            training.model.eval()
            with torch.no_grad():
                return sum(training.loss(w[:, :-1], w[:, 1:]).item() for w in held_out) / len(held_out)

        evaluate()
        for _ in range(count // every):
            steps(every)
            evaluate()

    return Peer(steps, losses, {"continuation": continuation})


if __name__ == "__main__":
    given = Size(*(int(x) for x in sys.argv[1].split(",")))
    serve(peer(given, sys.argv[2], sys.argv[3] == "compiled", int(sys.argv[4])))
