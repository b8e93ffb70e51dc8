"""Directions from files: ours with their card, and those of steering-vectors and repeng, without one.

Files of other tools name no model, so their width and layers are all that can be checked; nothing in them is executed.
GGUF (repeng, llama.cpp) is read and written with the package `gguf` where it is installed.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from demur.atomic import replacing
from demur.errors import ArtefactError, InputError
from demur.states.cards import read_artefact, require_fit
from demur.states.directions import Direction, Quality

if TYPE_CHECKING:
    from demur.models import LocalModel

__all__ = ["export_gguf", "load_direction", "load_foreign"]

_STEERING_VECTOR = "steering_vectors.steering_vector.SteeringVector"


def load_direction(path: Path | str, model: LocalModel, *, fine_tuned: bool = False) -> Direction:
    """Read one direction that `Direction.save` wrote.

    Args:
        path: The safetensors file; its card lies beside it.
        model: The model to use it on.
        fine_tuned: Allow other weights of the same shape.

    Raises:
        ArtefactError: It cannot be read, or was found in another model or under another template.
    """
    tensors, card = read_artefact(Path(path), kind="direction")
    require_fit(card, model, what=f"{path} (a direction)", fine_tuned=fine_tuned)
    try:
        place = card.data["direction"]
        vector, quality = tensors["vector"], Quality(**card.quality)
        return Direction(vector, place["layer"], place["position"], place["kind"], quality, card)
    except (KeyError, TypeError) as error:
        raise ArtefactError(f"{path} lacks {error} and cannot be read") from error


def load_foreign(path: Path | str, model: LocalModel) -> dict[int, Direction]:
    """Read directions by layer from a file of another tool.

    Args:
        path: A saved `SteeringVector` of steering-vectors, or a saved table from layer to tensor (`torch.save`, read
            without running code); or a GGUF control vector of repeng (`.gguf`).
        model: The model to use them on.

    Returns:
        One direction a layer, to be added after that block. They carry no card: that they were made on this model, and
        with which sign, is the user's word.

    Raises:
        ArtefactError: The file cannot be read, acts elsewhere than on blocks' outputs, or does not fit the model.
    """
    file = Path(path)
    table, origin = (_gguf(file), "repeng") if file.suffix == ".gguf" else (_steering_vectors(file), "steering-vectors")
    width, layers = model.structure.width, len(model.structure)
    found: dict[int, Direction] = {}
    for layer, vector in sorted(table.items()):
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
        InputError: A layer occurs twice or is 0, or there is no direction.
        ArtefactError: The package `gguf` is not installed.
    """
    layers = [direction.layer for direction in directions]
    if not layers or len(set(layers)) < len(layers) or 0 in layers:
        raise InputError(f"a control vector takes one direction for each of some layers from 1 on, got layers {layers}")
    gguf = _package()
    with replacing(Path(path)) as temporary:
        writer = gguf.GGUFWriter(str(temporary), "controlvector")
        writer.add_string("controlvector.model_hint", model_hint)
        writer.add_uint32("controlvector.layer_count", len(layers))
        for direction in sorted(directions, key=lambda one: one.layer):
            writer.add_tensor(f"direction.{direction.layer}", direction.vector.float().numpy())
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


def _gguf(file: Path) -> dict[int, Tensor]:
    gguf = _package()
    try:
        reader = gguf.GGUFReader(str(file))
        named = {str(tensor.name): torch.tensor(tensor.data).reshape(-1) for tensor in reader.tensors}
        return {int(name.removeprefix("direction.")): v for name, v in named.items() if name.startswith("direction.")}
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise ArtefactError(f"{file} is no GGUF control vector: {error}") from error


def _package() -> Any:
    try:
        return import_module("gguf")
    except ImportError as error:
        raise ArtefactError("GGUF files need the package 'gguf'. Install it with: pip install gguf") from error
