"""A guard out of the model's own belief: flags a prompt whose states lie nearer to the harmful centroid.

Nothing is trained: the score is the mean over layers of cos(h, harmful) - cos(h, harmless) at one token, and one
prefill pays for it. The published threshold is 0; because that is a default and no choice, a threshold can be
calibrated on plain harmless traffic, and how much of such traffic is flagged is part of every evaluation.

Source: Zhao et al. 2025, arXiv 2507.11878, section 5.1.
"""

# ruff: noqa: F722 - shapes stand in annotations as text

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from demur.errors import ArtefactError, InputError
from demur.states.cards import Card, groups_card, read_artefact, require_fit, write_artefact
from demur.states.contrasts import Contrast, aurocs, centroid_weights, folds, permuted
from demur.states.groups import Groups, family, require_groups
from demur.states.residuals import states_of
from demur.stats import Interval, auroc, wilson

if TYPE_CHECKING:
    from demur.models import LocalModel
    from demur.records import Prompt

__all__ = ["GuardReport", "GuardRow", "LatentGuard", "calibrated_threshold"]

PLAIN = "plain harmless"


@dataclass(frozen=True)
class GuardRow:
    """What the guard does with one set of prompts."""

    group: str
    flagged: Interval
    """Share flagged at the published threshold 0, with its 95% interval."""
    calibrated: Interval | None
    """Share flagged at the calibrated threshold, or None without one."""
    beside: dict[str, Interval]
    """Share that each other guard flags on the same rows."""
    mean: float
    """Mean score."""


@dataclass(frozen=True)
class GuardReport:
    """The guard on several sets of prompts; the last row is plain harmless traffic."""

    rows: tuple[GuardRow, ...]
    threshold: float | None
    auroc: dict[str, Interval]
    """Of the score, each set against plain harmless traffic."""

    @property
    def false_positives(self) -> Interval:
        """Share of plain harmless traffic that is flagged at threshold 0."""
        return self.rows[-1].flagged

    def __getitem__(self, group: str) -> GuardRow:
        return next(row for row in self.rows if row.group == group)

    def _repr_html_(self) -> str:
        others = sorted({name for row in self.rows for name in row.beside})
        third = [] if self.threshold is None else [f"flagged at {self.threshold:.3g}"]
        head = ["prompts", "n", "flagged at 0", *third, *others, "AUROC against plain"]
        lines = []
        for row in self.rows:
            cells = [row.group, str(row.flagged.n), _share(row.flagged), *([_share(row.calibrated)] if third else [])]
            cells += [_share(row.beside.get(name)) for name in others] + [_share(self.auroc.get(row.group))]
            lines.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
        top = "".join(f"<th>{escape(name)}</th>" for name in head)
        return f"<table><caption>Latent guard</caption><tr>{top}</tr>{''.join(lines)}</table>"


@dataclass(frozen=True, eq=False)
class LatentGuard:
    """The guard: two centroids a layer, and a threshold.

    Attributes:
        layers: Blocks after which it reads.
        position: The token at which it reads.
        harmful: (layer, width).
        harmless: (layer, width).
        threshold: Calibrated threshold, or None; 0 always stands beside it.
        card: Where it comes from, with its quality: area and balanced accuracy at 0 over folds, beside shuffled labels.
        seen: Hashes of the prompts that it was calibrated on.
    """

    layers: tuple[int, ...]
    position: str
    harmful: Float[Tensor, "layer width"]
    harmless: Float[Tensor, "layer width"]
    threshold: float | None
    card: Card
    seen: frozenset[str] = frozenset()

    @classmethod
    def fit(
        cls,
        model: LocalModel,
        groups: Groups,
        *,
        position: str = "last_instruction",
        layers: Sequence[int] | None = None,
        contrast: Contrast = "published",
        permutations: int = 200,
        seed: int = 0,
        batch_size: int = 32,
    ) -> LatentGuard:
        """Fit the centroids.

        Args:
            model: The model whose belief is read.
            groups: Prompts by harm and behaviour; the paper uses 100 refused harmful and 100 accepted harmless ones.
            position: Where harm is read; `last_instruction` as published. `Directions.best("harmfulness")` says where
                this model keeps it.
            layers: Blocks; None means all, as published.
            contrast: `published`, or `balanced` over the four groups.
            permutations: Shuffled label sets of the null.
            seed: Of folds and permutations.
            batch_size: Prompts at once.

        Raises:
            InputError: A group is too small (see `find_directions`).
        """
        require_groups(groups, contrast)
        chosen = tuple(range(len(model.structure))) if layers is None else tuple(layers)
        states = states_of(model, groups.prompts, layers=chosen, positions=[position], batch_size=batch_size)[:, :, 0]
        harm, refused = torch.tensor(groups.harmful), torch.tensor(groups.refused)
        first, second = centroid_weights("harmfulness", contrast, harm, refused)
        card = groups_card(
            "latent_guard",
            model,
            groups,
            contrast=contrast,
            layers=list(chosen),
            position=position,
            quality=_quality(states, groups, contrast, permutations, seed),
        )
        return cls(chosen, position, first @ states, second @ states, None, card)

    def scores(self, model: LocalModel, prompts: Sequence[Prompt], *, batch_size: int = 32) -> Float[Tensor, " prompt"]:
        """The score of each prompt, in [-2, 2]; higher is more harmful in the model's view."""
        states = states_of(model, prompts, layers=self.layers, positions=[self.position], batch_size=batch_size)
        return _belief(states[:, :, 0], self.harmful[:, None], self.harmless[:, None])[:, 0]

    def calibrate(
        self, model: LocalModel, plain: Sequence[Prompt], *, false_positives: float = 0.05, batch_size: int = 32
    ) -> LatentGuard:
        """The same guard with a threshold that flags at most `false_positives` of traffic like `plain`.

        The bound holds in expectation over draws of `plain`, whatever the scores' distribution. One draw of n prompts
        scatters around it by about sqrt(share * (1 - share) / n), so a hundred prompts are few.

        Raises:
            InputError: The share is not between 0 and 1, or there are too few prompts for it.
        """
        scores = self.scores(model, plain, batch_size=batch_size) if plain else torch.empty(0)
        threshold = calibrated_threshold(scores, false_positives)
        return replace(self, threshold=threshold, seen=frozenset(_hash(p) for p in plain))

    def evaluate(
        self,
        model: LocalModel,
        prompts: Mapping[str, Sequence[Prompt]],
        *,
        plain: Sequence[Prompt],
        beside: Mapping[str, Mapping[str, Sequence[bool]]] | None = None,
        batch_size: int = 32,
    ) -> GuardReport:
        """What the guard flags, set by set.

        Args:
            model: The model; a fine-tuned one is read with the centroids of the original.
            prompts: Sets of prompts by name.
            plain: Plain harmless traffic. It is always part of the result, because a guard that flags all is worth
                nothing.
            beside: What other guards flag: guard name, then set name, then one flag a prompt (see
                `guard_models.guard_model_flags`); plain traffic goes by the name `plain harmless`.
            batch_size: Prompts at once.

        Raises:
            InputError: A set is empty, plain traffic was used for calibration, or flags do not match the prompts.
        """
        named = {**prompts, PLAIN: plain}
        if PLAIN in prompts:
            raise InputError(f"{PLAIN!r} is the name of the plain traffic; give it as plain=")
        if empty := next((name for name, rows in named.items() if not rows), None):
            raise InputError(f"the set {empty!r} has no prompts")
        if self.seen & {_hash(p) for rows in named.values() for p in rows}:
            raise InputError("some prompts were used for calibration; evaluate on others")
        found = {name: self.scores(model, rows, batch_size=batch_size) for name, rows in named.items()}
        rows = []
        for name, scores in found.items():
            others = {guard: flags[name] for guard, flags in (beside or {}).items() if name in flags}
            if wrong := next((guard for guard, flags in others.items() if len(flags) != len(scores)), None):
                raise InputError(f"{wrong!r} has {len(others[wrong])} flags for the {len(scores)} prompts of {name!r}")
            rows.append(
                GuardRow(
                    group=name,
                    flagged=wilson(int((scores >= 0).sum()), len(scores)),
                    calibrated=None
                    if self.threshold is None
                    else wilson(int((scores.double() >= self.threshold).sum()), len(scores)),
                    beside={guard: wilson(sum(map(bool, flags)), len(flags)) for guard, flags in others.items()},
                    mean=float(scores.mean()),
                )
            )
        areas = {
            name: auroc([True] * len(scores) + [False] * len(plain), torch.cat([scores, found[PLAIN]]).numpy())
            for name, scores in found.items()
            if name != PLAIN
        }
        return GuardReport(tuple(rows), self.threshold, areas)

    def save(self, path: Path | str) -> None:
        """Write the guard with its card."""
        told = {**self.card.data, "threshold": self.threshold, "seen": sorted(self.seen)}
        tensors = {"harmful": self.harmful, "harmless": self.harmless}
        write_artefact(Path(path), tensors, self.card.model_copy(update={"data": told}))

    @classmethod
    def load(cls, path: Path | str, model: LocalModel, *, fine_tuned: bool = False) -> LatentGuard:
        """Read a guard that `save` wrote.

        Args:
            path: The safetensors file; its card lies beside it.
            model: The model to read.
            fine_tuned: Allow other weights of the same shape: the guard of a model, on its fine-tuned child.

        Raises:
            ArtefactError: It cannot be read, or belongs to another model or template.
        """
        tensors, card = read_artefact(Path(path), kind="latent_guard")
        require_fit(card, model, what=f"{path} (a latent guard)", fine_tuned=fine_tuned)
        try:
            data = card.data
            seen = frozenset(data["seen"])
            ends = tensors["harmful"], tensors["harmless"]
            return cls(tuple(data["layers"]), data["position"], *ends, data["threshold"], card, seen)
        except (KeyError, TypeError) as error:
            raise ArtefactError(f"{path} lacks {error} and cannot be read") from error

    def _repr_html_(self) -> str:
        told: dict[str, Any] = {
            "position": self.position,
            "layers": ", ".join(map(str, self.layers)),
            "threshold": "0 (published)" if self.threshold is None else f"0 and {self.threshold:.3g} (calibrated)",
            **{name.replace("_", " "): f"{value:.3f}" for name, value in self.card.quality.items()},
        }
        rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(str(value))}</td></tr>" for name, value in told.items())
        return f"<table><caption>Latent guard</caption>{rows}</table>"


def calibrated_threshold(scores: Float[Tensor, " prompt"], false_positives: float) -> float:
    """The lowest threshold that new scores of the same kind reach with probability at most `false_positives`.

    Raises:
        InputError: The share is not between 0 and 1, or there are too few scores for it.
    """
    if not 0 < false_positives < 1:
        raise InputError(f"false_positives must lie between 0 and 1, got {false_positives}")
    rank = math.ceil((len(scores) + 1) * (1 - false_positives))
    if rank > len(scores):
        raise InputError(
            f"{len(scores)} prompts cannot calibrate a threshold for {false_positives:.3g} false positives; "
            f"{math.ceil(1 / false_positives) - 1} are needed at least"
        )
    return math.nextafter(float(scores.double().sort().values[rank - 1]), math.inf)


def _belief(
    states: Float[Tensor, "layer prompt width"],
    first: Float[Tensor, "layer sets width"],
    second: Float[Tensor, "layer sets width"],
) -> Float[Tensor, "prompt sets"]:
    """Mean over layers of the difference of cosines."""

    def unit(values: Tensor) -> Tensor:
        return torch.nn.functional.normalize(values.double(), dim=-1)

    return (unit(states) @ (unit(first) - unit(second)).mT).mean(0).float()


def _quality(states: Tensor, groups: Groups, contrast: Contrast, permutations: int, seed: int) -> dict[str, float]:
    """Area and balanced accuracy at threshold 0 over folds, and the same with shuffled harm labels."""
    harm, refused = torch.tensor(groups.harmful), torch.tensor(groups.refused)
    cells = harm.long() * 2 + refused.long()
    fold = folds([family(p) for p in groups.prompts], cells, count=groups.folds, seed=seed)
    strata = refused.long() if contrast == "balanced" else torch.zeros_like(cells)
    sets = torch.cat([harm[None], permuted(harm, strata, count=permutations, seed=seed)])
    fixed = refused.expand_as(sets)
    scores = torch.empty(len(harm), len(sets))
    for number in sorted(set(fold.tolist())):
        out = fold == number
        ends = (
            torch.stack([w @ layer[~out] for layer in states])
            for w in centroid_weights("harmfulness", contrast, sets[:, ~out], fixed[:, ~out])
        )
        scores[out] = _belief(states[:, out], *ends)
    areas = aurocs(sets.T, scores)
    flagged = scores >= 0
    right = (((flagged & sets.T).sum(0) / sets.sum(1)) + ((~flagged & ~sets.T).sum(0) / (~sets).sum(1))) / 2
    return {
        "auroc": float(areas[0]),
        "auroc_null": float(areas[1:].quantile(0.95)),
        "balanced_accuracy": float(right[0]),
        "balanced_accuracy_null": float(right[1:].quantile(0.95)),
        "p": float((1 + (areas[1:] >= areas[0]).sum()) / (1 + permutations)),
    }


def _hash(prompt: Prompt) -> str:
    return hashlib.sha256(str(prompt.messages).encode()).hexdigest()


def _share(found: Interval | None) -> str:
    return "" if found is None else f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"
