"""The page: whole, self-contained, the same bytes twice, and silent about winners that the data does not show."""

from __future__ import annotations

import copy
import csv
import math
from html import escape
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from pages import Rendered, checked

from growjax.report import figures, markdown
from growjax.report.page import write_report

LONG = "perturbed:sigma=0.05,cancelling=false"
OPERATORS = ("exact_copy", LONG, "asymmetric_reset", "structured", "perturbed:sigma=0.01", "lockstep", "zero_pad",
             "aki", "net2net", "lemon")  # fmt: skip
EXACT = {"exact_copy", "asymmetric_reset", "lockstep", "structured"}


def curve(place: int, steps: list[int], *, shift: float) -> list[float]:
    """A smooth made-up loss curve, different for every place."""
    start = {0: 5.4, 1: 3.3}.get(place, 2.9 + 0.02 * (place % 3))
    return [2.6 + shift + 0.013 * place + (start - 2.6) * math.exp(-s / (20 + 3 * place)) for s in steps]


def synthetic(
    sources: int = 2, operators: int = 5, regimes: tuple[str, ...] = ("deterministic", "stochastic"), n: int = 3
) -> dict[str, Any]:
    """A summary like a small run's: `sources` states, `operators` candidates, both controls, `n` replicates."""
    names = ["scratch", *OPERATORS[:operators], "unwidened"]
    steps = [0, 1, 2, 4, 8, 12, 16, *range(24, 129, 8)]
    states = [(f"seed{i // 2}-step{600 * (1 + i % 2)}", i // 2, 600 * (1 + i % 2)) for i in range(sources)]
    summary: dict[str, Any] = {key: [] for key in ("preservation", "probes", "ranking", "pairs", "selectors", "curves")}
    model = {"d_model": 64, "n_layers": 2, "n_heads": 4, "d_ff": 192, "parameters": 131_000}
    summary |= {
        "title": "Widening <64> & 128",
        "run": {
            "preset": "quick", "corpus": "builtin", "corpus_digest": "ab" * 32, "tokens_train": 812_345,
            "tokens_validation": 40_960, "vocab_size": 512, "unigram_entropy": 5.31, "source_model": model,
            "target_model": model | {"d_model": 128, "d_ff": 384, "parameters": 459_000},
            "optimizer": {"name": "adamw", "learning_rate": 3e-3}, "batch_size": 16, "seq_len": 64,
            "replicates": {"stochastic": n, "deterministic": n}, "pinned": True, "cells": 120, "root": "0f" * 32,
            "environment": {"jaxlib": "0.10.2", "pins": {"NPROC": "1", "flags": "--xla_cpu_max_isa=AVX2"}},
        },
        "notes": ["Synthetic numbers."],
        "sources": [
            {"name": name, "seed": seed, "step": step, "validation_loss": 2.9 + 0.1 * seed, "unigram_entropy": 5.31,
             "curve": [[s, 2.7 + 0.1 * seed + 3.5 * math.exp(-s / 180)] for s in range(0, step + 1, 50)]}
            for name, seed, step in states
        ],
    }  # fmt: skip
    for at, (source, _, _) in enumerate(states):
        for place, name in enumerate(names):
            if name == "unwidened":
                continue
            kl = 0.0 if name in EXACT else 2.1 if name == "scratch" else 10.0 ** (-1 - place)
            summary["preservation"].append({
                "source": source, "candidate": name, "kl": kl, "logit_rms": kl**0.5, "logit_max": 3 * kl**0.5,
                "loss": 2.9 + kl, "loss_gap": kl, "escape_weights": None if name == "scratch" else 0.01 * place,
            })  # fmt: skip
        for side, regime in enumerate(regimes):
            for place, name in enumerate(names):
                control = name in ("scratch", "unwidened")
                y = curve(place, steps, shift=0.05 * at + 0.02 * side)
                wide = [0.004 * (n > 1)] * len(steps)
                summary["curves"].append({
                    "source": source, "regime": regime, "candidate": name, "control": control, "steps": steps,
                    "tokens": [s * 1024 for s in steps],
                    "flops": [s * 1024 * (8e5 if name == "unwidened" else 2.8e6) for s in steps], "mean": y,
                    "low": [a - b for a, b in zip(y, wide, strict=True)],
                    "high": [a + b for a, b in zip(y, wide, strict=True)],
                })  # fmt: skip
                for lag in (16, 128):
                    order = (place * (3 if lag == 16 else 1) + side) % (operators + 1) + 1
                    summary["ranking"].append({
                        "source": source, "regime": regime, "lag": lag, "candidate": name,
                        "family": "control" if control else "perturbative", "control": control, "n": n,
                        "auc_mean": y[-1] + 0.1, "auc_sd": 0.0031 if n > 1 else None,
                        "auc_after_start_mean": y[-1] + 0.08, "final_mean": y[-1],
                        "rank": None if name == "unwidened" else order,
                        "tokens_saved": None if control else 98_304.0, "tokens_saved_more": place % 2 == 0,
                    })  # fmt: skip
                if name != "unwidened":
                    summary["probes"].append({
                        "source": source, "regime": regime, "candidate": name, "n": n, "loss": y[6], "kl_start": 0.01,
                        "kl_continued": 0.004, "rms_start": 0.2, "rms_continued": 0.1,
                    } | {f"escape_{part}": None if name == "scratch" else (0.02 + 0.01 * at) * (place + side)
                         for part in ("weights", "updates", "activations")})  # fmt: skip
            for lag in (16, 128):
                firm = lag == 128 and side == 0 and n > 1
                summary["pairs"].append({
                    "source": source, "regime": regime, "lag": lag, "best": names[2], "second": names[1],
                    "difference": 0.012, "low": None if n < 2 else 0.004 if firm else -0.003,
                    "high": None if n < 2 else 0.02, "confidence": 0.95, "comparisons": 8, "separated": firm, "n": n,
                })  # fmt: skip
            for place, selector in enumerate(("zero-step KL", "probe loss", "probe KL", "escape in weights")):
                summary["selectors"].append({
                    "selector": selector, "source": source, "regime": regime,
                    "tau": None if place == 3 else 0.3 * place, "top1": place == 1, "regret": 0.0123,
                })  # fmt: skip
    return summary


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], list[Path]]:
    directory = tmp_path_factory.mktemp("report")
    summary = synthetic()
    return directory, summary, write_report(directory, summary)


def test_page_is_whole_and_self_contained(full: tuple[Path, dict[str, Any], list[Path]]) -> None:
    directory, summary, paths = full
    parser = checked(directory)
    described = "".join(parser.words)
    assert summary["title"] in described
    for name in {row["candidate"] for row in summary["curves"]}:
        assert name in described
    written = {p for p in directory.rglob("*") if p.is_file()}
    assert written == {*paths, directory / "digests.json"} and len(written) == len(paths) + 1
    assert {p.stem for p in (directory / "figures").iterdir()} == {
        "curves", "gaps", "flops", "ranks", "utility", "escape", "sources"
    }  # fmt: skip
    assert "> 98.3 k" in described


def test_same_summary_same_bytes(full: tuple[Path, dict[str, Any], list[Path]], tmp_path: Path) -> None:
    directory, summary, paths = full
    kept = copy.deepcopy(summary)
    again = write_report(tmp_path, summary)
    assert summary == kept
    assert [p.relative_to(tmp_path) for p in again] == [p.relative_to(directory) for p in paths]
    for first, second in zip(paths, again, strict=True):
        assert first.read_bytes() == second.read_bytes(), first.name


def test_drawing_leaves_matplotlib_as_it_was(tmp_path: Path) -> None:
    import matplotlib

    matplotlib.rcParams["lines.linewidth"] = 7.0
    try:
        before = dict(matplotlib.rcParams)
        write_report(tmp_path, synthetic(1, 2))
        assert dict(matplotlib.rcParams) == before
    finally:
        matplotlib.rcParams["lines.linewidth"] = matplotlib.rcParamsDefault["lines.linewidth"]


def test_conclusion_names_winners_only_where_separated(
    full: tuple[Path, dict[str, Any], list[Path]], tmp_path: Path
) -> None:
    described = "".join(checked(full[0]).conclusion)
    assert f"{LONG} is first at 2 of 2 source states" in described
    summary = synthetic(2, 5)
    for row in summary["pairs"]:
        row["separated"] = False
    summary["pairs"][0] |= {"separated": True, "low": 0.0}
    write_report(tmp_path, summary)
    described = "".join(checked(tmp_path).conclusion)
    assert "not separated" in described
    assert not any(row["candidate"] in described for row in summary["curves"] if not row["control"])


@pytest.mark.parametrize("section", ["all", "ranking", "curves", "pairs", "preservation", "probes", "sources"])
def test_missing_sections(section: str, tmp_path: Path) -> None:
    summary = synthetic(1, 2)
    for key in [k for k, v in summary.items() if isinstance(v, list)] if section == "all" else [section]:
        summary[key] = []
    if section == "all":
        summary["run"] = {}
    write_report(tmp_path, summary)
    assert "Nothing recorded" in "".join(checked(tmp_path).words) or section == "pairs"


@pytest.mark.parametrize(
    ("sources", "operators", "regimes", "n"),
    [(1, 2, ("stochastic",), 1), (4, 10, ("deterministic", "stochastic"), 8), (1, 3, ("a", "b", "c", "d"), 1)],
)
def test_sizes(sources: int, operators: int, regimes: tuple[str, ...], n: int, tmp_path: Path) -> None:
    write_report(tmp_path, synthetic(sources, operators, regimes, n))
    parser = checked(tmp_path)
    if n == 1:
        assert "not separated" in "".join(parser.conclusion)


def test_a_longer_lag_of_a_few_takes_no_figure_away(tmp_path: Path) -> None:
    summary = synthetic(1, 3)
    assert any(path.name == "utility.svg" for path in write_report(tmp_path / "all", summary))
    for row in [*summary["pairs"]]:
        summary["pairs"].append({**row, "lag": 512})
    assert any(path.name == "utility.svg" for path in write_report(tmp_path / "longer", summary))


def test_values_that_are_missing(tmp_path: Path) -> None:
    summary = synthetic(1, 2)
    for section in ("preservation", "probes", "ranking", "selectors", "pairs"):
        for row in summary[section]:
            row |= {k: None for k, v in row.items() if isinstance(v, float)}
    for row in summary["curves"]:
        row["mean"] = [None] * len(row["steps"])
    write_report(tmp_path, summary)
    checked(tmp_path)


def test_csv_round_trips(full: tuple[Path, dict[str, Any], list[Path]]) -> None:
    directory, summary, _ = full
    for section in ("preservation", "probes", "ranking", "pairs", "selectors"):
        with (directory / "tables" / f"{section}.csv").open(newline="") as file:
            read = list(csv.DictReader(file))
        assert len(read) == len(summary[section])
        for got, sent in zip(read, summary[section], strict=True):
            assert set(got) == set(sent)
            for key, value in sent.items():
                assert got[key] == ("" if value is None else str(value))
                if isinstance(value, float):
                    assert float(got[key]) == value
    with (directory / "tables" / "curves.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [float(r["mean"]) for r in read] == [y for c in summary["curves"] for y in c["mean"]]


def test_names_are_escaped(tmp_path: Path) -> None:
    summary = synthetic(1, 2)
    nasty = "<b>&\"$x$'_^"
    for section in ("preservation", "probes", "ranking", "curves"):
        for row in summary[section]:
            row["candidate"] = nasty if row["candidate"] == "exact_copy" else row["candidate"]
    summary["notes"] = ["<script>x</script>"]
    write_report(tmp_path, summary)
    read = Rendered(tmp_path, "study.md")
    assert not read.tags & {"b", "script", "a"} and read.targets == {
        f"figures/{path.name}" for path in (tmp_path / "figures").iterdir()
    }
    for described in ("".join(checked(tmp_path).words), "".join(read.words)):
        assert nasty in described
        assert "<script>x</script>" in described


def test_a_source_is_one_line_over_all_its_states():
    """The curve of a state is that of the training since the state before."""
    states = [("seed0-step10", 10, [[0, 5.0], [10, 4.0]]), ("seed0-step30", 30, [[20, 3.5], [30, 3.0]])]
    rows = [{"name": name, "seed": 0, "step": step, "validation_loss": curve[-1][1], "curve": curve}
            for name, step, curve in states]  # fmt: skip
    drawn = figures.sources({"sources": rows})
    assert drawn is not None
    assert list(drawn.axes[0].lines[0].get_xdata()) == [0, 10, 20, 30]


def test_the_strange_beginnings_of_lines():
    for text in ("# x", "- x", "1. x", "12) x", "+ x", "=== x", "> x", "*x*", "_x_", "`x`", "a_b", "x.y 1.5", "&lt;"):
        html = f"<main><p>{escape(text)}</p><ul><li>{escape(text)}</li></ul></main>"
        assert MarkdownIt("commonmark").render(markdown.of_page(html)) == (
            f"<p>{escape(text)}</p>\n<ul>\n<li>{escape(text)}</li>\n</ul>\n"
        )
