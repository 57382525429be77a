"""The page of a selection: whole, self-contained, the same bytes twice, and safe with what a stranger wrote."""

from __future__ import annotations

import copy
import csv
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from pages import Rendered, checked
from selections import NAMES, made_up, raced

from growjax.record.digested import damage
from growjax.record.integrity import finished_receipt
from growjax.report import figures
from growjax.report.document import verifying
from growjax.report.formatting import contents_of
from growjax.report.racing import curve_rows, took_part
from growjax.report.selection import write_selection
from growjax.study.facts import cost_rows, programs
from growjax.study.receipt import models, spec_of

Page = tuple[Path, dict[str, Any], list[Path]]


def written(directory: Path, summary: Any) -> list[Path]:
    return write_selection(directory, summary)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Page:
    directory, summary = tmp_path_factory.mktemp("selection"), made_up()
    return directory, summary, written(directory, summary)


def test_every_file_is_there_and_the_page_asks_no_network(full: Page):
    directory, summary, paths = full
    described = "".join(checked(directory).words)
    assert {str(path.relative_to(directory)) for path in paths} == {
        "index.html", "selection.md", "selection.json", "tables/cost.csv",
        *(f"figures/{name}.svg" for name in ("curves", "gaps", "race")),
        *(f"tables/{name}.csv" for name in ("standings", "curves", "rungs", "outlooks", "rules", "left_out")),
    }  # fmt: skip
    assert {path for path in directory.rglob("*") if path.is_file()} == {*paths, directory / "digests.json"}
    assert damage(directory) == []
    assert all(name in described for name in (*NAMES, "hypercloning"))
    for sentence in (*summary["certain"], *summary["uncertain"], *summary["notes"], *summary["trust"]):
        assert sentence in described
    assert "python -m growjax verify RUN/receipt.json --source SOURCE --corpus CORPUS" in described
    assert "python -m growjax train --from RUN/chosen --steps 512 --eval-every 8" in described
    assert "python -m growjax export RUN/chosen" in described
    assert json.loads((directory / "selection.json").read_text()) == summary


def test_it_says_who_is_not_separated_and_what_was_not_measured(tmp_path: Path):
    for budget in (400, 1200):
        summary = made_up(budget=budget)
        near = [one["candidate"] for one in summary["standings"] if one["why"] in ("stayed", "budget")]
        written(tmp_path / str(budget), summary)
        page = checked(tmp_path / str(budget))
        said = f"Of the other candidates {', '.join(near)} {'is' if len(near) == 1 else 'are'} not separated from it."
        assert near and said in "".join(page.conclusion)
        assert "Under lag 32 nothing was measured" in "".join(page.words) and page.words.count("not measured") == 1
    summary = made_up(budget=20_000) | {"measured_from": None}
    assert summary["answer"]["separated"]
    written(tmp_path / "firm", summary)
    page = checked(tmp_path / "firm")
    assert "Of the other candidates every one is separated." in "".join(page.conclusion)
    assert "nothing was measured" not in "".join(page.words) and "not measured" not in page.words


def test_same_summary_same_bytes(full: Page, tmp_path: Path):
    directory, summary, paths = full
    kept = copy.deepcopy(summary)
    again = written(tmp_path, summary)
    assert summary == kept
    assert [p.relative_to(tmp_path) for p in again] == [p.relative_to(directory) for p in paths]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(paths, again, strict=True))


def test_tables_in_full_precision(full: Page):
    directory, summary, _ = full
    for name in ("standings", "rungs", "outlooks", "left_out", "cost"):
        with (directory / "tables" / f"{name}.csv").open(newline="") as file:
            read = list(csv.DictReader(file))
        for got, sent in zip(read, summary[name], strict=True):
            flat = {key: value for key, value in sent.items() if not isinstance(value, list)}
            assert got == {key: str(value) for key, value in flat.items()}
    (rule,) = summary["rules"]
    taken = zip(rule["candidates"], map(str, rule["places"]), strict=True)
    with (directory / "tables" / "rules.csv").open(newline="") as file:
        read = [tuple(row.values()) for row in csv.DictReader(file)]
    assert read == [(rule["rule"], name, place, str(len(rule["places"]))) for name, place in taken]
    with (directory / "tables" / "curves.csv").open(newline="") as file:
        points = [(row["candidate"], int(row["step"]), float(row["mean"])) for row in csv.DictReader(file)]
    assert points == [(one["candidate"], step, mean) for one in summary["standings"] for step, mean in one["curve"]]


def test_markdown_is_the_page(full: Page):
    directory, summary, _ = full
    found = Rendered(directory, "selection.md")
    described = "".join(found.words)
    assert found.targets == {f"figures/{name}.svg" for name in ("curves", "gaps", "race")}
    assert f"Chosen: {summary['answer']['chosen']}." in described
    for one in summary["standings"]:
        assert one["candidate"] in found.words
    conclusion = "".join(checked(directory).conclusion)
    assert "".join(conclusion.split()) in "".join(described.split())


@pytest.mark.parametrize("budget", [128, 400, 1200, 4000, 9000])
def test_who_took_part_follows_from_how_far_each_went(budget: int):
    summary, (verdict, _) = made_up(budget=budget), raced(NAMES, budget, 512)
    for one in summary["standings"]:
        asked = [n for n, r in enumerate(verdict.requests) if one["candidate"] in {name for name, _ in r.places}]
        assert took_part(one, summary["rungs"]) == asked != []


NASTY = "<script>x</script><b>&\"|`$x$'_^*[a](b)\\ #"
"""What a browser, a table, or a Markdown reader would make something else of."""


def test_what_a_stranger_wrote_is_text(tmp_path: Path):
    summary = json.loads(json.dumps(made_up()).replace("exact_copy", json.dumps(NASTY)[1:-1]))
    for key in ("certain", "uncertain", "notes", "trust"):
        summary[key] = [NASTY, f"# {NASTY}", f"1. {NASTY}"]
    summary["title"] = summary["question"]["source"] = summary["question"]["regime"] = NASTY
    summary["left_out"] = [{"candidate": NASTY, "why": NASTY}]
    summary["rules"][0]["rule"] = summary["standings"][1]["why"] = summary["answer"]["state"] = NASTY
    summary["run"] |= {"corpus": NASTY, "corpus_digest": NASTY, "given": [NASTY], "root": NASTY, "preset": NASTY,
                       "environment": {NASTY: {NASTY: NASTY}}}  # fmt: skip
    summary["source"]["name"] = summary["cost"][0]["kind"] = NASTY
    written(tmp_path, summary)
    page, read = checked(tmp_path), Rendered(tmp_path, "selection.md")
    assert "script" not in read.tags and "b" not in read.tags and "a" not in read.tags
    assert read.targets == {f"figures/{name}.svg" for name in ("curves", "gaps", "race")}
    lines = (tmp_path / "selection.md").read_text().splitlines()
    assert sum(line.startswith("# ") for line in lines) == 1 and not any(line.startswith("1. ") for line in lines)
    for text in ("".join(page.words), "".join(read.words)):
        assert text.count(NASTY) >= 20


@pytest.mark.parametrize("unpinned", [True, False])
def test_one_candidate(unpinned: bool, tmp_path: Path):
    summary = made_up(names=("exact_copy",), budget=16, horizon=64)
    summary["left_out"], summary["run"]["pinned"] = [], not unpinned
    paths = written(tmp_path, summary)
    page = checked(tmp_path)
    assert "No other candidate was left to compare it with." in "".join(page.conclusion)
    assert not any(path.name == "gaps.svg" for path in paths)
    assert ("not pinned:" in "".join(page.words)) == unpinned


def test_candidates_that_diverged(tmp_path: Path):
    summary = made_up()
    last = summary["standings"][-1]
    last |= {"why": "diverged", "behind": None, "kl": None, "curve": [[0, 4.0], [8, None], [16, None]]}
    last |= {"low": [4.0, 3.9, None], "high": [4.0, None, None]}
    written(tmp_path, summary)
    assert "its loss left the finite numbers" in "".join(checked(tmp_path).words)


def test_each_curve_goes_as_far_as_its_candidate_ran():
    summary = made_up()
    drawable = {"curves": curve_rows(summary), "sources": [summary["source"]]}
    drawn = figures.curves(drawable, contents_of(drawable), axis="steps")
    assert drawn is not None
    lines = {line.get_color(): max(line.get_xdata()) for line in drawn.axes[0].lines}
    assert sorted(lines.values()) == sorted(one["lag"] for one in summary["standings"])
    assert len(set(lines.values())) > 2


def test_bands_are_drawn_of_replicates(tmp_path: Path):
    summary = made_up(budget=9000)
    assert summary["answer"]["replicates"] > 1
    written(tmp_path, summary)
    checked(tmp_path)
    assert (tmp_path / "figures" / "curves.svg").read_text().count("FillBetweenPolyCollection") > 1


def test_what_verify_is_given():
    assert "--" not in verifying({"corpus": "builtin", "given": []}).partition("</pre>")[0]
    found = verifying({"corpus": "stories.txt", "given": ["0a"], "corpus_digest": "ab", "tokenizer": "cd"})
    assert "--source SOURCE --corpus CORPUS</pre>" in found and "<code>0a</code>" in found and "<code>ab" in found
    found = verifying({"corpus": "builtin", "given": [], "tokenizer": "cd"})
    assert "--tokenizer TOKENIZER</pre>" in found and "<code>cd</code>" in found


def test_what_a_study_took():
    """Of the published quick study: two source states in one training, and of each candidate 128 steps from each, in
    two replicates and in three."""
    receipt = finished_receipt(ROOT / "artifacts" / "quick" / "receipt.json")
    spec = spec_of(receipt)
    found = {row["kind"]: row for row in cost_rows(receipt, spec, *models(receipt))}
    assert found["source"]["source_steps"] == 600 and found["candidate"]["cells"] == 5 * 2
    wide = found["probe"]["target_steps"] + found["continuation"]["target_steps"]
    assert wide == 128 * len(spec.candidates) * 2 * (2 + 3)
    assert sum(row["cells"] for row in found.values()) == len(receipt["cells"])
    assert found["probe"]["flops"] > 0 == found["data"]["flops"]
    assert 0 < programs(receipt) < found["probe"]["cells"]
