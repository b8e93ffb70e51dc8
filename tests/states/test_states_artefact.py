"""Artefacts: ours are bound to model and template; those of other tools are read without running code."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

import json
import pickle
import sys
import types
from dataclasses import make_dataclass

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'local'")

from phantom_states import found, phantom_model  # noqa: E402, F401 - fixtures

from demur import phantom  # noqa: E402
from demur.errors import ArtefactError, InputError  # noqa: E402
from demur.models import LocalModel  # noqa: E402
from demur.states.artefact import export_gguf, load_direction, load_foreign  # noqa: E402
from demur.states.directions import Direction, Directions  # noqa: E402


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
        Direction(torch.ones(160), 0, "last", "x").save(kept)
    with pytest.raises(ArtefactError, match=r"ends in \.safetensors"):
        found.save(kept.with_suffix(".bin"))


def steering_vector(monkeypatch, **fields):
    """An instance of a class that pickles under the name of steering-vectors' own."""
    name = "steering_vectors.steering_vector"
    module = types.ModuleType(name)
    cls = make_dataclass("SteeringVector", ["layer_activations", "layer_type"])
    cls.__module__ = name
    module.SteeringVector = cls
    monkeypatch.setitem(sys.modules, name.partition(".")[0], types.ModuleType("steering_vectors"))
    monkeypatch.setitem(sys.modules, name, module)
    return cls(**{"layer_type": "decoder_block", **fields})


def test_steering_vectors_are_read(phantom_model, monkeypatch, tmp_path):
    vectors = {1: torch.randn(160), 3: torch.randn(160)}
    torch.save(steering_vector(monkeypatch, layer_activations=vectors), tmp_path / "sv.pt")
    torch.save(vectors, tmp_path / "table.pt")
    for name in ("sv.pt", "table.pt"):
        found = load_foreign(tmp_path / name, phantom_model)
        assert sorted(found) == [1, 3]
        assert torch.equal(found[3].vector, vectors[3])
        assert found[3].card is None


def test_what_does_not_fit_is_refused(phantom_model, monkeypatch, tmp_path):
    file = tmp_path / "x.pt"
    torch.save(steering_vector(monkeypatch, layer_activations={1: torch.ones(160)}, layer_type="mlp"), file)
    with pytest.raises(ArtefactError, match="acts on 'mlp'"):
        load_foreign(file, phantom_model)
    for table in ({1: torch.ones(161)}, {9: torch.ones(160)}, {1: torch.full((160,), float("nan"))}):
        torch.save(table, file)
        with pytest.raises(ArtefactError, match="0 to 3 of width 160"):
            load_foreign(file, phantom_model)
    torch.save([1], file)
    with pytest.raises(ArtefactError, match="holds list"):
        load_foreign(file, phantom_model)


class _Evil:
    def __reduce__(self):
        return print, ("run",)


def test_nothing_in_a_file_is_run(phantom_model, tmp_path, capsys):
    with (tmp_path / "x.pt").open("wb") as file:
        pickle.dump(_Evil(), file)
    with pytest.raises(ArtefactError, match="without running code"):
        load_foreign(tmp_path / "x.pt", phantom_model)
    assert "run" not in capsys.readouterr().out


def test_control_vectors_go_out_and_come_back(phantom_model, found, tmp_path):
    pytest.importorskip("gguf", reason="GGUF needs the package gguf")
    gone = [found.at("refusal", layer, "last") for layer in (1, 3)]
    export_gguf(tmp_path / "v.gguf", gone, model_hint="llama")
    back = load_foreign(tmp_path / "v.gguf", phantom_model)
    assert sorted(back) == [1, 3]
    torch.testing.assert_close(back[3].vector, gone[1].vector)
    (tmp_path / "bad.gguf").write_bytes(b"GGUX" + bytes(64))
    with pytest.raises(ArtefactError, match="no GGUF control vector"):
        load_foreign(tmp_path / "bad.gguf", phantom_model)


def test_llama_cpp_has_no_first_layer(found, tmp_path):
    with pytest.raises(InputError, match="from 1 on"):
        export_gguf(tmp_path / "v.gguf", [found.at("refusal", 0, "last")], model_hint="llama")
