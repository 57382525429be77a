"""Bad input: one line that names the fault and the hint, exit code 2, nothing half-written."""

from __future__ import annotations

import errno
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, Finished, growjax

from growjax.cli import main
from growjax.errors import UserError
from growjax.files import explain, whole_directory
from growjax.record.rundir import LOCK, RunDir
from growjax.record.store import load_state


def refused(done, *words: str) -> None:
    """One line on stderr, nothing on stdout, exit code 2, no traceback, and the words in it."""
    assert done.code == 2, (done.code, done.out, done.err)
    assert done.out == "" and done.err.count("\n") == 1 and done.err.startswith("growjax: "), done.err
    assert "Traceback" not in done.err
    for word in words:
        assert word in done.err, done.err


SMOKE = ("study", "--preset", "smoke")

ARGUMENTS = {
    "unknown verb": (("grow",), "no verb is named 'grow'"),
    "unknown option": ((*SMOKE, "--colour", "red"), "--colour"),
    "not a number": ((*SMOKE, "--model.d-model", "wide"), "--model.d-model"),
    "unknown preset": (("study", "--preset", "huge"), "no preset is named 'huge'"),
    "unknown operator": ((*SMOKE, "--operators", "exact_copy", "magic"), "no operator is named 'magic'"),
    "unknown operator option": ((*SMOKE, "--operators", "perturbed:colour=1"), "does not take 'colour=1'"),
    "unknown regime": ((*SMOKE, "--regimes", "chaotic"), "no regime is named 'chaotic'"),
    "heads that do not divide": ((*SMOKE, "--model.n-heads", "3"), "does not divide"),
    "width that shrinks": ((*SMOKE, "--to.d-model", "8"), "nearest reachable d_model is 16"),
    "heads that cannot be cloned": ((*SMOKE, "--to.head-dim", "12"), "nearest reachable head_dim"),
    "lag off the grid": ((*SMOKE, "--probe-lag", "5"), "probe_lag 5"),
    "steps off the grid": ((*SMOKE, "--source-steps", "7"), "source_steps"),
    "missing corpus": ((*SMOKE, "--data.corpus", "no/such/file.txt"), "no/such/file.txt"),
    "dropout of one": ((*SMOKE, "--model.dropout", "1.0"), "model.dropout"),
    "vocabulary under the bytes": ((*SMOKE, "--data.vocab-size", "100"), "data.vocab_size"),
    "negative seed": ((*SMOKE, "--source-seeds", "-1"), "seed"),
    "one operator twice": ((*SMOKE, "--operators", "scratch", "scratch"), "twice"),
    "no source state": (("widen", "no/such/run", "--out", "x"), "no/such/run holds no state"),
    "no run to report": (("report", "no/such/run"), "no receipt.json"),
}


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Finished]:
    """Runs a command in this process, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> Finished:
        code = main(words)
        said = capfd.readouterr()
        return Finished(code, said.out, said.err)

    return run


@pytest.mark.parametrize("name", ARGUMENTS)
def test_wrong_arguments(name: str, command: Callable[..., Finished], tmp_path: Path):
    words, described = ARGUMENTS[name]
    refused(command(*words, *(("--out", "run") if words[0] == "study" else ())), described)
    assert not list(tmp_path.rglob("result.json")) and not list(tmp_path.rglob(".*.tmp"))


def test_wrong_arguments_in_a_process_of_its_own(tmp_path: Path):
    refused(growjax(*SMOKE, "--operators", "magic", cwd=tmp_path), "no operator is named 'magic'")
    assert not list(tmp_path.iterdir())


CORPORA = {
    "empty": (b"", "empty"),
    "binary": (b"\x00\x01\x02" * 100, "corpus"),
    "not UTF-8": ("Ein Bär".encode("latin-1") * 50, "--data.encoding"),
    "too small": (b"One day.\n\nThe end.\n", "corpus"),
}


@pytest.mark.parametrize("name", CORPORA)
def test_wrong_corpora(name: str, command: Callable[..., Finished], tmp_path: Path):
    content, described = CORPORA[name]
    (tmp_path / "corpus.txt").write_bytes(content)
    refused(command(*SMOKE, "--data.corpus", "corpus.txt", "--out", "run"), described)
    assert not list(tmp_path.rglob("*.bin")) and not list(tmp_path.rglob(".*.tmp"))
    # fixed, the same command runs: the refusal left nothing in its way
    assert [p.name for p in tmp_path.iterdir()] == ["corpus.txt"]


def test_a_command_that_is_corrected_goes_on(command: Callable[..., Finished], tmp_path: Path):
    """Refused for its corpus, or for what the corpus makes of its options, a study leaves no run behind; one that was
    there before stays, and so does what is none of a run's."""
    words = (*SMOKE, "--out", "run", "--data.eval-batches", "1", "--data.batch-size", "2", "--data.corpus", "c.txt")
    (tmp_path / "c.txt").write_text("\n\n".join(f"The cat number {n} ran home." for n in range(400)))
    refused(command(*words, "--deterministic-replicates", "500"), "500 replicates", "--deterministic-replicates")
    refused(command(*words, "--data.seq-len", "500"), "--data.seq-len")
    assert [p.name for p in tmp_path.iterdir()] == ["c.txt"]
    (tmp_path / "run").mkdir()
    RunDir(tmp_path / "run").begin({"schema": 0})
    before = (tmp_path / "run" / "receipt.json").read_bytes()
    refused(command(*words, "--data.seq-len", "500"), "--out")
    assert (tmp_path / "run" / "receipt.json").read_bytes() == before
    (tmp_path / "run" / "thesis.txt").write_text("years of work")
    refused(command(*words, "--data.seq-len", "500", "--force"), "thesis.txt")
    assert (tmp_path / "run" / "thesis.txt").exists()


def test_a_corpus_that_changed_since(smoke_run: Path, tmp_path: Path):
    corpus = tmp_path / "stories.txt"
    story = "Once upon a time number {} went up the hill and came down again with a red ball."
    corpus.write_text("\n\n".join(story.format(i) for i in range(3000)))
    words = (
        *SMOKE,
        "--data.corpus",
        str(corpus),
        "--operators",
        "scratch",
        "--regimes",
        "deterministic",
        "--out",
        "run",
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "growjax", *words], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    while process.poll() is None and not (tmp_path / "run" / "data" / "tokens.json").exists():
        pass
    process.kill()
    process.wait()
    corpus.write_text(corpus.read_text().replace("red", "blue"))
    refused(growjax(*words, cwd=tmp_path), "no longer what", "--force")


def test_a_run_directory_of_another_config(smoke_run: Path, command: Callable[..., Finished]):
    before = (smoke_run / "receipt.json").read_bytes()
    refused(command(*SMOKE, "--optim.b1", "0.8", "--out", str(smoke_run)), "config.optim.b1", "--force")
    assert (smoke_run / "receipt.json").read_bytes() == before


def test_a_directory_of_something_else_is_never_touched(command: Callable[..., Finished], tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("years of work")
    refused(command(*SMOKE, "--out", str(tmp_path)), "holds no run")
    refused(command(*SMOKE, "--out", str(tmp_path), "--force"), "thesis.txt")
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_what_a_killed_process_had_begun_to_write_is_in_nobodys_way(command: Callable[..., Finished], tmp_path: Path):
    left = tmp_path / "run" / f".{'0' * 32}.tmp"
    left.mkdir(parents=True)
    refused(command(*SMOKE, "--out", "run", "--force", "--data.corpus", "nowhere"), "nowhere")
    assert not left.exists()


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("verb", ["study", "train"])
def test_force_deletes_nothing_before_all_is_known_to_be_possible(
    verb: str, command: Callable[..., Finished], tmp_path: Path
):
    run = RunDir(tmp_path / "run")
    run.path.mkdir()
    run.begin({"schema": 0})
    for path in (run.data / "tokens.json", run.cells / "a" / "result.json", run.report / "index.html", run.path / LOCK):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"text of {path.name}")
    (tmp_path / "c.txt").write_text("\n\n".join(f"The cat number {n} ran home." for n in range(400)))
    (tmp_path / "t.json").write_text("{}")
    before, words = files_of(run.path), (*(SMOKE if verb == "study" else ("train",)), "--out", "run", "--force")
    refusals = {
        ("--data.corpus", "nowhere"): "nowhere",
        ("--data.corpus", "c.txt", "--data.seq-len", "500"): "--data.seq-len",
        ("--data.tokenizer", "t.json"): "tokenizer",
        ("--optim.lr", "-1"): "optim.lr",
    }
    if verb == "study":
        refusals |= {("--reuse", "run"): "--force would delete run", ("--reuse", "elsewhere"): "elsewhere"}
    for more, described in refusals.items():
        refused(command(*words, *more), described)
        assert files_of(run.path) == before, more
    run.cells.rename(tmp_path / "far")
    run.cells.symlink_to(tmp_path / "far")
    refused(command(*words), "run/cells, which is a link: remove the link, or choose another --out")
    assert files_of(run.path) | {"cells/a/result.json": (tmp_path / "far/a/result.json").read_bytes()} == before


def test_a_file_where_the_run_should_go(command: Callable[..., Finished], tmp_path: Path):
    (tmp_path / "run").write_text("a file")
    refused(command(*SMOKE, "--out", str(tmp_path / "run")), "file")
    assert (tmp_path / "run").read_text() == "a file"


@pytest.fixture
def state_copy(smoke_run: Path, tmp_path: Path) -> Path:
    receipt = json.loads((smoke_run / "receipt.json").read_text())
    source = next(c for c in receipt["cells"] if c["kind"] == "source")
    shutil.copytree(smoke_run / "cells" / source["id"], tmp_path / "state")
    shutil.copytree(smoke_run / "data", tmp_path / "data")
    return tmp_path / "state"


@pytest.mark.parametrize("damage", ["truncated", "missing", "flipped", "info"])
def test_damaged_checkpoints(state_copy: Path, command: Callable[..., Finished], tmp_path: Path, damage: str):
    files = sorted((state_copy / "state").rglob("d/*"), key=lambda p: p.stat().st_size)
    if damage == "truncated":
        os.truncate(files[-1], files[-1].stat().st_size // 2)
    elif damage == "missing":
        files[-1].unlink()
    elif damage == "flipped":
        content = bytearray(files[-1].read_bytes())
        content[len(content) // 2] ^= 1
        files[-1].write_bytes(content)
    else:
        os.truncate(state_copy / "state.json", 40)
    out = tmp_path / "wide"
    refused(command("widen", str(state_copy), "--tokens", str(tmp_path / "data"), "--out", str(out)), str(state_copy))
    assert not out.exists()


def test_widen_overwrites_nothing(state_copy: Path, command: Callable[..., Finished], tmp_path: Path):
    out = tmp_path / "wide"
    out.mkdir()
    words = ("widen", str(state_copy), "--tokens", str(tmp_path / "data"), "--out", str(out))
    refused(command(*words), "is there already")
    refused(command(*words, "--force"), "is no state")
    assert not list(out.iterdir())


@pytest.mark.parametrize("verb", ["study", "widen"])
def test_a_full_disk(verb: str, smoke_run: Path, tmp_path: Path):
    """A limit on file sizes stands in for a disk that fills up while tokens, or a state, are being written."""
    words = {"study": [*SMOKE, "--out", "run"], "widen": ["widen", str(smoke_run), "--out", "run"]}[verb]
    limited = f"ulimit -f 60; exec {shlex.join([sys.executable, '-m', 'growjax', *words])}"  # in blocks of 1024 bytes
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(["bash", "-c", limited], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "growjax: the file" in done.stderr, done.stderr
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert left <= {"receipt.json", "lock"}, left


@pytest.mark.parametrize(
    ("number", "described"),
    [(errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only"), (errno.EACCES, "permission"), (errno.EDQUOT, "quota")],
)
def test_faults_of_the_system_are_said(number: int, described: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Raised where a folder is being filled, bare or inside another library's error; nothing is left behind."""
    monkeypatch.setattr("time.sleep", lambda _: None)  # no other thread still writes here
    plain = OSError(number, os.strerror(number), "a/file")
    wrapped = ValueError("tensorstore says no")
    wrapped.__cause__ = plain
    for error in (plain, wrapped, RuntimeError(f"INTERNAL: write failed: {os.strerror(number)}")):
        with pytest.raises(type(error)), whole_directory(tmp_path / "cell") as folder:
            (folder / "half").write_text("half")
            raise error
        assert not list(tmp_path.iterdir())
        line = explain(error)
        assert isinstance(line, UserError) and described in str(line)


def test_a_read_only_place():
    """/proc takes no folders from anybody, root included."""
    done = growjax(*SMOKE, "--out", "/proc/growjax-run")
    assert done.code == 2 and done.err.count("\n") == 1 and "Traceback" not in done.err, done.err


def test_no_state_is_loaded_from_a_foreign_folder(tmp_path: Path):
    with pytest.raises(UserError, match="holds no growjax state"):
        load_state(tmp_path)
