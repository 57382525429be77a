"""Settings of jax from outside: reported by name, and never a traceback."""

from __future__ import annotations

import os

import jax
import pytest
from conftest import growjax

from growjax import runtime, settings
from growjax.cli import VERBS, main
from growjax.errors import UserError
from growjax.settings import UNUSABLE

CASES = [(name, value) for name, (bad, _) in UNUSABLE.items() for value in (*bad, bad[0].upper())]


@pytest.mark.parametrize(("name", "value"), CASES)
def test_every_verb_refuses_at_once(name: str, value: str, monkeypatch: pytest.MonkeyPatch, capfd):
    """One line that names the variable, before anything is read."""
    monkeypatch.setenv(name, value)
    for verb in VERBS:
        assert main([verb, "no/such/run", "--workers", "many"], notes=["not a pinned run"]) == 2
        said = capfd.readouterr()
        assert (
            said.out == "" and said.err.count("\n") == 1 and said.err.startswith(f"growjax: {name} is {value.lower()}")
        )


def test_what_can_be_computed_under_is_let_through(monkeypatch: pytest.MonkeyPatch):
    for name, value in {"JAX_ENABLE_X64": "1", "JAX_NUMPY_RANK_PROMOTION": "warn", "JAX_DISABLE_JIT": "0"}.items():
        monkeypatch.setenv(name, value)
    settings.refuse(os.environ)
    settings.refuse({})
    assert runtime.set_otherwise() == ["JAX_DISABLE_JIT", "JAX_ENABLE_X64", "JAX_NUMPY_RANK_PROMOTION"]


OWN = [("jax_enable_x64", False), ("jax_numpy_rank_promotion", "raise"), ("jax_numpy_dtype_promotion", "strict"),
       ("jax_disable_jit", True)]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), OWN)
def test_a_program_that_sets_jax_itself_is_said_too(name: str, value: object):
    before = jax.config.values[name]
    jax.config.update(name, value)
    try:
        with pytest.raises(UserError, match=name.upper()):
            runtime.start()
    finally:
        jax.config.update(name, before)
    runtime.start()


def test_an_error_under_strange_settings_names_them(monkeypatch: pytest.MonkeyPatch, capfd):
    """Any other is growjax's own, and keeps its traceback."""

    def fail(_: list[str]) -> int:
        raise RuntimeError("Unknown backend moon\nand more")

    monkeypatch.setattr("growjax.cli.report.run", fail)
    with pytest.raises(RuntimeError):
        main(["report", "x"])
    monkeypatch.setenv("JAX_PLATFORMS", "moon")
    assert main(["report", "x"]) == 2 and "under JAX_PLATFORMS" in capfd.readouterr().err
    monkeypatch.setenv("JAX_DEFAULT_DEVICE", "moon")
    monkeypatch.setenv("XLA_FLAGS", os.environ["XLA_FLAGS"] + " --xla_cpu_enable_fast_math=true")
    assert main(["report", "x"]) == 2
    said = capfd.readouterr().err
    assert said.count("\n") == 1 and "Unknown backend moon, under JAX_DEFAULT_DEVICE, XLA_FLAGS: unset that" in said


@pytest.mark.parametrize("flags", ["--xla_moon=1", "--xla_gpu_autotune_level=high", "moon"])
def test_flags_that_xla_does_not_take(flags: str, monkeypatch: pytest.MonkeyPatch, capfd):
    """XLA would end the process, with 1 and a line of its own."""
    monkeypatch.setenv("XLA_FLAGS", f"{os.environ['XLA_FLAGS']} {flags}")
    assert main(["report", "x"], notes=["not a pinned run"]) == 2
    said = capfd.readouterr()
    assert said.out == "" and said.err.startswith(f"growjax: XLA does not take {flags}") and said.err.count("\n") == 1


@pytest.mark.parametrize(("name", "value"), [("JAX_ENABLE_X64", "maybe"), ("JAX_TRACEBACK_FILTERING", "moon")])
def test_values_that_jax_does_not_know(name: str, value: str, tmp_path):
    done = growjax("train", "--out", str(tmp_path / "run"), env={name: value})
    assert done.code == 2 and "Traceback" not in done.err and name in done.err.splitlines()[-1]
    assert all(line.startswith("growjax: ") for line in done.err.splitlines()), done.err
