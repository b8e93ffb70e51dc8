"""Linear probes of refusal by layer and position, each with its nulls and baselines.

A probe is a logistic regression on the residual stream at one token. By default it reads the stream through the final
norm, as the unembedding does: at the last layer these are the states that the paper's probe reads, and at every layer
the comparison with the unembedding difference has a meaning.

Source: "Refusal Falls off a Cliff", arXiv 2510.06036.
"""

# ruff: noqa: F722 - shapes stand in annotations as text

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from demur.errors import ArtefactError, InputError
from demur.models.request import as_chat
from demur.states.cards import Card, read_artefact, require_fit, versions, write_artefact
from demur.states.contrasts import aurocs
from demur.states.groups import Groups
from demur.states.identity import identity
from demur.states.probe import Probe, ProbeQuality, probe_table, quality_from, quality_told, through_norm
from demur.states.probe_fitting import Fitted, check_labels, family_folds, fit_states, permuted_labels
from demur.states.residuals import captured, positions_of
from demur.states.unembedding import refusal_difference
from demur.stats import auroc, ece
from demur.stats.rates import rate_interval

if TYPE_CHECKING:
    from demur.models import LocalModel
    from demur.models.request import ChatLike

__all__ = ["POOLED", "Probes", "fit_probes", "fit_read", "probes_card"]

POOLED = "pooled"
"""The position of a probe that was fitted at several positions together."""

# Bytes of states that are held in memory; larger captures go to a folder that is removed afterwards.
_HELD = 256 * 2**20


@dataclass(frozen=True, eq=False)
class Probes:
    """One probe a layer and position.

    Attributes:
        layers: Block numbers.
        positions: Names of token positions.
        weight: (layer, position, width).
        bias: (layer, position).
        quality: One row a layer, one entry a position.
        card: Where they come from.
    """

    layers: tuple[int, ...]
    positions: tuple[str, ...]
    weight: Float[Tensor, "layer position width"]
    bias: Float[Tensor, "layer position"]
    quality: tuple[tuple[ProbeQuality, ...], ...]
    card: Card

    def at(self, layer: int, position: str | None = None) -> Probe:
        """The probe at one place; position None takes the last.

        Raises:
            InputError: None was fitted there.
        """
        where = position or self.positions[-1]
        if layer not in self.layers or where not in self.positions:
            raise InputError(
                f"there is no probe at layer {layer}, {where!r}; there are the layers "
                f"{', '.join(map(str, self.layers))} and the positions {', '.join(self.positions)}"
            )
        i, j = self.layers.index(layer), self.positions.index(where)
        told = self.card.data["probes"]
        place = {"layer": layer, "position": where, "normed": told["normed"], "label": told["label"]}
        quality = self.quality[i][j]
        card = self.card.model_copy(
            update={"kind": "probe", "data": {**self.card.data, "probe": place}, "quality": quality_told(quality)}
        )
        weight, bias = self.weight[i, j].clone(), float(self.bias[i, j])
        return Probe(weight, bias, layer, where, told["normed"], told["label"], quality, card)

    def best(self, position: str | None = None) -> Probe:
        """The probe with the largest area, at one position or anywhere; its `quality.p` counts the choice.

        Raises:
            InputError: Nothing was fitted at `position`.
        """
        places = [
            (quality.auroc.value, layer, where)
            for layer, row in zip(self.layers, self.quality, strict=True)
            for where, quality in zip(self.positions, row, strict=True)
            if position in (None, where)
        ]
        if not places:
            raise InputError(f"no probe was fitted at {position!r}; there are: {', '.join(self.positions)}")
        return self.at(*max(places)[1:])

    def save(self, path: Path | str) -> None:
        """Write all probes with their card."""
        write_artefact(Path(path), {"weight": self.weight, "bias": self.bias}, self.card)

    @classmethod
    def load(cls, path: Path | str, model: LocalModel, *, fine_tuned: bool = False) -> Probes:
        """Read probes that `save` wrote.

        Raises:
            ArtefactError: They cannot be read, or were fitted on another model or under another template.
        """
        tensors, card = read_artefact(Path(path), kind="probes")
        require_fit(card, model, what=f"{path} (probes)", fine_tuned=fine_tuned)
        try:
            told = card.data["probes"]
            quality = tuple(tuple(quality_from(entry) for entry in row) for row in card.quality["places"])
            where = (POOLED,) if told["pooled"] else tuple(map(str, told["positions"]))
            places = tuple(told["layers"]), where
            return cls(*places, tensors["weight"], tensors["bias"], quality, card)
        except (KeyError, TypeError) as error:
            raise ArtefactError(f"{path} lacks {error} and cannot be read") from error

    def _repr_html_(self) -> str:
        return probe_table("Probes by layer and position", [self.at(i, j) for i in self.layers for j in self.positions])


def fit_probes(
    model: LocalModel,
    prompts: Groups | Sequence[ChatLike],
    labels: Sequence[bool] | None = None,
    *,
    label: Literal["refusal", "harmfulness"] | str = "refusal",
    families: Sequence[Hashable] | None = None,
    layers: Sequence[int] | None = None,
    positions: Sequence[str | int] | None = None,
    pooled: bool = False,
    normed: bool = True,
    refusing: Sequence[str] | None = None,
    complying: Sequence[str] | None = None,
    strength: float = 1.0,
    folds: int = 5,
    permutations: int = 40,
    seed: int = 0,
    batch_size: int = 32,
    out: Path | str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Probes:
    """Fit a probe at every chosen layer and position.

    Args:
        model: The model to read.
        prompts: Groups by harm and behaviour, or chats of any kind; a chat may end in reasoning that is closed
            (see `demur.states.cliff.closed_reasoning`), which is where the paper fits its probe.
        labels: For chats: True where a high probability is wanted. Groups bring their own.
        label: For groups: `refusal` or `harmfulness`; for chats what to call the label.
        families: What must not be split between fitting and testing, one a prompt; None takes `pair_id`, or the text.
        layers: Block numbers; None means all.
        positions: Names of token positions, or token indices (negative from the end); None means the last instruction
            token, every post-instruction token and, where an assistant turn is prefilled, its last token.
        pooled: Fit one probe a layer on the states of all positions together, in place of one at each. A probe that is
            to read whole sequences should have seen more than one kind of token.
        normed: Read through the model's final norm.
        refusing: Beginnings of refusals, for the unembedding difference; None takes common English ones.
        complying: Beginnings of compliance.
        strength: Of the regularisation, scikit-learn's `C` on standardised states.
        folds: Of the test on held-out families.
        permutations: Label sets of the null, and random directions.
        seed: Of folds, permutations, random directions and intervals.
        batch_size: Prompts at once.
        out: A new folder for the states; None holds them in memory, or in a temporary folder from 256 MiB on. One
            layer and position is worked on at a time.
        progress: Called with the number of fitted probes and their total.

    Raises:
        InputError: Labels are one-sided, contradict each other or would leak between folds (see `check_labels`), a
            position is missing, or the template has no post-instruction tokens and no positions were given.
        ModelError: States are not finite, or the model has no residual stream that can be read.
    """
    chats, truth, kin = _labelled(prompts, labels, label, families)
    check_labels(truth, kin, [_text(chat) for chat in chats])
    if permutations < 1:
        raise InputError(f"permutations must be at least 1, got {permutations}: a probe without a null says nothing")
    chosen = tuple(range(len(model.structure))) if layers is None else _layers(model, layers)
    where: tuple[Any, ...] = _positions(model, chats[0]) if positions is None else tuple(positions)
    if not chosen or not where:
        raise InputError("fit_probes needs at least one layer and one position")
    fold = family_folds(truth, kin, folds=folds, seed=seed)
    sets = permuted_labels(truth, kin, count=permutations, seed=seed)
    card = probes_card(model, chats, truth, kin, {
        "label": label, "layers": list(chosen), "positions": list(where), "pooled": pooled, "normed": normed,
        "strength": strength, "folds": int(fold.max()) + 1, "permutations": permutations, "seed": seed,
    })  # fmt: skip
    size = len(chats) * len(chosen) * len(where) * model.structure.width * 4
    with TemporaryDirectory(prefix="demur-states-") as folder:
        target = Path(folder) / "states" if out is None and size > _HELD else out
        states = captured(model, chats, chosen, where, batch_size, target)
        return fit_read(model, states, truth, kin, fold, sets, card, (refusing, complying), progress)


def fit_read(
    model: LocalModel,
    states: Any,
    labels: Sequence[bool],
    families: Sequence[Hashable],
    fold: Any,
    sets: Any,
    card: Card,
    words: tuple[Sequence[str] | None, Sequence[str] | None],
    progress: Callable[[int, int], None] | None,
) -> Probes:
    """Fit probes on states that were read already, at the layers and positions that the card names."""
    told = card.data["probes"]
    layers, seed = told["layers"], told["seed"]
    places: dict[str, list[Any]] = {str(one): [one] for one in told["positions"]}
    if told["pooled"]:
        places = {POOLED: told["positions"]}
        labels, families, fold = (list(one) * len(told["positions"]) for one in (labels, families, fold))
        fold, sets = np.asarray(fold), np.tile(sets, len(told["positions"]))
    width = model.structure.width
    written = refusal_difference(model, *words)
    noise = torch.randn(width, len(sets), generator=torch.Generator().manual_seed(seed))
    shape = (len(layers), len(places))
    weight, bias = torch.empty(*shape, width), torch.empty(shape)
    found: dict[tuple[int, int], ProbeQuality] = {}
    nulls = np.empty((*shape, len(sets)))
    for i, layer in enumerate(layers):
        for j, positions in enumerate(places.values()):
            read = torch.cat([states.at((layer, "resid_post"), position) for position in positions])
            normed = through_norm(model, read)
            x = normed if told["normed"] else read
            fitted = fit_states(np.ascontiguousarray(x.numpy()), labels, fold, sets, strength=told["strength"])
            weight[i, j], bias[i, j] = torch.from_numpy(fitted.weight).float(), fitted.bias
            nulls[i, j] = fitted.null
            found[i, j] = _quality(fitted, labels, families, x @ noise, seed)
            if written is not None:
                lens = float(aurocs(torch.tensor(list(labels)), (normed @ written)[:, None])[0])
                turned = float(torch.nn.functional.cosine_similarity(weight[i, j], written, dim=0))
                found[i, j] = replace(found[i, j], unembedding=lens, cosine=turned if told["normed"] else None)
            if progress is not None:
                progress(i * len(places) + j + 1, len(layers) * len(places))
    # the best of many places is compared with the best of as many places under each permuted set
    highest = nulls.max((0, 1))
    quality = tuple(
        tuple(
            replace(found[i, j], p=float((1 + (highest >= found[i, j].auroc.value).sum()) / (1 + len(sets))))
            for j in range(shape[1])
        )
        for i in range(shape[0])
    )
    whole = card.model_copy(update={"quality": {"places": [[quality_told(entry) for entry in row] for row in quality]}})
    return Probes(tuple(layers), tuple(places), weight, bias, quality, whole)


def _quality(
    fitted: Fitted, labels: Sequence[bool], families: Sequence[Hashable], apart: Tensor, seed: int
) -> ProbeQuality:
    """All but what needs the model or the other places."""
    from scipy.special import expit

    truth, kin = list(labels), list(families)
    right = (fitted.probabilities >= 0.5) == np.asarray(truth)
    random = aurocs(torch.tensor(truth), apart)
    commoner = max(sum(truth), len(truth) - sum(truth))
    return ProbeQuality(
        auroc=auroc(truth, fitted.logits, clusters=kin, resamples=500, seed=seed),
        accuracy=rate_interval(right, clusters=kin, seed=seed)[0],
        majority=commoner / len(truth),
        ece=ece(fitted.probabilities, truth, binning="mass"),
        ece_raw=ece(expit(fitted.logits), truth, binning="mass"),
        null=float(np.quantile(fitted.null, 0.95)),
        p=1.0,
        random=float((0.5 + (random - 0.5).abs()).quantile(0.95)),
        unembedding=None,
        cosine=None,
        n=len(truth),
        families=len(set(kin)),
    )


def _labelled(
    prompts: Groups | Sequence[ChatLike],
    labels: Sequence[bool] | None,
    label: str,
    families: Sequence[Hashable] | None,
) -> tuple[list[ChatLike], list[bool], list[Hashable]]:
    if isinstance(prompts, Groups):
        if labels is not None or label not in ("refusal", "harmfulness"):
            raise InputError(f"groups bring their labels: refusal or harmfulness, got labels={labels!r}, {label!r}")
        chats: list[ChatLike] = list(prompts.prompts)
        truth = list(prompts.refused if label == "refusal" else prompts.harmful)
    else:
        if labels is None:
            raise InputError("a probe needs one label a chat; give labels=, or Groups, which bring their own")
        chats, truth = list(prompts), [bool(value) for value in labels]
    own = [getattr(chat, "pair_id", None) or _text(chat) for chat in chats]
    return chats, truth, own if families is None else list(families)


def _layers(model: LocalModel, layers: Sequence[int]) -> tuple[int, ...]:
    found = tuple(model.structure.block(layer).index for layer in layers)
    if len(set(found)) < len(found):
        raise InputError(f"a layer is named twice in {list(layers)}; name it once")
    return found


def _positions(model: LocalModel, chat: ChatLike) -> tuple[str, ...]:
    found = positions_of(model, chat)
    return found if as_chat(chat).prefill is None else (*found, "last")


def _text(chat: ChatLike) -> str:
    return str(as_chat(chat).messages)


def probes_card(
    model: LocalModel, chats: Sequence[ChatLike], labels: Sequence[bool], families: Sequence[Hashable], told: Any
) -> Card:
    """Which chats, labels and settings probes come from."""
    rows = sorted(f"{_text(chat)} {label}" for chat, label in zip(chats, labels, strict=True))
    digest = hashlib.sha256("\n".join(rows).encode()).hexdigest()
    counts = {"positive": sum(labels), "negative": len(labels) - sum(labels), "families": len(set(families))}
    data = {"prompts_sha256": digest, "counts": counts, "probes": told}
    return Card(kind="probes", model=identity(model), data=data, versions=versions())
