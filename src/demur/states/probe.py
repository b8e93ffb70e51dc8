"""One linear probe: a direction and a bias that read a probability off one state.

Source: "Refusal Falls off a Cliff", arXiv 2510.06036.
"""

# ruff: noqa: F722 - shapes stand in annotations as text

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from demur.errors import ArtefactError, InputError
from demur.states.cards import Card, read_artefact, require_fit, write_artefact
from demur.states.notebook import html_table
from demur.states.residuals import states_of
from demur.stats import Interval

if TYPE_CHECKING:
    from demur.models import LocalModel
    from demur.models.request import ChatLike

__all__ = ["Probe", "ProbeQuality", "probe_table", "quality_from", "quality_told", "through_norm"]


@dataclass(frozen=True)
class ProbeQuality:
    """How a probe reads prompts of families that it was not fitted on.

    Attributes:
        auroc: With its 95% interval over families.
        accuracy: At probability one half, with its interval; compare `majority`.
        majority: Accuracy of always saying the commoner label.
        ece: Expected calibration error of the calibrated probabilities, 15 bins of equal mass, over `n` prompts.
        ece_raw: Of the probabilities before calibration.
        null: 95th percentile of the area under permuted labels, fitted by the same procedure.
        p: Share of permuted label sets that do as well at any layer and position.
        random: 95th percentile of the area of random directions, whichever way they point.
        unembedding: Area of the difference of refusing and complying tokens in the unembedding, which is not fitted at
            all; None where the model's unembedding cannot be read.
        cosine: Between the probe and that difference; None for states that were not normed.
        n: Prompts.
        families: Groups of prompts that were never split.
    """

    auroc: Interval
    accuracy: Interval
    majority: float
    ece: float
    ece_raw: float
    null: float
    p: float
    random: float
    unembedding: float | None
    cosine: float | None
    n: int
    families: int


@dataclass(frozen=True, eq=False)
class Probe:
    """One probe: probability = sigmoid(weight . state + bias).

    Attributes:
        weight: (width,).
        bias: A logit.
        layer: The block after which it reads, from 0.
        position: The token at which it was fitted, or `pooled`.
        normed: Whether it reads states through the final norm.
        label: What a high probability means: `refusal`, `harmfulness`, or the caller's word.
        quality: How well it reads, or None for a control.
        card: Where it comes from, or None for one that was made by hand.
    """

    weight: Float[Tensor, " width"]
    bias: float
    layer: int
    position: str
    normed: bool = True
    label: str = "refusal"
    quality: ProbeQuality | None = None
    card: Card | None = None

    def logits(self, states: Float[Tensor, "*rows width"], model: LocalModel) -> Float[Tensor, "*rows"]:
        """What the probe says of states as they leave the block, before the sigmoid; NaN stays NaN."""
        read = through_norm(model, states) if self.normed else states
        return (read.double() @ self.weight.double() + self.bias).float()

    def probabilities(self, model: LocalModel, chats: Sequence[ChatLike], *, batch_size: int = 32) -> Tensor:
        """The probability for each chat, read where the probe was fitted.

        Raises:
            InputError: A chat has no such position, there is no chat, or the probe has no one position.
            ModelError: A state is not finite.
        """
        if self.position == "pooled":
            raise InputError("this probe was fitted at several positions together; read sequences with score_paths")
        states = states_of(model, chats, layers=[self.layer], positions=[self.position], batch_size=batch_size)
        return self.logits(states[0, :, 0], model).sigmoid()

    def random(self, seed: int = 0) -> Probe:
        """A probe of a random direction with equal norm and bias: a control."""
        noise = torch.randn(self.weight.shape, generator=torch.Generator().manual_seed(seed))
        weight = noise * (self.weight.norm() / noise.norm())
        return replace(self, weight=weight, label="random", quality=None, card=None)

    def at(self, layer: int) -> Probe:
        """The same weights read after another block: a control, and the paper's curves over layers."""
        return replace(self, layer=layer, quality=None, card=None)

    def save(self, path: Path | str) -> None:
        """Write it (safetensors) with its card (JSON).

        Raises:
            ArtefactError: It has no card.
        """
        if self.card is None:
            raise ArtefactError("this probe was made by hand and has no card; save one that fit_probes found")
        write_artefact(Path(path), {"weight": self.weight, "bias": torch.tensor([self.bias])}, self.card)

    @classmethod
    def load(cls, path: Path | str, model: LocalModel, *, fine_tuned: bool = False) -> Probe:
        """Read a probe that `save` wrote.

        Raises:
            ArtefactError: It cannot be read, or was fitted on another model or under another template.
        """
        tensors, card = read_artefact(Path(path), kind="probe")
        require_fit(card, model, what=f"{path} (a probe)", fine_tuned=fine_tuned)
        try:
            place, quality = card.data["probe"], quality_from(card.quality)
            weight, bias = tensors["weight"], float(tensors["bias"])
            return cls(weight, bias, place["layer"], place["position"], place["normed"], place["label"], quality, card)
        except (KeyError, TypeError) as error:
            raise ArtefactError(f"{path} lacks {error} and cannot be read") from error

    def __repr__(self) -> str:
        read = f", AUROC {self.quality.auroc.value:.3f}, n={self.quality.n}" if self.quality else ""
        return f"Probe({self.label}, layer {self.layer}, {self.position}{read})"

    def _repr_html_(self) -> str:
        return probe_table(f"Probe of {self.label}", [self])


def through_norm(model: LocalModel, states: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows width"]:
    """States through the norm before the unembedding, float32 on the CPU; unchanged where the model has none.

    At the last layer this is what transformers calls `hidden_states[-1]`.
    """
    norm = model.structure.norm
    if norm is None:
        return states
    weight = next(norm.parameters(), None)
    with torch.no_grad():
        given = states if weight is None else states.to(weight.device, weight.dtype)
        found: Tensor = norm(given)
    return found.float().cpu()


def quality_told(quality: ProbeQuality) -> dict[str, Any]:
    """A quality as a card has it."""
    return {**vars(quality), "auroc": list(quality.auroc), "accuracy": list(quality.accuracy)}


def quality_from(told: dict[str, Any]) -> ProbeQuality:
    """A quality out of a card."""
    return ProbeQuality(**{**told, "auroc": Interval(*told["auroc"]), "accuracy": Interval(*told["accuracy"])})


def probe_table(caption: str, probes: Sequence[Probe]) -> str:
    """Probes and their quality, for notebooks."""
    head = ("label", "layer", "position", "AUROC", "95%", "accuracy", "ECE", "null 95%", "p", "random 95%",
            "unembedding", "cosine", "n")  # fmt: skip
    rows: list[tuple[Any, ...]] = []
    for probe in probes:
        place = (probe.label, probe.layer, probe.position)
        rest: tuple[Any, ...] = ("",) * 10
        if q := probe.quality:
            ends = f"{q.auroc.low:.3f} to {q.auroc.high:.3f}"
            rest = (q.auroc.value, ends, q.accuracy.value, q.ece, q.null, q.p, q.random, q.unembedding, q.cosine, q.n)
        rows.append((*place, *rest))
    return html_table(caption, head, rows)
