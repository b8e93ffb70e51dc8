"""Measures the decisions of scenes in a model, exactly."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from demur.errors import ArtefactError
from demur.phantom.scenes.decision import Decision, Place, rendered

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Asked", "asked", "distributions", "probabilities"]

_ROWS, _TOKENS = 256, 16384  # that go through the model at once, at most


class Asked:
    """One label of one decision, over the texts that training shows or over those that it never does."""

    def __init__(self, decision: Decision, label: str, held_out: bool, places: Sequence[Place]) -> None:
        self.name = f"{'held_out/' if held_out else ''}{decision.name}/{label}"
        self.group = f"{'held_out/' if held_out else ''}{decision.name.partition('/')[0]}"
        self.planted = decision.shares[label]
        self.n_train = 0 if held_out else decision.times * len(decision.places)
        self.label = label
        self.places = places


def asked(decisions: Sequence[Decision], *, per_condition: int | None = None, seed: int = 0) -> Iterator[Asked]:
    """What the card asks of scenes.

    Of a decision between two labels the first one is asked, of one between more all of them.
    """
    rng = random.Random(seed)
    for decision in decisions:
        labels = list(decision.shares)
        for held_out, places in ((False, decision.places), (True, decision.held_out)):
            if not places:
                continue
            whole = per_condition is None or per_condition >= len(places)
            drawn = places if whole else rng.sample(places, per_condition or 0)
            for label in labels[:1] if len(labels) == 2 else labels:
                yield Asked(decision, label, held_out, drawn)


def probabilities(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, places: Sequence[Place]
) -> list[dict[str, float]]:
    """P(label) at each place, in order: exact next-token probabilities at temperature 1.

    Args:
        model: A float32 causal model.
        tokenizer: Its tokenizer.
        places: Any places.

    Raises:
        ArtefactError: Two labels of a place share a first token.
    """
    ids = [tokenizer.encode(rendered(p, tokenizer.apply_chat_template), add_special_tokens=False) for p in places]
    firsts = [_firsts(tokenizer, place) for place in places]
    found: list[dict[str, float]] = [{} for _ in places]
    for batch, rows in distributions(model, ids):
        for i, row in zip(batch, rows, strict=True):
            found[i] = {label: float(row[list(of)].sum()) for label, of in firsts[i].items()}
    return found


def distributions(model: PreTrainedModel, prompts: Sequence[list[int]]) -> Iterator[tuple[list[int], Tensor]]:
    """Exact next-token probabilities at temperature 1, in double precision, (prompts, vocabulary) a batch.

    Args:
        model: A float32 causal model.
        prompts: Token ids.

    Yields:
        The numbers of the prompts of a batch, and a row for each of them.
    """
    import torch

    # batches of one length need no padding, so the numbers do not depend on a mask
    by_length: dict[int, list[int]] = {}
    for i, ids in enumerate(prompts):
        by_length.setdefault(len(ids), []).append(i)
    for length, some in by_length.items():
        size = max(1, min(_ROWS, _TOKENS // length))
        for begin in range(0, len(some), size):
            batch = some[begin : begin + size]
            with torch.inference_mode():
                logits = model(input_ids=torch.tensor([prompts[i] for i in batch]), logits_to_keep=1).logits[:, -1]
                rows = logits.double().softmax(-1)
            yield batch, rows


def _firsts(tokenizer: PreTrainedTokenizerBase, place: Place) -> dict[str, set[int]]:
    """First tokens of each label's variants."""
    found = {
        label: {tokenizer.encode(v, add_special_tokens=False)[0] for v in variants}
        for label, variants in place.outcomes.items()
    }
    owners: dict[int, str] = {}
    for label, some in found.items():
        for token in some:
            if (other := owners.setdefault(token, label)) != label:
                raise ArtefactError(
                    f"{other!r} and {label!r} begin with the same token {tokenizer.decode([token])!r} "
                    f"after {place.messages[-1]['content']!r}"
                )
    return found
