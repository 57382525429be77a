"""A run of Hugging Face's Trainer that goes on from a folder that growjax widened, and the run that it should be.

    python -m experiments.trainer run [--json FILE]
    python -m experiments.trainer order --out tests/torch_order.json

Needs torch, transformers and accelerate beside growjax. `run`: a tiny Llama is trained for 40 steps, once without
clipping and once with (active in most steps); at step 20 its checkpoint is widened with everything in it
(weights, `optimizer.pt`, `scheduler.pt`, `trainer_state.json`), and the wide folder goes on by
`Trainer(...).train(resume_from_checkpoint=...)` for steps 21 to 40, in float32. Claims:

- `lockstep`, with the parameter groups and weighted clipping of `experiments/torch_growth.py`, has the narrow run's
  loss in every step, to 1e-4 nats: doubled, and by uneven growth with factors for each element;
- moments from `optimizer.safetensors`, by the example's `load_moments`, are those of optimizer.pt;
- `exact_copy`, under Trainer's own optimizer, starts at the narrow loss (and then goes its own way);
- the optimizer and the scheduler that the wide run loaded stand at step 20.

Exits with 1 where one fails. A minute. `order` writes down how Trainer groups and orders the parameters of each family.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from growjax.schema import Record

STEPS, HALF, BATCH, LENGTH, VOCAB = 40, 20, 8, 32, 64
CLOSE = 1e-4
"""Nats, between two runs' losses of a step."""

WIDTHS: dict[str, dict[str, int]] = {
    "doubled": {},
    "uneven": {"d_model": 40, "d_ff": 100},
}


def _library(name: str) -> Any:
    return importlib.import_module(name)


def _data() -> list[Record]:
    """Sequences in which a token mostly follows from the one before it."""
    np, torch = _library("numpy"), _library("torch")
    rng = np.random.default_rng(0)
    follows, found = rng.permutation(VOCAB), []
    for _ in range(STEPS * BATCH):
        ids = [int(rng.integers(VOCAB))]
        while len(ids) < LENGTH:
            ids.append(int(follows[ids[-1]] if rng.random() < 0.7 else rng.integers(VOCAB)))
        row = torch.tensor(ids)
        found.append({"input_ids": row, "labels": row})
    return found


def _trainer(model: Any, out: Path, clip: float, optimizer: Any = None) -> Any:
    transformers = _library("transformers")

    class Recorded(transformers.Trainer):
        losses: list[float]

        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            loss = super().compute_loss(*args, **kwargs)
            self.losses.append(loss.item())
            return loss

    arguments = transformers.TrainingArguments(
        output_dir=str(out),
        max_steps=STEPS,
        per_device_train_batch_size=BATCH,
        learning_rate=3e-3,
        warmup_steps=5,
        lr_scheduler_type="linear",
        weight_decay=0.1,
        adam_beta2=0.95,
        adam_epsilon=1e-5,
        max_grad_norm=clip,
        save_steps=HALF,
        logging_steps=1,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        seed=0,
    )
    made = Recorded(model=model, args=arguments, train_dataset=_data(), optimizers=(optimizer, None))
    made.losses = []
    return made


def _narrow(out: Path, clip: float, tied: bool) -> list[float]:
    """The run that all others should be: its losses; its checkpoint at half-way lies in `out`."""
    torch, transformers = _library("torch"), _library("transformers")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=80,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=LENGTH,
        tie_word_embeddings=tied,
        bos_token_id=1,
        eos_token_id=2,
    )
    run = _trainer(transformers.LlamaForCausalLM(config), out, clip)
    run.train()
    return run.losses


def _widened(source: Path, out: Path, operator: str, widths: dict[str, int], form: str = "torch") -> None:
    growjax, plans = _library("growjax"), _library("growjax.grow.plan")
    state, extras = growjax.load_checkpoint(source)
    model = state.config.model
    plan = growjax.make_plan(model, model.replace(**widths) if widths else plans.default_target(model))
    wide = growjax.widen(state, plan, operator=operator, key=growjax.root_key(1, "study"))
    growjax.save_checkpoint(out, wide, extras, moments=form)


def _same_forms(source: Path, wide: Path, out: Path) -> bool:
    """Whether moments written as safetensors are those of the folder that the same operator made with optimizer.pt."""
    growth, torch, transformers = (_library(n) for n in ("experiments.torch_growth", "torch", "transformers"))
    _widened(source, out, "exact_copy", {}, "safetensors")
    model = transformers.AutoModelForCausalLM.from_pretrained(out, dtype="float32")
    optimizer = torch.optim.AdamW(model.parameters())
    growth.load_moments(optimizer, model, out)
    saved = torch.load(wide / "optimizer.pt", weights_only=True)
    numbers = {n: i for g in saved["param_groups"] for n, i in zip(g["param_names"], g["params"], strict=True)}
    return all(
        torch.equal(value, saved["state"][numbers[name]][kind])
        for name, p in model.named_parameters()
        for kind, value in optimizer.state[p].items()
    )


def _goes_on(folder: Path, out: Path, clip: float, *, groups: bool) -> tuple[list[float], Any]:
    """Losses of the second half from a wide folder, and the trainer."""
    transformers, growth = _library("transformers"), _library("experiments.torch_growth")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    optimizer = growth.grown_adamw(model, folder) if groups else None
    if groups and clip:
        growth.clip_by_weights(optimizer, model, folder, clip)
    run = _trainer(model, out, 0.0 if groups else clip, optimizer)
    run.train(resume_from_checkpoint=str(folder))
    return run.losses, run


def _compared(clip: float, tied: bool, place: Path) -> Record:
    narrow = _narrow(place / "narrow", clip, tied)
    source, after = place / "narrow" / f"checkpoint-{HALF}", narrow[HALF:]
    norms = [row["grad_norm"] for row in json.loads((source / "trainer_state.json").read_text())["log_history"]]
    found: Record = {
        "narrow": {"first": after[0], "last": after[-1]},
        "steps_clipped": sum(norm > clip for norm in norms) if clip else 0,
    }
    cases = [("lockstep", name) for name in WIDTHS] + [("exact_copy", "doubled")]
    for operator, name in cases:
        folder = place / f"{operator}-{name}"
        _widened(source, folder, operator, WIDTHS[name])
        losses, run = _goes_on(folder, place / "out", clip, groups=operator == "lockstep")
        gaps = [abs(a - b) for a, b in zip(losses, after, strict=True)]
        steps = {int(kept["step"]) for kept in run.optimizer.state_dict()["state"].values()}
        found[f"{operator} {name}"] = {
            "parameters": sum(p.numel() for p in run.model.parameters()),
            "groups": len(run.optimizer.param_groups),
            "first_gap": gaps[0],
            "largest_gap": max(gaps),
            "steps_at_the_end": sorted(steps),
            "scheduler_at_the_end": run.lr_scheduler.state_dict()["last_epoch"],
        }
    found["same_forms"] = _same_forms(source, place / "exact_copy-doubled", place / "safe")
    return found


def run() -> Record:
    """All runs, and whether the claims hold."""
    torch = _library("torch")
    torch.set_num_threads(1)
    found: Record = {}
    for clip in (0.0, 0.5):
        for tied in (True, False):
            with tempfile.TemporaryDirectory() as place:
                name = f"{'clipped' if clip else 'unclipped'}, {'tied' if tied else 'untied'}"
                found[name] = _compared(clip, tied, Path(place))
    rows = [(name, row) for runs in found.values() for name, row in runs.items() if isinstance(row, dict)]
    claims = {
        "lockstep is the narrow run": all(r["largest_gap"] < CLOSE for n, r in rows if n.startswith("lockstep")),
        "exact_copy starts at the narrow loss": all(r["first_gap"] < CLOSE for n, r in rows if n.startswith("exact")),
        "optimizer and schedule go on": all(
            r["steps_at_the_end"] == [STEPS] and r["scheduler_at_the_end"] == STEPS for n, r in rows if "groups" in r
        ),
        "safetensors hold the moments of optimizer.pt": all(runs["same_forms"] for runs in found.values()),
        "clipping was active": all(runs["steps_clipped"] > HALF / 2 for n, runs in found.items() if n[:2] == "cl"),
    }
    versions = {name: _library(name).__version__ for name in ("torch", "transformers", "accelerate", "jax")}
    return {"versions": versions, "claims": claims, "runs": found}


def order() -> dict[str, list[list[str]]]:
    """By folder of `tests/data`: names of what Trainer decays, and of what it does not, in the model's order."""
    transformers = _library("transformers")
    found = {}
    for folder in sorted(Path("tests/data").iterdir()):
        model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.from_pretrained(folder))
        names = [name for name, _ in model.named_parameters()]
        decayed = set(transformers.Trainer.get_decay_parameter_names(None, model))
        found[folder.name] = [[n for n in names if (n in decayed) is d] for d in (True, False)]
    return found


def main() -> int:
    """Runs one of the modes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=("run", "order"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    _library("growjax.runtime").pin()  # before a library imports jax
    if given.mode == "order":
        given.out.write_text(json.dumps(order(), indent=0) + "\n")
        return 0
    found = run()
    text = json.dumps(found, indent=1)
    print(text)
    if given.json:
        given.json.write_text(text + "\n")
    return int(not all(found["claims"].values()))


if __name__ == "__main__":
    sys.exit(main())
