"""Choosing one refusal direction by what it does: removed, refusal falls; added, it rises; and little else changes.

Candidates are directions at layers and positions. Exact scoring runs every candidate through the model three times. The
screen scores all of them to first order from one forward and backward pass a prompt set, and scores only the most
promising exactly; what it gives up is measured by comparing the two.

Source: Arditi et al. 2024, arXiv 2406.11717: lowest refusal under ablation among candidates that pass the filters on KL
and addition and lie outside the last layers.
"""

# ruff: noqa: F722 - shapes stand in annotations as text

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from demur.errors import InputError
from demur.states.interventions import ablating, pushed

if TYPE_CHECKING:
    from demur.models import LocalModel
    from demur.records import Prompt
    from demur.states.directions import Direction

__all__ = ["Candidate", "Selection", "select_direction"]


@dataclass(frozen=True, eq=False)
class Candidate:
    """One candidate and its scores.

    Attributes:
        direction: The candidate.
        ablation: Mean log-odds of refusal of harmful prompts with the direction removed; lower is better.
        addition: Mean log-odds of refusal of harmless prompts with the direction added; higher is better.
        kl: Mean KL divergence of the next token on harmless prompts, from the untouched model to the ablated one.
        passes: Whether it passes the filters.
    """

    direction: Direction
    ablation: float
    addition: float
    kl: float
    passes: bool


@dataclass(frozen=True, eq=False)
class Selection:
    """The chosen direction and everything that was scored.

    Attributes:
        best: The candidate with the lowest ablation score among those that pass.
        candidates: All that were scored exactly, best first.
        random: The scores of random directions of the winner's norm and layer.
        baseline: Mean log-odds of refusal of harmful and of harmless prompts, untouched.
        screened: How many candidates the screen dropped; 0 when all were scored exactly.
    """

    best: Candidate
    candidates: tuple[Candidate, ...]
    random: tuple[Candidate, ...]
    baseline: tuple[float, float]
    screened: int

    def _repr_html_(self) -> str:
        head = ("direction", "layer", "position", "ablation", "addition", "KL", "passes")
        lines = "".join(
            f"<tr><td>{escape(c.direction.kind)}</td><td>{c.direction.layer}</td>"
            f"<td>{escape(c.direction.position)}</td><td>{c.ablation:.3f}</td><td>{c.addition:.3f}</td>"
            f"<td>{c.kl:.4f}</td><td>{'yes' if c.passes else 'no'}</td></tr>"
            for c in (*self.candidates, *self.random)
        )
        top = "".join(f"<th>{name}</th>" for name in head)
        harmful, harmless = self.baseline
        caption = f"Log-odds of refusal; untouched: harmful {harmful:.3f}, harmless {harmless:.3f}"
        return f"<table><caption>{caption}</caption><tr>{top}</tr>{lines}</table>"


def select_direction(
    model: LocalModel,
    candidates: Sequence[Direction],
    *,
    harmful: Sequence[Prompt],
    harmless: Sequence[Prompt],
    refusal_tokens: Sequence[int],
    exact: bool = True,
    keep: int = 6,
    last: float = 0.2,
    most_kl: float = 0.1,
    random: int = 3,
    seed: int = 0,
    batch_size: int = 32,
) -> Selection:
    """Choose the best direction.

    Args:
        model: A local model.
        candidates: Directions of refusal at layers and positions.
        harmful: Prompts whose refusal should fall; others than the candidates were fitted on.
        harmless: Prompts whose refusal should rise when a candidate is added, and that ablation should leave alone.
        refusal_tokens: First tokens of a refusal.
        exact: Whether to score every candidate; False screens first and scores the best `keep`.
        keep: Candidates that the screen keeps.
        last: Share of the last layers whose candidates are left out: a direction there is the answer's own token.
        most_kl: Highest divergence that passes.
        random: Random directions to score beside the winner, at least 1.
        seed: Of the random directions.
        batch_size: Prompts at once.

    Raises:
        InputError: There are no candidates or prompts, none lies outside the last layers, or none passes the filters.
    """
    if not candidates or not harmful or not harmless or random < 1 or keep < 1:
        raise InputError("choosing a direction needs candidates, harmful and harmless prompts, and a random direction")
    # candidate l is what leaves block l, so it enters block l + 1
    end = int(len(model.structure) * (1 - last))
    allowed = [c for c in candidates if c.layer + 1 < end or last <= 0]
    # where all prompts share every token so far, as at layer 0 before attention, there is no direction at all
    allowed = [c for c in allowed if c.norm > 0]
    if not allowed:
        raise InputError(
            f"all {len(candidates)} candidates are zero or lie in the last {last:.0%} of {len(model.structure)} "
            "layers; give candidates of earlier layers, or a smaller share as last="
        )
    kept = allowed
    if not exact and len(allowed) > keep:
        removed, added = _first_order(model, allowed, harmful, harmless, refusal_tokens, batch_size)
        order = sorted(range(len(allowed)), key=lambda n: (added[n] <= 0, removed[n]))
        kept = [allowed[n] for n in order[:keep]]
    plain = model.next_token_logprobs(harmless, batch_size=batch_size)
    baseline = (
        float(_log_odds(model.next_token_logprobs(harmful, batch_size=batch_size), refusal_tokens).mean()),
        float(_log_odds(plain, refusal_tokens).mean()),
    )

    def score(direction: Direction) -> Candidate:
        with ablating(model, direction.vector):
            ablation = float(
                _log_odds(model.next_token_logprobs(harmful, batch_size=batch_size), refusal_tokens).mean()
            )
            changed = model.next_token_logprobs(harmless, batch_size=batch_size)
        with pushed(model, direction):
            found = model.next_token_logprobs(harmless, batch_size=batch_size)
        addition = float(_log_odds(found, refusal_tokens).mean())
        kl = float((plain.exp() * (plain - changed)).sum(-1).mean())
        return Candidate(direction, ablation, addition, kl, kl <= most_kl and addition >= 0)

    scored = sorted((score(c) for c in kept), key=lambda c: (not c.passes, c.ablation))
    if not scored[0].passes:
        raise InputError(
            f"none of {len(scored)} candidates passes: the lowest KL is {min(c.kl for c in scored):.3g} (at most "
            f"{most_kl:.3g}), the highest log-odds of refusal after adding {max(c.addition for c in scored):.3g} (at "
            "least 0). Give other candidates, or raise most_kl"
        )
    noise = tuple(score(scored[0].direction.random(seed + number)) for number in range(random))
    return Selection(scored[0], tuple(scored), noise, baseline, len(allowed) - len(kept))


def _log_odds(logprobs: Float[Tensor, "prompt vocab"], tokens: Sequence[int]) -> Float[Tensor, " prompt"]:
    share = logprobs[:, sorted(set(tokens))].exp().sum(-1).double().clamp(1e-8, 1 - 1e-8)
    return share.log() - (1 - share).log()


def _first_order(
    model: LocalModel,
    candidates: Sequence[Direction],
    harmful: Sequence[Prompt],
    harmless: Sequence[Prompt],
    tokens: Sequence[int],
    batch_size: int,
) -> tuple[list[float], list[float]]:
    """The change of the mean log-odds that removing or adding each candidate makes, to first order."""
    layers = sorted({c.layer for c in candidates})
    removed, added = torch.zeros(len(candidates)), torch.zeros(len(candidates))
    units = torch.stack([c.vector / c.norm for c in candidates])
    for prompts, removing in ((harmful, True), (harmless, False)):
        order = sorted(range(len(prompts)), key=lambda n: len(model.encode(prompts[n])))
        for start in range(0, len(order), batch_size):
            batch = [prompts[n] for n in order[start : start + batch_size]]
            streams, gradients, mask = _gradients(model, batch, tokens)
            if removing:
                # what the embedding and every block write, each seen by all that follows
                writes = [streams[0], *(after - before for before, after in pairwise(streams))]
                for write, gradient in zip(writes, gradients, strict=True):
                    removed -= ((write @ units.T) * (gradient @ units.T) * mask).sum((0, 1))
            else:
                slopes = {layer: (gradients[layer + 1] * mask).sum((0, 1)) for layer in layers}
                added += torch.stack([slopes[c.layer] @ c.vector for c in candidates])
    return (removed / len(harmful)).tolist(), (added / len(harmless)).tolist()


def _gradients(
    model: LocalModel, prompts: Sequence[Prompt], tokens: Sequence[int]
) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """The stream entering the first block and leaving every block, and the log-odds' gradient at each."""
    from demur.models import reading
    from demur.models.generation import left_padded

    ids, attention = left_padded([model.encode(p) for p in prompts], model.pad_id, model.device)
    count = len(model.structure)
    held: dict[int, Tensor] = {}

    def keep(site: tuple[int, str], activation: Tensor) -> None:
        held[site[0] + (site[1] == "resid_post")] = activation

    sites = [(0, "resid_pre"), *((layer, "resid_post") for layer in range(count))]
    embedding = model.model.get_input_embeddings()
    handle = embedding.register_forward_hook(lambda _m, _a, out: out.detach().requires_grad_())
    try:
        with model._lock, torch.enable_grad(), reading(model.structure, sites, keep):  # type: ignore[arg-type]
            output = model.model(
                input_ids=ids,
                attention_mask=attention,
                position_ids=(attention.cumsum(-1) - 1).clamp(min=0),
                use_cache=False,
            )
            total = _log_odds(output.logits[:, -1].float().log_softmax(-1), tokens).sum()
            streams = [held[n] for n in range(count + 1)]
            slopes = torch.autograd.grad(total, streams)
    finally:
        handle.remove()
    mask = attention.unsqueeze(-1).float().cpu()
    return [s.detach().float().cpu() for s in streams], [s.float().cpu() for s in slopes], mask
