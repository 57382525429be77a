"""The pins, before anything imports jax; and what many tests share."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from growjax import runtime

_NOTES = runtime.pin()
runtime.start()

import jax  # noqa: E402

from growjax.record.cells import with_checksum  # noqa: E402
from growjax.record.rundir import RunDir  # noqa: E402

jax.config.update("jax_debug_key_reuse", True)

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
REFERENCE = (ROOT / "growjax" / "commands.md").read_text()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What many tests read is made first, by one test process, while another does what needs none of it."""
    items.sort(key=lambda item: item.path.name not in ("test_readme.py", "test_streams_in_studies.py"))


@pytest.fixture(scope="session", autouse=True)
def _pinned():
    assert _NOTES == [], _NOTES
    assert runtime.pins()["pinned"]


@contextlib.contextmanager
def quick_programs() -> Iterator[None]:
    """Programs that this process compiles meanwhile lack the optimizations that take a compiler longest.

    For what is checked to a tolerance, or against what the same process computed. Other optimizations, other bits: no
    program outlives this, and what users' own runs hold is compared with programs as users have them. JAX's check of
    keys rests meanwhile: it takes its time in every program, and audits see more.
    """
    jax.clear_caches()
    jax.config.update("jax_disable_most_optimizations", True)
    jax.config.update("jax_debug_key_reuse", False)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", False)
        jax.config.update("jax_debug_key_reuse", True)
        jax.clear_caches()


@pytest.fixture(scope="module")
def quickly() -> Iterator[None]:
    """`quick_programs` for a whole module."""
    with quick_programs():
        yield


class Finished:
    """A finished command: exit code and what it said."""

    def __init__(self, code: int, out: str, err: str):
        self.code, self.out, self.err = code, out, err


def growjax(*words: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> Finished:
    """Runs `python -m growjax` in a process of its own, as a user would."""
    clean = runtime.without_pins()
    clean["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        [sys.executable, "-m", "growjax", *words],
        cwd=cwd or ROOT,
        env={**clean, **(env or {})},
        capture_output=True,
        text=True,
        timeout=900,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


class Entry:
    """An entry point as `importlib.metadata` gives it."""

    def __init__(self, name: str, found: Any):
        self.name, self.value, self._found = name, "package:object", found

    def load(self) -> Any:
        if isinstance(self._found, Exception):
            raise self._found
        return self._found


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """A folder that all test processes share."""
    base = factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    shared.mkdir(exist_ok=True)
    return shared


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], str]) -> tuple[Path, str]:
    """A folder that `make` fills once for all tests of all test processes, and what `make` said."""
    shared = shared_folder(factory)
    said = shared / f"{name}.txt"
    with FileLock(shared / f"{name}.lock"):
        if not said.exists():
            said.write_text(make(shared / name))
    return shared / name, said.read_text()


def studied(out: Path, *words: str) -> str:
    """What `study --json` prints."""
    done = growjax("study", *words, "--out", str(out), "--json")
    assert done.code == 0, done.err
    return done.out


def readme_block(name: str) -> str:
    """The shell block behind a marker of the README, or of the reference of the commands."""
    found = re.findall(rf"<!-- {name} -->\n```sh\n(.*?)```", README + REFERENCE, re.S)
    assert len(found) == 1, name
    return found[0]


EXAMPLES = [
    shlex.split(line)
    for block in ("example commands", "checkpoint commands")
    for line in readme_block(block).splitlines()
]
"""The commands that the README shows, in words."""

OURS = {
    **dict.fromkeys(("widen", "audit", "operators", "doctor", "import", "export"), ("--json",)),
    **dict.fromkeys(("study", "verify", "select"), ("--workers", "1", "--json")),
    "train": ("--workers", "1"),
}
"""What a test adds to a verb."""


def with_tokenizer(name: str, to: Path) -> Path:
    """A copy of a tiny checkpoint, beside the tests' tokenizer of as many ids."""
    shutil.copytree(ROOT / "tests" / "data" / name, to)
    shutil.copy(ROOT / "tests" / "tokenizer.json", to)
    return to


class Shown:
    """The README's example commands. Each runs once, for all tests that read what it made, in one folder, beside a tiny
    checkpoint (`my-llama`) and after those whose runs it reads; as it is shown, but that what tests read is said as
    JSON, and that cells are computed one after another, since the cores are busy with other tests."""

    def __init__(self, factory: pytest.TempPathFactory):
        self._factory = factory
        self.folder = shared_folder(factory)
        made_once(factory, "my-llama", lambda to: str(with_tokenizer("llama", to)))

    def text(self, verb: str) -> str:
        """What the example of a verb printed."""
        return self.run(next(words for words in EXAMPLES if words[3] == verb and "--help" not in words))

    def said(self, verb: str) -> dict[str, Any]:
        """The same as a document."""
        return json.loads(self.text(verb))

    def run(self, words: list[str]) -> str:
        """What an example printed; it must end with 0."""
        assert words[:3] == ["python", "-m", "growjax"]
        for before in EXAMPLES[: EXAMPLES.index(words)]:
            made = before[before.index("--out") + 1] if "--out" in before else None
            if made and any(word == made or word.startswith(f"{made}/") for word in words[4:]):
                self.run(before)
        ours = () if "--help" in words else OURS.get(words[3], ())

        def make(_: Path) -> str:
            done = growjax(*words[3:], *ours, cwd=self.folder)
            assert done.code == 0, (words, done.err, done.out)
            return done.out

        return made_once(self._factory, "-".join(words[3:]).replace("/", "-"), make)[1]


@pytest.fixture(scope="session")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """The README's example commands."""
    return Shown(tmp_path_factory)


@pytest.fixture(scope="session")
def smoke_run(shown: Shown) -> Path:
    """A whole study of the smallest size, run once for all tests (of all test processes) that read it."""
    return shown.folder / shown.said("study")["directory"]


def audited(run: Path, *words: str) -> str:
    """What `audit --json` prints of a run in which every draw is accounted for."""
    done = growjax("audit", str(run), *words, "--json")
    assert done.code == 0, done.err + done.out
    return done.out


def with_new_checksums(receipt: dict, out: Path) -> Path:
    """Writes a receipt that was edited, with checksums that fit what it now says; returns its run directory."""
    own = ("cells", "parts", "results", "root")
    cells = [with_checksum({k: v for k, v in cell.items() if k != "digest"}) for cell in receipt["cells"]]
    out.mkdir(exist_ok=True)
    RunDir(out).write_receipt({k: v for k, v in receipt.items() if k not in own}, cells)
    return out
