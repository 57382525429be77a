"""What the README shows is what runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import EXAMPLES, README, REFERENCE, ROOT, Shown, readme_block

from growjax.cli import VERBS
from growjax.grow.registry import operators

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("growjax/*.md"), *ROOT.glob("artifacts/*.md")])


@pytest.mark.parametrize("words", EXAMPLES, ids=lambda words: " ".join(words[3:]))
def test_an_example_runs(words: list[str], shown: Shown):
    assert shown.run(words)


def test_every_verb_has_an_example():
    assert {words[3] for words in EXAMPLES} == set(VERBS)


def test_python_example_runs(tmp_path: Path):
    code = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len(code) == 1
    described = "\nassert wide.params['embedding'].shape[1] == 96 and wide.law is not None"
    done = subprocess.run([sys.executable, "-c", "".join(code) + described], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_two_commands_differ_only_in_what_they_run():
    study, test = readme_block("study command").strip(), readme_block("test command").strip()
    assert study.rpartition("&& ")[0] == test.rpartition("&& ")[0]
    assert study.endswith(".venv/bin/python -m growjax study") and test.endswith(" --skip-covered -m pytest")


def test_every_operator_is_named():
    assert all(f"`{name}`" in REFERENCE for name in operators())


def test_every_command_and_exit_code_is_named():
    assert all(f"`{verb}`" in README for verb in VERBS)
    assert all(re.search(rf"^\| [\d, ]*\b{code}\b", README, re.M) for code in (0, 1, 2, 3, 130, 141, 143))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_wrapped_line_begins_like_an_item_of_a_list(page: Path):
    """A line that begins with digits and a point makes a list of what stands behind it."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    assert not re.findall(r"^ *\d+[.)] .*", text, re.M)


def test_the_lock_names_no_index_and_hashes_everything():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert not any(line.startswith("-") or "://" in line for line in lines)
    pinned = [line for line in lines if not line.startswith(" ")]
    assert all("==" in line and line.endswith("\\") for line in pinned)
    assert any(line.startswith("jax==0.10.2 ") for line in pinned)
