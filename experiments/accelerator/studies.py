"""Two studies beside other work and their `diff`, and the rows of the contract that are quick enough."""

from __future__ import annotations

import concurrent.futures
import json
import shutil
import sys

from experiments.accelerator.evidence import Evidence, Record
from growjax.errors import CheckFailed
from growjax.preflight.busy import busy_device

STUDY = ("--preset", "smoke")
STUDY_SMALL = (
    "--preset", "smoke", "--source-steps", "10", "--regimes", "stochastic", "--stochastic-replicates", "1",
    "--operators", "exact_copy",
)  # fmt: skip
ROWS, ROWS_SMALL = ("B5", "B6", "B7", "B9"), ("B6",)
"""Rows of the contract that are quick enough here; `doctor` asks for all."""


def study_words(name: str, small: bool) -> list[str]:
    """The command of one of the two studies that are compared."""
    workers = {"a": "1", "b": "2"}[name]
    return ["study", *(STUDY_SMALL if small else STUDY), "--out", f"study-{name}", "--workers", workers, "--json"]


def run(evidence: Evidence) -> None:
    """The stage. The receipt of the first study is kept beside the evidence."""
    found: Record = {}
    try:
        with busy_device(env=evidence.environment()), concurrent.futures.ThreadPoolExecutor(3) as pool:
            rows = pool.submit(_doctor, evidence)
            studies = {name: pool.submit(_study, evidence, name) for name in "ab"}
            found = {"studies": {name: study.result() for name, study in studies.items()}, "rows": rows.result()}
    except CheckFailed as error:
        evidence.fault("studies", str(error))
        return
    found["diff"] = _diff(evidence, found["studies"])
    evidence.keep("studies", found)
    _judge_rows(evidence, found["rows"])
    receipt = evidence.work / "study-a" / "receipt.json"
    if receipt.exists() and not evidence.setting.small:
        shutil.copyfile(receipt, evidence.out / f"smoke-{evidence.card}.json")


def _study(evidence: Evidence, name: str) -> Record:
    words = [sys.executable, "-m", "growjax", *study_words(name, evidence.setting.small)]
    made = evidence.child(words, evidence.environment(cache=f"cache-{name}"))
    return {key: made[key] for key in ("wall_s", "failed", "stderr", "root") if key in made}


def _doctor(evidence: Evidence) -> Record:
    rows = ROWS_SMALL if evidence.setting.small else ROWS
    words = [sys.executable, "-m", "growjax", "doctor", "--rows", *rows, "--json"]
    return evidence.child(words, evidence.environment(cache="cache-shared"))


def _judge_rows(evidence: Evidence, found: Record) -> None:
    if not found.get("rows"):
        evidence.fault("studies", f"no row was asked: {found.get('failed')} {found.get('stderr', '')[-400:]}")
    for row in found.get("rows", []):
        if row["verdict"] == "fails":
            evidence.fault("studies", f"{row['row']} {row['changes']}: {row['failed']}")
        elif row["verdict"] == "holds" and not row["compared"]:
            evidence.fault("studies", f"{row['row']} compared nothing")


def _diff(evidence: Evidence, studies: dict[str, Record]) -> Record:
    for name, study in studies.items():
        if "failed" in study:
            evidence.fault("studies", f"study {name}: {study['failed']} {study.get('stderr', '')[-400:]}")
    words = [sys.executable, "-m", "growjax", "diff", "study-a", "study-b", "--json"]
    made = evidence.child(words, evidence.environment(cache="cache-a"), limit=60)
    if "failed" in made or made.get("difference") is not None or not made.get("compared"):
        what = json.dumps({k: made.get(k) for k in ("compared", "difference", "failed")})
        evidence.fault("studies", f"diff of two studies: {what} {made.get('stderr', '')[-300:]}")
    return made
