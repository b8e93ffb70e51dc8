"""A control that adds a vector to the residual stream of every request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from demur.errors import InputError
from demur.models.control import Batch, StepFunction
from demur.models.hooks import Site, writing
from demur.models.operators import add

__all__ = ["Steering"]


@dataclass(frozen=True, eq=False)
class Steering:
    """Adds `strength * vector` at one site.

    Attributes:
        vector: (width,).
        site: Where, e.g. `(12, "resid_post")`.
        strength: One number for all requests, or one for each in the order in which they are given.
        where: `all` positions, only those of the `prompt`, or only those of `generated` tokens.
    """

    vector: Tensor
    site: Site
    strength: float | Sequence[float] = 1.0
    where: Literal["all", "prompt", "generated"] = "all"

    def __post_init__(self) -> None:
        if self.site[1] == "attn_heads":
            raise InputError("a vector is added to the residual stream; use the site resid_pre or resid_post")
        if self.where not in ("all", "prompt", "generated"):
            raise InputError(f"where must be all, prompt or generated, got {self.where!r}")

    @property
    def logits_only(self) -> bool:
        """Steering changes states."""
        return False

    @contextmanager
    def scope(self, batch: Batch) -> Iterator[StepFunction | None]:
        """Steer one batch.

        Raises:
            InputError: There is no strength for a request, or the vector does not fit.
        """
        strength = self._strengths(batch)

        def steer(activation: Tensor) -> Tensor:
            if self.where != "all" and batch.reading_prompt != (self.where == "prompt"):
                return activation
            return add(activation, self.vector, strength)

        with writing(batch.model.structure, {self.site: steer}):
            yield None

    def _strengths(self, batch: Batch) -> float | Tensor:
        if not isinstance(self.strength, Sequence):
            return self.strength
        highest = max(row.index for row in batch.rows)
        if highest >= len(self.strength):
            raise InputError(f"got {len(self.strength)} strengths, but request {highest} needs one too; give one each")
        return torch.tensor([self.strength[row.index] for row in batch.rows]).view(-1, 1, 1)
