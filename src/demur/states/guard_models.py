"""Guard models beside the latent guard: the probability that one says a prompt is unsafe, from its first word.

Guards of the kinds of Llama Guard (safe, unsafe), ShieldGemma and Granite Guardian (No, Yes) are causal language models
whose chat template turns a conversation into a question about it. Their first word is the verdict, so one pass over the
question gives a score that a threshold can be laid on, and nothing is generated.
"""

# ruff: noqa: F722 - shapes stand in annotations as text

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from demur.errors import InputError, ModelError
from demur.records import content_text

if TYPE_CHECKING:
    from demur.models import LocalModel
    from demur.records import Prompt

__all__ = ["SAFE", "UNSAFE", "GuardScores", "guard_model_flags", "guard_model_scores"]

UNSAFE = ("unsafe", "yes")
"""How the known guards say that a prompt is not safe."""
SAFE = ("safe", "no")
"""How they say that it is."""


class GuardScores(NamedTuple):
    """What a guard model says of each prompt."""

    unsafe: Float[Tensor, " prompt"]
    """The probability that it says unsafe, of the two words that it can say, in [0, 1]."""
    said: Float[Tensor, " prompt"]
    """The probability that its first word is one of the two at all."""


def guard_model_scores(
    guard: LocalModel,
    prompts: Sequence[Prompt],
    *,
    unsafe: Sequence[str] = UNSAFE,
    safe: Sequence[str] = SAFE,
    opening: str = "",
    variables: Mapping[str, Any] | None = None,
    least: float = 0.5,
    batch_size: int = 32,
) -> GuardScores:
    """Ask a guard model about each prompt through its own chat template.

    A guard that opens with white space (Llama Guard 3 begins with two line ends) is asked for the token after it.

    Args:
        guard: The guard model, as `LocalModel.load` gives it.
        prompts: What to ask about.
        unsafe: Words by which it flags; case and a leading space do not matter.
        safe: Words by which it does not.
        opening: What is put into its mouth before the word, such as `<score> ` for guards that answer inside a tag.
        variables: What its template asks for, such as `guideline` (ShieldGemma) or `guardian_config` (Granite).
        least: Least mean probability that the first word must be one of these; a model below it is no such guard.
        batch_size: Prompts at once.

    Raises:
        InputError: There are no prompts, the words share all their first tokens, or the template refuses a prompt.
        ModelError: The first word is not one of these.
    """
    if not prompts:
        raise InputError("there are no prompts to ask a guard model about")
    first, second = (_first_tokens(guard, words) for words in (unsafe, safe))
    flagging, passing = sorted(first - second), sorted(second - first)
    if not flagging or not passing:
        raise InputError(
            f"the words {', '.join(unsafe)} and {', '.join(safe)} share their first tokens in {guard.name!r}, so the "
            "first token does not tell them apart; give other words, or an opening that ends where they part"
        )
    asked = [guard.tokenize(_question(guard, prompt, variables or {}) + opening) for prompt in prompts]
    if guard.context is not None and (n := max(map(len, asked))) > guard.context:
        raise InputError(f"a question has {n} tokens and the context of {guard.name!r} holds {guard.context}")
    shares = torch.stack(_shares(guard, asked, flagging, passing, batch_size))
    said = shares.sum(1)
    if said.mean() < least:
        raise ModelError(
            f"the first word of {guard.name!r} is one of {', '.join((*unsafe, *safe))} with a probability of "
            f"{said.mean():.2g} only, so its verdict cannot be read from it; name its words, its template's variables "
            "or the text that it opens with"
        )
    return GuardScores(shares[:, 0] / said.clamp(min=torch.finfo(said.dtype).tiny), said)


def guard_model_flags(
    guard: LocalModel, prompts: Sequence[Prompt], *, threshold: float = 0.5, **options: Any
) -> list[bool]:
    """Whether a guard model finds each prompt unsafe, for `LatentGuard.evaluate(beside=)`.

    Args:
        guard: The guard model.
        prompts: What to ask about.
        threshold: Least probability that flags.
        options: See `guard_model_scores`.
    """
    return [score >= threshold for score in guard_model_scores(guard, prompts, **options).unsafe.tolist()]


def _shares(
    guard: LocalModel, asked: Sequence[list[int]], flagging: list[int], passing: list[int], batch_size: int
) -> list[Tensor]:
    """The probabilities of either word at the first token that is not white space."""
    found: dict[int, Tensor] = {}
    waiting = sorted(range(len(asked)), key=lambda row: len(asked[row]))
    size = batch_size if guard.pads_cleanly else 1
    spaces: dict[int, list[int]] = {row: [] for row in waiting}
    while waiting:
        again = []
        for start in range(0, len(waiting), size):
            rows = waiting[start : start + size]
            logits = guard._last_logits([[*asked[row], *spaces[row]] for row in rows])
            for row, share in zip(rows, logits.float().softmax(-1).cpu(), strict=True):
                top = int(share.argmax())
                if len(spaces[row]) < 2 and not guard.token_texts([top])[0].strip() and top not in flagging + passing:
                    spaces[row].append(top)
                    again.append(row)
                else:
                    found[row] = torch.stack([share[flagging].sum(), share[passing].sum()])
        waiting = again
    return [found[row] for row in range(len(asked))]


def _first_tokens(guard: LocalModel, words: Sequence[str]) -> set[int]:
    """The first tokens of words, in every case and with or without a space before."""
    found = set()
    for word in words:
        for text in {word, word.lower(), word.capitalize(), word.upper()}:
            for tokens in (guard.tokenize(text), guard.tokenize(f" {text}")):
                # a tokenizer may give the space a token of its own
                rest = [token for token in tokens if guard.token_texts([token])[0].strip()]
                found.update(rest[:1])
    return found


def _question(guard: LocalModel, prompt: Prompt, variables: Mapping[str, Any]) -> str:
    """What the guard reads, as its template words it."""
    messages = [dict(message) for message in prompt.messages]
    # templates of guards that also read images go through a message part by part
    parts = [{**m, "content": [{"type": "text", "text": content_text(m["content"])}]} for m in messages]
    wanted = prompt.text.strip()
    failed: Exception | None = None
    for form in (messages, parts):
        try:
            text = guard.tokenizer.apply_chat_template(form, tokenize=False, add_generation_prompt=True, **variables)
        except Exception as error:  # noqa: BLE001 - a template raises what it likes; the cause is chained
            failed = error
            continue
        if wanted in text and "'type': 'text'" not in text:
            return str(text)
    raise InputError(
        f"the template of {guard.name!r} does not word a question about the prompt {prompt.id!r}"
        + (f": {failed}" if failed else "; its text does not hold the prompt")
        + ". Give the variables that it asks for"
    ) from failed
