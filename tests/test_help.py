"""What `--help` says: every choice by name, and the source's own options where a source is named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from growing import BASE, filled

from growjax.cli import VERBS, main
from growjax.config import OptimConfig, TrainConfig
from growjax.plan.chips import CHIPS
from growjax.record.store import save_state
from growjax.study.presets import presets
from growjax.study.spec import REGIMES


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What help says, its frames taken away, in one line."""
    with pytest.raises(SystemExit) as end:
        main([*words, "--help"])
    assert end.value.code == 0
    return " ".join(re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯─]", " ", capsys.readouterr().out).split())


def of(option: str, text: str) -> str:
    """What it says of one option."""
    return text.partition(f" {option} ")[2].partition(" --")[0]


@pytest.mark.parametrize("verb", VERBS)
def test_no_argument_is_without_a_word(verb: str, capsys: pytest.CaptureFixture[str]):
    assert not re.search(r"(PATH|STR|INT) \(required\)", said(capsys, verb))


def test_choices_are_named(capsys: pytest.CaptureFixture[str]):
    study, plan, widen = (said(capsys, verb) for verb in ("study", "plan", "widen"))
    assert all(name in of("--preset STR", study) for name in presets())
    assert all(name in of("--regimes [STR [STR ...]]", study) for name in REGIMES)
    assert all(name in of("--chip STR", plan) for name in (*CHIPS, "cpu"))
    assert all("+PART" in of("--operators [STR [STR ...]]", said(capsys, verb)) for verb in ("study", "select"))
    assert "+moments:become=zeroed" in of("--operator STR", widen)
    assert "no product is split" in widen and "no product is split" in said(capsys, "train")


def test_a_source_has_options_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Named with `--help`, it is asked for them: a default that is shown is one that is used."""
    save_state(tmp_path / "a" / "state", filled(TrainConfig(model=BASE, optim=OptimConfig(learning_rate=0.0625))))
    path = str(tmp_path / "a" / "state")
    for words in (("select", path), ("train", "--from", path)):
        assert "(default: 0.0625)" in of("--optim.learning-rate FLOAT", said(capsys, *words))
    assert "0.0625" not in said(capsys, "select")
