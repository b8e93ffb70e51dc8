"""Kept directions are bound to their model and template."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'local'")

from phantom_states import found, phantom_model  # noqa: E402, F401 - fixtures

from demur import phantom  # noqa: E402
from demur.errors import ArtefactError  # noqa: E402
from demur.models import LocalModel  # noqa: E402
from demur.states.direction import Direction, load_direction  # noqa: E402
from demur.states.directions import Directions  # noqa: E402


@pytest.fixture
def kept(found, tmp_path):
    found.at("refusal", 2, "last").save(tmp_path / "one.safetensors")
    return tmp_path / "one.safetensors"


def test_a_direction_comes_back_whole(phantom_model, found, kept):
    back, gone = load_direction(kept, phantom_model), found.at("refusal", 2, "last")
    assert torch.equal(back.vector, gone.vector)
    assert (back.layer, back.position, back.kind, back.quality) == (2, "last", "refusal", gone.quality)
    card = json.loads(kept.with_suffix(".json").read_text(encoding="utf-8"))
    assert card["model"]["template_hash"] == phantom_model.template_hash
    assert card["data"]["counts"] == found.counts
    assert {"auroc", "null", "random", "p", "n"} <= set(card["quality"])


def test_another_template_is_refused(phantom_model, kept):
    tokenizer = type(phantom_model.tokenizer).from_pretrained(phantom_model.name)
    tokenizer.chat_template = tokenizer.chat_template + "{# changed #}"
    other = LocalModel(phantom_model.model, tokenizer, name=phantom_model.name)
    with pytest.raises(ArtefactError, match="chat template"):
        load_direction(kept, other)


def test_another_model_is_refused(kept):
    other = phantom.load()
    with torch.no_grad():
        other.structure.blocks[2].attention.projection.weight.add_(0.01)
    with pytest.raises(ArtefactError, match="attention weights"):
        load_direction(kept, other)
    assert load_direction(kept, other, fine_tuned=True).layer == 2


def test_the_same_model_elsewhere_or_in_half_precision_is_the_same(phantom_model, kept):
    moved = LocalModel(phantom_model.model, phantom_model.tokenizer, name="somewhere/else")
    assert load_direction(kept, moved).layer == 2
    assert load_direction(kept, phantom.load(dtype="bfloat16")).layer == 2


def test_broken_files_are_refused(phantom_model, found, kept):
    with pytest.raises(ArtefactError, match="holds 'direction', expected 'directions'"):
        Directions.load(kept, phantom_model)
    content = kept.read_bytes()
    kept.write_bytes(content[:-4] + b"\0\0\0\0")
    with pytest.raises(ArtefactError, match="do not belong together"):
        load_direction(kept, phantom_model)
    kept.with_suffix(".json").unlink()
    with pytest.raises(ArtefactError, match="cannot be read"):
        load_direction(kept, phantom_model)
    with pytest.raises(ArtefactError, match="no card"):
        Direction(torch.ones(4), 0, "last", "x").save(kept)
    with pytest.raises(ArtefactError, match=r"ends in \.safetensors"):
        found.save(kept.with_suffix(".bin"))
