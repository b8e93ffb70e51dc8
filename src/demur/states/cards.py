"""What is learned from a model's states, on disk: tensors in safetensors, and beside them a card in JSON.

The card names the model, its revision, the chat template's hash, the data and the measured quality. What was learned on
one model or template says nothing on another, so loading it there is an error. There is no pickle anywhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from demur.atomic import replacing, write_text
from demur.errors import ArtefactError
from demur.states.identity import check_identity, identity

if TYPE_CHECKING:
    from demur.models import LocalModel
    from demur.states.groups import Groups

__all__ = ["Card", "groups_card", "read_artefact", "require_fit", "versions", "write_artefact"]

_FORMAT = 1


class Card(BaseModel):
    """What an artefact says of itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    """`directions`, `direction`, `latent_guard`, `probes`, `probe`."""
    model: dict[str, Any]
    """What `demur.states.identity.identity` says of the model."""
    data: dict[str, Any] = Field(default_factory=dict)
    """Where it was learned: counts, hashes, the contrast."""
    quality: dict[str, Any] = Field(default_factory=dict)
    """How well it reads, with nulls and intervals."""
    versions: dict[str, str] = Field(default_factory=dict)


def groups_card(
    kind: str, model: LocalModel, groups: Groups, *, quality: dict[str, Any] | None = None, **data: Any
) -> Card:
    """The card of what was learned from groups of prompts.

    Args:
        kind: See `Card.kind`.
        model: The model that it was learned in.
        groups: The prompts.
        quality: How well it reads.
        data: What else was chosen.
    """
    told = {"groups": groups.digest, "counts": groups.counts, **data}
    return Card(kind=kind, model=identity(model), data=told, quality=quality or {}, versions=versions())


def require_fit(card: Card, model: LocalModel, *, what: str, fine_tuned: bool = False) -> None:
    """Refuse to use on `model` what was learned on another.

    Args:
        card: Of what was learned.
        model: The model to use it on.
        what: What it is, for the message.
        fine_tuned: Allow other weights of the same shape and template, to compare a model before and after fine-tuning.

    Raises:
        ArtefactError: The model or its chat template is another.
    """
    own = {"revision", "embedding", "projections"} if fine_tuned else set()
    check_identity({key: value for key, value in card.model.items() if key not in own}, model, what)


def write_artefact(path: Path, tensors: Mapping[str, Tensor], card: Card) -> None:
    """Write `path` (safetensors) and the card beside it, as `path` with the suffix `.json`.

    Raises:
        ArtefactError: `path` does not end in `.safetensors`.
    """
    from safetensors.torch import save

    if path.suffix != ".safetensors":
        raise ArtefactError(f"an artefact is a file that ends in .safetensors, got {str(path)!r}")
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    told = {"format": _FORMAT, "tensors": hashlib.sha256(content).hexdigest(), **card.model_dump(mode="json")}
    write_text(path.with_suffix(".json"), json.dumps(told, indent=1, ensure_ascii=False) + "\n")


def read_artefact(path: Path, *, kind: str) -> tuple[dict[str, Tensor], Card]:
    """The tensors and the card of an artefact.

    Raises:
        ArtefactError: A file is missing or broken, they do not belong together, or it is another kind of artefact.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    beside = path.with_suffix(".json")
    try:
        content, told = path.read_bytes(), json.loads(beside.read_text(encoding="utf-8"))
        version, digest = told.pop("format"), told.pop("tensors")
        card = Card.model_validate(told)
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ArtefactError(f"{path} with its card {beside.name} cannot be read: {error}") from error
    if version != _FORMAT:
        raise ArtefactError(f"{beside} has format {version}, this version of demur reads {_FORMAT}")
    if hashlib.sha256(content).hexdigest() != digest:
        raise ArtefactError(f"{path} and {beside.name} do not belong together: the tensors are not those of the card")
    if card.kind != kind:
        raise ArtefactError(f"{path} holds {card.kind!r}, expected {kind!r}")
    try:
        tensors: dict[str, Tensor] = load(content)
    except SafetensorError as error:
        raise ArtefactError(f"{path} is no safetensors file: {error}") from error
    if broken := next((name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()), None):
        raise ArtefactError(f"the tensor {broken!r} in {path} holds numbers that are not finite")
    return tensors, card


def versions() -> dict[str, str]:
    """The versions that decide what is learned."""
    import importlib.metadata

    return {name: importlib.metadata.version(name) for name in ("torch", "transformers")}
