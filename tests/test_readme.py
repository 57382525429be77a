"""What the README shows is what runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import EXAMPLES, README, ROOT, Shown, readme_block

from growjax.cli import VERBS
from growjax.grow.registry import operators


@pytest.mark.parametrize("words", EXAMPLES, ids=lambda words: " ".join(words[3:]))
def test_an_example_runs(words: list[str], shown: Shown):
    assert shown.run(words)


def test_every_verb_has_an_example():
    assert {words[3] for words in EXAMPLES} == set(VERBS)


def test_python_example_runs(tmp_path: Path):
    code = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len(code) == 3
    described = (
        "\nassert wide.params['embedding'].shape[1] == 96 and wide.law is not None"
        "\nassert (4 * smaller.params['embedding'] == wide.params['embedding']).all()"
        "\nfrom growjax import MeasureInputs, measures"
        "\nsource = lambda: state.params"
        "\nseen = [MeasureInputs(config.model, plan.target, plan, p, p, None, True, source, source)"
        "\n        for p in (state.params, wide.params)]"
        "\nsame, wider = (measures()[-1].fn(given) for given in seen)"
        "\nassert measures()[-1].selector == 'zero-step norm ratio' and same == 1 < wider\n"
    )
    done = subprocess.run([sys.executable, "-c", "".join(code) + described], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_two_commands_differ_only_in_what_they_run():
    study, test = readme_block("study command").strip(), readme_block("test command").strip()
    assert study.rpartition("&& ")[0] == test.rpartition("&& ")[0]
    assert study.endswith(".venv/bin/python -m growjax study") and test.endswith(" --skip-covered -m pytest")


def test_every_operator_is_named():
    assert all(f"`{name}`" in README for name in operators())


def test_the_lock_names_no_index_and_hashes_everything():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert not any(line.startswith("-") or "://" in line for line in lines)
    pinned = [line for line in lines if not line.startswith(" ")]
    assert all("==" in line and line.endswith("\\") for line in pinned)
    assert any(line.startswith("jax==0.10.2 ") for line in pinned)
