"""Going on in plain torch from a folder that growjax widened by `lockstep`: an example to copy. Needs torch and
safetensors, and nothing of growjax.

    model = AutoModelForCausalLM.from_pretrained(folder)
    optimizer = grown_adamw(model, folder)
    clip_by_weights(optimizer, model, folder, max_norm=1.0)
    arguments = TrainingArguments(..., max_grad_norm=0)
    trainer = Trainer(model, arguments, optimizers=(optimizer, None), ...)
    trainer.train(resume_from_checkpoint=folder)

What the table of groups (`growth_groups.json`) takes care of, and a trainer of one's own must too:

- A parameter's weights are s times copies, its gradients r times copies. Its moments are then r and r^2 times copies
  (growjax has written them so), and Adam's ratio m/(sqrt(v) + eps) is the narrow one only if eps is multiplied by r.
- The rate is multiplied by s. AdamW decays by lr * weight_decay * weight, so weight_decay is divided by s.
- Global clipping goes by the norm over all gradients, of which there are now more: each square counts s/r times. No
  setting of torch's own clipping says so. Turn that off, and clip as below.
- A scheduler multiplies every group's own rate, and so needs no change. The step count goes on.
- Where growth is uneven, factors differ within a tensor: the table says `element_wise`, and the factors are arrays.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch  # pyright: ignore[reportMissingImports]
from safetensors.torch import load_file

Record = dict[str, Any]
KINDS = ("lr", "decay", "eps", "clip", "warm")


def grown_adamw(model: torch.nn.Module, folder: str | Path, **narrow: Any) -> torch.optim.Optimizer:
    """AdamW with the groups of a folder's table, in the table's order, as its optimizer.pt has them. `narrow` are the
    narrow run's `lr`, `eps`, `weight_decay` and `betas`, where the table does not have them: it says so in a note."""
    described = json.loads((Path(folder) / "growth_groups.json").read_text())
    if "note" in described and not narrow:
        raise ValueError(described["note"])
    constants = described["narrow"] | narrow
    named = dict(model.named_parameters())
    if "lm_head.weight" in named:  # transformers 5 calls GPT-NeoX's head by another name than its files do
        named["embed_out.weight"] = named["lm_head.weight"]
    groups = [
        {
            "params": [named[name] for name in row["params"]],
            "lr": constants["lr"] * row["lr_factor"],
            "weight_decay": constants["weight_decay"] * row["decay_factor"] if row["weight_decay"] else 0.0,
            "eps": constants["eps"] * row["eps_factor"],
        }
        for row in described["groups"]
    ]
    betas = tuple(constants["betas"])
    uneven = [name for row in described["groups"] if row["element_wise"] for name in row["params"]]
    if not uneven:
        return torch.optim.AdamW(groups, betas=betas)
    arrays = load_file(Path(folder) / "growth_factors.safetensors")
    if any(key.startswith("ratio.") and value.any() for key, value in arrays.items()):
        raise ValueError("new entries have a schedule of their own (`sparkling`), which is not followed here")
    factors = {named[n]: {k: arrays[f"{k}.{n}"] for k in KINDS if f"{k}.{n}" in arrays} for n in uneven}
    return ElementWiseAdamW(groups, betas, factors)


class ElementWiseAdamW(torch.optim.Optimizer):
    """AdamW with factors of rate, decay and epsilon for each element of some parameters; state as torch's AdamW."""

    def __init__(self, groups: list[Record], betas: tuple[float, ...], factors: dict[object, Record]):
        super().__init__(groups, {"betas": betas})
        self.factors = factors

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = None if closure is None else closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._update(p, p.grad, group, self.state[p], self.factors.get(p, {}))
        return loss

    def _update(self, p: Any, g: Any, group: Record, state: Record, factor: Record) -> None:
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(p), torch.zeros_like(p)
        state["step"] += 1
        (b1, b2), t = group["betas"], state["step"].item()
        lr = group["lr"] * factor.get("lr", 1.0)
        if "warm" in factor:  # new entries' rate rises from 0 over so many steps
            lr = lr * torch.where(factor["warm"] > 0, (t / factor["warm"].clamp(min=1)).clamp(max=1.0), 1.0)
        p.mul_(1 - lr * group["weight_decay"] * factor.get("decay", 1.0))
        state["exp_avg"].lerp_(g, 1 - b1)
        state["exp_avg_sq"].mul_(b2).addcmul_(g, g, value=1 - b2)
        size = (state["exp_avg_sq"] / (1 - b2**t)).sqrt() + group["eps"] * factor.get("eps", 1.0)
        p.sub_(lr * (state["exp_avg"] / (1 - b1**t)) / size)


def clip_by_weights(
    optimizer: torch.optim.Optimizer, model: torch.nn.Module, folder: str | Path, max_norm: float
) -> None:
    """Clips gradients before every step by the narrow model's norm: each square counts by its weight."""
    arrays = load_file(Path(folder) / "growth_factors.safetensors")

    def clip(*_: object) -> None:
        pairs = [(p.grad, _of(arrays, "clip", name)) for name, p in model.named_parameters() if p.grad is not None]
        norm = sum((w * g.square()).sum() for g, w in pairs) ** 0.5
        for g, _ in pairs:
            g.mul_((max_norm / (norm + 1e-6)).clamp(max=1.0))  # as torch.nn.utils.clip_grad_norm_

    optimizer.register_step_pre_hook(clip)


def load_moments(optimizer: torch.optim.Optimizer, model: torch.nn.Module, folder: str | Path) -> None:
    """Moments from `optimizer.safetensors`, where a folder was written without torch and has no optimizer.pt."""
    held = load_file(Path(folder) / "optimizer.safetensors")
    for name, p in model.named_parameters():
        step = held[f"step.{name}"] if f"step.{name}" in held else held["step"]
        optimizer.state[p] = {
            "step": step.to(torch.float32),
            "exp_avg": _of(held, "exp_avg", name).to(p.dtype),
            "exp_avg_sq": _of(held, "exp_avg_sq", name).to(p.dtype),
        }


def _of(arrays: Record, kind: str, name: str) -> Any:
    """A parameter's array; GPT-NeoX's head has another name in files than transformers 5 gives it."""
    own = f"{kind}.{name}"
    return arrays[own if own in arrays else f"{kind}.embed_out.weight"]
