"""What CONTRIBUTING.md shows is what runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from conftest import ROOT, readme_block

PAGE = (ROOT / "CONTRIBUTING.md").read_text()


def blocks(heading: str, language: str) -> str:
    """The code of a section."""
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, re.S | re.M)
    assert section, heading
    found = re.findall(rf"```{language}\n(.*?)```", section[1], re.S)
    assert found, heading
    return "".join(found)


def runs(code: str, where: Path) -> None:
    """Runs code under the growjax of a folder. What it checks holds to a tolerance: its programs may be quick ones."""
    env = {**os.environ, "PYTHONPATH": str(where), "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=where, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_it_is_set_up_as_the_readme_does():
    steps = [step.strip() for step in readme_block("test command").replace(".venv/bin/", "").split("&&")]
    shown = blocks("Set up, test, check", "sh")
    assert len(steps) == 4 and all(step in shown for step in steps), steps


def test_an_operator_and_a_measure():
    runs(blocks("An operator", "python") + blocks("A measure", "python"), ROOT)


def test_an_executor():
    runs(blocks("An executor", "python"), ROOT)


def test_a_component(tmp_path: Path):
    shutil.copytree(ROOT / "growjax", tmp_path / "growjax", ignore=shutil.ignore_patterns("__pycache__"))
    applied = subprocess.run(["git", "apply", "--unidiff-zero", "-"], cwd=tmp_path, capture_output=True, text=True,
                             input=blocks("A component", "diff"))  # fmt: skip
    assert applied.returncode == 0, applied.stderr
    runs(blocks("An operator", "python") + blocks("A component", "python"), tmp_path)
