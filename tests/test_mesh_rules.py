"""The table of rules: which axis of a parameter is cut over which axis of a mesh."""

from __future__ import annotations

import math

import pytest

from growjax.config import ModelConfig
from growjax.errors import UserError
from growjax.mesh.rules import (
    AXES,
    RULES,
    MeshShape,
    cut_like,
    cut_of,
    dividing,
    meshes,
    names_of,
    piece_shape,
    pieces_of,
    require_divides,
    require_shards,
)
from growjax.model.decoder import named_params
from growjax.model.table import parameters

MODEL = ModelConfig(d_model=32, n_heads=2, n_kv_heads=2, d_ff=96, vocab_size=300, max_seq_len=32)


def of(model: ModelConfig) -> list:
    return [(path, spec, shape.shape) for path, spec, shape in named_params(model)]


def test_every_axis_of_every_decoder_has_a_rule():
    known = {axis for axis, _ in RULES}
    for path, (spec, _, _) in parameters().items():
        assert set(names_of(spec)) <= known, path
    for axis in known:
        assert {over for name, over in RULES if name == axis} == {"fsdp", "tensor"}


@pytest.mark.parametrize("mesh", list(meshes(8)), ids=str)
def test_no_mesh_axis_cuts_twice_and_pieces_make_up_the_whole(mesh: MeshShape):
    for path, spec, shape in of(MODEL):
        cut = cut_of(names_of(spec), shape, mesh)
        used = [over for over in cut if over is not None]
        assert len(used) == len(set(used)) and "data" not in used, path
        piece = piece_shape(cut, shape, mesh)
        assert math.prod(piece) * pieces_of(cut, mesh) == math.prod(shape)
        assert all(size % part == 0 for size, part in zip(shape, piece, strict=True))


def test_what_stands_first_in_the_table_is_taken_first():
    mesh = MeshShape(1, 2, 2)
    cuts = {path: cut_of(names_of(spec), shape, mesh) for path, spec, shape in of(MODEL)}
    assert cuts["blocks/w_up"] == (None, "fsdp", "tensor")
    assert cuts["blocks/wo"] == (None, "tensor", None, "fsdp")
    assert cuts["embedding"] == ("tensor", "fsdp")
    # 2 heads do not divide by 4, but their length does
    assert cut_of(("embed", "heads", "head_dim"), (32, 2, 16), MeshShape(1, 2, 4)) == ("fsdp", None, "tensor")
    # neither does the vocabulary, so that embed is left for tensor
    assert cut_of(("vocab", "embed"), (301, 32), MeshShape(1, 1, 8)) == (None, "tensor")
    assert cut_of(("vocab", "embed"), (301, 33), MeshShape(1, 2, 4)) == (None, None)


def test_what_goes_with_a_parameter_is_cut_like_it():
    cut = ("tensor", None, "fsdp")
    assert cut_like(cut, (4, 3, 8)) == cut
    assert cut_like(cut, (1, 3, 8)) == (None, None, "fsdp")
    assert cut_like(cut, (1, 1, 1)) == (None, None, None)
    assert cut_like(cut, ()) == ()


def test_meshes_of_a_number_of_devices():
    found = list(meshes(8))
    assert len(found) == len(set(found)) == 10 and {mesh.size for mesh in found} == {8}
    assert found[0] == MeshShape(8, 1, 1) and found[-1] == MeshShape(1, 1, 8)
    assert dividing(8, of(MODEL)) == found
    assert dividing(5, of(MODEL)) == [MeshShape(5, 1, 1)]
    assert str(MeshShape(2, 4)) == "data 2 x fsdp 4 x tensor 1" and MeshShape._fields == AXES


def test_a_mesh_that_does_not_divide_is_refused_in_one_line():
    with pytest.raises(UserError) as refused:
        require_divides(MeshShape(1, 5, 1), of(MODEL))
    assert "a mesh of data 1 x fsdp 5 x tensor 1 does not divide blocks/" in refused.value.fault
    assert "choose another fsdp" in refused.value.hint
    with pytest.raises(UserError, match="6 virtual shards of a batch do not divide over the 4 devices"):
        require_shards(MeshShape(2, 2), 6)
    require_shards(MeshShape(2, 2), 8)
