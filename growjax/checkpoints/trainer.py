"""What a training run leaves beside its weights, in and out: moments, scheduler, step.

A folder of Hugging Face's `Trainer` holds `optimizer.pt`, `scheduler.pt` and `trainer_state.json`; growjax reads those
and writes them, or `optimizer.safetensors` in place of the first where there is no torch. Random states
(`rng_state.pth`) and arguments (`training_args.bin`) are never opened, and not handed on.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import jax.numpy as jnp
import numpy as np

from growjax.checkpoints.adam import Options, read_adam, whole, write_adam
from growjax.checkpoints.family import Family
from growjax.checkpoints.groups import FACTORS, GROUPS, Group, factors_of, groups_of, law_of, write_factors
from growjax.checkpoints.moment_files import FILE as SAFE
from growjax.checkpoints.moment_files import read_moments, write_moments
from growjax.checkpoints.moments import hindrance, moments_of, seen, tensors_of, with_moments
from growjax.checkpoints.stored import NUMPY, inside, read_arrays, read_json
from growjax.checkpoints.torch_files import has_torch, read_torch, write_torch
from growjax.config import OptimConfig
from growjax.errors import UserError
from growjax.files import write_text
from growjax.model.decoder import Params
from growjax.schema import Fields, Record
from growjax.train.optim import schedule
from growjax.train.state import TrainState

OPTIMIZER, SCHEDULER, STATE = "optimizer.pt", "scheduler.pt", "trainer_state.json"
MOMENTS = (OPTIMIZER, SAFE)

RUN = (*MOMENTS, SCHEDULER, STATE, FACTORS, GROUPS)
"""All files that a training run may go on from."""

Form = Literal["auto", "torch", "safetensors", "none"]
"""In which moments are written: `auto` is `torch` where that is installed; `none` leaves them behind."""

_CONSTANTS = ("lr", "eps", "weight_decay")

_SMALL = 2**20
"""Bytes that a file of torch's may have beside its arrays."""


def find_moments(folder: Path) -> Path | None:
    """The file of moments beside a checkpoint's weights; that of torch first where it can be read."""
    there = [path for name in (OPTIMIZER, SAFE) if (path := folder / name).exists()]
    if len(there) > 1 and not has_torch():
        return there[1]
    return there[0] if there else None


def bring_in(state: TrainState, family: Family, path: Path) -> tuple[TrainState, Record]:
    """The state with the moments of a file, and with the optimizer's settings, schedule and step as far as the file and
    those beside it say; and the record of all that, which `hand_on` writes again. Raises `UserError`, in one line, for
    what does not fit."""
    if not path.is_file():
        raise UserError(f"{path} is no file", "name an optimizer.pt, or moments as safetensors")
    model, options = state.config.model, None
    if path.suffix == ".safetensors":
        moments, options = read_moments(path, family, model)
    else:
        narrow = _narrow(path.parent)
        tensors = tensors_of(family, model)
        entries = sum(math.prod(place.shape) for place in tensors.values())
        found = read_torch(path, 12 * entries + 4096 * len(tensors) + _SMALL)
        moments, options = read_adam(found, family, model, narrow)
    state = with_factors(with_moments(state, moments, family), family, path.parent)
    dtypes = {str(value.dtype) for value in moments.exp_avg.values()}
    trainer = _trainer_state(path.parent)
    scheduler = _scheduler(path.parent) if path.name == OPTIMIZER else None
    step = whole(trainer.get("global_step", max(moments.step.values(), default=0)), f"{STATE}: global_step")
    reached = whole((scheduler or {}).get("last_epoch", step), f"{SCHEDULER}: last_epoch")
    optim = state.config.optim
    if options is not None:
        planned = trainer.get("max_steps")
        total = planned if isinstance(planned, int) and planned > 0 else max(optim.total_steps, step)
        optim = options.optim(optim, total_steps=total)
    opt_state = state.opt_state._replace(schedule_step=jnp.asarray(reached, jnp.int32))
    state = state.replace(
        opt_state=opt_state, step=jnp.asarray(step, jnp.int32), config=state.config.replace(optim=optim)
    )
    record: Record = {
        "moments": {"from": path.name, "step": step},
        "options": options._asdict() if options else None,
        "dtype": dtypes.pop() if len(dtypes) == 1 and dtypes <= NUMPY.keys() else "float32",
        "scheduler": scheduler,
        "state": trainer,
    }
    return state, json.loads(json.dumps(record))


def with_factors(state: TrainState, family: Family, folder: Path) -> TrainState:
    """The state with the factors of an earlier growth, where a folder has them."""
    path = folder / FACTORS
    if not path.exists():
        return state
    return state.replace(law=law_of(read_arrays(path), family, state.config.model))


def _narrow(folder: Path) -> Fields | None:
    """The optimizer's constants without factors, where a table of groups says them."""
    if not (folder / GROUPS).exists():
        return None
    found = read_json(folder / GROUPS).get("narrow")
    if not isinstance(found, dict) or not all(isinstance(found.get(k), int | float) for k in _CONSTANTS):
        raise UserError(f"{GROUPS} does not say {', '.join(_CONSTANTS)} of the narrow run", "fetch the file again")
    return found


def _trainer_state(folder: Path) -> Record:
    return read_json(folder / STATE) if (folder / STATE).exists() else {}


def _scheduler(folder: Path) -> Record | None:
    """A scheduler's state, if it is of plain values alone; None where there is none, or one of another kind."""
    path = folder / SCHEDULER
    if not path.exists():
        return None
    found = read_torch(path, _SMALL)
    try:
        plain = isinstance(found, dict) and isinstance(found.get("lr_lambdas", []), list)
        return json.loads(json.dumps(found, allow_nan=False)) if plain else None
    except (TypeError, ValueError, RecursionError):
        return None


def said_of(record: Record) -> list[str]:
    """Notes on moments that were brought in."""
    what = record.get("moments", {})
    if what.get("from") == "warm":
        return [
            f"Adam's moments were estimated by {what['passes']} forward and backward passes over "
            f"{what.get('tokens') or 'given tokens'}, with the weights as they are"
        ]
    notes = [f"Adam's moments are those of {what.get('from')}, at step {what.get('step')}"]
    if record.get("options"):
        notes.append(
            "rate, betas, epsilon and decay are the run's own; its schedule's shape and its clipping stand in no file, "
            "and are growjax's defaults"
        )
    return notes


def hand_on(
    folder: Path, state: TrainState, family: Family, record: Record, *, written: Params, form: Form = "auto"
) -> None:
    """Writes a state's moments, scheduler and step, and its factors where it has any, into a checkpoint's folder.
    `written` is as in `growjax.checkpoints.moments.moments_of`. Raises `UserError` where the form that is asked for has
    no place for the moments; with `auto` they stay behind then."""
    model, optim = state.config.model, state.config.optim
    factors = None if state.law is None else factors_of(state.law, family, model, written)
    groups = groups_of(factors, family, model)
    if factors is not None:
        constants = options_of(state, record).constants(optim.clip_norm)
        unknown = not record.get("options") and optim == OptimConfig() and int(state.step) == 0
        write_factors(folder, factors, groups, constants, assumed=unknown)
    if form == "none" or (form == "auto" and (not seen(state) or hindrance(state))):
        return
    moments = moments_of(state, family, written)
    options, dtype = options_of(state, record), NUMPY[record.get("dtype", "float32")]
    if form == "safetensors" or not (has_torch() or form == "torch"):
        write_moments(folder / SAFE, moments, options, dtype)
    else:
        write_torch(folder / OPTIMIZER, write_adam(moments, groups, options, dtype))
        reached = int(state.opt_state.schedule_step)
        write_torch(folder / SCHEDULER, _scheduler_of(record.get("scheduler"), groups, options, reached))
    write_text(folder / STATE, json.dumps(_state_of(record.get("state") or {}, state), indent=2) + "\n")


def options_of(state: TrainState, record: Record) -> Options:
    """The optimizer's settings: those that were brought in, while the state stands where it stood then."""
    optim, reached = state.config.optim, state.opt_state.schedule_step
    if record.get("options"):
        known = Options(**{name: record["options"][name] for name in Options._fields})
        known = known._replace(betas=(known.betas[0], known.betas[1]))
        last = (record.get("scheduler") or {}).get("last_epoch", record["moments"].get("step"))
        if last == int(reached) and known.optim(optim, total_steps=optim.total_steps) == optim.replace(warmup_steps=0):
            return known
    lr = float(np.asarray(schedule(optim)(reached)))
    return Options.of(optim, lr)


def _scheduler_of(carried: Fields | None, groups: Sequence[Group], options: Options, reached: int) -> Record:
    """The state of torch's LambdaLR, as `Trainer` has it, or of what was carried, for these groups."""
    made: Record = dict(carried or {"_get_lr_called_within_step": False})
    made |= {
        "base_lrs": [options.initial_lr * group.lr for group in groups],
        "_last_lr": [options.lr * group.lr for group in groups],
        "last_epoch": reached,
        "_step_count": reached + 1,
    }
    if carried is None or "lr_lambdas" in carried:
        made["lr_lambdas"] = [next(iter(made.get("lr_lambdas") or [{}]))] * len(groups)
    return made


def _state_of(carried: Fields, state: TrainState) -> Record:
    """`trainer_state.json`: what was carried, at the state's own step."""
    default = {"epoch": 0, "max_steps": state.config.optim.total_steps, "log_history": [], "stateful_callbacks": {}}
    return {**default, **carried, "global_step": int(state.step), "best_model_checkpoint": None}


def file_in(path: Path) -> Path:
    """The file of moments that a path names: itself, or the one in a folder of a training run."""
    if path.is_dir():
        found = find_moments(path)
        if found is None:
            raise UserError(f"{path} holds no {OPTIMIZER} and no {SAFE}", "name a file of moments")
        return inside(found)
    return path
