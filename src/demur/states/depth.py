"""Reading an answer at any depth: the assistant's header is put behind what was written, and a probe reads there.

Models judge what they are asked where their own turn begins. Put behind a half-written answer, the tokens that close a
turn and open the next one make a model judge the text so far, however deep it is. Cost does not grow with depth: what
was written stays in the cache, and a check reads a handful of tokens on a copy of it.

Source: "Any-Depth Alignment", arXiv 2510.18081, the reading half (ADA-LP). The released code reads the normalised
residual that enters a block; here a probe reads what leaves one, through the final norm, as all probes of demur do.
"""

# ruff: noqa: F722 - shapes stand in annotations as text

from __future__ import annotations

import copy
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from demur.errors import InputError
from demur.models import Site, reading
from demur.models.request import Chat, as_chat
from demur.states.notebook import html_table
from demur.states.probe import Probe
from demur.states.probe_fitting import check_labels, family_folds, permuted_labels
from demur.states.probes import Probes, fit_read, probes_card
from demur.stats import Interval, wilson

if TYPE_CHECKING:
    from demur.models import ChatLike, LocalModel

__all__ = [
    "HEADER",
    "DepthRate",
    "DepthRates",
    "assistant_header",
    "depth_grid",
    "fit_depth_probes",
    "flag_rates",
    "score_depths",
    "states_at_depths",
]

HEADER = "header"
"""What these probes call their position: the last token of the repeated header."""


@dataclass(frozen=True)
class DepthRate:
    """How many answers are flagged at a depth."""

    depth: int
    """Tokens of the answer before the check."""
    flagged: Interval
    """Share flagged at exactly this depth, of the answers that reach it, with Wilson's interval."""
    ever: Interval
    """Share flagged at this depth or before, of all answers, the shorter ones among them."""


@dataclass(frozen=True)
class DepthRates:
    """How many answers are flagged, depth by depth."""

    rows: tuple[DepthRate, ...]

    def __getitem__(self, depth: int) -> DepthRate:
        for row in self.rows:
            if row.depth == depth:
                return row
        raise KeyError(depth)

    def _repr_html_(self) -> str:
        rows = [(row.depth, row.flagged.value, row.flagged.n, row.ever.value, row.ever.n) for row in self.rows]
        return html_table("Flagged by depth", ("tokens", "flagged", "of", "so far", "of all"), rows)


def depth_grid(length: int, *, step: int = 25, most: int = 3000) -> list[int]:
    """The depths at which an answer of `length` tokens is checked: every `step`, its end and depth 0 left out.

    Raises:
        InputError: `step` is below 1.
    """
    if step < 1:
        raise InputError(f"step must be at least 1, got {step}")
    return list(range(step, min(length, most), step))


def assistant_header(model: LocalModel) -> tuple[int, ...]:
    """The tokens that close an assistant's turn and open the next one, as the model's chat template writes them.

    Raises:
        InputError: The template refuses such a conversation, or writes nothing behind an assistant's turn.
    """
    ids = model.tokenize(model.template.next_turn())
    if not ids:
        raise InputError("the chat template writes nothing between two turns of the assistant; give header=")
    return tuple(ids)


def states_at_depths(
    model: LocalModel,
    chats: Sequence[ChatLike],
    layers: Sequence[int],
    *,
    header: Sequence[int] | None = None,
    step: int = 25,
    most: int = 3000,
) -> list[Float[Tensor, "depth layer width"]]:
    """States after each block at the last token of the repeated header, at each depth of each answer.

    The answer is read once, `step` tokens at a time; each check reads the header on a copy of the cache, so that
    reading goes on as if there had been no check.

    Args:
        model: A model that keeps a cache of keys and values.
        chats: Each ends with the answer, as an assistant message.
        layers: Block numbers.
        header: Tokens to put behind the answer; None takes the template's.
        step: Tokens between checks.
        most: Depth at which checking ends.

    Returns:
        One tensor a chat, float32 on the CPU; an answer of at most `step` tokens has no depths.

    Raises:
        InputError: A chat ends with no answer, or its prompt does not begin what the model reads of it; the answer and
            the header do not fit the context.
    """
    tokens = tuple(header) if header is not None else assistant_header(model)
    found = []
    for number, chat in enumerate(chats):
        prompt, answer = _parts(model, chat, number)
        depths = depth_grid(len(answer), step=step, most=most)
        end = len(prompt) + (depths[-1] if depths else 0) + len(tokens)
        if model.context is not None and end > model.context:
            raise InputError(f"chat {number} takes {end} tokens with its header and the context holds {model.context}")
        found.append(_read(model, prompt, answer, depths, tokens, layers))
    return found


def _parts(model: LocalModel, chat: ChatLike, number: int) -> tuple[list[int], list[int]]:
    """Tokens of the prompt, generation prompt included, and of the answer."""
    whole = as_chat(chat)
    if whole.prefill is None:
        raise InputError(f"chat {number} does not end with an answer; add it as an assistant message")
    ids = model.encode(whole)
    prompt = model.encode(Chat(messages=whole.messages[:-1], thinking=whole.thinking, tools=whole.tools))
    if ids[: len(prompt)] != prompt:
        raise InputError(f"chat {number}: the template writes the prompt otherwise when an answer follows")
    return prompt, ids[len(prompt) :]


@torch.no_grad()
def _read(
    model: LocalModel,
    prompt: list[int],
    answer: list[int],
    depths: list[int],
    header: tuple[int, ...],
    layers: Sequence[int],
) -> Tensor:
    sites: list[Site] = [(model.structure.block(layer).index, "resid_post") for layer in layers]
    device = model.model.get_input_embeddings().weight.device

    def forward(ids: Sequence[int], cache: Any) -> Any:
        return model.model(
            input_ids=torch.tensor([list(ids)], device=device), past_key_values=cache, use_cache=True
        ).past_key_values

    seen: dict[Site, Tensor] = {}

    def keep(site: Site, activation: Tensor) -> None:
        seen[site] = activation[0, -1].float().cpu()

    states = torch.empty(len(depths), len(sites), model.structure.width)
    cache, read = None, 0
    for place, depth in enumerate(depths):
        span = [*prompt, *answer[:depth]] if cache is None else answer[read:depth]
        cache, read = forward(span, cache), depth
        with reading(model.structure, sites, keep):
            forward(header, copy.deepcopy(cache))  # a copy, because caches of sliding windows cannot be cut back
        states[place] = torch.stack([seen[site] for site in sites])
    return states


class _Held:
    """States that were read already, as probes are fitted on them."""

    def __init__(self, states: Tensor, layers: Sequence[int]) -> None:
        self._states, self._layers = states, list(layers)

    def at(self, site: Site, _position: object) -> Tensor:
        return self._states[:, self._layers.index(site[0])]


def fit_depth_probes(
    model: LocalModel,
    chats: Sequence[ChatLike],
    labels: Sequence[bool],
    *,
    label: str = "harmfulness",
    families: Sequence[Hashable] | None = None,
    layers: Sequence[int] | None = None,
    header: Sequence[int] | None = None,
    step: int = 25,
    most: int = 500,
    strength: float = 1.0,
    folds: int = 5,
    permutations: int = 40,
    seed: int = 0,
) -> Probes:
    """Fit one probe a layer on all depths of all answers together.

    Args:
        model: The model to read.
        chats: Each ends with an answer.
        labels: True where a high probability is wanted, one a chat.
        label: What to call it.
        families: What must not be split between fitting and testing, one a chat; None makes each its own.
        layers: Block numbers; None means all.
        header: See `states_at_depths`.
        step: Tokens between depths.
        most: Depth at which reading ends; the paper fits on the first 500 tokens.
        strength: scikit-learn's `C`.
        folds: Of the test on held-out families.
        permutations: Label sets of the null, whole families at a time, and random directions.
        seed: Of everything drawn.

    Raises:
        InputError: As `states_at_depths` and `fit_probes`; no answer is longer than `step`.
    """
    kin = list(range(len(chats))) if families is None else list(families)
    truth = [bool(value) for value in labels]
    check_labels(truth, kin, [str(as_chat(chat).messages) for chat in chats])
    chosen = list(range(len(model.structure))) if layers is None else list(layers)
    read = states_at_depths(model, chats, chosen, header=header, step=step, most=most)
    rows = [number for number, states in enumerate(read) for _ in states]
    if not rows:
        raise InputError(f"no answer is longer than {step} tokens; lower step or give longer answers")
    spread, relatives = [truth[number] for number in rows], [kin[number] for number in rows]
    fold = family_folds(spread, relatives, folds=folds, seed=seed)
    sets = permuted_labels(spread, relatives, count=permutations, seed=seed)
    card = probes_card(model, chats, truth, kin, {
        "label": label, "layers": chosen, "positions": [HEADER], "pooled": False, "normed": True,
        "strength": strength, "folds": int(fold.max()) + 1, "permutations": permutations, "seed": seed,
        "step": step, "most": most,
    })  # fmt: skip
    return fit_read(model, _Held(torch.cat(read), chosen), spread, relatives, fold, sets, card, (None, None), None)


def score_depths(
    model: LocalModel,
    chats: Sequence[ChatLike],
    probe: Probe,
    *,
    header: Sequence[int] | None = None,
    step: int = 25,
    most: int = 3000,
) -> list[dict[int, float]]:
    """The probe's probability at each depth of each answer: a dictionary a chat, empty where the answer is short.

    Raises:
        InputError: As `states_at_depths`.
    """
    read = states_at_depths(model, chats, [probe.layer], header=header, step=step, most=most)
    return [
        {
            (place + 1) * step: float(probability)
            for place, probability in enumerate(probe.logits(states[:, 0], model).sigmoid())
        }
        for states in read
    ]


def flag_rates(scores: Sequence[dict[int, float]], *, threshold: float = 0.5) -> DepthRates:
    """How many answers are flagged at each depth, and how many at that depth or before.

    Args:
        scores: As `score_depths` gives them.
        threshold: Probability from which an answer is flagged.

    Raises:
        InputError: There are no answers.
    """
    if not scores:
        raise InputError("there are no answers to count")
    rates = []
    for depth in sorted({depth for one in scores for depth in one}):
        reached = [one[depth] >= threshold for one in scores if depth in one]
        ever = sum(any(p >= threshold for d, p in one.items() if d <= depth) for one in scores)
        rates.append(DepthRate(depth, wilson(sum(reached), len(reached)), wilson(ever, len(scores))))
    return DepthRates(tuple(rates))
