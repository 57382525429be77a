"""The sources themselves: what a commit checks, how long files are, what a wheel holds, and how to cite it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from growjax import __version__

HOOKS = [
    hook for repo in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"] for hook in repo["hooks"]
]

LONGEST = 300


def run(words: list[str], cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """A command of this virtual environment, which asks no other host."""
    env = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "PYTHONPATH": str(cwd),
        "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1",
        "RUFF_NO_CACHE": "true",
    }
    return subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True)


@pytest.mark.parametrize("hook", HOOKS, ids=[hook["id"] for hook in HOOKS])
def test_what_a_commit_checks(hook: dict):
    done = run(hook["entry"].split())
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A copy of the package, for faults."""
    shutil.copytree(ROOT / "growjax", tmp_path / "growjax", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_a_step_up_is_found(planted: Path):
    """A floor that imports from above, a folder on no floor, jax where the pins are not set yet."""
    for name, line in (("train/optim.py", "import growjax.grow"), ("schema.py", "import jax"), ("new.py", "")):
        with (planted / "growjax" / name).open("a") as file:
            file.write(f"\n{line}\n")
    done = run(["lint-imports", "--no-cache", "--no-logo"], planted)
    assert done.returncode == 1
    for described in ("growjax.train is not allowed to import growjax.grow", "growjax.new", "growjax.schema -> jax"):
        assert described in done.stdout, done.stdout


def test_no_file_is_too_long():
    files = {
        str(path.relative_to(ROOT)): path
        for top in ("growjax", "experiments", "tests")
        for path in ROOT.glob(f"{top}/**/*.py")
    }
    lines = {name: len(path.read_text().splitlines()) for name, path in files.items()}
    assert len(lines) > 150
    assert {name: count for name, count in lines.items() if count > LONGEST} == {}


def test_a_wheel_ships_its_types(tmp_path: Path):
    done = run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)])
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "growjax/py.typed" in names and "growjax/train/loop.py" in names
    assert {name.partition("/")[0] for name in names} == {"growjax", f"growjax-{__version__}.dist-info"}


def test_the_citation_is_of_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["title"] == "growjax" and cited["version"] == __version__
    assert [paper["url"] for paper in cited["references"]] == ["https://arxiv.org/abs/2604.04281"]
