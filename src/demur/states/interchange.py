"""Directions by layer in the files of steering-vectors, repeng and llama.cpp, read and written.

Such files name no model, so their width and layers are all that can be checked; nothing in them is executed. GGUF is
read and written with the package `gguf`. llama.cpp adds `direction.N` to what leaves block N, counted from 0 as here,
and refuses N = 0; its own generator writes what it read after block N as `direction.N+1`, and files cannot say whether
they came from it, so the reader takes a `shift`.
"""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from demur.atomic import replacing
from demur.errors import ArtefactError, InputError, MissingExtraError
from demur.states.direction import Direction

if TYPE_CHECKING:
    from demur.models import LocalModel

__all__ = ["export_gguf", "load_foreign"]

_STEERING_VECTOR = "steering_vectors.steering_vector.SteeringVector"
# `direction.12`, `layers.12`, `12`: the only number in the name is the layer
_LAYER_NAME = re.compile(r"[^\d]*(\d+)[^\d]*")


def load_foreign(path: Path | str, model: LocalModel, *, shift: int = 0) -> dict[int, Direction]:
    """Read directions by layer from a file of another tool.

    Args:
        path: A GGUF control vector of repeng or llama.cpp (`.gguf`); safetensors whose names hold one number, the
            layer (`.safetensors`); else a saved `SteeringVector` of steering-vectors or a saved table from layer to
            tensor (`torch.save`), read without running code.
        model: The model to use them on.
        shift: Added to each layer number of the file: -1 for vectors that llama.cpp's own generator made, to put them
            where they were read.

    Returns:
        One direction a layer, to be added after that block. They carry no card: that they were made on this model, and
        with which sign, is the user's word.

    Raises:
        ArtefactError: The file cannot be read, acts elsewhere than on blocks' outputs, or does not fit the model.
        MissingExtraError: It is GGUF and the package `gguf` is not installed.
    """
    file = Path(path)
    if file.suffix == ".gguf":
        table, origin = _gguf(file), "control vector"
    elif file.suffix == ".safetensors":
        table, origin = _safetensors(file), "safetensors"
    else:
        table, origin = _steering_vectors(file), "steering-vectors"
    width, layers = model.structure.width, len(model.structure)
    found: dict[int, Direction] = {}
    for number, vector in sorted(table.items()):
        layer = number + shift
        if vector.shape != (width,) or not 0 <= layer < layers or not torch.isfinite(vector).all():
            raise ArtefactError(
                f"{file} holds a vector of shape {tuple(vector.shape)} for layer {layer}; {model.name!r} has the "
                f"layers 0 to {layers - 1} of width {width}, and the numbers must be finite"
            )
        found[layer] = Direction(vector.detach().float().cpu(), layer, "every token", origin)
    if not found:
        raise ArtefactError(f"{file} holds no direction")
    return found


def export_gguf(path: Path | str, directions: Sequence[Direction], *, model_hint: str) -> None:
    """Write directions as a control vector that llama.cpp and repeng read.

    Args:
        path: The file to write.
        directions: At most one a layer. llama.cpp cannot act after its first block, so layer 0 is refused.
        model_hint: llama.cpp's name of the architecture, such as `llama`.

    Raises:
        InputError: A layer occurs twice or is 0, the widths differ, or there is no direction.
        MissingExtraError: The package `gguf` is not installed.
    """
    layers = [direction.layer for direction in directions]
    if not layers or len(set(layers)) < len(layers) or min(layers) < 1:
        raise InputError(f"a control vector takes one direction for each of some layers from 1 on, got layers {layers}")
    widths = {direction.vector.shape for direction in directions}
    if len(widths) > 1 or any(not torch.isfinite(direction.vector).all() for direction in directions):
        raise InputError(
            f"a control vector takes finite vectors of one width, got the shapes {sorted(map(tuple, widths))}"
        )
    gguf = _package()
    with replacing(Path(path)) as temporary:
        writer = gguf.GGUFWriter(str(temporary), "controlvector")
        writer.add_string("controlvector.model_hint", model_hint)
        writer.add_uint32("controlvector.layer_count", len(layers))
        for direction in sorted(directions, key=lambda one: one.layer):
            # llama.cpp takes 32-bit floats only
            writer.add_tensor(f"direction.{direction.layer}", direction.vector.detach().float().cpu().numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


class _SteeringVector:
    """Takes the fields of a pickled SteeringVector; torch's restricted reader fills it without running its code."""

    layer_activations: Mapping[int, Tensor]
    layer_type: str = "decoder_block"


def _steering_vectors(file: Path) -> dict[int, Tensor]:
    try:
        with torch.serialization.safe_globals([(_SteeringVector, _STEERING_VECTOR)]), warnings.catch_warnings():
            # a pickle of another protocol is read or refused, and either way there is nothing to warn of
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            held: Any = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise ArtefactError(f"{file} is no saved steering vector that can be read without running code") from error
    if isinstance(held, _SteeringVector):
        if held.layer_type != "decoder_block":
            raise ArtefactError(f"{file} acts on {held.layer_type!r}; only what leaves a block can be steered here")
        held = getattr(held, "layer_activations", None)
    if not isinstance(held, Mapping) or not all(
        isinstance(key, int) and isinstance(value, Tensor) for key, value in held.items()
    ):
        raise ArtefactError(f"{file} holds {type(held).__name__}, expected a table from layer numbers to tensors")
    return dict(held)


def _safetensors(file: Path) -> dict[int, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return _by_layer(file, load(file.read_bytes()))
    except (OSError, SafetensorError) as error:
        raise ArtefactError(f"{file} is no safetensors file: {error}") from error


def _gguf(file: Path) -> dict[int, Tensor]:
    gguf = _package()
    try:
        reader = gguf.GGUFReader(str(file))
        named = {str(tensor.name): torch.tensor(tensor.data).reshape(-1) for tensor in reader.tensors}
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise ArtefactError(f"{file} is no GGUF control vector: {error}") from error
    return _by_layer(file, {name: vector for name, vector in named.items() if name.startswith("direction.")})


def _by_layer(file: Path, named: Mapping[str, Tensor]) -> dict[int, Tensor]:
    found: dict[int, Tensor] = {}
    for name, vector in named.items():
        number = _LAYER_NAME.fullmatch(name)
        if number is None or int(number[1]) in found:
            raise ArtefactError(
                f"{file} holds {name!r}, which does not tell one layer; names need one number each, such as "
                "'direction.12', and a layer may stand there once"
            )
        found[int(number[1])] = vector
    return found


def _package() -> Any:
    try:
        return import_module("gguf")
    except ImportError as error:
        raise MissingExtraError("reading and writing GGUF control vectors", extra="gguf", missing="gguf") from error
