"""A control that adds numbers to the logits of some tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from demur.errors import InputError
from demur.models.control import Batch, Step, StepFunction

__all__ = ["LogitBias"]


@dataclass(frozen=True)
class LogitBias:
    """Adds `bias[token_id]` to a token's logit at every step; minus infinity forbids the token.

    Attributes:
        bias: From token id to what is added, in logits (nats at temperature 1).
    """

    bias: Mapping[int, float]

    @property
    def logits_only(self) -> bool:
        """A bias leaves the states alone."""
        return True

    @contextmanager
    def scope(self, batch: Batch) -> Iterator[StepFunction | None]:
        """Add the bias at each step of a batch.

        Raises:
            InputError: A token id is outside the vocabulary (raised at the first step).
        """
        ids, values = torch.tensor(list(self.bias), dtype=torch.long), torch.tensor(list(self.bias.values()))

        def act(step: Step) -> None:
            size = step.logits.shape[-1]
            unknown = [token for token in self.bias if not 0 <= token < size]
            if unknown:
                raise InputError(f"there are no tokens {unknown} in a vocabulary of {size}")
            added = torch.zeros(size, device=step.logits.device)
            added[ids.to(added.device)] = values.to(added)
            step.logits = step.logits + added

        yield act if self.bias else None
