"""Measures and operators of one's own are recorded with their code, and cells of two codes never stand side by side."""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import pytest
from conftest import quick_programs

from growjax.errors import CheckFailed, NotComparable, UserError
from growjax.grow.registry import described_operators, operators, register_operator, unregister_operator
from growjax.measure import register_measure, unregister_measure
from growjax.measure.registry import described
from growjax.proof.merge import merge
from growjax.provenance import provenance
from growjax.record.comparison import other_registered, registered_notes
from growjax.record.rundir import RunDir
from growjax.study.presets import presets
from growjax.study.runner import registered, run_study

TINY = presets()["smoke"].replace(source_steps=(2,), source_eval_every=2, operators=("exact_copy", "mine"), regimes=())
WORDS: dict[str, Any] = {"where": "zero_step", "title": "a title", "unit": "none", "direction": "none"}


def scaled(by: float) -> Callable[..., Any]:
    def mine(state: Any, plan: Any, *, streams: Any) -> Any:
        """The exact copy at another size."""
        new = operators()["exact_copy"].fn(state, plan, streams=streams)
        return new.replace(params=jax.tree.map(lambda p: p * by, new.params))

    return mine


@pytest.fixture
def own() -> Iterator[Callable[..., None]]:
    """Registers an operator `mine` of a factor, and a measure `mine` of a value or none, in place of those before."""

    def forget() -> None:
        unregister_operator("mine")
        unregister_measure("mine")

    def register(by: float, value: float | None = None, definition: str = "a number") -> None:
        forget()
        register_operator("mine", scaled(by))
        if value is not None:
            register_measure("mine", lambda given: value, definition=definition, **WORDS)

    yield register
    forget()


def test_a_directory_holds_cells_of_one_measure_and_one_operator(own: Callable[..., None], tmp_path: Path):
    run, other = RunDir(tmp_path / "run"), RunDir(tmp_path / "other")
    seeds = TINY.replace(source_seeds=(1, 2))
    with quick_programs():
        own(0.5, 1.0)
        receipt = run_study(TINY, run)
        (operator,), (measure,) = receipt["operators"], receipt["measures"]
        assert operator["function"].endswith(":scaled.<locals>.mine") and measure["distribution"] is None
        inputs = {c["operator"]: len(c["inputs"]) for c in receipt["cells"] if c["kind"] == "candidate"}
        assert inputs == {"exact_copy": 2, "mine": 3}
        for words, fault in (
            ((0.5, 1.0, "version 2"), r'measure mine \(zero_step\).definition was "a number", now "version 2"'),
            ((0.5, 2.0), r"measure mine \(zero_step\).code was"),
            ((0.5,), r"measure mine \(zero_step\) was registered, and is not now"),
            ((0.25, 1.0), r"operator mine.code was"),
        ):
            own(*words)
            for more in (TINY, seeds):
                with pytest.raises(UserError, match=f"begun otherwise: {fault}"):
                    run_study(more, run)
            with pytest.raises(NotComparable, match=fault):
                run_study(seeds, other, others=[run.path])
            assert run.receipt() == receipt
        own(0.25, 1.0)
        run_study(TINY.replace(operators=("exact_copy",)), run)  # which no longer names it: its cell still does
        with pytest.raises(CheckFailed, match="made of other inputs"):
            run_study(TINY, run)
        run_study(TINY.replace(source_seeds=(2,)), RunDir(tmp_path / "half"))
        own(0.5, 1.0)
        run_study(TINY, run)
        with pytest.raises(NotComparable, match=r"operator mine\.code was"):
            merge(run.path, tmp_path / "half", tmp_path / "merged")


def test_halves_of_other_operators_merge(own: Callable[..., None], tmp_path: Path):
    with quick_programs():
        own(0.5)
        run_study(TINY, RunDir(tmp_path / "a"))
        run_study(TINY.replace(operators=("scratch",)), RunDir(tmp_path / "b"))
    merge(tmp_path / "b", tmp_path / "a", tmp_path / "merged")
    head = RunDir(tmp_path / "merged").receipt()
    assert [one["name"] for one in head["operators"]] == ["mine"]
    assert "operators" not in RunDir(tmp_path / "b").receipt()


def test_what_is_growjaxs_own_is_not_recorded():
    assert registered(presets()["paper"]) == {"measures": [], "operators": []}


def test_receipts_are_compared_by_names():
    def head(*measures: str, **operators: str) -> dict[str, Any]:
        found = [{"name": name, "where": "probe", "code": "x"} for name in measures]
        return {"measures": found, "operators": [{"name": n, "code": code} for n, code in operators.items()]}

    assert other_registered({}, {}) is None and other_registered({}, head(mine="1")) is None
    assert other_registered(head(a="1", b="1"), head(b="1", c="2")) is None
    assert other_registered(head("a", "b"), head("b", "a")) == "measures were registered in another order"
    assert other_registered(head("a"), {}) == "measure a (probe) was registered, and is not now"
    assert registered_notes(head("a", b="1"), head("b", b="2")) == ['operator b.code was "1", now "2"']


def found_in(folder: Path, text: str, name: str = "own_code") -> Any:
    """The function `fn` of a module of this text."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(text)
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    assert spec is not None and spec.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.fn


def run_as_script(text: str) -> Any:
    """The function `fn` of a script of this text, which no file holds."""
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(text, names)
    return names["fn"]


TEXT = "LEVEL = 2.0\ndef inner():\n    return 1.0\ndef fn(given):\n    return LEVEL * inner()\n"


@pytest.mark.parametrize("made", ["module", "script"])
def test_a_digest_changes_with_what_computes_alone(made: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "modules", dict(sys.modules))

    def code(number: int, text: str) -> str:
        return provenance(found_in(tmp_path / str(number), text) if made == "module" else run_as_script(text))["code"]

    first = code(0, TEXT)
    assert code(1, f"# a comment\n\n{TEXT}") == first
    assert code(2, TEXT.replace("1.0", "3.0")) != first and code(3, TEXT.replace("2.0", "3.0")) != first
    assert (code(4, TEXT + "def more():\n    return 4\n") == first) == (made == "script")


def test_modules_beside_it_count_where_they_are_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    codes = []
    for number, value in enumerate((1, 1, 2)):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "beside.py").write_text(f"VALUE = {value}\n")
        (folder / "alone.py").write_text(f"VALUE = {number}\n")
        text = "import numpy\nimport growjax\n\ndef fn(given):\n    from beside import VALUE\n    return VALUE\n"
        codes.append(provenance(found_in(folder, text))["code"])
    assert codes[0] == codes[1] != codes[2]


def test_what_a_function_holds_counts():
    class Scaled:
        def __init__(self, by: float):
            self.by = by

        def __call__(self, given: object) -> float:
            return self.by

    def plain(given: object, by: float = 1.0) -> float:
        return by

    made: list[Callable[[float], Any]] = [scaled, Scaled, lambda by: functools.partial(plain, by=by)]
    for make in made:
        assert provenance(make(1.0)) == provenance(make(1.0)) and provenance(make(1.0)) != provenance(make(2.0))
    assert provenance(jax.jit(plain))["function"].endswith("plain") and provenance(max)["function"] == "builtins:max"
    assert provenance(pytest.raises)["distribution"] == f"pytest {pytest.__version__}"


def test_described(own: Callable[..., None]):
    own(0.5, 1.0)
    (operator,), (measure,) = described_operators(["mine+moments:become=zeroed", "exact_copy"]), described()
    assert operator.keys() >= {"name", "family", "paper", "function", "distribution", "code"}
    assert measure["function"] == f"{__name__}:own.<locals>.register.<locals>.<lambda>"
