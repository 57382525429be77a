"""Names that survive growth: a field that is added with a default renames nothing."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, growjax, with_new_checksums

from experiments.matched import compared
from growjax import config
from growjax.config import Config, ModelConfig, OptimConfig, TrainConfig
from growjax.configuration import default_of, plain
from growjax.errors import UserError
from growjax.record.integrity import read_receipt
from growjax.record.store import load_state, save_state
from growjax.schema import DEFAULTS, SCHEMA, VERSIONS, reads
from growjax.streams import Streams, root_key
from growjax.study import selection, spec
from growjax.study.presets import presets
from growjax.study.recipes import study_cells
from growjax.study.spec import StudySpec
from growjax.train.state import init_state

CLASSES: dict[str, Any] = {
    name: found
    for module in (config, spec, selection)
    for name, found in vars(module).items()
    if isinstance(found, type) and issubclass(found, Config) and found is not Config
}


def with_a_field(value: Any) -> Any:
    """The same configuration, of a class that has one more field, all the way down."""
    cls = type(value)
    more = dataclasses.make_dataclass(cls.__name__, [("added", int, 7)], bases=(cls,), frozen=True)
    fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(cls)}
    return more(**{name: with_a_field(v) if isinstance(v, Config) else v for name, v in fields.items()})


def test_the_defaults_of_the_schema_are_frozen():
    """Every field of every class stands in the table, with the default that the class has today."""
    assert set(DEFAULTS) == set(CLASSES) and set(VERSIONS) == set(range(2, SCHEMA + 1))
    for name, cls in CLASSES.items():
        defaults = {f.name: plain(default_of(f)) for f in dataclasses.fields(cls)}
        assert DEFAULTS[name] == defaults, f"{name}: a changed default takes another schema, a new field a new entry"


@pytest.mark.parametrize("name", presets())
def test_a_new_field_renames_nothing(name: str):
    """No digest of a configuration and no id of a cell changes; given another value, both do."""
    honest, grown = presets()[name], with_a_field(presets()[name])
    assert "added" in grown.every_field() and grown.to_dict() == honest.to_dict() and grown.digest() == honest.digest()
    ids = [recipe.id for recipe in study_cells(honest, 128).all()]
    assert [recipe.id for recipe in study_cells(grown, 128).all()] == ids
    other = dataclasses.replace(grown, model=dataclasses.replace(grown.model, added=8))
    assert other.digest() != honest.digest() and study_cells(other, 128).all()[1].id != ids[1]


def test_a_new_field_leaves_stored_states_alone(tmp_path: Path):
    small = TrainConfig(ModelConfig(d_model=8, n_heads=1, n_kv_heads=1, head_dim=8, d_ff=8, n_layers=1, vocab_size=9))
    state = init_state(small, key=Streams(root_key(0)).at("init", 0))
    texts = []
    for number, one in enumerate((small, with_a_field(small))):
        (tmp_path / str(number)).mkdir()
        save_state(tmp_path / str(number), state.replace(config=one))
        texts.append((tmp_path / str(number) / "state.json").read_bytes())
    assert texts[0] == texts[1] and load_state(tmp_path / "1").config == small


def test_what_was_written_keeps_its_meaning(monkeypatch: pytest.MonkeyPatch):
    """A class that takes another default reads the frozen one where a field was left out, and writes its own."""
    written = OptimConfig().to_dict()
    assert written == {} and json.loads(json.dumps(OptimConfig(b1=0.5).to_dict())) == {"b1": 0.5}
    monkeypatch.setitem(DEFAULTS, "OptimConfig", {**DEFAULTS["OptimConfig"], "b1": 0.8})  # as an earlier class had it
    assert OptimConfig.from_dict(written).b1 == 0.8 and OptimConfig().to_dict() == {"b1": 0.9}
    with pytest.raises(UserError, match="no field 'colour'"):
        OptimConfig.from_dict({"colour": 1})


def test_receipts_of_an_earlier_schema(smoke_run: Path, tmp_path: Path):
    """`report` and `diff` read them; `audit`, `verify` and a study to go on with say in a line which version does."""
    receipt = read_receipt(smoke_run)
    receipt["config"] = StudySpec.from_dict(receipt["config"]).every_field()
    old = with_new_checksums({**receipt, "schema": 2}, tmp_path / "old")
    assert growjax("report", str(old)).code == 0 and (old / "report" / "index.html").exists()
    found = growjax("diff", str(old), str(smoke_run))
    assert found.code == 0 and "schema was 2, now 3" in found.out, found.err
    for words, code in ((["audit"], 2), (["verify"], 3)):
        done = growjax(*words, str(old))
        assert done.code == code and len(done.err.splitlines()) == 1 and "growjax 0.1" in done.err, done.err
    done = growjax("study", "--preset", "smoke", "--out", str(old))
    assert done.code == 2 and "which growjax 0.1 goes on with" in done.err and len(done.err.splitlines()) == 1
    assert reads(9) == "another version of growjax" and reads("x") == "no version of growjax"


def test_cells_are_matched_by_label():
    """The tool that compares receipts from before and after names changed sees a changed digest and a lost cell."""
    receipt = read_receipt(ROOT / "artifacts" / "smoke")
    other = json.loads(json.dumps(receipt))
    for cell in other["cells"]:
        cell["id"] = cell["id"][::-1]
    assert compared(receipt, other)["cells that are the same"] == len(receipt["cells"])
    changed = next(cell for cell in other["cells"] if cell["kind"] == "probe")
    changed["digests"]["state"], lost = "0" * 64, other["cells"].pop()
    found = compared(receipt, other)
    assert list(found["cells that differ"].values()) == [["state"]] and len(found["in one of the two alone"]) == 1
    assert lost["kind"] in found["in one of the two alone"][0]
