"""trainer.json of a state: what is known of the run that left its moments (`growjax.checkpoints.trainer`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Ge, Le
from typing_extensions import TypedDict

from growjax.checkpoints.stored import read_json
from growjax.errors import UserError
from growjax.schema import Record
from growjax.values import LARGEST, MOST

Count = Annotated[int, Ge(0), Le(MOST)]
Figure = Annotated[float | int, Ge(0), Le(LARGEST)]
Share = Annotated[float | int, Ge(0), Le(1)]

Moments = TypedDict(
    "Moments",
    {"from": str, "step": NotRequired[Count], "passes": NotRequired[Count], "tokens": NotRequired[str | None]},
)


class Settings(TypedDict):
    """Of AdamW: `growjax.checkpoints.adam.Options`."""

    lr: Figure
    initial_lr: Figure
    betas: tuple[Share, Share]
    eps: Figure
    weight_decay: Figure
    others: dict[str, bool | None]


class Scheduler(TypedDict):
    """What of it is read again; the rest is handed on as it is."""

    last_epoch: NotRequired[Annotated[float | int, Ge(0), Le(MOST)]]
    lr_lambdas: NotRequired[list[Any]]


class Run(TypedDict):
    """All of it."""

    moments: Moments
    options: NotRequired[Settings | None]
    dtype: NotRequired[Literal["float32", "bfloat16", "float16"]]
    scheduler: NotRequired[Scheduler | None]
    state: NotRequired[dict[str, Any]]


def read_run(path: Path) -> Record:
    """What the file says; raises `UserError`, with the place, where growjax never wrote that."""
    from pydantic import TypeAdapter, ValidationError

    found = read_json(path)
    try:
        TypeAdapter(Run).validate_json(json.dumps(found), strict=True)  # as JSON, where a list is a tuple too
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"]))[:120]
        raise UserError(f"{path} is none that growjax wrote: {place}: {first['msg']}", "import it again") from None
    return found
