"""Refusal scores token by token along prompt, reasoning and template, and their average over chats.

Averages over chats of unequal length are masked: padding with zeros, as the released code of the paper does, pulls the
early part down; it is there under its name for comparison.

Source: "Refusal Falls off a Cliff", arXiv 2510.06036.
"""

# ruff: noqa: F722 - shapes stand in annotations as text

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from demur.errors import InputError
from demur.states.notebook import html_table
from demur.states.probe import Probe

if TYPE_CHECKING:
    from demur.models import LocalModel, Positions
    from demur.models.request import ChatLike

__all__ = ["MeanPath", "RefusalPath", "mean_path", "score_paths"]

# Bytes of states held at once while all tokens of a few chats are read.
_HELD = 256 * 2**20


@dataclass(frozen=True, eq=False)
class RefusalPath:
    """The score of every token of one chat.

    Attributes:
        scores: Probabilities by the probe, one a token.
        texts: Each token's own text.
        segments: Token ranges by name: `context` (everything before the last user message's words), `instruction`,
            `template` (what the template puts after them), `opening`, `reasoning`, `closing` (from the end of the
            reasoning to where the answer begins), `answer`; only those that the chat has.
    """

    scores: Float[Tensor, " token"]
    texts: tuple[str, ...]
    segments: dict[str, range]

    @property
    def final(self) -> int:
        """The last token before the answer: its state decides the answer's first token."""
        return self.segments["answer"].start - 1 if "answer" in self.segments else len(self.scores) - 1

    def segment(self, token: int) -> str:
        """The name of the segment that a token belongs to."""
        return next(name for name, part in self.segments.items() if token in part)

    def _repr_html_(self) -> str:
        rows = [
            (number, self.segment(number), repr(text), float(score))
            for number, (text, score) in enumerate(zip(self.texts, self.scores, strict=True))
        ]
        return html_table("Refusal score by token", ("token", "segment", "text", "score"), rows)


def score_paths(
    model: LocalModel,
    chats: Sequence[ChatLike],
    probe: Probe,
    *,
    batch_size: int = 8,
    progress: Callable[[int, int], None] | None = None,
) -> list[RefusalPath]:
    """Read every token of every chat.

    Args:
        model: The model that the probe was fitted on.
        chats: Conversations; reasoning and answer may be prefilled (see `closed_reasoning`).
        probe: Applied to every token, wherever it was fitted.
        batch_size: Most chats at once; fewer where their states would take more than 256 MiB.
        progress: Called with the number of chats read and their total.

    Raises:
        InputError: There is no chat, one is longer than the context, or its parts cannot be found.
        ModelError: A state is not finite.
    """
    from demur.states.capturing import capture
    from demur.states.sites import Site

    if not chats:
        raise InputError("there are no chats to read")
    if probe.weight.shape != (model.structure.width,):
        raise InputError(
            f"the probe has the shape {tuple(probe.weight.shape)} and the states of {model.name!r} are "
            f"{model.structure.width} wide; fit it on this model"
        )
    parts = []
    for number, chat in enumerate(chats):
        try:
            parts.append(model.positions(chat))
        except InputError as error:
            raise InputError(f"chat {number}: {error}") from error
        size = len(parts[-1].token_ids)
        if model.context is not None and size > model.context:
            raise InputError(
                f"chat {number} has {size} tokens and the context of {model.name} holds {model.context}; shorten it "
                "or leave it out"
            )
    site = Site(model.structure.block(probe.layer).index, "resid_post")
    found: list[RefusalPath | None] = [None] * len(chats)
    order = sorted(range(len(chats)), key=lambda number: len(parts[number].token_ids), reverse=True)
    done = 0
    while done < len(order):
        longest = len(parts[order[done]].token_ids)
        rows = order[done : done + max(1, min(batch_size, _HELD // (longest * model.structure.width * 4)))]
        states = capture(
            model, [chats[row] for row in rows], sites=[site], positions=list(range(longest)), batch_size=len(rows)
        )
        scores = probe.logits(states.states(site), model).sigmoid()
        for row, score in zip(rows, scores, strict=True):
            ids = parts[row].token_ids
            own = score[: len(ids)].clone()
            found[row] = RefusalPath(own, tuple(model.token_texts(ids)), _segments(parts[row]))
        done += len(rows)
        if progress is not None:
            progress(done, len(order))
    return [path for path in found if path is not None]


class MeanPath(NamedTuple):
    """The average of several paths, aligned at the last token before the answer."""

    offset: NDArray[np.int_]
    """Tokens from the end, 0 last, oldest first."""
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    """Of the 95% interval over families at each offset; NaN where one family alone reaches so far back."""
    high: NDArray[np.float64]
    n: NDArray[np.int_]
    """How many chats reach so far back."""


def mean_path(
    paths: Sequence[RefusalPath],
    *,
    families: Sequence[Hashable] | None = None,
    padding: Literal["mask", "zeros"] = "mask",
    resamples: int = 1000,
    seed: int = 0,
) -> MeanPath:
    """Average paths, aligned at their ends.

    Args:
        paths: Of any lengths; prefilled answers are left out.
        families: Prompts that are not independent share one; None makes each its own.
        padding: `mask` averages at each offset over the chats that reach it; `zeros` divides by all of them, as the
            released code does.
        resamples: Of the bootstrap over families, percentiles.
        seed: Of the bootstrap.

    Raises:
        InputError: There is no path, or the families are not one a path.
    """
    from demur.stats.bootstrap import cluster_weights
    from demur.stats.inputs import as_clusters

    if not paths:
        raise InputError("there are no paths to average")
    if padding not in ("mask", "zeros"):
        raise InputError(f"padding must be 'mask' or 'zeros', got {padding!r}")
    codes = as_clusters(families, len(paths))
    longest = max(path.final for path in paths) + 1
    held, there = np.zeros((len(paths), longest)), np.zeros((len(paths), longest))
    for row, path in enumerate(paths):
        scores = path.scores[: path.final + 1].numpy()
        held[row, longest - len(scores) :], there[row, longest - len(scores) :] = scores, 1.0
    counted = there if padding == "mask" else np.ones_like(there)
    clusters = int(codes.max()) + 1
    sums, sizes = np.zeros((clusters, longest)), np.zeros((clusters, longest))
    np.add.at(sums, codes, held)
    np.add.at(sizes, codes, counted)
    mean = held.sum(0) / counted.sum(0)
    ends = np.full((2, longest), np.nan)
    drawn = np.vstack(list(cluster_weights(clusters, resamples, seed))) if clusters > 1 else np.ones((1, 1))
    for start in range(0, longest, 512):  # so that the resamples of a long chat take little memory
        block = slice(start, start + 512)
        size = drawn @ sizes[:, block]
        # a resample without any chat that reaches so far back says nothing there
        shares = np.where(size > 0, (drawn @ sums[:, block]) / np.maximum(size, 1e-12), mean[block])
        ends[:, block] = np.quantile(shares, (0.025, 0.975), axis=0)
    reached = np.zeros((clusters, longest))
    np.maximum.at(reached, codes, there)
    ends[:, reached.sum(0) < 2] = np.nan
    return MeanPath(
        offset=np.arange(1 - longest, 1),
        mean=mean,
        low=np.minimum(ends[0], mean),
        high=np.maximum(ends[1], mean),
        n=there.sum(0).astype(int),
    )


def _segments(parts: Positions) -> dict[str, range]:
    """The whole chat in named ranges."""
    size = len(parts.token_ids)
    words = parts.answer.start if parts.answer else size
    found = {
        "context": range(parts.instruction.start),
        "instruction": parts.instruction,
        "template": parts.post_instruction,
    }
    if parts.reasoning:
        found["opening"] = range(parts.post_instruction.stop, parts.reasoning.start)
        found["reasoning"] = parts.reasoning
        found["closing"] = range(parts.reasoning.stop, words)
    else:
        found["opening"] = range(parts.post_instruction.stop, words)
    if parts.answer:
        found["answer"] = range(parts.answer.start, size)
    return {name: part for name, part in found.items() if len(part)}
