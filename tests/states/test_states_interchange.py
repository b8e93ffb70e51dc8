"""Files of steering-vectors, repeng and llama.cpp: read without running code, written and read back."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

import pickle
import sys
import types
from dataclasses import make_dataclass

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'local'")

from phantom_states import found, phantom_model  # noqa: E402, F401 - fixtures

from demur.errors import ArtefactError, InputError, MissingExtraError  # noqa: E402
from demur.states.direction import Direction  # noqa: E402
from demur.states.interchange import export_gguf, load_foreign  # noqa: E402


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
    width = phantom_model.structure.width
    vectors = {1: torch.randn(width), 3: torch.randn(width)}
    torch.save(steering_vector(monkeypatch, layer_activations=vectors), tmp_path / "sv.pt")
    torch.save(vectors, tmp_path / "table.pt")
    for name in ("sv.pt", "table.pt"):
        found = load_foreign(tmp_path / name, phantom_model)
        assert sorted(found) == [1, 3]
        assert torch.equal(found[3].vector, vectors[3])
        assert found[3].card is None


def test_what_does_not_fit_is_refused(phantom_model, monkeypatch, tmp_path):
    file, width, layers = tmp_path / "x.pt", phantom_model.structure.width, len(phantom_model.structure)
    torch.save(steering_vector(monkeypatch, layer_activations={1: torch.ones(width)}, layer_type="mlp"), file)
    with pytest.raises(ArtefactError, match="acts on 'mlp'"):
        load_foreign(file, phantom_model)
    for table in ({1: torch.ones(width + 1)}, {layers: torch.ones(width)}, {1: torch.full((width,), float("nan"))}):
        torch.save(table, file)
        with pytest.raises(ArtefactError, match=f"0 to {layers - 1} of width {width}"):
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


def test_safetensors_tables_are_read_by_the_number_in_the_name(phantom_model, tmp_path):
    from safetensors.torch import save_file

    width = phantom_model.structure.width
    vectors = {"direction.1": torch.randn(width), "direction.2": torch.randn(width)}
    save_file(vectors, tmp_path / "v.safetensors")
    back = load_foreign(tmp_path / "v.safetensors", phantom_model)
    assert {layer: one.kind for layer, one in back.items()} == {1: "safetensors", 2: "safetensors"}
    assert torch.equal(back[2].vector, vectors["direction.2"])
    for names in (("layers.1.mlp.2",), ("a",), ("a.1", "b.1")):
        save_file({name: torch.randn(width) for name in names}, tmp_path / "odd.safetensors")
        with pytest.raises(ArtefactError, match="does not tell one layer"):
            load_foreign(tmp_path / "odd.safetensors", phantom_model)
    (tmp_path / "odd.safetensors").write_bytes(b"no")
    with pytest.raises(ArtefactError, match="no safetensors file"):
        load_foreign(tmp_path / "odd.safetensors", phantom_model)


def test_a_shift_puts_vectors_of_llama_cpps_generator_where_they_were_read(phantom_model, tmp_path):
    vectors = {1: torch.randn(phantom_model.structure.width)}
    torch.save(vectors, tmp_path / "table.pt")
    assert list(load_foreign(tmp_path / "table.pt", phantom_model, shift=-1)) == [0]
    with pytest.raises(ArtefactError, match="for layer -1"):
        load_foreign(tmp_path / "table.pt", phantom_model, shift=-2)


def test_what_llama_cpp_would_read_is_what_was_written(phantom_model, found, tmp_path):
    """Its loader takes one-dimensional 32-bit tensors called `direction.N`, N from 1, and adds them after block N."""
    gguf = pytest.importorskip("gguf", reason="GGUF needs the package gguf")
    gone = [found.at("refusal", layer, "last") for layer in (3, 1)]
    export_gguf(tmp_path / "v.gguf", gone, model_hint="llama")
    reader = gguf.GGUFReader(str(tmp_path / "v.gguf"))
    assert [str(t.name) for t in reader.tensors] == ["direction.1", "direction.3"]
    assert {t.tensor_type for t in reader.tensors} == {gguf.GGMLQuantizationType.F32}
    assert all(list(t.shape) == [phantom_model.structure.width] for t in reader.tensors)
    text = {name: bytes(reader.get_field(name).parts[-1]).decode() for name in ("general.architecture", HINT)}
    assert text == {"general.architecture": "controlvector", HINT: "llama"}
    assert reader.get_field("controlvector.layer_count").parts[-1].tolist() == [2]


def test_without_the_package_the_message_says_how_to_get_it(phantom_model, found, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "gguf", None)  # what Python does with a package that is not there
    with pytest.raises(MissingExtraError, match=r"pip install 'demur\[gguf\]'"):
        export_gguf(tmp_path / "v.gguf", [found.at("refusal", 1, "last")], model_hint="llama")
    with pytest.raises(MissingExtraError, match="'gguf'"):
        load_foreign(tmp_path / "v.gguf", phantom_model)
    assert not list(tmp_path.iterdir())


def test_control_vectors_of_several_widths_are_refused(tmp_path):
    odd = [Direction(torch.ones(4), 1, "last", "x"), Direction(torch.ones(5), 2, "last", "x")]
    with pytest.raises(InputError, match="one width"):
        export_gguf(tmp_path / "v.gguf", odd, model_hint="llama")


HINT = "controlvector.model_hint"
