"""A forecast on disk: numbers as safetensors, words and names as JSON, and a card that says what it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from demur.atomic import replacing, write_text
from demur.errors import ArtefactError
from demur.prompts.forecast_cues import CUES
from demur.prompts.forecast_features import Features
from demur.prompts.forecast_fitting import Fitted

if TYPE_CHECKING:
    from demur.prompts.forecast import Forecast

__all__ = ["FORMAT", "load", "save"]

FORMAT = 1
"""Changes whenever what is computed from a prompt changes."""

CARD, VOCABULARY, EXAMPLES, TENSORS = "card.json", "vocabulary.json", "examples.json", "forecast.safetensors"


def save(forecast: Forecast, folder: Path) -> None:
    """Writes `forecast` into `folder`; the card goes last, so that half a forecast is none."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    (folder / CARD).unlink(missing_ok=True)
    fitted, examples = forecast.fitted, forecast.examples
    tensors = {
        "coefficients": fitted.coefficients,
        "affine": np.array([fitted.bias, fitted.slope, fitted.shift, fitted.strength]),
        "scale": forecast.features.scale,
        "counts": forecast.counts,
        "outcomes": forecast.outcomes.astype(np.uint8),
        "examples_data": examples.data.astype(np.float32),
        "examples_indices": examples.indices.astype(np.int32),
        "examples_indptr": examples.indptr.astype(np.int64),
    }
    with replacing(folder / TENSORS) as temporary:
        save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, temporary)
    _write(folder / VOCABULARY, list(forecast.features.vocabulary))
    _write(folder / EXAMPLES, {"ids": forecast.ids, "texts": forecast.texts})
    _write(folder / CARD, {"kind": "forecast", "format": FORMAT, "cues": CUES, **forecast.card}, indent=2)


def load(folder: Path, *, model: str | None = None) -> Forecast:
    """Reads what `save` wrote; see `Forecast.load`."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file
    from scipy.sparse import csr_array

    from demur.prompts.forecast import Forecast

    again = "fit it again with: demur forecast fit RUN -o FOLDER"
    try:
        card = json.loads((folder / CARD).read_text("utf-8"))
        vocabulary = tuple(json.loads((folder / VOCABULARY).read_text("utf-8")))
        named = json.loads((folder / EXAMPLES).read_text("utf-8"))
        tensors = load_file(folder / TENSORS)
    except (OSError, ValueError, SafetensorError) as error:
        raise ArtefactError(f"cannot read a forecast at {folder}: {error}; {again}") from error
    if not isinstance(card, dict) or card.pop("kind", None) != "forecast":
        raise ArtefactError(f"{folder / CARD} is no forecast's card; {again}")
    if card.pop("format", None) != FORMAT or card.pop("cues", None) != list(CUES):
        raise ArtefactError(f"the forecast at {folder} was fitted by another version of demur; {again}")
    if model is not None and card["model"] != model:
        raise ArtefactError(
            f"the forecast at {folder} was fitted on refusals of {card['model'] or 'an unnamed model'}, not of {model}"
        )
    try:
        bias, slope, shift, strength = (float(value) for value in tensors["affine"])
        shape = (len(named["ids"]), len(vocabulary))
        parts = tuple(tensors[f"examples_{part}"] for part in ("data", "indices", "indptr"))
        forecast = Forecast(
            features=Features(vocabulary, tensors["scale"]),
            fitted=Fitted(tensors["coefficients"], bias, slope, shift, strength),
            counts=tensors["counts"],
            ids=tuple(named["ids"]),
            outcomes=tensors["outcomes"].astype(np.bool_),
            examples=csr_array((parts[0].astype(np.float64), *parts[1:]), shape=shape),
            texts=None if named["texts"] is None else tuple(named["texts"]),
            card=card,
        )
    except (KeyError, ValueError, TypeError) as error:
        raise ArtefactError(f"the forecast at {folder} is damaged ({error}); {again}") from error
    columns = len(vocabulary) + len(CUES)
    if len(forecast.fitted.coefficients) != columns + 1 or len(forecast.counts) != columns:
        raise ArtefactError(f"the forecast at {folder} is damaged: its files do not belong together; {again}")
    return forecast


def _write(file: Path, content: Any, indent: int | None = None) -> None:
    write_text(file, json.dumps(content, ensure_ascii=False, indent=indent) + "\n")
