"""Options of operators and parts: every one has a domain, by which it is read and checked."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from growjax.errors import UserError
from growjax.grow.operator import Described, Operator
from growjax.grow.options import domain_of, hints_of
from growjax.grow.promises import never
from growjax.grow.registry import BUILTIN, parse_operator, parts, register_operator, unregister_operator
from growjax.values import LARGEST, MOST, Real

OWN: dict[str, Described] = {op.name: op for op in BUILTIN} | {
    f"exact_copy+{part.name}": part for part in parts().values()
}
NUMBERS = {
    f"{text}:{option}": (hint, op.options[option])
    for text, op in OWN.items()
    for option, hint in hints_of(op.fn, op.options).items()
    if isinstance(op.options[option], int | float) or op.options[option] is None
}
BAD = ("inf", "-inf", "nan", "1e400", "-1e400", "1e39", "9" * 5000, "-" + "9" * 400, "", " ", "one", "0x10", "1e", "6x",
       "None", "-1e-300j")  # fmt: skip


def test_every_number_has_chosen_a_domain():
    """No number of growjax's own operators is just any finite one."""
    assert len(NUMBERS) >= 15
    for text, (hint, default) in NUMBERS.items():
        assert isinstance(default, bool) or domain_of(hint) not in (domain_of(int), domain_of(float)), text


def test_one_that_trains_says_for_how_many_steps():
    def learned(state: Any, plan: Any, *, streams: Any, data: Any, rounds: int = 3) -> Any:
        """The exact copy, trained."""

    with pytest.raises(UserError, match="operator learned trains, and does not say for how many steps"):
        register_operator("learned", learned)
    register_operator("learned", learned, training_steps=lambda options: 2 * options["rounds"])
    try:
        assert parse_operator("learned").training_steps == 6
        assert parse_operator("learned:rounds=5+reset").training_steps == 10
    finally:
        unregister_operator("learned")
    trained = {op.name: op.training_steps(op.options) for op in BUILTIN if op.trains}
    assert trained == {"ligo": 100} and parse_operator("ligo:steps=7+reset").training_steps == 7
    assert not any(op.training_steps(op.options) for op in BUILTIN if not op.trains)


def one_line_of(text: str) -> str:
    with pytest.raises(UserError) as caught:
        parse_operator(text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    return str(caught.value)


@pytest.mark.parametrize("option", NUMBERS)
def test_what_is_no_such_number_is_refused(option: str):
    for value in BAD:
        assert option.rpartition(":")[2] in one_line_of(f"{option}={value}")


@given(st.sampled_from(sorted(NUMBERS)), st.floats() | st.integers() | st.integers(-(10**6), 10**6))
@settings(max_examples=300, deadline=None)
def test_what_is_taken_is_finite_and_in_range(option: str, value: float):
    try:
        composed = parse_operator(f"{option}={value}")
    except UserError as error:
        assert "\n" not in str(error) and len(str(error)) < 500
        return
    taken = next(iter((composed.parts[0][1] if composed.parts else composed.options).values()))
    assert math.isfinite(taken) and abs(taken) <= LARGEST and taken == type(taken)(value)


@pytest.mark.parametrize(("text", "described"), [
    ("perturbed:sigma=-1", "operator perturbed: sigma is -1"), ("perturbed:snr_db=1e9", "from -600 to 600"),
    ("perturbed:cancel=twice", "cancel is twice: choose one of inputs, both, none"),
    ("exact_copy+moments:become=none", "operator moments: become is none: choose one of law"),
    ("ligo:steps=0", "operator ligo: steps is 0"), ("ligo:learning_rate=0", "learning_rate is 0"),
    ("sparkling:rewarm=0", "operator sparkling: rewarm is 0"), ("shrink_perturb:shrink=1.5", "from 0 to 1"),
    ("exact_copy+schedule:horizon=-1", "horizon is -1"), ("exact_copy+rewarm:steps=1.5", "steps is 1.5"),
    ("perturbed:sigma=1,sigma=2", "sigma stands twice"), ("exact_copy+law:lr=2", "give True or False"),
    ("perturbed:" + "x" * 5000, "does not take"), ("y" * 5000, "no operator is named"),
])  # fmt: skip
def test_the_line_names_operator_option_and_way_out(text: str, described: str):
    assert described in one_line_of(text)


def test_the_largest_and_smallest_are_taken():
    assert parse_operator(f"ligo:steps={MOST}").options == {"steps": MOST}
    assert parse_operator("perturbed:sigma=1e25,snr_db=-600").options == {"sigma": 1e25, "snr_db": -600.0}
    assert parse_operator("shrink_perturb:shrink=1").options == {"shrink": 1.0}


def foreign(
    state: Any, plan: Any, *, streams: Any, by: float = 0.5, at: int = 1, on: bool = True, how: Literal["a", "b"] = "a",
    share: Annotated[float, Real(0.0, 1.0)] | None = None,
) -> Any:  # fmt: skip
    """Somebody's."""


def wrong_default(state: Any, plan: Any, *, streams: Any, by: Annotated[float, Real(0.0, 1.0)] = 2.0) -> Any:
    """Its default is none of its own domain."""


def no_kind(state: Any, plan: Any, *, streams: Any, by: list = []) -> Any:  # noqa: B006
    """No option is a list."""


def not_annotated(state: Any, plan: Any, *, streams: Any, by=1.0) -> Any:
    """Not annotated."""


def unknown_name(state: Any, plan: Nowhere, *, streams: Any, by: float = 1.0) -> Any:  # noqa: F821 # pyright: ignore
    """Annotated by a name that is not there."""


def test_operators_from_outside():
    """Numbers are finite, and an annotation says what else; what has no domain is refused when it is made."""
    try:
        register_operator("foreign", foreign)
        read = parse_operator("foreign:by=-2.5,at=-7,on=no,how=b,share=1").options
        assert read == {"by": -2.5, "at": -7, "on": False, "how": "b", "share": 1.0}
        for word in ("by=inf", "by=nan", "at=1e3.5", "at=99999999999", "how=c", "share=2", "on=2"):
            one_line_of(f"foreign:{word}")
    finally:
        unregister_operator("foreign")
    for fn in (wrong_default, no_kind, not_annotated, unknown_name):
        with pytest.raises(UserError, match="operator other"):
            register_operator("other", fn)
        with pytest.raises(UserError, match="operator other"):
            Operator("other", fn, "registered", "unpublished", never)
