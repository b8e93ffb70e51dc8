"""The direction from complying to refusing words in the unembedding: what a model writes, without any fitting."""

# ruff: noqa: F722 - shapes stand in annotations as text

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from demur.errors import InputError

if TYPE_CHECKING:
    from demur.models import LocalModel

__all__ = ["COMPLYING", "REFUSING", "refusal_difference"]

REFUSING = ("I'm sorry", "Sorry", "I cannot", "Unfortunately", "No")
"""How refusals commonly begin in English."""
COMPLYING = ("Sure", "Here", "Of course", "Certainly", "First")
"""How compliance commonly begins in English."""


def refusal_difference(
    model: LocalModel, refusing: Sequence[str] | None = None, complying: Sequence[str] | None = None
) -> Float[Tensor, " width"] | None:
    """Mean unembedding row of the first tokens of refusals, minus that of compliance.

    Args:
        model: Whose unembedding to read.
        refusing: Beginnings of refusals; None takes `REFUSING`. Only the first token of each counts.
        complying: Beginnings of compliance; None takes `COMPLYING`.

    Returns:
        The difference, or None where the unembedding's weights cannot be read (quantised, not in memory).

    Raises:
        InputError: A side has no token that the other does not have.
    """
    sides = [
        {tokens[0] for text in texts if (tokens := model.tokenize(text))}
        for texts in (refusing or REFUSING, complying or COMPLYING)
    ]
    own = [sorted(sides[0] - sides[1]), sorted(sides[1] - sides[0])]
    if not all(own):
        raise InputError(
            "the beginnings of refusals and of compliance share their first tokens under the tokenizer of "
            f"{model.name!r}; give others as refusing= and complying="
        )
    weight = getattr(model.structure.unembedding, "weight", None)
    if not isinstance(weight, Tensor) or not weight.is_floating_point() or weight.device.type == "meta":
        return None
    if weight.ndim != 2 or weight.shape[1] != model.structure.width:
        return None
    ends = [weight[torch.tensor(tokens, device=weight.device)].detach().float().mean(0).cpu() for tokens in own]
    return ends[0] - ends[1]
