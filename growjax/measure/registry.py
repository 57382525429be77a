"""All measures, those of other packages included, and how they are taken.

A package adds its own by `register_measure`, or by an entry point of the group `growjax.measures` whose object is a
`Measure`.
"""

from __future__ import annotations

import importlib.metadata
import math
import pickle
import re
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from growjax.errors import UserError, require
from growjax.measure.builtin import BUILTIN, DEFINITIONS
from growjax.measure.inputs import Curve, MeasureInputs
from growjax.measure.measure import PLACES, READINGS, Definition, Direction, Measure, Selects, Where
from growjax.provenance import provenance
from growjax.schema import Record
from growjax.values import finite_number

RESERVED = frozenset({
    "eval_steps", "eval_loss", "train_loss_mean", "clones_identical", "parameters",
    "source", "candidate", "regime", "replicate", "lag", "n", "family", "control", "rank", "auc_sd",
    "tokens_saved", "tokens_saved_more", "diverged", "n_diverged",
})  # fmt: skip
"""What cells and tables hold beside measures."""

OWN = RESERVED | {word for m in BUILTIN for word in (m.name, m.column)}
"""The names that are growjax's."""

_REGISTERED: dict[tuple[str, str], Measure] = {}


@lru_cache(maxsize=1)
def _installed() -> tuple[Measure, ...]:
    """Measures of installed packages. A broken one is named."""
    found: list[Measure] = []
    for entry in importlib.metadata.entry_points(group="growjax.measures"):
        where = f"the entry point {entry.name} = {entry.value}"
        repair = "repair or uninstall the package that declares it"
        try:
            measure = entry.load()
        except Exception as error:
            raise UserError(f"{where} cannot be loaded ({type(error).__name__}: {error})", repair) from None
        if not isinstance(measure, Measure) or measure.name != entry.name:
            raise UserError(f"{where} is no Measure of that name", repair)
        try:
            _check(measure, (*BUILTIN, *found))
        except UserError as error:
            raise UserError(f"{where}: {error.fault}", repair) from None
        found.append(measure)
    return tuple(found)


def measures() -> tuple[Measure, ...]:
    """All measures: growjax's own, then those of installed packages, then those registered in this process."""
    return (*BUILTIN, *_installed(), *_REGISTERED.values())


def measures_at(where: Where) -> tuple[Measure, ...]:
    """Those taken at a place, in the order of its table."""
    return tuple(m for m in measures() if m.where == where)


def own_of_curve(where: Where) -> tuple[Measure, ...]:
    """growjax's own at a place that follow from the loss curve alone."""
    return tuple(m for m in BUILTIN if m.where == where and m.of_curve)


def other_measures(where: Where) -> tuple[Measure, ...]:
    """Those taken at a place that are not growjax's own."""
    return tuple(m for m in measures_at(where) if m not in BUILTIN)


def definitions() -> tuple[tuple[Definition, ...], tuple[Definition, ...]]:
    """(growjax's own, other people's) rows of definitions, each once."""
    others = (m.described for m in measures() if m not in BUILTIN)
    return DEFINITIONS, tuple(dict.fromkeys(others))


def described() -> list[Record]:
    """What a receipt says of other people's measures; nothing of growjax's own, which its version defines."""
    return [
        {"name": m.name, "where": m.where, "title": m.title, "unit": m.unit, "direction": m.direction,
         "definition": m.described.formula, "selects": m.selects, **provenance(m.fn)}
        for m in measures() if m not in BUILTIN
    ]  # fmt: skip


def register_measure(
    name: str,
    fn: Callable[[MeasureInputs], float | None],
    *,
    where: Where,
    title: str,
    unit: str,
    direction: Direction,
    definition: str,
    selects: Selects | None = None,
) -> Measure:
    """Makes `fn(given)` a measure of that name in this process; every study run or summed up from now on has it.

    Args:
        name: its key in cells' `metrics` and its column in the CSV files.
        fn: a pure function of `growjax.measure.MeasureInputs`; a finite number, or None where it has no meaning.
        where: `zero_step`, `probe` or `continuation`; one name may be registered once for each. Cells of a crossed
            design hold the AUC alone.
        title: a few words over its column.
        unit: as in "nats/token"; "none" for a plain number.
        direction: which value is better: `smaller`, `larger` or `none`.
        definition: the formula in words, as plain text (see `Definition` for indices and code).
        selects: `smallest` or `largest` makes it a cheap selector that takes that value; not of a continuation.

    Returns:
        The measure, as `measures()` has it.

    Raises:
        UserError: for a name or title that is taken, or a field that is not as described here.

    Example:
        >>> def weight_rms(given):
        ...     squares = [jnp.mean(jnp.square(x)) for x in jax.tree.leaves(given.params)]
        ...     return float(jnp.sqrt(sum(squares) / len(squares)))
        >>> register_measure("weight_rms", weight_rms, where="probe", title="weight RMS", unit="none",
        ...                  direction="none", definition="√(mean over leaves of mean w²)")
    """
    measure = Measure(name, fn, where, title, unit, direction, definition, selects)
    _check(measure, measures())
    _REGISTERED[where, name] = measure
    return measure


def unregister_measure(name: str) -> None:
    """Takes back what `register_measure` made, at every place; nothing happens where there is no such measure."""
    for where in PLACES:
        _REGISTERED.pop((where, name), None)


def _check(measure: Measure, known: tuple[Measure, ...]) -> None:
    """Raises `UserError` for what cannot be a measure beside those that are known."""
    name = measure.name

    require(isinstance(name, str) and re.fullmatch(r"[A-Za-z_]\w*", name) is not None,
         f"{name!r} cannot name a measure", "use letters, digits and underscores")  # fmt: skip
    others = {(m.where, word) for m in known for word in (m.name, m.column)}
    require(
        measure.where in PLACES, f"measure {name} is taken at {measure.where!r}", f"choose one of {', '.join(PLACES)}"
    )
    for word in (name, measure.column):
        require(word not in OWN and (measure.where, word) not in others,
             f"a figure is named {word!r} already", "choose another name for the measure")  # fmt: skip
    require(callable(measure.fn), f"measure {name}: {measure.fn!r} is no function", "give a function of MeasureInputs")
    require(measure.direction in tuple(READINGS), f"measure {name} has direction {measure.direction!r}",
         f"choose one of {', '.join(READINGS)}")  # fmt: skip
    require(measure.selects in (None, "smallest", "largest"), f"measure {name} selects {measure.selects!r}",
         "choose smallest, largest or None")  # fmt: skip
    require(measure.selects is None or measure.where != "continuation",
         f"measure {name} of a continuation may not select", "take it at zero_step or probe")  # fmt: skip
    for field in ("title", "unit", "definition"):
        text = getattr(measure, field)
        require(isinstance(text, str | Definition) and bool("".join(text).strip()), f"measure {name} has no {field}",
             "give it in words")  # fmt: skip
    selectors = {m.selector for m in known if m.selects}
    require(measure.selects is None or measure.selector not in selectors,
         f"a selector is named {measure.selector!r} already", "choose another title for the measure")  # fmt: skip


def take(where: Where, given: MeasureInputs) -> dict[str, float | None]:
    """What cells record of a place: every measure's value by its name; no value of a candidate that diverged."""
    if not all(map(math.isfinite, given.curve.losses)):
        return {m.name: None for m in measures_at(where) if m.recorded}
    return {m.name: value_of(m, given) for m in measures_at(where) if m.recorded}


def value_of(measure: Measure, given: MeasureInputs | Curve) -> float | None:
    """A measure's value; of a curve alone where it is one of those.

    Another's measure that raises, or gives anything but a finite number or None, raises `UserError`.
    """
    argument = given.curve if measure.of_curve and isinstance(given, MeasureInputs) else given
    if measure in BUILTIN:
        return measure.fn(argument)
    name = f"measure {measure.name} ({measure.where})"
    try:
        value = measure.fn(argument)
    except Exception as error:
        raise UserError(f"{name} raised {type(error).__name__}: {error}", "correct its function") from error
    if value is None:
        return None
    number = _number(value)
    if number is None:
        raise UserError(f"{name} gave {value!r:.60}", "return a finite number, or None where it has no meaning")
    return number


def _number(value: Any) -> float | None:
    """A finite number as a float (arrays of one element and no axes too); None for anything else."""
    if isinstance(value, str | bytes | bool | complex) or getattr(value, "shape", ()) != ():
        return None
    return finite_number(value)


def portable() -> list[Measure]:
    """The measures registered in this process, for processes that it starts; raises `UserError` for one that cannot
    go there."""
    main = sys.modules.get("__main__")
    for measure in _REGISTERED.values():
        try:
            pickle.dumps(measure)
            there = measure.fn.__module__ != "__main__" or getattr(main, "__file__", None) is not None
        except (pickle.PicklingError, AttributeError, TypeError):
            there = False
        if not there:
            raise UserError(
                f"measure {measure.name} cannot be handed to other processes",
                "define its function at the top level of a module's file, or compute in this process alone (workers=1)",
            )
    return list(_REGISTERED.values())


def adopt(measures: list[Measure]) -> None:
    """Registers in this process what `portable` gave in the one that started it, and nothing else: it may have served
    another study before."""
    _REGISTERED.clear()
    _REGISTERED.update({(measure.where, measure.name): measure for measure in measures})
